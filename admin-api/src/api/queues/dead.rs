//! Dead letters: messages of embedded queues that nobody delivers any more. What they hold may be about people, so it is shown to
//! operators alone, and whatever becomes of it is noted.

use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use gateway_config::model::{Action, Kind, Task, TaskStatus, Timestamp};
use gateway_config::store::{DeadLetter, TaskReport};
use http::{HeaderMap, StatusCode};
use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::{embedded, note};
use crate::api::conditional::json;
use crate::api::page;
use crate::api::query::{Given, NoQuery, Paging};
use crate::auth::Operator;
use crate::error::Failure;
use crate::state::AppState;

const ELSEWHERE: &str = "its dead letters are kept by its broker, not here";
/// Whoever has it may report as the task's worker.
const TOKEN: &str = "tasktoken";

/// A message that nobody delivers any more.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = DeadLetter)]
pub(crate) struct DeadLetterView {
    /// The task's id.
    id: String,
    /// How often it was tried.
    attempts: u32,
    /// Why the last try failed.
    #[schema(example = "status 500")]
    last_error: Option<String>,
    /// When the client heard 202.
    #[schema(value_type = String, format = DateTime)]
    accepted_at: Timestamp,
    /// When it was given up.
    #[schema(value_type = String, format = DateTime)]
    dead_at: Timestamp,
    /// The CloudEvent as it was sent, without the task's token.
    event: Map<String, Value>,
}

/// How many dead letters are due again.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Replayed {
    /// Their tasks are `queued` again as soon as they are delivered.
    replayed: u64,
}

impl DeadLetterView {
    fn of(letter: DeadLetter) -> Self {
        let DeadLetter { id, event, attempts, accepted_at, dead_at, last_error, .. } = letter;
        // What can't be read can't be shown without its token.
        let mut event: Map<String, Value> = serde_json::from_str(&event).unwrap_or_default();
        event.remove(TOKEN);
        Self { id, attempts, last_error, accepted_at, dead_at, event }
    }
}

/// `?limit=&cursor=`
#[derive(Debug)]
pub(crate) struct Pages {
    limit: u32,
    after: i64,
}

impl<S: Sync> axum::extract::FromRequestParts<S> for Pages {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut http::request::Parts, _: &S) -> Result<Self, Failure> {
        let mut given = Given::of(parts, &["limit", "cursor"])?;
        let Paging { limit, after, .. } = Paging::among(&mut given);
        let after = after.map(|number| number.parse().ok().filter(|number| *number >= 0));
        match after {
            Some(None) => Err(Failure::invalid_at("cursor", "is not a nextCursor of this list")),
            after => given.into_result(Self { limit, after: after.flatten().unwrap_or_default() }),
        }
    }
}

pub(crate) async fn list(
    _: Operator,
    State(state): State<AppState>,
    Path(name): Path<String>,
    Pages { limit, after }: Pages,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    embedded(&state, &name, ELSEWHERE).await?;
    // One more tells whether there is another page.
    let mut letters = state.ask(state.store.dead_letters(&name, after, limit + 1)).await?;
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let is_last = letters.len() <= limit;
    letters.truncate(limit);
    let next = letters.last().filter(|_| !is_last).map(|letter| letter.number.to_string());
    let view = |letter| serde_json::to_value(DeadLetterView::of(letter)).unwrap_or(Value::Null);
    let items: Vec<Value> = letters.into_iter().map(view).collect();
    Ok(page::answer(&headers, Kind::Queue, &items, next.as_deref()))
}

pub(crate) async fn replay(
    Operator(caller): Operator,
    State(state): State<AppState>,
    Path((name, id)): Path<(String, String)>,
    _: NoQuery,
) -> Result<Response, Failure> {
    let id = dead(&state, &name, &id).await?;
    let now = state.clock.now();
    let replayed = state.ask(state.store.replay_dead_letters(&name, Some(&id), now)).await?;
    if replayed == 0 {
        return Err(no_letter(&name, &id));
    }
    let summary = format!("replay dead letter {id} of queue {name}");
    note(&state, &caller.actor, Action::QueueReplay, summary).await?;
    Ok(answer(replayed))
}

pub(crate) async fn replay_all(
    Operator(caller): Operator,
    State(state): State<AppState>,
    Path(name): Path<String>,
    _: NoQuery,
) -> Result<Response, Failure> {
    embedded(&state, &name, ELSEWHERE).await?;
    let replayed = state.ask(state.store.replay_dead_letters(&name, None, state.clock.now())).await?;
    if replayed > 0 {
        let summary = format!("replay all {replayed} dead letters of queue {name}");
        note(&state, &caller.actor, Action::QueueReplay, summary).await?;
    }
    Ok(answer(replayed))
}

pub(crate) async fn discard(
    Operator(caller): Operator,
    State(state): State<AppState>,
    Path((name, id)): Path<(String, String)>,
    _: NoQuery,
) -> Result<Response, Failure> {
    let id = dead(&state, &name, &id).await?;
    if state.ask(state.store.delete_dead_letters(&name, Some(&id))).await? == 0 {
        return Err(no_letter(&name, &id));
    }
    end_task(&state, &id).await?;
    let summary = format!("discard dead letter {id} of queue {name}");
    note(&state, &caller.actor, Action::QueueDiscard, summary).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// Nobody works on its task any more. Gateways say so of a dead letter some seconds after its burial, and no longer find this one.
async fn end_task(state: &AppState, id: &str) -> Result<(), Failure> {
    let Some(task) = state.ask(state.store.tasks(&[id.to_owned()])).await?.pop() else { return Ok(()) };
    let now = state.clock.now();
    let error = Some(serde_json::json!({"code": "dead_letter", "message": "discarded by an operator"}));
    let task =
        Task { status: TaskStatus::Failed, result: None, error, updated_at: now, finished_at: Some(now), ..task };
    // Where its worker has said more already, that stands.
    state.ask(state.store.report_task(&TaskReport { task })).await.map(drop)
}

/// An id that a letter of this queue may have.
async fn dead(state: &AppState, name: &str, id: &str) -> Result<String, Failure> {
    embedded(state, name, ELSEWHERE).await?;
    let is_plain = !id.chars().any(char::is_control);
    if is_plain { Ok(id.to_owned()) } else { Err(no_letter(name, id)) }
}

fn no_letter(queue: &str, id: &str) -> Failure {
    Failure::not_found(&format!("dead letter \"{id}\" of queue \"{queue}\""))
}

fn answer(replayed: u64) -> Response {
    json(&serde_json::to_value(Replayed { replayed }).unwrap_or(Value::Null))
}
