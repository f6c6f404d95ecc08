//! The endpoints of tasks: `GET /tasks/{id}` and `/tasks/{id}/events` for whoever made the task, `POST /tasks/{id}/status` for its
//! worker. An id proves whose it is, so that a task without a record is still there.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use gateway_config::model::{Task, TaskStatus};
use gateway_config::snapshot::{Code, Refusal, known};
use gateway_config::store::{Reported, StoreError};
use http::{HeaderMap, HeaderName, Method, StatusCode, header};
use pingora::Result;
use pingora::proxy::Session;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::TaskId;
use super::follow::{Follower, rank};
use super::record::{Names, Said};
use crate::queue::Queues;
use crate::reply::{self, Answer};
use crate::request::{RequestCtx, read_piece};
use crate::streams::Streams;

pub(crate) const PREFIX: &str = "/tasks/";
const X_TASK_TOKEN: HeaderName = HeaderName::from_static("x-task-token");
const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
/// Of a report's body.
const REPORT_LIMIT: usize = 256 * 1024;
/// Between two signs of life on a quiet stream: proxies on the way must not think it dead.
const HEARTBEAT: Duration = Duration::from_secs(15);

/// What is asked of a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TaskDoor {
    Show,
    Events,
    Report,
    /// It is there, for these methods.
    Other(&'static str),
}

impl TaskDoor {
    pub(crate) fn of(path: &str, method: &Method) -> Option<Self> {
        let (id, rest) = match path.strip_prefix(PREFIX)?.split_once('/') {
            Some((id, rest)) => (id, Some(rest)),
            None => (path.strip_prefix(PREFIX)?, None),
        };
        if id.is_empty() {
            return None;
        }
        Some(match rest {
            None if matches!(*method, Method::GET | Method::HEAD) => Self::Show,
            None => Self::Other("GET, HEAD"),
            Some("events") if *method == Method::GET => Self::Events,
            Some("events") => Self::Other("GET"),
            Some("status") if *method == Method::POST => Self::Report,
            Some("status") => Self::Other("POST"),
            Some(_) => return None,
        })
    }

    /// A worker shows the task's token, which is no credential of a caller's.
    pub(crate) fn wants_a_caller(self) -> bool {
        matches!(self, Self::Show | Self::Events)
    }
}

/// A task as its maker sees it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct View<'a> {
    task_id: &'a str,
    status: TaskStatus,
    #[serde(flatten)]
    known: Option<Known<'a>>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Known<'a> {
    queue: &'a str,
    created_at: String,
    updated_at: String,
    finished_at: Option<String>,
    result: Option<&'a Value>,
    error: Option<&'a Value>,
}

impl<'a> View<'a> {
    pub(super) fn of(task: &'a Task) -> Self {
        let known = Known {
            queue: &task.queue,
            created_at: task.created_at.to_string(),
            updated_at: task.updated_at.to_string(),
            finished_at: task.finished_at.map(|at| at.to_string()),
            result: task.result.as_ref(),
            error: task.error.as_ref(),
        };
        Self { task_id: &task.id, status: task.status, known: Some(known) }
    }

    fn unknown(id: &'a str) -> Self {
        Self { task_id: id, status: TaskStatus::Queued, known: None }
    }

    /// Nothing in it can fail to be written.
    pub(super) fn json(&self) -> Bytes {
        serde_json::to_vec(self).unwrap_or_default().into()
    }
}

/// A worker's report.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Report {
    status: TaskStatus,
    #[serde(default)]
    result: Option<Value>,
    #[serde(default)]
    error: Option<Value>,
}

pub(crate) async fn answer(
    door: TaskDoor,
    queues: &Arc<Queues>,
    streams: &Arc<Streams>,
    session: &mut Session,
    ctx: &mut RequestCtx,
) -> Result<()> {
    let answered = match door {
        TaskDoor::Show => show(queues, session, ctx).await,
        TaskDoor::Report => report(queues, session, ctx).await,
        TaskDoor::Other(allow) => Err(Refusal { allow: Some(allow.into()), ..Refusal::new(Code::MethodNotAllowed) }),
        TaskDoor::Events => match open(queues, session, ctx).await {
            Ok(Opened::Over) => {
                return reply::answer(
                    session,
                    Answer::json(StatusCode::NO_CONTENT, Bytes::new(), "no-store"),
                    ctx.frame(),
                )
                .await;
            }
            Ok(Opened::Follows(follower, id, last)) => {
                return events(Stream { id, last, follower }, queues, streams, session, ctx).await;
            }
            Err(refusal) => Err(refusal),
        },
    };
    match answered {
        Ok(answer) => reply::answer(session, answer, ctx.frame()).await,
        Err(refusal) => {
            ctx.refused = Some(refusal.code);
            if !session.as_mut().is_body_done() {
                session.set_keepalive(None);
            }
            reply::refuse(session, &refusal, ctx.frame()).await
        }
    }
}

