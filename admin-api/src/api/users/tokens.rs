//! Personal tokens: `/admin/users/{id}/tokens`. Everybody has their own; those of others are for admins.

use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use gateway_config::clock::new_id;
use gateway_config::model::{Action, Admin, AuditChange, Id, Kind, PersonalToken, Role};
use gateway_config::store::AdminWritten;
use http::header::CACHE_CONTROL;
use http::{HeaderMap, HeaderValue, StatusCode};
use serde_json::Value;

use super::super::body::{JsonBody, read as read_body};
use super::super::entities::refuse_condition;
use super::super::page;
use super::super::query::{NoQuery, Paging};
use super::{CreateToken, ShownToken, TokenView, USERS, find, put_location};
use crate::auth::{Caller, Via, Viewer, login};
use crate::error::Failure;
use crate::state::AppState;

/// Of one admin, that are still good.
const MOST: usize = 100;

pub(crate) async fn list(
    Viewer(caller): Viewer,
    State(state): State<AppState>,
    Path(who): Path<String>,
    mut paging: Paging,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    let owner = owner(&state, &caller, &who).await?;
    let mut tokens = state.ask(state.store.tokens(owner.id)).await?;
    if let Some(wanted) = paging.search.take().map(|wanted| wanted.to_lowercase()) {
        tokens.retain(|token| token.name.to_lowercase().contains(&wanted));
    }
    let views = tokens.iter().map(|token| TokenView::of(token, None).to_json()).collect();
    let (mut items, next) = page::cut(views, "id", &paging)?;
    let is =
        |item: &Value, token: &PersonalToken| item.get("id").and_then(Value::as_str) == Some(&token.id.to_string());
    tokens.retain(|token| items.iter().any(|item| is(item, token)));
    let ids: Vec<Id<PersonalToken>> = tokens.iter().map(|token| token.id).collect();
    let uses = state.ask(state.store.token_uses(&ids)).await?;
    for (item, token) in items.iter_mut().zip(&tokens) {
        *item = TokenView::of(token, uses.get(&token.id).copied()).to_json();
    }
    Ok(page::answer(&headers, Kind::Defaults, &items, next.as_deref()))
}

pub(crate) async fn create(
    Viewer(caller): Viewer,
    State(state): State<AppState>,
    Path(who): Path<String>,
    _: NoQuery,
    headers: HeaderMap,
    JsonBody(body): JsonBody,
) -> Result<Response, Failure> {
    refuse_own_only(&caller, &who)?;
    refuse_condition(&headers)?;
    let given: CreateToken = read_body(body)?;
    let now = state.clock.now();
    given.check(now)?;
    let owner = owner(&state, &caller, &who).await?;
    let most = owner.role.min(caller.role);
    let role = given.role.unwrap_or(most);
    if role > most {
        return Err(Failure::invalid_at("role", format!("can be {most} at most")));
    }
    refuse_longer_life(&caller, &given)?;
    let live = state.ask(state.store.tokens(owner.id)).await?.into_iter().filter(|token| token.is_good(now)).count();
    if live >= MOST {
        return Err(Failure::conflict(format!("\"{}\" has {live} tokens already; revoke some", owner.email)));
    }
    let (id, admin_id, expires_at) = (Id::new(new_id()), owner.id, given.expires_at);
    let token = PersonalToken { id, admin_id, name: given.name, role, created_at: now, expires_at, revoked_at: None };
    let text = state.secrets.token();
    let summary = format!("create token \"{}\" of admin \"{}\"", token.name, owner.email);
    let deed = state.deed(&caller.actor, Action::TokenCreate, summary, vec![changed(&owner, None, Some(&token))]);
    let hash = state.secrets.hash(&text);
    let written = state.store.add_token(&token, &hash, &deed, &state.chain);
    if state.ask(written).await? != AdminWritten::Done {
        return Err(Failure::not_found(&format!("admin \"{who}\"")));
    }
    let shown = ShownToken { view: TokenView::of(&token, None), token: &text };
    let mut response = (StatusCode::CREATED, axum::Json(shown)).into_response();
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    put_location(&mut response, &format!("{USERS}/{}/tokens/{id}", owner.id));
    Ok(response)
}

/// Revokes. The token stays in the list, for the record, and never comes back.
pub(crate) async fn revoke(
    Viewer(caller): Viewer,
    State(state): State<AppState>,
    Path((who, id)): Path<(String, String)>,
    _: NoQuery,
) -> Result<Response, Failure> {
    let owner = owner(&state, &caller, &who).await?;
    let tokens = state.ask(state.store.tokens(owner.id)).await?;
    let token = tokens.into_iter().find(|token| token.id.to_string() == id);
    let token = token.ok_or_else(|| Failure::not_found(&format!("token \"{id}\" of admin \"{}\"", owner.email)))?;
    let now = state.clock.now();
    let after = PersonalToken { revoked_at: token.revoked_at.or(Some(now)), ..token.clone() };
    let summary = format!("revoke token \"{}\" of admin \"{}\"", token.name, owner.email);
    let changes = vec![changed(&owner, Some(&token), Some(&after))];
    let deed = state.deed(&caller.actor, Action::TokenRevoke, summary, changes);
    // One that was revoked before is as good as revoked now.
    state.ask(state.store.revoke_token(token.id, now, &deed, &state.chain)).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

async fn owner(state: &AppState, caller: &Caller, who: &str) -> Result<Admin, Failure> {
    refuse_own_only(caller, who)?;
    find(state, caller, who).await
}

/// Who is no admin does not even learn who else there is.
fn refuse_own_only(caller: &Caller, who: &str) -> Result<(), Failure> {
    let is_own = caller.admin().is_some_and(|admin| {
        who == "me" || who == admin.id.to_string() || login::email(who).as_ref() == Some(&admin.email)
    });
    if is_own || caller.role == Role::Admin {
        return Ok(());
    }
    Err(Failure::not_allowed("the tokens of others need the role admin"))
}

/// A token that is known to a thief must not become one that lives on.
fn refuse_longer_life(caller: &Caller, given: &CreateToken) -> Result<(), Failure> {
    let Via::Token { token, .. } = &caller.via else { return Ok(()) };
    let outlives = token.expires_at.is_some_and(|end| given.expires_at.is_none_or(|wanted| wanted > end));
    if outlives {
        return Err(Failure::invalid_at("expiresAt", "can't lie behind the end of the token that makes this one"));
    }
    Ok(())
}

fn changed(owner: &Admin, before: Option<&PersonalToken>, after: Option<&PersonalToken>) -> AuditChange {
    let shown = |token: &PersonalToken| TokenView::of(token, None).to_json();
    let name = after.or(before).map(|token| token.name.as_str()).unwrap_or_default();
    AuditChange {
        kind: "token".to_owned(),
        name: format!("{}/{name}", owner.email),
        before: before.map(shown),
        after: after.map(shown),
    }
}
