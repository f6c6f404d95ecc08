//! A client's connection of HTTP/1, request by request, and the short way that most of them take.
//!
//! Pingora's proxy is made for everything at once: caches, modules, bodies both ways, three protocols. Room for all of that is made and
//! moved for every request, which costs more than the gateway's own work. What has no body and goes to a backend of HTTP/1 needs none of it: such a
//! request is read, judged, sent and answered here, with Pingora's own parsers, writers and pools. Everything else is left to
//! Pingora's proxy, byte by byte as it came.

mod exchange;
mod strange;

use std::future::poll_fn;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::BytesMut;
use gateway_config::snapshot::{Code, Refusal};
use http::{HeaderMap, Version, header};
use pingora::apps::{HttpServerApp, ServerApp};
use pingora::connectors::{ConnectorOptions, TransportConnector};
use pingora::modules::http::HttpModules;
use pingora::protocols::http::ServerSession;
use pingora::protocols::{ALPN, Stream};
use pingora::proxy::{HttpProxy, Session};
use pingora::server::ShutdownWatch;
use pingora::server::configuration::ServerConf;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use crate::act;
use crate::connection::{Http2, PREFACE, part};
use crate::forward::is_for_this_hop;
use crate::observe;
use crate::proxy::Gateway;
use crate::reply;
use crate::request::RequestCtx;
use crate::upstream::Pool;
use exchange::Backends;

/// What is read at once of a request: as much as Pingora reads.
const HEAD: usize = 4096;
/// How long a client may take nothing of an answer that is over.
const LAST_WORDS: Duration = Duration::from_secs(1);

pub(crate) struct Relay {
    gateway: Gateway,
    backends: Backends,
    /// None.
    modules: HttpModules,
    /// For all that does not go the short way.
    pingora: Arc<Http2<HttpProxy<Gateway>>>,
}

/// A request that was judged here and goes on in Pingora's proxy.
pub(crate) struct Judged(pub(crate) Box<RequestCtx>);

impl Relay {
    pub(crate) fn new(
        gateway: Gateway,
        pool: Arc<Pool>,
        conf: &ServerConf,
        pingora: Http2<HttpProxy<Gateway>>,
    ) -> Self {
        let connector = TransportConnector::new(Some(ConnectorOptions::from_server_conf(conf)));
        Self {
            gateway,
            backends: Backends { connector, pool },
            modules: HttpModules::new(),
            pingora: Arc::new(pingora),
        }
    }

    /// One request. Answers the connection where another may come.
    async fn serve(&self, io: Stream, head: BytesMut, shutdown: &ShutdownWatch) -> Option<Stream> {
        let raw = head.clone();
        let mut session = Session::new_h1_with_modules(io, &self.modules);
        session.set_pipelined_prefix(head);
        let read = session.read_request().await;
        if let Some((code, why)) = strange::refusal(&read, &session) {
            self.part(session, &raw, code, why).await;
            return None;
        }
        if !matches!(read, Ok(true)) || !is_short(&mut session) {
            return self.leave(session, raw, None, shutdown).await;
        }
        let gateway = &self.gateway;
        let mut ctx = Box::new(RequestCtx::new(gateway.current.get(), gateway.load.request()));
        act::greet(&mut session, &mut ctx, gateway.load.is_draining());
        let judged =
            act::decide_and_answer(&mut session, &mut ctx, &gateway.gate, &gateway.queues, &gateway.streams).await;
        let served = match judged {
            Ok(true) => Ok(()),
            Ok(false) if !exchange::is_possible(&ctx) => return self.leave(session, raw, Some(ctx), shutdown).await,
            Ok(false) => exchange::exchange(gateway, &self.backends, &mut session, &mut ctx).await,
            Err(error) => Err(error),
        };
        let error = served.err();
        if let Some(error) = &error {
            act::fail(&mut session, &mut ctx, error).await;
        }
        observe::account(&session, error.as_deref(), &ctx, &gateway.metrics, &gateway.traffic);
        if error.is_some() {
            send_the_rest(session).await;
            return None;
        }
        // As Pingora finishes a session of any kind, without the room that the other kinds need.
        session.as_downstream_mut().finish_body().await.ok()?;
        let ServerSession::H1(session) = *session.downstream_session else { return None };
        Some(session.reuse().await.ok()??.into_parts().0)
    }