async fn show(queues: &Queues, session: &Session, ctx: &RequestCtx) -> Result<Answer, Refusal> {
    let id = visible(queues, session, ctx)?;
    let task = found(queues, &id).await?;
    let text = id.to_string();
    let view = task.as_ref().map_or_else(|| View::unknown(&text), View::of);
    Ok(Answer::json(StatusCode::OK, view.json(), "no-store"))
}

/// What is known of a task that is there at all.
async fn found(queues: &Queues, id: &TaskId) -> Result<Option<Task>, Refusal> {
    let task = queues.tasks.find(id).await.map_err(|error| away(&error))?;
    if task.is_none() && queues.tasks.is_forgotten(id) {
        return Err(Refusal::new(Code::TaskNotFound));
    }
    Ok(task)
}

/// The id of a task that the caller may see. Whose a task is that they may not see, or whether there is one, is not told.
fn visible(queues: &Queues, session: &Session, ctx: &RequestCtx) -> Result<TaskId, Refusal> {
    let id = named(queues, session, ctx)?;
    let owner = id.owner();
    if owner.is_nil() {
        let shown = session.req_header().uri.query().and_then(capability).unwrap_or_default();
        let is_shown = queues.keys.is_capability(&id, shown);
        return if is_shown { Ok(id) } else { Err(Refusal::new(Code::TaskNotFound)) };
    }
    let caller = known(&ctx.caller, ctx.client.address)?;
    let is_owner = caller.application.as_ref().is_some_and(|application| application.source.id == owner);
    if is_owner { Ok(id) } else { Err(Refusal::new(Code::TaskNotFound)) }
}

/// The id in the path, if the fleet made it.
fn named(queues: &Queues, session: &Session, ctx: &RequestCtx) -> Result<TaskId, Refusal> {
    let path = ctx.path.as_deref().unwrap_or_else(|| session.req_header().uri.path());
    let text = path.strip_prefix(PREFIX).and_then(|rest| rest.split('/').next());
    let id = text.and_then(|text| text.parse::<TaskId>().ok());
    id.filter(|id| queues.keys.verify(id)).ok_or_else(|| Refusal::new(Code::TaskNotFound))
}

fn capability(query: &str) -> Option<&str> {
    query.split('&').find_map(|pair| pair.strip_prefix("capability="))
}

async fn report(queues: &Queues, session: &mut Session, ctx: &RequestCtx) -> Result<Answer, Refusal> {
    let id = named(queues, session, ctx)?;
    let token = token(&session.req_header().headers).ok_or_else(|| Refusal::new(Code::CredentialsMissing))?;
    if !queues.keys.is_token(&id, token) {
        return Err(Refusal::new(Code::CredentialsInvalid));
    }
    let body = read(session).await?;
    let bad = |message: String| Refusal { message: Some(message.into()), ..Refusal::new(Code::BadRequest) };
    let Report { status, result, error } =
        serde_json::from_slice(&body).map_err(|error| bad(format!("the report is not understood: {error}")))?;
    if status == TaskStatus::Queued {
        return Err(bad("a worker reports running, succeeded or failed".to_owned()));
    }
    if queues.tasks.is_forgotten(&id) && queues.tasks.find(&id).await.map_err(|error| away(&error))?.is_none() {
        return Err(Refusal::new(Code::TaskNotFound));
    }
    let names = ctx.live.as_ref().map(|live| Names::of(&live.snapshot, &id)).unwrap_or_default();
    let reported = queues.tasks.report(&id, Said { status, result, error }, names).await;
    let (status, task) = match reported.map_err(|error| away(&error))? {
        Reported::Changed(task) | Reported::Same(task) => (StatusCode::OK, task),
        Reported::Late(task) => (StatusCode::CONFLICT, task),
    };
    Ok(Answer::json(status, View::of(&task).json(), "no-store"))
}

