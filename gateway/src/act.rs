//! The acts that follow decisions: answering, choosing peers, failing well. One function for each phase in `proxy`.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use gateway_config::clock::{Clock, SystemClock};
use gateway_config::model::{RetryOn, Screening};
use gateway_config::snapshot::{Code, Decision, Outcome, Refusal};
use http::{HeaderName, HeaderValue, StatusCode, Version, header};
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::protocols::http::ServerSession;
use pingora::proxy::{FailToProxy, Session};
use pingora::upstreams::peer::{HttpPeer, HttpUpstreamRequestPolicy};
use pingora::{Error, ErrorSource, ErrorType, Result};

use crate::connection::Carrier;
use crate::forward::{self, Destination};
use crate::gate::Gate;
use crate::live::Live;
use crate::observe::metrics::Metrics;
use crate::own::{self, Own};
use crate::policy::body::{BodyWatch, Watched, declared, is_encoded};
use crate::policy::limits;
use crate::policy::screening::{Finding, screen_request};
use crate::queue::{self, Queues};
use crate::reply;
use crate::request::{CLIENT_READ, RequestCtx, request_id};
use crate::streams::Streams;
use crate::upstream::{Attempt, for_upgrade};

const CLIENT_WRITE: Duration = Duration::from_mins(1);

/// Pingora waits without end within a request unless it is told otherwise for every one. Between requests `connection` watches.
pub(crate) fn greet(session: &mut Session, ctx: &mut RequestCtx, draining: bool) {
    // Only where Pingora would keep it: an HTTP/1.0 client, or one that said close, expects the end. 0: no timer of Pingora's.
    if session.get_keepalive().is_some() {
        session.set_keepalive((!draining).then_some(0));
    }
    be_patient(session.as_downstream_mut());
    ctx.came_by(Carrier::of(session));
    ctx.id = request_id(&session.req_header().headers);
}

/// How long a client may be silent in the middle of its request, and take nothing of its answer.
pub(crate) fn be_patient(client: &mut ServerSession) {
    client.set_read_timeout(Some(CLIENT_READ));
    client.set_write_timeout(Some(CLIENT_WRITE));
}

/// Answers what the gateway answers by itself. `true`: it did. The answers are boxed, so that a request that is forwarded does not
/// carry room for them.
pub(crate) async fn decide_and_answer(
    session: &mut Session,
    ctx: &mut RequestCtx,
    gate: &Gate,
    queues: &Arc<Queues>,
    streams: &Arc<Streams>,
) -> Result<bool> {
    let Some(live) = ctx.live.clone() else {
        let refusal = Refusal {
            message: Some("the gateway has no configuration yet".into()),
            ..Refusal::new(Code::NoHealthyUpstream)
        };
        return Box::pin(refuse(session, ctx, &refusal)).await;
    };
    gate.meet(session, ctx);
    // First of all: credentials that come in plain text are not looked at, and not counted as used.
    if let Some(location) = gate.https_location(session.req_header(), &ctx.client) {
        Box::pin(reply::redirect(session, &location, 308, ctx.frame())).await?;
        return Ok(true);
    }
    gate.pass(session, ctx, &live).await;
    add_headers(session, ctx, &live);
    if let Some(Own::Task(door)) = ctx.own {
        Box::pin(queue::task::answer(door, queues, streams, session, ctx)).await?;
        return Ok(true);
    }
    if let Some(own) = ctx.own {
        Box::pin(own::answer(own, session, ctx, gate, &live.snapshot)).await?;
        return Ok(true);
    }
    let Some(decision) = &ctx.decision else { return Ok(false) };
    if let Outcome::Forward(forward) = &decision.outcome {
        let Err(refusal) = check_body(session, decision) else {
            ctx.attempt = Attempt::begin(forward, &live.clusters, ctx.started);
            ctx.body = watch_for(session, decision);
            return Ok(false);
        };
        return Box::pin(refuse(session, ctx, &refusal)).await;
    }
    Box::pin(answer(session, ctx, queues, streams)).await?;
    Ok(true)
}

