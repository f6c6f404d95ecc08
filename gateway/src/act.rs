//! The acts that follow decisions: answering, choosing peers, failing well. One function for each phase in `proxy`.

use std::time::{Duration, Instant};

use bytes::Bytes;
use gateway_config::model::RetryOn;
use gateway_config::snapshot::{Code, Decision, Outcome, Refusal};
use http::StatusCode;
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::proxy::{FailToProxy, Session};
use pingora::upstreams::peer::HttpPeer;
use pingora::{Error, ErrorSource, ErrorType, Result};

use crate::forward::{self, Peer};
use crate::judge::judge;
use crate::observe::metrics::Metrics;
use crate::reply;
use crate::request::{RequestCtx, request_id};
use crate::upstream::Attempt;

/// Longest silence of a client in the middle of its request.
const CLIENT_READ: Duration = Duration::from_mins(1);
const CLIENT_WRITE: Duration = Duration::from_mins(1);

/// Pingora keeps connections for ever and waits without end unless it is told otherwise for every request.
pub(crate) fn greet(session: &mut Session, ctx: &mut RequestCtx, keepalive_seconds: u64, draining: bool) {
    // Only where Pingora would keep it: an HTTP/1.0 client, or one that said close, expects the end.
    if session.get_keepalive().is_some() {
        session.set_keepalive((!draining).then_some(keepalive_seconds));
    }
    session.set_read_timeout(Some(CLIENT_READ));
    session.set_write_timeout(Some(CLIENT_WRITE));
    ctx.id = request_id(&session.req_header().headers);
}

/// Answers what the gateway answers by itself. `true`: it did. The answers are boxed, so that a request that is forwarded does not
/// carry room for them.
pub(crate) async fn decide_and_answer(session: &mut Session, ctx: &mut RequestCtx) -> Result<bool> {
    let Some(live) = ctx.live.clone() else {
        let refusal = Refusal {
            message: Some("the gateway has no configuration yet".into()),
            ..Refusal::new(Code::NoHealthyUpstream)
        };
        return Box::pin(refuse(session, ctx, &refusal)).await;
    };
    let address = session.client_addr().and_then(|address| address.as_inet()).map(std::net::SocketAddr::ip);
    let judgement = judge(&live.snapshot, session.req_header(), address);
    ctx.path = judgement.path;
    let decision = ctx.decision.insert(judgement.decision);
    match &decision.outcome {
        Outcome::Forward(forward) => {
            ctx.attempt = Attempt::begin(forward, &live.clusters, ctx.started);
            Ok(false)
        }
        Outcome::Respond(respond) => {
            Box::pin(reply::respond(session, respond, &live.snapshot, &ctx.id)).await?;
            Ok(true)
        }
        Outcome::Redirect { location, status } => {
            Box::pin(reply::redirect(session, location, *status, &live.snapshot, &ctx.id)).await?;
            Ok(true)
        }
        Outcome::Preflight(headers) => {
            Box::pin(reply::preflight(session, headers, &live.snapshot, &ctx.id)).await?;
            Ok(true)
        }
        Outcome::Publish(_) => {
            let refusal = Refusal {
                message: Some("this version of the gateway can't publish to queues".into()),
                ..Refusal::new(Code::QueueUnavailable)
            };
            Box::pin(refuse(session, ctx, &refusal)).await
        }
        Outcome::Refuse(refusal) => {
            let refusal = refusal.clone();
            Box::pin(refuse(session, ctx, &refusal)).await
        }
    }
}

async fn refuse(session: &mut Session, ctx: &mut RequestCtx, refusal: &Refusal) -> Result<bool> {
    ctx.refused = Some(refusal.code);
    if refusal.code == Code::BadRequest {
        // Whoever sends what can't be understood may mean the next bytes as something else, too.
        session.set_keepalive(None);
    }
    let snapshot = ctx.live.as_ref().map(|live| &*live.snapshot);
    reply::refuse(session, refusal, snapshot, &ctx.id).await?;
    Ok(true)
}

pub(crate) fn next_peer(ctx: &mut RequestCtx) -> Result<Box<HttpPeer>> {
    let forward = ctx.decision.as_ref().and_then(|decision| match &decision.outcome {
        Outcome::Forward(forward) => Some(forward),
        _ => None,
    });
    let attempt = ctx.attempt.as_mut();
    let Some((forward, attempt)) = forward.zip(attempt) else {
        return Error::e_explain(ErrorType::InternalError, "nothing to forward to was decided");
    };
    attempt.next_peer(forward).ok_or_else(|| {
        let code = *attempt.last_failure.get_or_insert(Code::NoHealthyUpstream);
        Error::explain(ErrorType::Custom("no peer left"), code.as_str())
    })
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

pub(crate) fn prepare(session: &Session, head: &mut RequestHeader, ctx: &RequestCtx) -> Result<()> {
    let Some(Outcome::Forward(decided)) = ctx.decision.as_ref().map(|decision| &decision.outcome) else {
        return Error::e_explain(ErrorType::InternalError, "nothing to forward was decided");
    };
    let Some(endpoint) = ctx.attempt.as_ref().and_then(Attempt::endpoint) else {
        return Error::e_explain(ErrorType::InternalError, "no endpoint was chosen");
    };
    let peer = Peer {
        address: session.client_addr().and_then(|address| address.as_inet()).map(std::net::SocketAddr::ip),
        tls: session.digest().is_some_and(|digest| digest.ssl_digest.is_some()),
    };
    forward::prepare(head, decided, &endpoint.url, ctx, peer)
}

/// An empty last piece would make Pingora write the end of a chunked body twice (its #935), which would spoil the pooled
/// connection. On upgrades nothing may be touched here (#946).
pub(crate) fn guard_body_end(session: &Session, body: &mut Option<Bytes>, end: bool) {
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
    if head.status == StatusCode::SWITCHING_PROTOCOLS && !session.is_upgrade_req() {
        // The client would read whatever follows as answers to its next requests.
        return Error::e_explain(ErrorType::InvalidHTTPHeader, "the backend switches protocols unasked")
            .map_err(|error: Box<Error>| error.into_up());
    }
    if draining {
        session.set_keepalive(None);
    }
    check_deadline(ctx).map(|_| ())
}

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
            let snapshot = ctx.live.as_ref().map(|live| &*live.snapshot);
            reply::fail(session, code, snapshot, &ctx.id).await;
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
