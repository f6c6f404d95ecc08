//! Members of entities' lists, such as the versions of a service: the same calls as for entities, one level below.

use axum::extract::State;
use axum::response::Response;
use gateway_config::change::{Applied, Expect, Member, Op, Proposal, tag_of_member};
use gateway_config::model::Item;
use http::HeaderMap;
use serde_json::Value;

use super::body::{JsonBody, PatchBody};
use super::conditional::{expected, read};
use super::entities::{find, name_in, refuse_condition};
use super::page;
use super::query::{NoQuery, Paging, Wait};
use super::target::ListTarget;
use super::write::{Standing, answer, put as write_put, write};
use crate::auth::{Operator, Viewer};
use crate::error::Failure;
use crate::state::AppState;

pub(crate) async fn list(
    _: Viewer,
    State(state): State<AppState>,
    target: ListTarget,
    paging: Paging,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    let members = members(&find(&state, &target.of).await?, &target);
    let (items, next) = page::cut(members, target.members.key(), &paging)?;
    Ok(page::answer(&headers, target.members.kind, &items, next.as_deref()))
}

pub(crate) async fn show(
    _: Viewer,
    State(state): State<AppState>,
    target: ListTarget,
    _: NoQuery,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    let members = members(&find(&state, &target.of).await?, &target);
    let member = pick(members, &target, &target.key).ok_or_else(|| Failure::not_found(&target.what()))?;
    Ok(read(&headers, &tag_of_member(target.members.kind, &member), &member))
}

pub(crate) async fn put(
    Operator(caller): Operator,
    State(state): State<AppState>,
    target: ListTarget,
    wait: Wait,
    headers: HeaderMap,
    JsonBody(value): JsonBody,
) -> Result<Response, Failure> {
    let key = key_after(&target, &value);
    let proposal = proposal(&target, Op::Put, value, expected(&headers)?);
    let applied = write_put(&state, &caller, proposal).await?;
    Ok(written(&state, &target, &key, &applied, wait).await)
}

pub(crate) async fn patch(
    Operator(caller): Operator,
    State(state): State<AppState>,
    target: ListTarget,
    wait: Wait,
    headers: HeaderMap,
    PatchBody(value): PatchBody,
) -> Result<Response, Failure> {
    let key = key_after(&target, &value);
    let proposal = proposal(&target, Op::Patch, value, expected(&headers)?);
    let applied = write(&state, &caller, proposal).await?;
    Ok(written(&state, &target, &key, &applied, wait).await)
}

pub(crate) async fn create(
    Operator(caller): Operator,
    State(state): State<AppState>,
    mut target: ListTarget,
    wait: Wait,
    headers: HeaderMap,
    JsonBody(value): JsonBody,
) -> Result<Response, Failure> {
    refuse_condition(&headers)?;
    let path = format!("{}/{}/{}", target.of.resource.kind.plural(), target.of.name, target.members.field);
    target.key = name_in(&value, &path, target.members.key())?;
    let applied = write(&state, &caller, proposal(&target, Op::Put, value, Expect::Absent)).await?;
    Ok(written(&state, &target, &target.key, &applied, wait).await)
}

pub(crate) async fn delete(
    Operator(caller): Operator,
    State(state): State<AppState>,
    target: ListTarget,
    wait: Wait,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    let proposal = proposal(&target, Op::Delete, Value::Null, expected(&headers)?);
    let applied = write(&state, &caller, proposal).await?;
    Ok(answer(&state, &applied, wait, None).await)
}

fn members(item: &Item, target: &ListTarget) -> Vec<Value> {
    match item.to_public_json().get_mut(target.members.field).map(Value::take) {
        Some(Value::Array(members)) => members,
        _ => Vec::new(),
    }
}

/// A write may change the very key by which the path names the member.
fn key_after(target: &ListTarget, value: &Value) -> String {
    value.get(target.members.key()).and_then(Value::as_str).unwrap_or(&target.key).to_owned()
}

/// By its key or by its id.
fn pick(members: Vec<Value>, target: &ListTarget, key: &str) -> Option<Value> {
    let fields = [target.members.key(), "id"];
    members.into_iter().find(|it| fields.iter().any(|field| it.get(field).and_then(Value::as_str) == Some(key)))
}

fn proposal(target: &ListTarget, op: Op, value: Value, expect: Expect) -> Proposal {
    let member = Member { field: target.members.field, key: target.key.clone() };
    let (kind, name) = (target.members.kind, target.of.name.clone());
    Proposal { op, kind, name, value, member: Some(member), expect }
}

async fn written(state: &AppState, target: &ListTarget, key: &str, applied: &Applied, wait: Wait) -> Response {
    let done = applied.outcomes.first();
    let standing = done.and_then(|done| {
        let member = pick(members(done.item.as_ref()?, target), target, key)?;
        let created_at = done.created.then(|| format!("{}/{}", target.address(), segment(&member, target)));
        Some(Standing {
            tag: tag_of_member(target.members.kind, &member),
            value: member,
            created_at,
            is_shown_once: false,
        })
    });
    answer(state, applied, wait, standing).await
}

/// What stands for the member in a path: its key, or its id where the key would need escaping.
fn segment<'v>(member: &'v Value, target: &ListTarget) -> &'v str {
    let text = |field: &str| member.get(field).and_then(Value::as_str);
    let is_plain = |key: &&str| key.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte));
    text(target.members.key()).filter(is_plain).or_else(|| text("id")).unwrap_or_default()
}