/// Answers what was decided, where that is not a backend's business.
async fn answer(
    session: &mut Session,
    ctx: &mut RequestCtx,
    queues: &Arc<Queues>,
    streams: &Arc<Streams>,
) -> Result<()> {
    let Some(decision) = &ctx.decision else { return Ok(()) };
    match &decision.outcome {
        Outcome::Forward(_) => {}
        Outcome::Respond(respond) => reply::respond(session, respond, ctx.frame()).await?,
        Outcome::Redirect { location, status } => reply::redirect(session, location, *status, ctx.frame()).await?,
        Outcome::Preflight(headers) => reply::preflight(session, headers, ctx.frame()).await?,
        Outcome::Publish(queue) => {
            let queue = queue.clone();
            match check_body(session, decision) {
                Ok(()) => queue::publish(queues, &queue, session, ctx).await?,
                Err(refusal) => drop(refuse(session, ctx, &refusal).await?),
            }
        }
        Outcome::Subscribe(queue, filter) => {
            let (queue, filter) = (queue.clone(), filter.clone());
            queue::channel::serve(&queue, filter, queues, streams, session, ctx).await?;
        }
        Outcome::Refuse(refusal) => {
            let refusal = refusal.clone();
            refuse(session, ctx, &refusal).await?;
        }
    }
    Ok(())
}

/// What the gateway adds to whatever answer comes: how limits stand, and what other sites may read.
fn add_headers(session: &Session, ctx: &mut RequestCtx, live: &Live) {
    if let Some(verdict) = &ctx.verdict {
        limits::tell(verdict, &mut ctx.extra);
    }
    let route = ctx.decision.as_ref().and_then(|decision| decision.route.as_ref());
    let cors = match route {
        Some(route) => live.snapshot.cors_of(route),
        None => live.snapshot.defaults().cors.as_ref(),
    };
    let is_preflight = ctx.decision.as_ref().is_some_and(|it| matches!(it.outcome, Outcome::Preflight(_)));
    if let Some(cors) = cors.filter(|_| !is_preflight) {
        ctx.has_cors = true;
        ctx.extra.extend(cors.response(&session.req_header().headers));
    }
}

/// What can be said of a body before it comes, and of what else a client sent where that is screened.
fn check_body(session: &Session, decision: &Decision) -> Result<(), Refusal> {
    let head = session.req_header();
    if declared(&head.headers).is_some_and(|length| length > decision.max_body_bytes) {
        return Err(Refusal::new(Code::BodyTooLarge));
    }
    let Some(route) = decision.route.as_ref().filter(|route| route.source.screening != Screening::Off) else {
        return Ok(());
    };
    if route.source.screening == Screening::Block && is_encoded(&head.headers) {
        let message = "the body must come without a Content-Encoding, so that it can be screened";
        return Err(Refusal { message: Some(message.into()), ..Refusal::new(Code::UnsupportedMediaType) });
    }
    // The target as it came: what is found there is found in whatever a backend makes of it.
    let target = String::from_utf8_lossy(head.raw_path());
    let (path, query) = target.split_once('?').map_or((&*target, None), |(path, query)| (path, Some(query)));
    let Some(finding) = screen_request(path, query) else { return Ok(()) };
    report(&finding, &route.source.name);
    match route.source.screening {
        Screening::Block => Err(Refusal::new(Code::UnsafeInput)),
        Screening::Report | Screening::Off => Ok(()),
    }
}

fn watch_for(session: &Session, decision: &Decision) -> BodyWatch {
    let mode = decision.route.as_ref().map_or(Screening::Off, |route| route.source.screening);
    BodyWatch::new(decision.max_body_bytes, mode, &session.req_header().headers)
}

/// The text itself is not logged: it is the client's, and may be a password that only looks like an attack.
pub(crate) fn report(finding: &Finding, route: &str) {
    let (kind, place) = (finding.kind, &finding.place);
    tracing::warn!(route, kind = ?kind, %place, "input screening found {kind:?} in {place} of a request to route {route}");
}

async fn refuse(session: &mut Session, ctx: &mut RequestCtx, refusal: &Refusal) -> Result<bool> {
    ctx.refused = Some(refusal.code);
    if matches!(refusal.code, Code::BadRequest | Code::UriTooLong | Code::HeadersTooLarge) {
        // Whoever sends what can't be understood may mean the next bytes as something else, too.
        session.set_keepalive(None);
    }
    reply::refuse(session, refusal, ctx.frame()).await?;
    Ok(true)
}

pub(crate) fn next_peer(session: &Session, ctx: &mut RequestCtx) -> Result<Box<HttpPeer>> {
    let forward = ctx.decision.as_ref().and_then(|decision| match &decision.outcome {
        Outcome::Forward(forward) => Some(forward),
        _ => None,
    });
    let attempt = ctx.attempt.as_mut();
    let Some((forward, attempt)) = forward.zip(attempt) else {
        return Error::e_explain(ErrorType::InternalError, "nothing to forward to was decided");
    };
    let mut peer = attempt.next_peer(forward).ok_or_else(|| {
        let code = *attempt.last_failure.get_or_insert(Code::NoHealthyUpstream);
        Error::explain(ErrorType::Custom("no peer left"), code.as_str())
    })?;
    if asks_for_websocket(session) {
        for_upgrade(&mut peer);
    } else if forward::is_end_to_end(&session.req_header().headers) {
        // Nothing for Pingora to take out, which would look for each of a dozen names.
        peer.options.http_upstream_request_policy = HttpUpstreamRequestPolicy::preserve();
    }
    Ok(peer)
}

