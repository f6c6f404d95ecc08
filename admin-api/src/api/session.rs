//! Logging in and out: `/admin/auth/…`. The first three find out themselves who calls, and so take no caller.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use gateway_config::model::{Action, Admin, AdminSession, Id, Role, Timestamp};
use gateway_config::store::{AdminWritten, Renewal};
use http::header::{CACHE_CONTROL, SET_COOKIE};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::ToSchema;
use uuid::Uuid;

use super::body::{SmallBody, read};
use super::query::NoQuery;
use super::users::changed;
use crate::auth::cookie::{is_cross_site, set_cookie};
use crate::auth::{
    COOKIE_GRACE_MILLIS, Mark, Origin, Via, Viewer, admin_of, bearer_of, cookie_of, is_admin_token, login,
    refuse_forged,
};
use crate::error::Failure;
use crate::state::AppState;

/// Who logs in.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Login {
    /// In any case.
    #[schema(example = "admin@gatehouse.local")]
    email: String,
    /// As it was set.
    password: String,
    /// For browsers: a cookie that no script can read in place of the tokens.
    #[serde(default)]
    cookie: bool,
}

/// What renews or ends a session; absent where a cookie does.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Refresh {
    /// Of the last login or refresh.
    #[serde(default)]
    #[schema(example = "gar_…")]
    refresh_token: Option<String>,
}

/// One's own new password.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ChangePassword {
    /// That they have now.
    current: String,
    /// At least 12 characters.
    #[schema(min_length = 12)]
    new: String,
}

/// A session's tokens, or what belongs to its cookie.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Tokens {
    /// For `Authorization: Bearer …`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "gaa_…")]
    access_token: Option<String>,
    /// Gets the next two tokens, once. Whoever uses it a second time ends the session.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "gar_…")]
    refresh_token: Option<String>,
    /// Seconds until the access token, or the cookie, has to be renewed.
    #[schema(example = 900)]
    expires_in: u64,
    /// By cookie: what `X-CSRF-Token` has to say with every method but GET, HEAD and OPTIONS.
    #[serde(skip_serializing_if = "Option::is_none")]
    csrf_token: Option<String>,
}

/// Who calls.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Me {
    /// Null for `ADMIN_TOKEN`, which is nobody's.
    id: Option<Uuid>,
    /// Null for `ADMIN_TOKEN`.
    email: Option<String>,
    name: String,
    /// What this caller may do; a token may do less than its owner.
    role: Role,
    /// `session`, `token` or `ADMIN_TOKEN`.
    #[schema(example = "session")]
    via: &'static str,
    /// Of the token.
    token_name: Option<String>,
    /// When the session or the token ends.
    #[schema(value_type = Option<String>)]
    expires_at: Option<Timestamp>,
    /// By cookie: as the login answered it.
    csrf_token: Option<String>,
}

pub(crate) async fn login(
    State(state): State<AppState>,
    origin: Origin,
    _: NoQuery,
    headers: HeaderMap,
    SmallBody(body): SmallBody,
) -> Result<Response, Failure> {
    let Login { email, password, cookie } = read(body)?;
    if cookie && is_cross_site(&headers) {
        return Err(Failure::csrf());
    }
    let admin = login::prove(&state, &origin, &email, &password).await?.ok_or_else(Failure::login_failed)?;
    let mark = if cookie { Mark::Cookie } else { Mark::Refresh };
    let begun = login::begin(&state, &origin, &admin, mark).await?;
    tracing::info!(admin = %admin.id, session = %begun.session.id, "logged in");
    Ok(answer(&state, &origin, &begun.session, mark, Some(&begun.secret)))
}

