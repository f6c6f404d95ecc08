//! Entities of every kind: list, show, put, patch, create, delete. One code path; `resource` says what there is.

use axum::extract::State;
use axum::response::Response;
use gateway_config::change::{Applied, Expect, Op, Proposal, tag};
use gateway_config::model::{Item, Kind};
use gateway_config::store::{Page, StoreError};
use http::HeaderMap;
use serde_json::Value;

use super::body::{JsonBody, PatchBody};
use super::conditional::{expected, read};
use super::page;
use super::query::{NoQuery, Paging, Wait};
use super::target::{Collection, Target};
use super::write::{Standing, answer, put as write_put, write};
use crate::auth::{Operator, Viewer};
use crate::error::Failure;
use crate::state::AppState;

pub(crate) async fn list(
    _: Viewer,
    State(state): State<AppState>,
    Collection(resource): Collection,
    paging: Paging,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    let limit = paging.limit;
    // One more than asked for tells whether there is a next page.
    let page = Page { after: paging.after, limit: limit + 1, search: paging.search };
    let mut items = state.ask(state.store.list(resource.kind, &page)).await?;
    let is_last = items.len() <= limit as usize;
    items.truncate(limit as usize);
    let next = items.last().filter(|_| !is_last).map(|item| item.name().to_owned());
    let items: Vec<Value> = items.iter().map(Item::to_public_json).collect();
    Ok(page::answer(&headers, resource.kind, &items, next.as_deref()))
}

pub(crate) async fn show(
    _: Viewer,
    State(state): State<AppState>,
    target: Target,
    _: NoQuery,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    let item = find(&state, &target).await?;
    Ok(read(&headers, &tag(item.digest()), &item.to_public_json()))
}

pub(crate) async fn put(
    Operator(caller): Operator,
    State(state): State<AppState>,
    target: Target,
    wait: Wait,
    headers: HeaderMap,
    JsonBody(value): JsonBody,
) -> Result<Response, Failure> {
    let proposal = proposal(&target, Op::Put, value, expected(&headers)?);
    let applied = write_put(&state, &caller, proposal).await?;
    Ok(written(&state, &target, &applied, wait).await)
}

pub(crate) async fn patch(
    Operator(caller): Operator,
    State(state): State<AppState>,
    target: Target,
    wait: Wait,
    headers: HeaderMap,
    PatchBody(value): PatchBody,
) -> Result<Response, Failure> {
    let proposal = proposal(&target, Op::Patch, value, expected(&headers)?);
    let applied = write(&state, &caller, proposal).await?;
    Ok(written(&state, &target, &applied, wait).await)
}

pub(crate) async fn create(
    Operator(caller): Operator,
    State(state): State<AppState>,
    Collection(resource): Collection,
    wait: Wait,
    headers: HeaderMap,
    JsonBody(value): JsonBody,
) -> Result<Response, Failure> {
    refuse_condition(&headers)?;
    let name = name_in(&value, resource.kind.plural(), resource.kind.name_field())?;
    let target = Target { resource, name };
    let applied = write(&state, &caller, proposal(&target, Op::Put, value, Expect::Absent)).await?;
    Ok(written(&state, &target, &applied, wait).await)
}

pub(crate) async fn delete(
    Operator(caller): Operator,
    State(state): State<AppState>,
    target: Target,
    wait: Wait,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    let proposal = proposal(&target, Op::Delete, Value::Null, expected(&headers)?);
    let applied = write(&state, &caller, proposal).await?;
    Ok(answer(&state, &applied, wait, None).await)
}

pub(crate) async fn find(state: &AppState, target: &Target) -> Result<Item, Failure> {
    let found = async {
        match state.store.get(target.resource.kind, &target.name).await {
            // A name that the database can't even compare is nobody's.
            Err(StoreError::Refused(_)) => Ok(None),
            other => other,
        }
    };
    state.ask(found).await?.ok_or_else(|| Failure::not_found(&target.what()))
}

/// A collection has no state to compare; what is created must not be there yet anyway.
pub(crate) fn refuse_condition(headers: &HeaderMap) -> Result<(), Failure> {
    match expected(headers)? {
        Expect::Anything | Expect::Absent => Ok(()),
        Expect::Tags(_) => Err(Failure::invalid_at("If-Match", "can't be asked of a POST; PUT to the entity's path")),
    }
}

/// The name that a body must say where the path does not.
pub(crate) fn name_in(value: &Value, path: &str, field: &str) -> Result<String, Failure> {
    if !value.is_object() {
        return Err(Failure::invalid_at(path, "must be a JSON object"));
    }
    match value.get(field) {
        Some(Value::String(name)) => Ok(name.clone()),
        None | Some(Value::Null) => Err(Failure::invalid_at(format!("{path}/?/{field}"), "is needed")),
        Some(_) => Err(Failure::invalid_at(format!("{path}/?/{field}"), "must be a string")),
    }
}

fn proposal(target: &Target, op: Op, value: Value, expect: Expect) -> Proposal {
    let kind: Kind = target.resource.kind;
    Proposal { op, kind, name: target.name.clone(), value, member: None, expect }
}

async fn written(state: &AppState, target: &Target, applied: &Applied, wait: Wait) -> Response {
    let done = applied.outcomes.first();
    let standing = done.and_then(|done| {
        let item = done.item.as_ref()?;
        let created_at = done.created.then(|| target.resource.address(item.name()));
        Some(Standing { value: item.to_public_json(), tag: tag(item.digest()), created_at, is_shown_once: false })
    });
    answer(state, applied, wait, standing).await
}