/// Pingora forwards no other upgrade.
fn asks_for_websocket(session: &Session) -> bool {
    let is_websocket = |value: &HeaderValue| value.as_bytes().eq_ignore_ascii_case(b"websocket");
    session.is_upgrade_req() && session.get_header(header::UPGRADE).is_some_and(is_websocket)
}

/// Nothing was sent yet, so every method may be tried elsewhere.
pub(crate) fn connect_failed(ctx: &mut RequestCtx, mut error: Box<Error>, metrics: &Metrics) -> Box<Error> {
    metrics.connect_failed();
    let code = match error.etype() {
        ErrorType::ConnectTimedout | ErrorType::TLSHandshakeTimedout => Code::UpstreamTimeout,
        _ => Code::UpstreamUnreachable,
    };
    let again = ctx.attempt.as_mut().is_some_and(|attempt| attempt.give_up_current(code));
    error.set_retry(again);
    error
}

pub(crate) fn prepare(head: &mut RequestHeader, ctx: &RequestCtx, gate: &Gate) -> Result<()> {
    forward::prepare(head, destination(ctx, gate)?, ctx)
}

/// The request that is sent for the session's.
pub(crate) fn prepared(session: &Session, ctx: &RequestCtx, gate: &Gate) -> Result<Box<RequestHeader>> {
    forward::prepared(session.req_header(), destination(ctx, gate)?, ctx).map(Box::new)
}

fn destination<'c>(ctx: &'c RequestCtx, gate: &Gate) -> Result<Destination<'c>> {
    let Some(Outcome::Forward(decided)) = ctx.decision.as_ref().map(|decision| &decision.outcome) else {
        return Error::e_explain(ErrorType::InternalError, "nothing to forward was decided");
    };
    let Some(endpoint) = ctx.attempt.as_ref().and_then(Attempt::endpoint) else {
        return Error::e_explain(ErrorType::InternalError, "no endpoint was chosen");
    };
    let identity = gate.signer.identity_header(&decided.service.source.service_name, &ctx.caller, SystemClock.now());
    Ok(Destination { forward: decided, upstream: &endpoint.url, identity })
}

/// Counts a body as it streams, and stops what must not go on.
pub(crate) fn watch_body(session: &Session, ctx: &mut RequestCtx, body: &mut Option<Bytes>, end: bool) -> Result<()> {
    // Behind a switched protocol there are no bodies. A mere wish to switch changes nothing: any request could say so.
    if session.was_upgraded() {
        return Ok(());
    }
    match ctx.body.piece(body, end) {
        Watched::Fine => {}
        Watched::Found(finding) => report(&finding, ctx.route_name()),
        Watched::Stop(code) => {
            ctx.stopped = Some(code);
            // As the client's fault: what is nobody's Pingora takes for a backend of HTTP/2 that wants no more, and waits for its answer.
            return Error::e_explain(ErrorType::Custom("stopped"), code.as_str())
                .map_err(|error: Box<Error>| error.into_down());
        }
    }
    guard_body_end(session, body, end);
    Ok(())
}

/// An empty last piece would make Pingora write the end of a chunked body twice (its #935), which would spoil the pooled
/// connection. On upgrades nothing may be touched here (#946).
fn guard_body_end(session: &Session, body: &mut Option<Bytes>, end: bool) {
    if !session.is_upgrade_req() && end && body.as_ref().is_some_and(Bytes::is_empty) {
        *body = None;
    }
}

pub(crate) fn begin_response(
    session: &mut Session,
    head: &mut ResponseHeader,
    ctx: &mut RequestCtx,
    draining: bool,
) -> Result<()> {
    // In HTTP/1.0 there is no such answer: Pingora would believe it on the client's side only.
    let is_agreed = session.is_upgrade_req() && head.version >= Version::HTTP_11;
    if head.status == StatusCode::SWITCHING_PROTOCOLS && !is_agreed {
        // The client would read whatever follows as answers to its next requests.
        return Error::e_explain(ErrorType::InvalidHTTPHeader, "the backend switches protocols unasked")
            .map_err(|error: Box<Error>| error.into_up());
    }
    if draining {
        session.set_keepalive(None);
    }
    if ctx.has_cors {
        // What other sites may read is the gateway's to say where it has a policy.
        for name in BACKEND_CORS {
            head.remove_header(&name);
        }
    }
    check_deadline(ctx)?;
    reply::suit(session, head)?;
    // Behind an interim answer another one comes.
    let extra = if head.status.is_informational() { ctx.extra.clone() } else { std::mem::take(&mut ctx.extra) };
    reply::dress(head, ctx.frame(), extra)
}

