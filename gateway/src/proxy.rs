//! The phases of a request, as a table of contents: each names its step and hands it on. No logic lives here.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::proxy::{FailToProxy, ProxyHttp, ProxyWarnLogContext, Session};
use pingora::upstreams::peer::HttpPeer;
use pingora::{Error, Result};

use crate::act;
use crate::drain::Load;
use crate::gate::Gate;
use crate::live::Current;
use crate::observe::metrics::Metrics;
use crate::request::RequestCtx;

pub(crate) struct Gateway {
    pub(crate) current: Arc<Current>,
    pub(crate) load: Arc<Load>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) gate: Arc<Gate>,
    /// How long an idle client connection is kept.
    pub(crate) keepalive_seconds: u64,
}

#[async_trait]
impl ProxyHttp for Gateway {
    /// Boxed: Pingora moves it along with its own futures several times.
    type CTX = Box<RequestCtx>;

    fn new_ctx(&self) -> Box<RequestCtx> {
        Box::new(RequestCtx::new(self.current.get(), self.load.request()))
    }

    /// No modules: compression and the like are policies of routes.
    fn init_downstream_modules(&self, _modules: &mut pingora::modules::http::HttpModules) {}

    async fn request_filter(&self, session: &mut Session, ctx: &mut Box<RequestCtx>) -> Result<bool> {
        act::greet(session, ctx, self.keepalive_seconds, self.load.is_draining());
        act::decide_and_answer(session, ctx, &self.gate).await
    }

    async fn upstream_peer(&self, _session: &mut Session, ctx: &mut Box<RequestCtx>) -> Result<Box<HttpPeer>> {
        act::next_peer(ctx)
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

    async fn upstream_request_filter(
        &self,
        _session: &mut Session,
        head: &mut RequestHeader,
        ctx: &mut Box<RequestCtx>,
    ) -> Result<()> {
        act::prepare(head, ctx, &self.gate)
    }

    async fn request_body_filter(
        &self,
        session: &mut Session,
        body: &mut Option<Bytes>,
        end: bool,
        ctx: &mut Box<RequestCtx>,
    ) -> Result<()> {
        act::watch_body(session, ctx, body, end)
    }

    async fn response_filter(
        &self,
        session: &mut Session,
        head: &mut ResponseHeader,
        ctx: &mut Box<RequestCtx>,
    ) -> Result<()> {
        act::begin_response(session, head, ctx, self.load.is_draining())
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

    async fn logging(&self, session: &mut Session, error: Option<&Error>, ctx: &mut Box<RequestCtx>) {
        crate::observe::account(session, error, ctx, &self.metrics);
    }
}
