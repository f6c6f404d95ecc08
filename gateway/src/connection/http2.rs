//! HTTP/2: what its connections may do, and a handle on each of its requests, by which one is ended while its siblings go on.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use pingora::apps::{HttpServerApp, HttpServerOptions, ReusedHttpStream};
use pingora::protocols::http::ServerSession;
use pingora::protocols::http::v2::server::{H2Options, default_h2_options};
use pingora::server::ShutdownWatch;
use tokio::task_local;
use tokio_util::sync::CancellationToken;

use crate::live::Current;

task_local! {
    /// Ends the request of HTTP/2 that this task serves.
    static REQUEST: CancellationToken;
}

/// Of one request: HTTP/2 counts 32 bytes more for each of the 256 lines that we take (RFC 9113 §6.5.2), and four pseudo-headers. What we
/// refuse ourselves must get as far as that, so that the client learns why.
const MORE_THAN_OURS: u32 = 32 << 10;
const PINGORAS_HEADER_LIST: u32 = 64 << 10;

/// The proxy, each of its requests of HTTP/2 in a cover of its own.
///
/// Pingora serves them in tasks that nobody else knows, waiting for either side to say something. Dropping what one of them does resets
/// its stream, and with it what it has begun at a backend.
pub(crate) struct Http2<A> {
    inner: Arc<A>,
    current: Arc<Current>,
}

impl<A> Http2<A> {
    pub(crate) fn new(inner: A, current: Arc<Current>) -> Self {
        Self { inner: Arc::new(inner), current }
    }
}

#[async_trait]
impl<A: HttpServerApp + Send + Sync + 'static> HttpServerApp for Http2<A> {
    /// Written out: requests of HTTP/1 need no box of ours around Pingora's.
    fn process_new_http<'a, 'b, 'f>(
        self: &'a Arc<Self>,
        session: ServerSession,
        shutdown: &'b ShutdownWatch,
    ) -> Pin<Box<dyn Future<Output = Option<ReusedHttpStream>> + Send + 'f>>
    where
        'a: 'f,
        'b: 'f,
        Self: 'f,
    {
        let is_http2 = session.is_http2();
        let serving = self.inner.process_new_http(session, shutdown);
        if !is_http2 {
            return serving;
        }
        let end = CancellationToken::new();
        let serving = REQUEST.scope(end.clone(), serving);
        Box::pin(async move { end.run_until_cancelled(serving).await.flatten() })
    }

    /// For each connection anew: how large headers may be is a matter of configuration.
    fn h2_options(&self) -> Option<H2Options> {
        let ours = self.current.get().map_or(0, |live| live.snapshot.defaults().source.max_header_bytes);
        let mut options = default_h2_options();
        options.max_header_list_size(ours.saturating_add(MORE_THAN_OURS).max(PINGORAS_HEADER_LIST));
        Some(options)
    }

    fn server_options(&self) -> Option<&HttpServerOptions> {
        self.inner.server_options()
    }

    async fn http_cleanup(&self) {
        self.inner.http_cleanup().await;
    }
}

/// Both protocols on every listener: over TLS by ALPN, in plain text by the preface. `idle`: of connections without a request.
pub(crate) fn options(idle: Option<Duration>) -> HttpServerOptions {
    let mut options = HttpServerOptions::default();
    options.h2c = true;
    options.h2_idle_timeout = idle;
    options
}

/// The end of the request that this task serves, where it came over HTTP/2.
pub(super) fn end_of_request() -> Option<CancellationToken> {
    REQUEST.try_with(Clone::clone).ok()
}