pub(crate) async fn refresh(
    State(state): State<AppState>,
    origin: Origin,
    _: NoQuery,
    headers: HeaderMap,
    SmallBody(body): SmallBody,
) -> Result<Response, Failure> {
    let (mark, presented, id) = renewing(&state, &headers, read(body)?)?;
    let known = async {
        let Some(session) = state.store.session(id).await? else { return Ok(None) };
        let admin = admin_of(&state, &session).await?;
        Ok::<_, Failure>(admin.map(|admin| (session, admin)))
    };
    let (session, admin) = state.ask(known).await?.ok_or_else(|| Failure::unauthorized(true))?;
    let (grace, now) = (if mark == Mark::Cookie { COOKIE_GRACE_MILLIS } else { 0 }, state.clock.now());
    let next = state.secrets.renewing(mark, id);
    let (old_hash, hash) = (state.secrets.hash(&presented), state.secrets.hash(&next));
    match state.ask(state.store.renew_session(id, &old_hash, &hash, grace, now)).await? {
        Renewal::Done => Ok(answer(&state, &origin, &session, mark, Some(&next))),
        // Another tab was faster: the browser has the new cookie, or will in a moment.
        Renewal::Raced => Ok(answer(&state, &origin, &session, mark, None)),
        Renewal::Reused => {
            tell_reuse(&state, &origin, &admin).await?;
            Err(Failure::unauthorized(true))
        }
        Renewal::Gone => Err(Failure::unauthorized(true)),
    }
}

pub(crate) async fn logout(
    State(state): State<AppState>,
    origin: Origin,
    _: NoQuery,
    headers: HeaderMap,
    SmallBody(body): SmallBody,
) -> Result<Response, Failure> {
    let (id, by_cookie) = ending(&state, &headers, read(body)?)?;
    let ended = async {
        let Some(session) = state.store.session(id).await? else { return Ok(false) };
        let name = state.store.admin(session.admin_id).await?.map(|admin| admin.email);
        let is_ended = state.store.end_session(id).await?;
        if is_ended {
            let actor = origin.actor(name.unwrap_or_default());
            let deed = state.deed(&actor, Action::AuthLogout, "log out".to_owned(), Vec::new());
            state.store.record(&deed, &state.chain).await?;
        }
        Ok::<_, Failure>(is_ended)
    };
    if !state.ask(ended).await? {
        return Err(Failure::unauthorized(true));
    }
    let mut response = StatusCode::NO_CONTENT.into_response();
    if by_cookie && let Some(gone) = set_cookie(None, 0, is_secure(&state, &origin)) {
        response.headers_mut().insert(SET_COOKIE, gone);
    }
    Ok(response)
}

pub(crate) async fn me(Viewer(caller): Viewer, State(state): State<AppState>, _: NoQuery) -> Response {
    let (via, token_name, expires_at, csrf_token) = match &caller.via {
        Via::AdminToken => ("ADMIN_TOKEN", None, None, None),
        Via::Session { session, is_cookie, .. } => {
            ("session", None, Some(session.expires_at), is_cookie.then(|| state.secrets.csrf(session.id)))
        }
        Via::Token { token, .. } => ("token", Some(token.name.clone()), token.expires_at, None),
    };
    let admin = caller.admin();
    let name = admin.map_or_else(|| via.to_owned(), |admin| admin.name.clone());
    let (id, email) = (admin.map(|admin| admin.id.uuid()), admin.map(|admin| admin.email.clone()));
    not_kept(
        axum::Json(Me { id, email, name, role: caller.role, via, token_name, expires_at, csrf_token }).into_response(),
    )
}

