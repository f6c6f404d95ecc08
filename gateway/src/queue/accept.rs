//! A request becomes a message: its body is read and checked, wrapped as an event, published, and answered once the broker has
//! confirmed it.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use gateway_config::clock::{Clock, SystemClock};
use gateway_config::model::{Application, Id, Problem};
use gateway_config::snapshot::{Code, CompiledQueue, KeySource, Refusal};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use pingora::proxy::Session;
use serde::Serialize;
use serde_json::Value;

use super::Queues;
use super::body;
use super::broker::Message;
use super::event::{self, Envelope, NotJson};
use super::spooling::refusal_of;
use super::task::{Claim, NewTask, check_callback};
use crate::policy::body::is_encoded;
use crate::reply::Answer;
use crate::request::RequestCtx;

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
const CALLBACK_URL: HeaderName = HeaderName::from_static("x-callback-url");
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const LONGEST_IDEMPOTENCY_KEY: usize = 255;

/// The task's status, or why it could not be published.
pub(super) type Published = Result<&'static str, Refusal>;

/// Why there is no 202.
#[derive(Debug)]
pub(crate) enum NotAccepted {
    Refused(Refusal),
    /// The body does not fit the queue's schema.
    Unfit(Vec<Problem>),
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Accepted<'a> {
    task_id: &'a str,
    status: &'static str,
    status_url: &'a str,
}

/// Takes the request in.
pub(crate) async fn accept(
    queues: &Arc<Queues>,
    queue: &Arc<CompiledQueue>,
    session: &mut Session,
    ctx: &RequestCtx,
) -> Result<Answer, NotAccepted> {
    let request = read(queue, session, ctx).await?;
    let application = ctx.decision.as_ref().and_then(|decision| decision.application.as_ref());
    let owner = application.map_or_else(Id::default, |application| application.source.id);
    let headers = &session.req_header().headers;
    let idempotency_key = idempotency_key(headers)?;
    let who = who(ctx, owner);
    let id = match idempotency_key {
        Some(key) => queues.keys.derived(owner, queue.source.id, &who, key),
        None => queues.keys.fresh(owner, queue.source.id),
    };
    let callback_url = header(headers, &CALLBACK_URL)?.map(str::to_owned);
    if let Some(url) = &callback_url {
        check_callback(url, application.map(|it| &*it.source)).map_err(refused)?;
    }
    let caller = ctx.caller.verified();
    let text_id = id.to_string();
    let capability = owner.is_nil().then(|| queues.keys.capability(&id));
    let (worker_url, status_url) = queues.status_urls(&text_id, capability.as_deref());
    let path = ctx.path.as_deref().unwrap_or_else(|| session.req_header().uri.path());
    let envelope = Envelope {
        id: &text_id,
        route: Some(ctx.route_name()),
        queue: queue.name(),
        path,
        time: SystemClock.now(),
        content_type: &request.content_type,
        application: application.map(|it| it.source.name.as_str()),
        caller: caller.and_then(|caller| caller.subject()),
        traceparent: header(headers, &TRACEPARENT).ok().flatten(),
        idempotency_key,
        status_url: &worker_url,
        task_token: &queues.keys.token(&id),
    };
    let event =
        event::write(&envelope, &request.body).map_err(|NotJson(why)| bad(&format!("the body is not JSON: {why}")))?;
    let source =
        KeySource { body: request.json.as_ref(), headers, subject: envelope.caller, application: envelope.application };
    let message = Message { id, queue: queue.clone(), event, key: queue.key(&source) };
    let task = NewTask {
        id,
        queue: queue.name().to_owned(),
        application: envelope.application.map(str::to_owned),
        subject: envelope.caller.map(str::to_owned),
        body_hash: blake3::hash(&request.body).to_hex().to_string(),
        callback_url,
        is_idempotent: idempotency_key.is_some(),
        created_at: envelope.time,
    };
    // A task of its own: what was begun is finished even if the client leaves.
    let (working, name) = (queues.clone(), queue.name().to_owned());
    let publishing = queues.control.spawn(async move { publish(&working, message, task).await });
    let outcome = publishing.await.unwrap_or_else(|_| Err(Refusal::new(Code::Internal)));
    let status = outcome.map_err(|refusal| NotAccepted::Refused(named(refusal, &name, &text_id)))?;
    Ok(answer(&text_id, status, &status_url))
}

/// Whose an `Idempotency-Key` is where no application owns it: somebody else's same key must not lead to this one's task.
fn who(ctx: &RequestCtx, owner: Id<Application>) -> String {
    if !owner.is_nil() {
        return String::new();
    }
    let subject = ctx.caller.verified().and_then(|caller| caller.subject());
    subject.map_or_else(|| ctx.client.address.to_string(), |subject| format!("subject {subject}"))
}

/// A request's body, looked at as far as its queue asks.
struct Read {
    content_type: String,
    body: Bytes,
    json: Option<Value>,
}

