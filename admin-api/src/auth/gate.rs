//! The gate before everything below `/admin`: who shows no good token does not even learn which addresses exist.

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderValue};

use super::{Caller, Role};
use crate::error::Failure;
use crate::state::AppState;

pub(crate) async fn gate(State(state): State<AppState>, mut request: Request, next: Next) -> Response {
    let path = request.uri().path();
    if path != "/admin" && !path.starts_with("/admin/") {
        return next.run(request).await;
    }
    match caller(&state, request.headers()) {
        Ok(caller) => {
            request.extensions_mut().insert(caller);
            next.run(request).await
        }
        Err(failure) => failure.into_response(),
    }
}

fn caller(state: &AppState, headers: &HeaderMap) -> Result<Caller, Failure> {
    let mut lines = headers.get_all(AUTHORIZATION).iter();
    let (Some(line), None) = (lines.next(), lines.next()) else {
        return Err(Failure::unauthorized(headers.contains_key(AUTHORIZATION)));
    };
    let is_good = bearer(line).is_some_and(|given| state.token.as_ref().is_some_and(|token| token.is(given)));
    if is_good {
        Ok(Caller { actor: "ADMIN_TOKEN".into(), role: Role::Admin })
    } else {
        Err(Failure::unauthorized(true))
    }
}

/// The scheme is case-insensitive (RFC 9110 §11.1).
fn bearer(line: &HeaderValue) -> Option<&[u8]> {
    let (scheme, token) = line.as_bytes().split_at_checked(7)?;
    scheme.eq_ignore_ascii_case(b"bearer ").then(|| token.trim_ascii())
}
