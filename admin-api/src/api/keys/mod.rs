//! The API keys of an application: `/admin/access/applications/{name}/keys`. A key is shown once, in the answer to the call that
//! makes it; what is kept is a hash that no answer holds.

mod body;
mod view;

use std::time::Instant;

use axum::extract::{Path, State};
use axum::response::Response;
use gateway_config::api_key::{self, HashedKey, NewKey};
use gateway_config::change::{Expect, KeyChange, KeyError, KeyTarget, tag_of_key};
use gateway_config::model::{ApiKey, Application, Id, Item, Kind, Timestamp};
use gateway_config::store::StoreError;
use http::HeaderMap;
use http::header::{CACHE_CONTROL, HeaderValue};
use serde_json::Value;

use super::body::{JsonBody, MaybeJsonBody, PatchBody};
use super::conditional::{expected, read};
use super::entities::refuse_condition;
use super::page;
use super::query::{NoQuery, Paging, Wait};
use super::write::{Standing, answer};
use crate::auth::{Operator, Viewer};
use crate::error::Failure;
use crate::state::AppState;

pub(crate) use body::{IssueKey, PatchKey, RotateKey};
pub(crate) use view::{KeyView, ShownKey};

const APPLICATIONS: &str = "/admin/access/applications";

pub(crate) async fn list(
    _: Viewer,
    State(state): State<AppState>,
    Path(name): Path<String>,
    mut paging: Paging,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    let mut keys = application(&state, &name).await?.api_keys;
    if let Some(wanted) = paging.search.take().map(|wanted| wanted.to_lowercase()) {
        keys.retain(|key| key.name.to_lowercase().contains(&wanted) || key.prefix.to_lowercase().contains(&wanted));
    }
    let views = keys.iter().map(|key| KeyView::of(key, None).to_json()).collect();
    let (mut items, next) = page::cut(views, "id", &paging)?;
    let shown: Vec<&ApiKey> = keys.iter().filter(|key| items.iter().any(|item| is(key, item))).collect();
    let ids: Vec<Id<ApiKey>> = shown.iter().map(|key| key.id).collect();
    let usage = state.ask(state.store.key_usage(&ids)).await?;
    for (item, key) in items.iter_mut().zip(shown) {
        *item = KeyView::of(key, usage.get(&key.id).copied()).to_json();
    }
    Ok(page::answer(&headers, Kind::Application, &items, next.as_deref()))
}

pub(crate) async fn show(
    _: Viewer,
    State(state): State<AppState>,
    Path((name, id)): Path<(String, String)>,
    _: NoQuery,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    let keys = application(&state, &name).await?.api_keys;
    let found = keys.iter().find(|key| key.prefix == id || key.id.to_string() == id);
    let key = found.ok_or_else(|| Failure::not_found(&format!("key \"{id}\" of application \"{name}\"")))?;
    let used = last_used(&state, key.id).await?;
    Ok(read(&headers, &tag(key, used), &KeyView::of(key, used).to_json()))
}

pub(crate) async fn create(
    Operator(caller): Operator,
    State(state): State<AppState>,
    Path(name): Path<String>,
    wait: Wait,
    headers: HeaderMap,
    JsonBody(body): JsonBody,
) -> Result<Response, Failure> {
    refuse_condition(&headers)?;
    let IssueKey { name: key_name, expires_at } = body::read(body, &place(&name, "?"))?;
    let (new, hashed) = make(&state).await?;
    let issuing = state.changer.issue_key(&caller.actor, &name, &hashed, &key_name, expires_at);
    let change = write(&state, issuing).await?;
    Ok(shown_once(&state, &name, &change, &new, wait).await)
}

pub(crate) async fn rotate(
    Operator(caller): Operator,
    State(state): State<AppState>,
    Path((name, id)): Path<(String, String)>,
    wait: Wait,
    headers: HeaderMap,
    MaybeJsonBody(body): MaybeJsonBody,
) -> Result<Response, Failure> {
    let RotateKey { overlap_seconds, expires_at } = body::read(body, &place(&name, &id))?;
    let target = target(name, id, &headers)?;
    let (new, hashed) = make(&state).await?;
    let rotating = state.changer.rotate_key(&caller.actor, &target, &hashed, overlap_seconds, expires_at);
    let change = write(&state, rotating).await?;
    Ok(shown_once(&state, &target.application, &change, &new, wait).await)
}