const BACKEND_CORS: [HeaderName; 4] = [
    header::ACCESS_CONTROL_ALLOW_ORIGIN,
    header::ACCESS_CONTROL_ALLOW_CREDENTIALS,
    header::ACCESS_CONTROL_EXPOSE_HEADERS,
    header::ACCESS_CONTROL_ALLOW_METHODS,
];

/// The total timeout cuts answers that trickle.
pub(crate) fn check_deadline(ctx: &mut RequestCtx) -> Result<Option<Duration>> {
    let Some(attempt) = ctx.attempt.as_mut() else { return Ok(None) };
    if attempt.deadline.is_some_and(|deadline| Instant::now() >= deadline) {
        attempt.last_failure = Some(Code::UpstreamTimeout);
        return Error::e_explain(ErrorType::ReadTimedout, "the answer took longer than totalMs")
            .map_err(|error: Box<Error>| error.into_up());
    }
    Ok(None)
}

/// The connection broke. The request is sent again only if that is safe (an idempotent method without a body, and nothing
/// answered yet): over a new connection when a pooled one had died, else to another instance as the route's retries say.
pub(crate) fn broke(session: &mut Session, ctx: &mut RequestCtx, mut error: Box<Error>, reused: bool) -> Box<Error> {
    let is_safe = session.response_written().is_none()
        && session.req_header().method.is_idempotent()
        && session.as_mut().is_body_empty();
    // Decided on every path: Pingora panics on a retry that was left open.
    error.retry.decide_reuse(reused && is_safe);
    if error.retry() && !is_safe {
        error.set_retry(false);
    }
    if error.retry() || !is_safe {
        return error;
    }
    let wanted = match error.etype() {
        ErrorType::ReadTimedout | ErrorType::WriteTimedout => RetryOn::Timeout,
        ErrorType::ReadError | ErrorType::WriteError | ErrorType::ConnectionClosed => RetryOn::Reset,
        _ => return error,
    };
    let retries = ctx.decision.as_ref().and_then(Decision::retries);
    let allowed = retries.filter(|retries| retries.on.contains(&wanted)).map_or(0, |retries| retries.attempts);
    if *error.esource() == ErrorSource::Upstream
        && let Some(attempt) = ctx.attempt.as_mut()
        && attempt.made() <= usize::from(allowed)
    {
        let code = if wanted == RetryOn::Timeout { Code::UpstreamTimeout } else { Code::UpstreamInvalid };
        error.set_retry(attempt.give_up_current(code));
    }
    error
}

/// Turns what went wrong into an answer.
pub(crate) async fn fail(session: &mut Session, ctx: &mut RequestCtx, error: &Error) -> FailToProxy {
    let code = code_of(error, ctx);
    let status = match code {
        Some(code) => {
            ctx.refused = Some(code);
            reply::fail(session, code, ctx.frame()).await;
            code.status()
        }
        None => 0,
    };
    FailToProxy { error_code: status, can_reuse_downstream: false }
}

/// `None`: the client itself is gone, and nobody is left to answer.
fn code_of(error: &Error, ctx: &RequestCtx) -> Option<Code> {
    use ErrorType as T;
    let is_upstream = *error.esource() == ErrorSource::Upstream;
    if ctx.stopped.is_some() {
        return ctx.stopped;
    }
    Some(match error.etype() {
        T::Custom("no peer left") => {
            ctx.attempt.as_ref().and_then(|attempt| attempt.last_failure).unwrap_or(Code::NoHealthyUpstream)
        }
        T::ConnectTimedout | T::TLSHandshakeTimedout => Code::UpstreamTimeout,
        T::ReadTimedout | T::WriteTimedout if is_upstream => Code::UpstreamTimeout,
        T::ConnectRefused | T::ConnectNoRoute | T::ConnectError | T::SocketError | T::ConnectProxyFailure => {
            Code::UpstreamUnreachable
        }
        T::TLSHandshakeFailure | T::InvalidCert | T::HandshakeError | T::TLSWantX509Lookup => Code::UpstreamUnreachable,
        _ if is_upstream => Code::UpstreamInvalid,
        T::ReadTimedout => Code::RequestTimeout,
        T::ReadError | T::WriteError | T::WriteTimedout | T::ConnectionClosed => return None,
        _ if *error.esource() == ErrorSource::Downstream => Code::BadRequest,
        _ => Code::Internal,
    })
}