/// As the token came: for itself, or as a bearer's.
fn token(headers: &HeaderMap) -> Option<&str> {
    if let Some(token) = headers.get(X_TASK_TOKEN) {
        return token.to_str().ok();
    }
    let line = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = line.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

async fn read(session: &mut Session) -> Result<Bytes, Refusal> {
    let mut body = BytesMut::new();
    loop {
        match read_piece(session).await {
            Ok(Some(chunk)) if body.len() + chunk.len() > REPORT_LIMIT => return Err(Refusal::new(Code::BodyTooLarge)),
            Ok(Some(chunk)) => body.extend_from_slice(&chunk),
            Ok(None) => return Ok(body.freeze()),
            Err(_) => {
                let message = "the body could not be read to its end";
                return Err(Refusal { message: Some(message.into()), ..Refusal::new(Code::BadRequest) });
            }
        }
    }
}

fn away(error: &StoreError) -> Refusal {
    tracing::debug!(%error, "tasks can't be read or written");
    Refusal { message: Some("tasks can't be looked up right now".into()), ..Refusal::new(Code::Overloaded) }
}

/// How a stream of events begins.
enum Opened {
    /// The client has seen the end already: it is told not to come back.
    Over,
    /// From behind the event of this number.
    Follows(Follower, TaskId, u8),
}

struct Stream {
    id: TaskId,
    last: u8,
    follower: Follower,
}

async fn open(queues: &Queues, session: &Session, ctx: &RequestCtx) -> Result<Opened, Refusal> {
    let id = visible(queues, session, ctx)?;
    let last = session.req_header().headers.get(LAST_EVENT_ID).and_then(|last| last.to_str().ok());
    let last = last.and_then(|last| last.parse::<u8>().ok()).unwrap_or(0);
    // First of all, or what changes between a look and this would be missed.
    let too_many = || Refusal { message: Some("too many tasks are followed".into()), ..Refusal::new(Code::Overloaded) };
    let follower = queues.tasks.followers.follow(&id).ok_or_else(too_many)?;
    if let Some(task) = found(queues, &id).await? {
        if task.status.is_final() && last >= rank(task.status) {
            return Ok(Opened::Over);
        }
        queues.tasks.followers.tell(&task);
    }
    Ok(Opened::Follows(follower, id, last))
}

/// Tells every change until the end. Ends without one when the gateway stops or the caller loses access: clients come back by
/// themselves, with the number of the last event that they saw.
async fn events(
    mut stream: Stream,
    queues: &Queues,
    streams: &Arc<Streams>,
    session: &mut Session,
    ctx: &mut RequestCtx,
) -> Result<()> {
    let head = reply::event_stream(session, ctx.frame())?;
    session.write_response_header(head.clone(), false).await?;
    streams.enter(session, &head, ctx);
    send(session, Bytes::from_static(b"retry: 2000\n\n")).await?;
    loop {
        let seen = stream.follower.seen();
        let status = seen.as_ref().map_or(TaskStatus::Queued, |task| task.status);
        if rank(status) > stream.last {
            stream.last = rank(status);
            let text = stream.id.to_string();
            let data = seen.as_ref().map_or_else(|| View::unknown(&text).json(), |task| View::of(task).json());
            let event = [format!("id: {}\nevent: status\ndata: ", stream.last).as_bytes(), &data, b"\n\n"].concat();
            send(session, event.into()).await?;
        }
        if status.is_final() {
            break;
        }
        tokio::select! {
            () = stream.follower.changed() => {}
            () = queues.drain.cancelled() => break,
            () = tokio::time::sleep(HEARTBEAT) => send(session, Bytes::from_static(b": still here\n\n")).await?,
            idle = session.as_downstream_mut().read_body_or_idle(true) => {
                // The client is gone, or was sent away.
                idle?;
                break;
            }
        }
    }
    session.write_response_body(None, true).await
}

async fn send(session: &mut Session, bytes: Bytes) -> Result<()> {
    session.write_response_body(Some(bytes), false).await
}