pub(crate) async fn patch(
    Operator(caller): Operator,
    State(state): State<AppState>,
    Path((name, id)): Path<(String, String)>,
    wait: Wait,
    headers: HeaderMap,
    PatchBody(body): PatchBody,
) -> Result<Response, Failure> {
    let PatchKey { name: key_name, expires_at } = body::read(body, &place(&name, &id))?;
    let target = target(name, id, &headers)?;
    let updating = state.changer.update_key(&caller.actor, &target, key_name.as_deref(), expires_at);
    let change = write(&state, updating).await?;
    // What was changed was changed, whether or not its last use can be read.
    let used = last_used(&state, change.key.id).await.unwrap_or_default();
    let (value, tag) = (KeyView::of(&change.key, used).to_json(), tag(&change.key, used));
    let standing = Standing { value, tag, created_at: None, is_shown_once: false };
    Ok(answer(&state, &change.applied, wait, Some(standing)).await)
}

/// Revokes. The key stays in the list, for the record, and never comes back.
pub(crate) async fn revoke(
    Operator(caller): Operator,
    State(state): State<AppState>,
    Path((name, id)): Path<(String, String)>,
    wait: Wait,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    let target = target(name, id, &headers)?;
    let change = write(&state, state.changer.revoke_key(&caller.actor, &target)).await?;
    Ok(answer(&state, &change.applied, wait, None).await)
}

async fn application(state: &AppState, name: &str) -> Result<Application, Failure> {
    let found = async {
        match state.store.get(Kind::Application, name).await {
            // A name that the database can't even compare is nobody's.
            Err(StoreError::Refused(_)) => Ok(None),
            other => other,
        }
    };
    match state.ask(found).await? {
        Some(Item::Application(application)) => Ok((*application).clone()),
        _ => Err(Failure::not_found(&format!("application \"{name}\""))),
    }
}

async fn last_used(state: &AppState, key: Id<ApiKey>) -> Result<Option<Timestamp>, Failure> {
    Ok(state.ask(state.store.key_usage(&[key])).await?.remove(&key))
}

/// Begins with the tag that the writer of a condition proves; the last use may move on meanwhile.
fn tag(key: &ApiKey, used: Option<Timestamp>) -> String {
    match used {
        Some(used) => format!("{}-{:x}", tag_of_key(key), used.micros()),
        None => tag_of_key(key),
    }
}

fn target(application: String, key: String, headers: &HeaderMap) -> Result<KeyTarget, Failure> {
    let expect = match expected(headers)? {
        Expect::Tags(tags) => {
            Expect::Tags(tags.iter().map(|tag| tag.split('-').next().unwrap_or_default().to_owned()).collect())
        }
        other => other,
    };
    Ok(KeyTarget { application, key, expect })
}

/// Where the problems of a body are.
fn place(application: &str, key: &str) -> String {
    format!("applications/{application}/apiKeys/{key}")
}

async fn make(state: &AppState) -> Result<(NewKey, HashedKey), Failure> {
    let new = api_key::generate(&state.checksum);
    let hashed = state.hasher.hash(&new).await.map_err(|error| Failure::internal(error.to_string()))?;
    Ok((new, hashed))
}

async fn write(
    state: &AppState,
    change: impl Future<Output = Result<KeyChange, KeyError>> + Send,
) -> Result<KeyChange, Failure> {
    let started = Instant::now();
    let change = state.ask(change).await?;
    state.metrics.wrote(started.elapsed(), change.applied.generation);
    Ok(change)
}

/// The one answer that holds the key itself. Nobody on the way may keep it.
async fn shown_once(state: &AppState, application: &str, change: &KeyChange, new: &NewKey, wait: Wait) -> Response {
    let shown = ShownKey { view: KeyView::of(&change.key, None), key: new.text.expose() };
    let standing = Standing {
        value: serde_json::to_value(shown).unwrap_or(Value::Null),
        tag: tag(&change.key, None),
        created_at: Some(format!("{APPLICATIONS}/{application}/keys/{}", change.key.id)),
        is_shown_once: true,
    };
    let mut response = answer(state, &change.applied, wait, Some(standing)).await;
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

fn is(key: &ApiKey, item: &Value) -> bool {
    item.get("prefix").and_then(Value::as_str) == Some(&key.prefix)
}
