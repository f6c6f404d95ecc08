//! One request without a body, to a backend of HTTP/1 and back.

use std::sync::Arc;

use gateway_config::model::Protocol;
use gateway_config::snapshot::Outcome;
use http::header;
use pingora::connectors::TransportConnector;
use pingora::http::ResponseHeader;
use pingora::protocols::http::ServerSession;
use pingora::protocols::http::v1::client::HttpSession;
use pingora::proxy::Session;
use pingora::upstreams::peer::{HttpPeer, Peer};
use pingora::{Error, ErrorType, Result};

use crate::act;
use crate::proxy::Gateway;
use crate::reply;
use crate::request::RequestCtx;
use crate::upstream::Pool;

/// Attempts of one request; the real bound is in `upstream::Attempt`.
const MAX_ATTEMPTS: usize = 20;

/// The way to all backends.
pub(super) struct Backends {
    pub(super) connector: TransportConnector,
    pub(super) pool: Arc<Pool>,
}

impl Backends {
    /// A connection, and whether it was used before.
    async fn connect(&self, peer: &HttpPeer, key: u64) -> Result<(HttpSession, bool)> {
        let (io, reused) = match self.pool.take(key) {
            Some(io) => (io, true),
            // Boxed: most requests need no room for it.
            None => (Box::pin(self.connector.new_stream(peer)).await?, false),
        };
        Ok((HttpSession::new_with_options(io, peer), reused))
    }
}

/// It is to be forwarded, to a backend that speaks HTTP/1.
pub(super) fn is_possible(ctx: &RequestCtx) -> bool {
    let outcome = ctx.decision.as_ref().map(|decision| &decision.outcome);
    matches!(outcome, Some(Outcome::Forward(forward)) if forward.service.source.protocol == Protocol::Http1)
}

/// Sends a request until somebody answers it, or nobody is left who might.
pub(super) async fn exchange(
    gateway: &Gateway,
    backends: &Backends,
    session: &mut Session,
    ctx: &mut RequestCtx,
) -> Result<()> {
    let mut made = 0;
    loop {
        made += 1;
        match attempt(gateway, backends, session, ctx).await {
            Err(error) if error.retry() && made < MAX_ATTEMPTS => {}
            done => return done,
        }
    }
}

async fn attempt(gateway: &Gateway, backends: &Backends, session: &mut Session, ctx: &mut RequestCtx) -> Result<()> {
    let peer = act::next_peer(session, ctx)?;
    let key = peer.reuse_hash();
    let (mut backend, reused) = match backends.connect(&peer, key).await {
        Ok(connected) => connected,
        Err(mut error) => {
            error.as_up();
            return Err(act::connect_failed(ctx, error, &gateway.metrics).into_up());
        }
    };
    match converse(gateway, &peer, &mut backend, session, ctx).await {
        Ok(()) => {
            // Laid by, where the backend wants to go on and said all it had to say.
            backend.respect_keepalive();
            if let Some(io) = backend.reuse().await {
                backends.pool.put(key, io);
            }
            Ok(())
        }
        Err(error) => Err(act::broke(session, ctx, error, reused)),
    }
}

async fn converse(
    gateway: &Gateway,
    peer: &HttpPeer,
    backend: &mut HttpSession,
    session: &mut Session,
    ctx: &mut RequestCtx,
) -> Result<()> {
    backend.read_timeout = peer.options.read_timeout;
    backend.write_timeout = peer.options.write_timeout;
    backend.write_request_header(act::prepared(session, ctx, &gateway.gate)?).await.map_err(Error::into_up)?;
    loop {
        unless_gone(session, backend.read_response()).await?;
        let head = head_of(backend)?;
        let (is_interim, end) = (head.status.is_informational(), backend.is_body_done());
        begin(gateway, head, end, session, ctx).await?;
        // What switches protocols was refused: nobody asked for it.
        if !is_interim {
            break;
        }
    }
    while !backend.is_body_done() {
        // Written from where it was read to: a copy costs as much as the rest of a large answer.
        let piece = unless_gone(session, backend.read_body_ref()).await?;
        act::check_deadline(ctx)?;
        let client = session.as_downstream_mut();
        if let (Some(piece), ServerSession::H1(client)) = (piece.filter(|piece| !piece.is_empty()), client) {
            client.write_body(piece).await.map_err(Error::into_down)?;
        }
    }
    session.as_downstream_mut().finish_body().await.map_err(Error::into_down)
}

/// What comes of waiting for the backend, as long as the client is there. Nothing is expected of it: it is gone, or sends what nobody
/// asked for.
async fn unless_gone<T>(session: &mut Session, waiting: impl Future<Output = Result<T>>) -> Result<T> {
    tokio::select! {
        biased;
        came = waiting => came.map_err(Error::into_up),
        gone = session.as_downstream_mut().read_body_or_idle(true) => {
            gone.map_err(Error::into_down)?;
            Error::e_explain(ErrorType::InternalError, "a body where there was none")
        }
    }
}

/// The answer's head, but for how its names were spelt.
fn head_of(backend: &HttpSession) -> Result<Box<ResponseHeader>> {
    let Some(sent) = backend.resp_header() else {
        return Error::e_explain(ErrorType::InternalError, "an answer without a head");
    };
    let mut head = Box::new(ResponseHeader::from(sent.as_owned_parts()));
    head.set_reason_phrase(sent.get_reason_phrase())?;
    Ok(head)
}

/// Hands a head to the client; `end`: nothing follows it.
async fn begin(
    gateway: &Gateway,
    mut head: Box<ResponseHeader>,
    end: bool,
    session: &mut Session,
    ctx: &mut RequestCtx,
) -> Result<()> {
    if !end {
        frame(session, &mut head)?;
    }
    act::begin_response(session, &mut head, ctx, gateway.load.is_draining())?;
    gateway.streams.enter(session, &head, ctx);
    session.as_downstream_mut().write_response_header(head).await.map_err(Error::into_down)
}

/// An answer that ends with its connection is sent in chunks, so that the client's stays.
fn frame(session: &Session, head: &mut ResponseHeader) -> Result<()> {
    let is_framed =
        head.headers.contains_key(header::TRANSFER_ENCODING) || head.headers.contains_key(header::CONTENT_LENGTH);
    if reply::has_no_body(session, head) || is_framed {
        return Ok(());
    }
    head.insert_header(header::TRANSFER_ENCODING, "chunked")
}
