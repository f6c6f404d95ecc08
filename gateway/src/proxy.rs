//! The phases of a request, as a table of contents: each names its step and hands it on. No logic lives here.

use std::any::Any;
use std::os::fd::RawFd;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::protocols::Digest;
use pingora::proxy::{FailToProxy, ProxyHttp, ProxyWarnLogContext, Session};
use pingora::upstreams::peer::HttpPeer;
use pingora::{Error, Result};

use crate::act;
use crate::drain::Load;
use crate::gate::Gate;
use crate::live::Current;
use crate::observe::metrics::Metrics;
use crate::observe::traffic::Traffic;
use crate::phase::{self, Phase, over};
use crate::queue::Queues;
use crate::relay::Judged;
use crate::request::RequestCtx;
use crate::streams::Streams;

#[derive(Clone)]
pub(crate) struct Gateway {
    pub(crate) current: Arc<Current>,
    pub(crate) load: Arc<Load>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) gate: Arc<Gate>,
    pub(crate) streams: Arc<Streams>,
    pub(crate) queues: Arc<Queues>,
    pub(crate) traffic: Arc<Traffic>,
}

/// Phases that need not wait are written out as `over(...)` instead of as `async fn`; `phase` says why.
#[async_trait]
impl ProxyHttp for Gateway {
    /// Boxed: Pingora moves it along with its own futures several times.
    type CTX = Box<RequestCtx>;

    fn new_ctx(&self) -> Box<RequestCtx> {
        Box::new(RequestCtx::new(self.current.get(), self.load.request()))
    }

    /// No modules: compression and the like are policies of routes.
    fn init_downstream_modules(&self, _modules: &mut pingora::modules::http::HttpModules) {}

    fn early_request_filter<'a, 'b, 'c, 'f>(
        &'a self,
        _session: &'b mut Session,
        _ctx: &'c mut Box<RequestCtx>,
    ) -> Phase<'f, Result<()>>
    where
        'a: 'f,
        'b: 'f,
        'c: 'f,
    {
        over(Ok(()))
    }

    /// Not another request on the connection, but this one: `relay` has judged it.
    fn on_connection_reuse(
        &self,
        _session: &mut Session,
        ctx: &mut Box<RequestCtx>,
        before: Box<dyn Any + Send + Sync>,
    ) {
        if let Ok(judged) = before.downcast::<Judged>() {
            *ctx = judged.0;
        }
    }

    async fn request_filter(&self, session: &mut Session, ctx: &mut Box<RequestCtx>) -> Result<bool> {
        if ctx.decision.is_some() {
            return Ok(false);
        }
        act::greet(session, ctx, self.load.is_draining());
        act::decide_and_answer(session, ctx, &self.gate, &self.queues, &self.streams).await
    }

    fn proxy_upstream_filter<'a, 'b, 'c, 'f>(
        &'a self,
        _session: &'b mut Session,
        _ctx: &'c mut Box<RequestCtx>,
    ) -> Phase<'f, Result<bool>>
    where
        'a: 'f,
        'b: 'f,
        'c: 'f,
    {
        phase::go_on()
    }

    async fn upstream_peer(&self, session: &mut Session, ctx: &mut Box<RequestCtx>) -> Result<Box<HttpPeer>> {
        act::next_peer(session, ctx)
    }

    fn fail_to_connect(
        &self,
        _session: &mut Session,
        _peer: &HttpPeer,
        ctx: &mut Box<RequestCtx>,
        error: Box<Error>,
    ) -> Box<Error> {
        act::connect_failed(ctx, error, &self.metrics)
    }

    fn connected_to_upstream<'a, 'b, 'c, 'd, 'e, 'f>(
        &'a self,
        _session: &'b mut Session,
        _reused: bool,
        _peer: &'c HttpPeer,
        _fd: RawFd,
        _digest: Option<&'d Digest>,
        _ctx: &'e mut Box<RequestCtx>,
    ) -> Phase<'f, Result<()>>
    where
        'a: 'f,
        'b: 'f,
        'c: 'f,
        'd: 'f,
        'e: 'f,
    {
        over(Ok(()))
    }

    fn upstream_request_filter<'a, 'b, 'c, 'd, 'f>(
        &'a self,
        _session: &'b mut Session,
        head: &'c mut RequestHeader,
        ctx: &'d mut Box<RequestCtx>,
    ) -> Phase<'f, Result<()>>
    where
        'a: 'f,
        'b: 'f,
        'c: 'f,
        'd: 'f,
    {
        over(act::prepare(head, ctx, &self.gate))
    }

    fn request_body_filter<'a, 'b, 'c, 'd, 'f>(
        &'a self,
        session: &'b mut Session,
        body: &'c mut Option<Bytes>,
        end: bool,
        ctx: &'d mut Box<RequestCtx>,
    ) -> Phase<'f, Result<()>>
    where
        'a: 'f,
        'b: 'f,
        'c: 'f,
        'd: 'f,
    {
        over(act::watch_body(session, ctx, body, end))
    }

    fn upstream_response_filter<'a, 'b, 'c, 'd, 'f>(
        &'a self,
        _session: &'b mut Session,
        _head: &'c mut ResponseHeader,
        _ctx: &'d mut Box<RequestCtx>,
    ) -> Phase<'f, Result<()>>
    where
        'a: 'f,
        'b: 'f,
        'c: 'f,
        'd: 'f,
    {
        over(Ok(()))
    }

    fn response_filter<'a, 'b, 'c, 'd, 'f>(
        &'a self,
        session: &'b mut Session,
        head: &'c mut ResponseHeader,
        ctx: &'d mut Box<RequestCtx>,
    ) -> Phase<'f, Result<()>>
    where
        'a: 'f,
        'b: 'f,
        'c: 'f,
        'd: 'f,
    {
        let begun = act::begin_response(session, head, ctx, self.load.is_draining());
        over(begun.map(|()| self.streams.enter(session, head, ctx)))
    }

    fn response_body_filter(
        &self,
        _session: &mut Session,
        _body: &mut Option<Bytes>,
        _end: bool,
        ctx: &mut Box<RequestCtx>,
    ) -> Result<Option<std::time::Duration>> {
        act::check_deadline(ctx)
    }

    fn error_while_proxy(
        &self,
        _peer: &HttpPeer,
        session: &mut Session,
        error: Box<Error>,
        ctx: &mut Box<RequestCtx>,
        reused: bool,
    ) -> Box<Error> {
        act::broke(session, ctx, error, reused)
    }

    async fn fail_to_proxy(&self, session: &mut Session, error: &Error, ctx: &mut Box<RequestCtx>) -> FailToProxy {
        act::fail(session, ctx, error).await
    }

    /// Failures are logged once, in `logging`.
    fn suppress_error_log(&self, _session: &Session, _ctx: &Box<RequestCtx>, _error: &Error) -> bool {
        true
    }

    fn suppress_proxy_warn_log(
        &self,
        _session: &Session,
        _ctx: &Box<RequestCtx>,
        _error: &Error,
        _context: ProxyWarnLogContext,
    ) -> bool {
        true
    }

    fn logging<'a, 'b, 'c, 'd, 'f>(
        &'a self,
        session: &'b mut Session,
        error: Option<&'c Error>,
        ctx: &'d mut Box<RequestCtx>,
    ) -> Phase<'f, ()>
    where
        'a: 'f,
        'b: 'f,
        'c: 'f,
        'd: 'f,
    {
        crate::observe::account(session, error, ctx, &self.metrics, &self.traffic);
        phase::done()
    }
}