    /// Refuses what could not be read as a request.
    async fn part(&self, session: Session, raw: &[u8], code: Code, why: &str) {
        let Gateway { current, load, metrics, .. } = &self.gateway;
        let (_counted, live) = (load.request(), current.get());
        metrics.unrouted.observe(Refusal::new(code).status, 0.0);
        metrics.refused(code);
        tracing::debug!(code = code.as_str(), "a request that could not be read was refused: {why}");
        let ServerSession::H1(session) = *session.downstream_session else { return };
        let io = session.into_inner();
        let defaults = live.as_ref().map(|live| live.snapshot.defaults());
        let is_tls = io.get_ssl_digest().is_some();
        let over_tls = defaults.filter(|_| is_tls).map(|defaults| &*defaults.tls_headers).unwrap_or_default();
        let dressed = defaults.map(|defaults| &*defaults.security_headers).unwrap_or_default();
        let answer = reply::to_unread(code, why, dressed.iter().chain(over_tls), strange::asks_for_a_head(raw));
        let _ = timeout(LAST_WORDS, part(io, &answer)).await;
    }

    /// Leaves a request to Pingora, which reads it anew.
    async fn leave(
        &self,
        session: Session,
        raw: BytesMut,
        judged: Option<Box<RequestCtx>>,
        shutdown: &ShutdownWatch,
    ) -> Option<Stream> {
        let ServerSession::H1(session) = *session.downstream_session else { return None };
        self.hand_over(session.into_inner(), raw, judged, shutdown).await
    }

    async fn hand_over(
        &self,
        io: Stream,
        raw: BytesMut,
        judged: Option<Box<RequestCtx>>,
        shutdown: &ShutdownWatch,
    ) -> Option<Stream> {
        let mut session = ServerSession::new_http1(io);
        session.set_keepalive(Some(0));
        // Who was judged is not greeted again.
        act::be_patient(&mut session);
        session.set_pipelined_prefix(raw);
        session.set_connection_user_context(judged.map(|ctx| Box::new(Judged(ctx)) as _));
        let reusable = self.pingora.process_new_http(session, shutdown).await?;
        Some(reusable.consume().0)
    }
}

#[async_trait]
impl ServerApp for Relay {
    async fn process_new(self: &Arc<Self>, mut io: Stream, shutdown: &ShutdownWatch) -> Option<Stream> {
        if speaks_http2(&mut io).await? {
            return self.pingora.process_new(io, shutdown).await;
        }
        loop {
            let head = first_bytes(&mut io).await.ok().filter(|head| !head.is_empty())?;
            io = if may_be_short(&head) || strange::is_strange(&head) {
                // Boxed, so that a connection that waits has no room for it.
                Box::pin(self.serve(io, head, shutdown)).await?
            } else {
                self.hand_over(io, head, None, shutdown).await?
            };
        }
    }

    async fn cleanup(&self) {
        self.pingora.cleanup().await;
    }
}

/// What lies in the buffer of an answer that broke off: its client learns as much of it as there is.
async fn send_the_rest(session: Session) {
    let has_begun = session.response_written().is_some();
    if let ServerSession::H1(session) = *session.downstream_session
        && has_begun
    {
        let _ = timeout(LAST_WORDS, session.into_inner().flush()).await;
    }
}

/// What comes first of a request; nothing: the end. Room for it is made when something is there, not while an idle client is waited for.
async fn first_bytes(io: &mut Stream) -> io::Result<BytesMut> {
    poll_fn(|context| {
        let mut head = BytesMut::with_capacity(HEAD);
        let read = pin!(io.read_buf(&mut head)).poll(context);
        read.map_ok(|_| head)
    })
    .await
}

/// By ALPN, or in plain text by the preface. `None`: there is nobody any more.
async fn speaks_http2(io: &mut Stream) -> Option<bool> {
    if io.get_ssl_digest().is_some() {
        return Some(matches!(io.selected_alpn_proto(), Some(ALPN::H2)));
    }
    let mut first = [0; PREFACE.len()];
    Some(io.try_peek(&mut first).await.ok()? && first == *PREFACE)
}

/// By its first and last bytes: as much as a whole head, of a method that has no body in most cases. What lies behind the head is seen when it is read.
fn may_be_short(head: &[u8]) -> bool {
    let methods: [&[u8]; 4] = [b"GET ", b"HEAD ", b"DELETE ", b"OPTIONS "];
    head.ends_with(b"\r\n\r\n") && methods.iter().any(|method| head.starts_with(method))
}

/// No body, and nothing that is for this hop only, but the wish to stay or to go.
fn is_short(session: &mut Session) -> bool {
    let head = session.req_header();
    head.version == Version::HTTP_11
        && head.headers.keys().all(|name| name == header::CONNECTION || !is_for_this_hop(name.as_str()))
        && is_plain_connection(&head.headers)
        && session.as_downstream_mut().is_body_empty()
}

/// `Connection` names no other field.
fn is_plain_connection(headers: &HeaderMap) -> bool {
    let mut lines = headers.get_all(header::CONNECTION).iter();
    let is_plain = lines.next().is_none_or(|line| {
        line.as_bytes().eq_ignore_ascii_case(b"keep-alive") || line.as_bytes().eq_ignore_ascii_case(b"close")
    });
    is_plain && lines.next().is_none()
}
