//! `GET /admin/tasks`: what became of requests that were accepted for later. What they asked and the tokens of their workers are not
//! kept in these records, so they can't be shown.

use axum::extract::{FromRequestParts, Path, State};
use axum::response::Response;
use gateway_config::change::tag_of_member;
use gateway_config::model::{Application, Id, Kind, Task, TaskStatus, Timestamp};
use gateway_config::store::TaskSearch;
use http::HeaderMap;
use http::request::Parts;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use utoipa::ToSchema;

use super::conditional::read;
use super::page;
use super::query::{Given, NoQuery, Paging};
use crate::auth::{Caller, Role, Viewer};
use crate::error::Failure;
use crate::state::AppState;

/// A task as operators see it.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = AdminTask)]
pub(crate) struct TaskView {
    id: String,
    #[schema(example = "mails")]
    queue: String,
    status: TaskStatus,
    /// The name of the application that made it, as it was then; null: a caller without one.
    application: Option<String>,
    /// Its id, which stays when it is renamed.
    #[schema(value_type = Option<uuid::Uuid>)]
    application_id: Option<Id<Application>>,
    /// Who called, where a token said so.
    subject: Option<String>,
    /// A broker answered for it.
    is_published: bool,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    #[schema(value_type = String, format = DateTime)]
    updated_at: Timestamp,
    /// When it succeeded or failed.
    #[schema(value_type = Option<String>, format = DateTime)]
    finished_at: Option<Timestamp>,
    /// When the record is forgotten.
    #[schema(value_type = String, format = DateTime)]
    expires_at: Timestamp,
    /// Who is told at the end, without the query of the URL.
    callback_url: Option<String>,
    /// What its worker said at the end; only shown of one task, and to operators.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Value)]
    result: Option<Value>,
    /// The same of a task that failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Value)]
    error: Option<Value>,
}

impl TaskView {
    fn of(task: Task) -> Self {
        let Task { id, queue, application, application_id, subject, status, is_published, .. } = task;
        let Task { created_at, updated_at, finished_at, expires_at, callback_url, .. } = task;
        // A query may hold what only the receiver should know.
        let callback_url = callback_url.map(|url| url.split(['?', '#']).next().unwrap_or_default().to_owned());
        Self {
            id,
            queue,
            status,
            application,
            application_id,
            subject,
            is_published,
            created_at,
            updated_at,
            finished_at,
            expires_at,
            callback_url,
            result: None,
            error: None,
        }
    }

    /// With what its worker said, for whom that is meant: it may be about people.
    fn whole(task: Task, caller: &Caller) -> Self {
        let (result, error) = (task.result.clone(), task.error.clone());
        let is_operator = caller.role >= Role::Operator;
        Self { result: result.filter(|_| is_operator), error: error.filter(|_| is_operator), ..Self::of(task) }
    }

    fn to_json(&self) -> Value {
        serde_json::to_value(self).unwrap_or(Value::Null)
    }
}

/// `?limit=&cursor=&queue=&application=&status=&since=&until=`
#[derive(Debug)]
pub(crate) struct Wanted(TaskSearch);

pub(crate) async fn list(
    _: Viewer,
    State(state): State<AppState>,
    Wanted(mut search): Wanted,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    let limit = usize::try_from(search.limit).unwrap_or(usize::MAX);
    // One more tells whether there is another page.
    search.limit += 1;
    let mut found = state.ask(state.store.search_tasks(&search)).await?;
    let is_last = found.len() <= limit;
    found.truncate(limit);
    let next = found.last().filter(|_| !is_last).map(place);
    let items: Vec<Value> = found.into_iter().map(|task| TaskView::of(task).to_json()).collect();
    // Any kind would do: a list's tag covers all that is in it.
    Ok(page::answer(&headers, Kind::Queue, &items, next.as_deref()))
}

pub(crate) async fn show(
    Viewer(caller): Viewer,
    State(state): State<AppState>,
    Path(id): Path<String>,
    _: NoQuery,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    let unknown = || Failure::not_found(&format!("record of a task \"{id}\""));
    if !is_plain(&id) {
        return Err(unknown());
    }
    let found = state.ask(state.store.tasks(std::slice::from_ref(&id))).await?.pop();
    let view = TaskView::whole(found.ok_or_else(unknown)?, &caller).to_json();
    Ok(read(&headers, &tag_of_member(Kind::Queue, &view), &view))
}

/// Of what ids are made. What is not is nobody's, and no text that every database can compare.
fn is_plain(id: &str) -> bool {
    id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
}

fn place(task: &Task) -> String {
    format!("{}.{}", task.created_at.micros(), task.id)
}

fn read_place(text: &str) -> Option<(Timestamp, String)> {
    let (at, id) = text.split_once('.')?;
    Some((Timestamp::from_micros(at.parse().ok()?), Some(id).filter(|id| is_plain(id))?.to_owned()))
}

fn word<T: DeserializeOwned>(text: &str, otherwise: &str) -> Result<T, String> {
    serde_json::from_value(Value::from(text)).map_err(|_| otherwise.to_owned())
}

impl<S: Sync> FromRequestParts<S> for Wanted {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Failure> {
        let known = ["limit", "cursor", "queue", "application", "status", "since", "until"];
        let mut given = Given::of(parts, &known)?;
        let Paging { limit, after, .. } = Paging::among(&mut given);
        let mut name = |field| {
            given.take(field, |text| {
                let is_plain = !text.chars().any(char::is_control);
                if is_plain { Ok(text.to_owned()) } else { Err("must not hold control characters".to_owned()) }
            })
        };
        let (queue, application) = (name("queue"), name("application"));
        let status =
            given.take("status", |text| word::<TaskStatus>(text, "must be queued, running, succeeded or failed"));
        let mut time =
            |name| given.take(name, |text| word::<Timestamp>(text, "must be a time like 2026-01-31T12:00:00Z"));
        let (from, until) = (time("since"), time("until"));
        let after = match after.as_deref().map(read_place) {
            Some(None) => return Err(Failure::invalid_at("cursor", "is not a nextCursor of this list")),
            Some(place) => place,
            None => None,
        };
        given.into_result(Self(TaskSearch { queue, application, status, from, until, after, limit }))
    }
}