async fn read(queue: &CompiledQueue, session: &mut Session, ctx: &RequestCtx) -> Result<Read, NotAccepted> {
    let headers = &session.req_header().headers;
    if is_encoded(headers) {
        let message = "the body must come without a Content-Encoding: workers get it as it is";
        return Err(told(Code::UnsupportedMediaType, message));
    }
    let content_type = header(headers, &header::CONTENT_TYPE)?.unwrap_or_default().to_owned();
    let mut limit = ctx.decision.as_ref().map_or(u64::MAX, |decision| decision.max_body_bytes);
    limit = limit.min(queue.source.max_body_bytes.unwrap_or(u64::MAX));
    let body = body::read(session, ctx, limit).await.map_err(refused)?;
    let wants_json = queue.needs_json() || queue.orders_by_body();
    if !wants_json {
        return Ok(Read { content_type, body, json: None });
    }
    if queue.needs_json() && !content_type.is_empty() && !event::is_json(&content_type) {
        return Err(told(Code::UnsupportedMediaType, "this queue takes JSON: Content-Type: application/json"));
    }
    let json = match serde_json::from_slice::<Value>(&body) {
        Ok(json) => Some(json),
        Err(error) if queue.needs_json() => return Err(bad(&format!("the body is not JSON: {error}"))),
        Err(_) => None,
    };
    let problems = json.as_ref().map(|json| queue.check(json)).unwrap_or_default();
    if !problems.is_empty() {
        return Err(NotAccepted::Unfit(problems));
    }
    let content_type = if content_type.is_empty() { "application/json".to_owned() } else { content_type };
    Ok(Read { content_type, body, json })
}

/// Publishes and notes the task; of requests with one `Idempotency-Key` only the first. Answers the task's status.
async fn publish(queues: &Arc<Queues>, message: Message, task: NewTask) -> Published {
    if !task.is_idempotent {
        return publish_new(queues, message, task).await;
    }
    // Another body is not the same request, which the claim finds out.
    let (same, working) = ((task.id, task.body_hash.clone()), queues.clone());
    let claiming = async move { claim_and_publish(&working, message, task).await };
    let outcome = queues.flights.join(same, || Some(claiming)).await;
    outcome.unwrap_or_else(|| Err(Refusal::new(Code::Internal)))
}

async fn claim_and_publish(queues: &Queues, message: Message, task: NewTask) -> Published {
    match queues.tasks.claim(&task).await {
        Claim::New | Claim::Unknown => publish_new(queues, message, task).await,
        Claim::Same(status) => Ok(status),
        Claim::OtherBody => Err(Refusal::new(Code::IdempotencyMismatch)),
    }
}

async fn publish_new(queues: &Queues, message: Message, task: NewTask) -> Published {
    let patience = Duration::from_millis(u64::from(message.queue.source.confirm_timeout_ms));
    let published = queues.publish_or_keep(&message, patience).await;
    published.map_err(|error| refusal_of(&message, &error))?;
    queues.tasks.note(task).await;
    Ok("queued")
}

/// A client may ask later what became of it, so it is told which task it was.
fn named(refusal: Refusal, queue: &str, task: &str) -> Refusal {
    if refusal.code != Code::QueueUnavailable {
        return refusal;
    }
    let message = format!("queue \"{queue}\" could not confirm task {task}; it may be sent again");
    Refusal { message: Some(message.into()), ..refusal }
}

fn answer(id: &str, status: &'static str, status_url: &str) -> Answer {
    let accepted = Accepted { task_id: id, status, status_url };
    let body = serde_json::to_vec(&accepted).unwrap_or_default();
    let mut answer = Answer::json(StatusCode::ACCEPTED, body.into(), "no-store");
    if let Ok(location) = HeaderValue::from_str(&format!("/tasks/{id}")) {
        answer.extra.push((header::LOCATION, location));
    }
    answer
}

fn idempotency_key(headers: &HeaderMap) -> Result<Option<&str>, NotAccepted> {
    let Some(key) = header(headers, &IDEMPOTENCY_KEY)? else { return Ok(None) };
    let is_plain =
        (1..=LONGEST_IDEMPOTENCY_KEY).contains(&key.len()) && key.bytes().all(|byte| byte.is_ascii_graphic());
    if is_plain {
        Ok(Some(key))
    } else {
        Err(bad("Idempotency-Key must be 1 to 255 printable characters without blanks"))
    }
}

/// The header's only line.
fn header<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Result<Option<&'h str>, NotAccepted> {
    let mut lines = headers.get_all(name).iter();
    match (lines.next(), lines.next()) {
        (None, _) => Ok(None),
        (Some(line), None) => line.to_str().map(Some).map_err(|_| bad(&format!("{name} is no text"))),
        (Some(_), Some(_)) => Err(bad(&format!("{name} is given twice"))),
    }
}

fn bad(message: &str) -> NotAccepted {
    told(Code::BadRequest, message)
}

fn told(code: Code, message: &str) -> NotAccepted {
    refused(Refusal { message: Some(message.into()), ..Refusal::new(code) })
}

fn refused(refusal: Refusal) -> NotAccepted {
    NotAccepted::Refused(refusal)
}