/// One's own password. All other sessions end with it.
pub(crate) async fn password(
    Viewer(caller): Viewer,
    State(state): State<AppState>,
    origin: Origin,
    _: NoQuery,
    SmallBody(body): SmallBody,
) -> Result<Response, Failure> {
    let Via::Session { admin, session, .. } = &caller.via else {
        return Err(Failure::not_allowed("only who logged in may change their own password"));
    };
    let ChangePassword { current, new } = read(body)?;
    crate::auth::password::check(&new).map_err(|bad| Failure::invalid_at("new", bad.to_string()))?;
    let before = login::prove(&state, &origin, &admin.email, &current).await?;
    let before = before.ok_or_else(|| Failure::invalid_at("current", "is not your password"))?;
    let hash = state.passwords.hash(&new, "new").await?;
    let (epoch, revision, updated_at) = (before.epoch + 1, before.revision + 1, state.clock.now());
    let after = Admin { epoch, revision, updated_at, ..before.clone() };
    let summary = "change one's own password".to_owned();
    let deed = state.deed(&caller.actor, Action::AuthPassword, summary, vec![changed(Some(&before), Some(&after))]);
    let written = state.store.replace_admin(&before, &after, Some(&hash), &deed, &state.chain);
    match state.ask(written).await? {
        AdminWritten::Done => {}
        _ => return Err(Failure::conflict("somebody changed this admin at the same moment; try again")),
    }
    state.ask(state.store.keep_session(session.id, after.epoch)).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// The refresh token of the body or else the cookie, and its session.
fn renewing(
    state: &AppState,
    headers: &HeaderMap,
    Refresh { refresh_token }: Refresh,
) -> Result<(Mark, String, Id<AdminSession>), Failure> {
    if let Some(text) = refresh_token {
        let id = state.secrets.open_renewing(Mark::Refresh, &text).ok_or_else(|| Failure::unauthorized(true))?;
        return Ok((Mark::Refresh, text, id));
    }
    let (text, id) = cookie_of(state, headers).ok_or_else(|| Failure::unauthorized(false))?;
    refuse_forged(state, id, &Method::POST, headers)?;
    Ok((Mark::Cookie, text.to_owned(), id))
}

/// Whose session is to end: by an access token, one that has expired as well; by a cookie; or by a refresh token.
fn ending(state: &AppState, headers: &HeaderMap, body: Refresh) -> Result<(Id<AdminSession>, bool), Failure> {
    if let Some(text) = bearer_of(headers)? {
        let opened = std::str::from_utf8(text).ok().and_then(|text| state.secrets.open_access(text));
        let is_of_no_session =
            || is_admin_token(state, text) || std::str::from_utf8(text).is_ok_and(|text| state.secrets.is_token(text));
        return match opened {
            Some((id, _)) => Ok((id, false)),
            None if is_of_no_session() => Err(Failure::conflict("this token belongs to no session that could end")),
            None => Err(Failure::unauthorized(true)),
        };
    }
    let (mark, _, id) = renewing(state, headers, body)?;
    Ok((id, mark == Mark::Cookie))
}

/// `secret`: what renews the session from now on; absent where the caller has it already.
fn answer(state: &AppState, origin: &Origin, session: &AdminSession, mark: Mark, secret: Option<&str>) -> Response {
    let now = state.clock.now();
    let left_millis = session.expires_at.millis_since(now);
    let access_millis = state.sessions.access_millis().min(left_millis);
    let until = Timestamp::from_micros(now.micros().saturating_add(access_millis * 1000));
    let seconds = |millis: i64| u64::try_from(millis / 1000).unwrap_or_default();
    let is_cookie = mark == Mark::Cookie;
    let tokens = Tokens {
        access_token: (!is_cookie).then(|| state.secrets.access(session.id, until)),
        refresh_token: secret.filter(|_| !is_cookie).map(str::to_owned),
        expires_in: seconds(access_millis),
        csrf_token: is_cookie.then(|| state.secrets.csrf(session.id)),
    };
    let mut response = axum::Json(json!(tokens)).into_response();
    if let Some(secret) = secret.filter(|_| is_cookie)
        && let Some(cookie) = set_cookie(Some(secret), seconds(left_millis), is_secure(state, origin))
    {
        response.headers_mut().insert(SET_COOKIE, cookie);
    }
    not_kept(response)
}

fn is_secure(state: &AppState, origin: &Origin) -> bool {
    state.sessions.secure_cookies || origin.is_secure
}

fn not_kept(mut response: Response) -> Response {
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

async fn tell_reuse(state: &AppState, origin: &Origin, admin: &Admin) -> Result<(), Failure> {
    tracing::warn!(admin = %admin.id, "a refresh token was used twice; its session has ended");
    let summary = format!("a refresh token of \"{}\" was used twice; the session has ended", admin.email);
    let about = vec![login::about(&admin.email)];
    let deed = state.deed(&origin.actor("anonymous"), Action::AuthRefreshReused, summary, about);
    state.ask(state.store.record(&deed, &state.chain)).await.map(drop)
}
