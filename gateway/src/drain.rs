//! Going away without failing anyone: what is in flight, what is open, and whether the process is leaving.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use pingora::apps::ServerApp;
use pingora::protocols::Stream;
use pingora::server::ShutdownWatch;

use crate::connection::{Carrier, Watch, watched};
use crate::tls::Tls;

/// A client that got its answer just before the stop may be writing its next request: connections are closed only when
/// nothing has come in for this long.
const QUIET: Duration = Duration::from_millis(400);
/// HTTP/2 is written by its connections, after its requests are over; they close by themselves once all is out. Longer than this
/// nobody waits for a client that takes nothing.
const QUIET_HTTP2: Duration = Duration::from_secs(5);
const LOOK: Duration = Duration::from_millis(10);

/// What the process has on its hands. Shared by all who add to it.
#[derive(Debug)]
pub(crate) struct Load {
    requests: AtomicUsize,
    connections: AtomicUsize,
    is_draining: AtomicBool,
    began: Instant,
    /// Milliseconds from `began` to the last beginning or end of a request.
    last_active_ms: AtomicI64,
    patience: Duration,
}

impl Load {
    /// `patience`: how long requests in flight may take after a stop.
    pub(crate) fn new(patience: Duration) -> Self {
        Self {
            requests: AtomicUsize::new(0),
            connections: AtomicUsize::new(0),
            is_draining: AtomicBool::new(false),
            began: Instant::now(),
            last_active_ms: AtomicI64::new(0),
            patience,
        }
    }

    pub(crate) fn request(self: &Arc<Self>) -> InFlight {
        self.requests.fetch_add(1, Ordering::AcqRel);
        self.touch();
        InFlight { load: self.clone(), carrier: None }
    }

    pub(crate) fn requests(&self) -> usize {
        self.requests.load(Ordering::Acquire)
    }

    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::Acquire)
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.is_draining.load(Ordering::Acquire)
    }

    pub(crate) fn start_draining(&self) {
        self.is_draining.store(true, Ordering::Release);
        self.touch();
    }

    /// Waits until nothing is in flight and clients are quiet, at most as long as patience lasts. Answers how many requests
    /// were left.
    pub(crate) async fn until_quiet(&self, watch: &Watch) -> usize {
        let end = Instant::now() + self.patience;
        while Instant::now() < end {
            let quiet = if watch.has_http2() { QUIET_HTTP2 } else { QUIET };
            if self.connections() == 0 || (self.requests() == 0 && self.quiet_for() >= quiet) {
                break;
            }
            tokio::time::sleep(LOOK).await;
        }
        self.requests()
    }

    fn touch(&self) {
        // Only a drain reads it, and a shared counter written by every request would cost all of them.
        if self.is_draining() {
            let now = i64::try_from(self.began.elapsed().as_millis()).unwrap_or(i64::MAX);
            self.last_active_ms.store(now, Ordering::Release);
        }
    }

    fn quiet_for(&self) -> Duration {
        let last = u64::try_from(self.last_active_ms.load(Ordering::Acquire)).unwrap_or(0);
        self.began.elapsed().saturating_sub(Duration::from_millis(last))
    }
}

/// A request, counted until this is dropped: also when a phase panics.
#[derive(Debug)]
pub(crate) struct InFlight {
    load: Arc<Load>,
    carrier: Option<Carrier>,
}

impl InFlight {
    pub(crate) fn occupy(&mut self, carrier: Option<Carrier>) {
        self.carrier = carrier;
        if let Some(Carrier::Connection(connection)) = &self.carrier {
            connection.begin_request();
        }
    }

    pub(crate) fn carrier(&self) -> Option<&Carrier> {
        self.carrier.as_ref()
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.load.requests.fetch_sub(1, Ordering::AcqRel);
        self.load.touch();
        if let Some(Carrier::Connection(connection)) = &self.carrier {
            connection.end_request();
        }
    }
}

struct Open(Arc<Load>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.connections.fetch_sub(1, Ordering::AcqRel);
    }
}

/// The proxy with its connections counted and watched over. Pingora closes idle connections as soon as its listeners stop; here it waits until
/// clients are quiet.
pub(crate) struct Counted<A> {
    inner: Arc<A>,
    load: Arc<Load>,
    watch: Arc<Watch>,
    /// What every connection begins with, where it is not plain.
    tls: Option<Arc<Tls>>,
}

impl<A> Counted<A> {
    pub(crate) fn new(inner: Arc<A>, load: Arc<Load>, watch: Arc<Watch>) -> Self {
        Self { inner, load, watch, tls: None }
    }

    /// The same proxy for clients that come over TLS.
    pub(crate) fn over(&self, tls: Arc<Tls>) -> Self {
        let (inner, load, watch) = (self.inner.clone(), self.load.clone(), self.watch.clone());
        Self { inner, load, watch, tls: Some(tls) }
    }
}

#[async_trait]
impl<A: ServerApp + Send + Sync + 'static> ServerApp for Counted<A> {
    async fn process_new(self: &Arc<Self>, io: Stream, shutdown: &ShutdownWatch) -> Option<Stream> {
        self.load.connections.fetch_add(1, Ordering::AcqRel);
        let _open = Open(self.load.clone());
        let io = match &self.tls {
            // In a box: the connection's task need not carry room for it ever after.
            Some(tls) => Box::pin(tls.shake_hands(io)).await?,
            None => io,
        };
        let io = watched(&self.watch, io).await?;
        self.inner.process_new(io, shutdown).await
    }

    /// Called once the listeners are closed.
    async fn cleanup(&self) {
        let left = self.load.until_quiet(&self.watch).await;
        // Both listeners wait for the same; one tells.
        if left > 0 && self.tls.is_none() {
            tracing::warn!(left, "stopping with {left} requests in flight: they took longer than the drain timeout");
        }
        self.watch.close();
        self.inner.cleanup().await;
    }
}
