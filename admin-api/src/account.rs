//! Around every request: its id, its answer's shape where the answer is no, the log line and the count. A panic costs the
//! request, never the process.

use std::panic::AssertUnwindSafe;
use std::time::Instant;

use axum::extract::{MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use futures::FutureExt;
use gateway_config::clock::new_id;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderName, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderMap, HeaderValue, Method};

use crate::auth::Origin;
use crate::error::Failure;
use crate::state::AppState;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const LONGEST_ID: usize = 128;

pub(crate) async fn account(State(state): State<AppState>, mut request: Request, next: Next) -> Response {
    let started = Instant::now();
    let request_id = request_id(request.headers());
    let origin = Origin::of(&request_id, &state.proxies, request.extensions(), request.headers());
    request.extensions_mut().insert(origin);
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let matched = request.extensions().get::<MatchedPath>().cloned();
    let operation = matched.as_ref().map_or("unmatched", MatchedPath::as_str);

    let answered = AssertUnwindSafe(next.run(request)).catch_unwind().await;
    let mut response = answered.unwrap_or_else(|_| Failure::internal("a handler panicked").into_response());
    if let Some(failure) = response.extensions_mut().remove::<Failure>() {
        response = written(&state, response, &failure, &path, &request_id);
        if let Some(cause) = failure.cause() {
            tracing::warn!(
                request_id,
                operation,
                code = failure.code(),
                cause,
                "could not answer {method} {operation}"
            );
        }
    }
    let status = response.status();
    state.metrics.count(operation, &method, status);
    // Never the path as it came: who mistypes may put a token into it. Which entity was meant stands in the audit.
    let duration_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
    if matches!(method, Method::GET | Method::HEAD) {
        tracing::debug!(request_id, status = status.as_u16(), duration_ms, "{method} {operation}");
    } else {
        tracing::info!(request_id, status = status.as_u16(), duration_ms, "{method} {operation}");
    }
    let headers = response.headers_mut();
    if let Ok(value) = HeaderValue::from_str(&request_id) {
        headers.insert(REQUEST_ID, value);
    }
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    // May be kept, but is asked for again each time: the ETag makes that cheap.
    headers.entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("private, no-cache"));
    response
}

/// The caller's own id if it can stand in a log line, else a new one.
fn request_id(headers: &HeaderMap) -> String {
    let is_sane = |id: &&str| {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        (1..=LONGEST_ID).contains(&id.len()) && id.bytes().all(plain)
    };
    let given = headers.get(&REQUEST_ID).and_then(|value| value.to_str().ok()).filter(is_sane);
    given.map_or_else(|| new_id().to_string(), ToOwned::to_owned)
}

/// The failure in words, with the status and headers that it was answered with.
fn written(state: &AppState, response: Response, failure: &Failure, path: &str, request_id: &str) -> Response {
    let (mut parts, _) = response.into_parts();
    let body = failure.body(state.clock.now().to_string(), path, request_id);
    let body = serde_json::to_vec(&body).unwrap_or_default();
    parts.headers.remove(http::header::CONTENT_LENGTH);
    parts.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Response::from_parts(parts, body.into())
}
