//! The gate before everything below `/admin`: who shows no good credentials does not even learn which addresses exist.

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use gateway_config::model::{Admin, AdminSession, Id};
use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderValue, Method};

use super::cookie::{CSRF_HEADER, cookies};
use super::origin::Origin;
use super::secret::Mark;
use super::{Caller, Role, Via};
use crate::error::Failure;
use crate::state::AppState;

/// A cookie that was renewed a moment ago is still good: other tabs of the browser may be under way with it.
pub(crate) const COOKIE_GRACE_MILLIS: i64 = 30_000;

/// These look for credentials themselves: in bodies, or such that have expired.
const OPEN: [&str; 3] = ["/admin/auth/login", "/admin/auth/refresh", "/admin/auth/logout"];

pub(crate) async fn gate(State(state): State<AppState>, mut request: Request, next: Next) -> Response {
    let path = request.uri().path();
    if path != "/admin" && !path.starts_with("/admin/") || OPEN.contains(&path) {
        return next.run(request).await;
    }
    let Some(origin) = request.extensions().get::<Origin>().cloned() else {
        return Failure::internal("a request that was not accounted").into_response();
    };
    match caller(&state, &origin, request.method(), request.headers()).await {
        Ok(caller) => {
            request.extensions_mut().insert(caller);
            next.run(request).await
        }
        Err(failure) => failure.into_response(),
    }
}

async fn caller(state: &AppState, origin: &Origin, method: &Method, headers: &HeaderMap) -> Result<Caller, Failure> {
    match bearer_of(headers)? {
        Some(text) if is_admin_token(state, text) => {
            Ok(Caller { actor: origin.actor("ADMIN_TOKEN"), role: Role::Admin, via: Via::AdminToken })
        }
        Some(text) => {
            let text = std::str::from_utf8(text).map_err(|_| Failure::unauthorized(true))?;
            match state.secrets.open_access(text) {
                Some((id, until)) if state.clock.now() < until => by_session(state, origin, id).await,
                _ if state.secrets.is_token(text) => by_token(state, origin, text).await,
                _ => Err(Failure::unauthorized(true)),
            }
        }
        None => by_cookie(state, origin, method, headers).await,
    }
}

/// The one bearer token, if there is an `Authorization` at all. It goes before a cookie.
pub(crate) fn bearer_of(headers: &HeaderMap) -> Result<Option<&[u8]>, Failure> {
    let mut lines = headers.get_all(AUTHORIZATION).iter();
    match (lines.next(), lines.next()) {
        (None, _) => Ok(None),
        (Some(line), None) => bearer(line).map(Some).ok_or_else(|| Failure::unauthorized(true)),
        (Some(_), Some(_)) => Err(Failure::unauthorized(true)),
    }
}

pub(crate) fn is_admin_token(state: &AppState, text: &[u8]) -> bool {
    state.token.as_ref().is_some_and(|token| token.is(text))
}

async fn by_session(state: &AppState, origin: &Origin, id: Id<AdminSession>) -> Result<Caller, Failure> {
    let session = state.ask(state.store.session(id)).await?.ok_or_else(|| Failure::unauthorized(true))?;
    let admin = admin_of(state, &session).await?.ok_or_else(|| Failure::unauthorized(true))?;
    Ok(Caller {
        actor: origin.actor(&admin.email),
        role: admin.role,
        via: Via::Session { admin, session, is_cookie: false },
    })
}

/// Whom the session stands for, if it still stands for anybody.
pub(crate) async fn admin_of(state: &AppState, session: &AdminSession) -> Result<Option<Admin>, Failure> {
    if session.expires_at <= state.clock.now() {
        return Ok(None);
    }
    let admin = state.ask(state.store.admin(session.admin_id)).await?;
    Ok(admin.filter(|admin| admin.is_active && admin.epoch == session.epoch))
}

async fn by_token(state: &AppState, origin: &Origin, text: &str) -> Result<Caller, Failure> {
    let known = state.ask(state.store.token_of_hash(&state.secrets.hash(text))).await?;
    let now = state.clock.now();
    let known = known.filter(|known| known.token.is_good(now) && known.admin.is_active);
    let known = known.ok_or_else(|| Failure::unauthorized(true))?;
    if state.token_uses.is_due(known.token.id, now) {
        let (state, id) = (state.clone(), known.token.id);
        // Behind the request: nobody waits for it, and nothing depends on it.
        tokio::spawn(async move {
            if let Err(error) = state.store.record_token_use(id, now).await {
                tracing::debug!(%error, "could not note the use of a token");
            }
        });
    }
    let name = format!("{} (token {})", known.admin.email, known.token.name);
    Ok(Caller {
        actor: origin.actor(name),
        role: known.token.role.min(known.admin.role),
        via: Via::Token { admin: known.admin, token: known.token },
    })
}

async fn by_cookie(state: &AppState, origin: &Origin, method: &Method, headers: &HeaderMap) -> Result<Caller, Failure> {
    let Some((text, id)) = cookie_of(state, headers) else {
        return Err(Failure::unauthorized(cookies(headers).next().is_some()));
    };
    let now = state.clock.now();
    let hash = state.secrets.hash(text);
    let session = state.ask(state.store.session_of_secret(id, &hash, COOKIE_GRACE_MILLIS, now)).await?;
    // Renewed once in a while it shows when somebody else has it.
    let session = session.filter(|session| now.millis_since(session.renewed_at) < state.sessions.access_millis());
    let session = session.ok_or_else(|| Failure::unauthorized(true))?;
    let admin = admin_of(state, &session).await?.ok_or_else(|| Failure::unauthorized(true))?;
    refuse_forged(state, id, method, headers)?;
    Ok(Caller {
        actor: origin.actor(&admin.email),
        role: admin.role,
        via: Via::Session { admin, session, is_cookie: true },
    })
}

/// The cookie and the session that it speaks of; whether that lives is still to be seen.
pub(crate) fn cookie_of<'h>(state: &AppState, headers: &'h HeaderMap) -> Option<(&'h str, Id<AdminSession>)> {
    cookies(headers).find_map(|text| Some((text, state.secrets.open_renewing(Mark::Cookie, text)?)))
}

/// A browser sends the cookie whoever's page asks it to; only ours knows the token.
pub(crate) fn refuse_forged(
    state: &AppState,
    session: Id<AdminSession>,
    method: &Method,
    headers: &HeaderMap,
) -> Result<(), Failure> {
    if matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS) {
        return Ok(());
    }
    let presented = headers.get(CSRF_HEADER).map(HeaderValue::as_bytes).unwrap_or_default();
    if state.secrets.is_csrf(session, presented) { Ok(()) } else { Err(Failure::csrf()) }
}

/// The scheme is case-insensitive (RFC 9110 §11.1).
fn bearer(line: &HeaderValue) -> Option<&[u8]> {
    let (scheme, token) = line.as_bytes().split_at_checked(7)?;
    scheme.eq_ignore_ascii_case(b"bearer ").then(|| token.trim_ascii())
}
