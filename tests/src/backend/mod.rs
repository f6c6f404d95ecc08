//! Backends that do what a test tells them, in process, each on a port and a thread of its own so that nothing else in the test
//! slows them down. HTTP ones answer by routes and remember what they saw (`http`); faulty ones break in a chosen way (`fault`).

mod fault;
mod grpc;
mod http;

use std::collections::VecDeque;
use std::fmt;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use futures::future::BoxFuture;
use tokio::net::{TcpListener, TcpSocket};
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;

use crate::wire::Wire;

pub use fault::Fault;
pub use http::{Gate, HttpBackend, Received, Reply};

/// The newest requests that a backend keeps.
const KEPT_REQUESTS: usize = 10_000;

const BACKLOG: u32 = 1024;

type Serve = Arc<dyn Fn(Wire, Arc<Journal>) -> BoxFuture<'static, ()> + Send + Sync>;

/// What a backend saw.
#[derive(Debug, Default)]
pub struct Journal {
    connections: AtomicU64,
    requests: AtomicU64,
    newest: Mutex<VecDeque<Received>>,
}

impl Journal {
    fn record(&self, request: Received) {
        let mut newest = self.newest.lock().unwrap();
        if newest.len() == KEPT_REQUESTS {
            newest.pop_front();
        }
        newest.push_back(request);
        drop(newest);
        self.requests.fetch_add(1, Ordering::SeqCst);
    }
}

/// A backend; stopped on drop.
pub struct Backend {
    address: SocketAddr,
    serve: Serve,
    journal: Arc<Journal>,
    state: State,
}

enum State {
    /// Bound and not listening: the port stays ours and refuses.
    Stopped(Option<TcpSocket>),
    Running {
        stop: CancellationToken,
        thread: Option<JoinHandle<()>>,
    },
}

impl fmt::Debug for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Backend").field("address", &self.address).finish_non_exhaustive()
    }
}

impl Backend {
    /// An HTTP backend, to be given routes.
    pub fn http() -> HttpBackend {
        HttpBackend::default()
    }

    /// Answers every request with a JSON description of what arrived.
    pub fn echo() -> Self {
        Self::http().otherwise(Reply::echo).start()
    }

    /// Answers every request with 200 and this text.
    pub fn saying(text: &'static str) -> Self {
        Self::http().otherwise(move |_| Reply::text(text)).start()
    }

    /// A backend with a fault.
    pub fn failing(fault: Fault) -> Self {
        let mut backend = Self::new(Arc::new(move |wire, journal| Box::pin(fault.serve(wire, journal))));
        if !matches!(fault, Fault::Refuse) {
            backend.start_again();
        }
        backend
    }

    /// A gRPC service over HTTP/2 in plain text: `/echo/Unary` says one message back, `/echo/Count` sends three, the last when the gate
    /// opens, `/echo/Chat` says every message back as it comes, `/echo/Missing` has nothing to say but its status.
    pub fn grpc(gate: &Gate) -> Self {
        let gate = gate.clone();
        let mut backend =
            Self::new(Arc::new(move |wire, journal| Box::pin(grpc::serve(wire.into_stream(), journal, gate.clone()))));
        backend.start_again();
        backend
    }

    /// A backend that does this with every connection.
    pub fn raw<F: Future<Output = ()> + Send + 'static>(serve: impl Fn(Wire) -> F + Send + Sync + 'static) -> Self {
        let mut backend = Self::new(Arc::new(move |wire, _| Box::pin(serve(wire))));
        backend.start_again();
        backend
    }

    fn new(serve: Serve) -> Self {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let socket = bind(any);
        let address = socket.local_addr().expect("a bound socket has an address");
        Self { address, serve, journal: Arc::default(), state: State::Stopped(Some(socket)) }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// `http://ADDRESS`
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// How many requests arrived.
    pub fn count(&self) -> u64 {
        self.journal.requests.load(Ordering::SeqCst)
    }

    /// How many connections were accepted.
    pub fn connections(&self) -> u64 {
        self.journal.connections.load(Ordering::SeqCst)
    }

    /// The newest requests, the oldest of them first.
    pub fn requests(&self) -> Vec<Received> {
        self.journal.newest.lock().unwrap().iter().cloned().collect()
    }

    /// The only request so far.
    #[track_caller]
    pub fn only_request(&self) -> Received {
        let mut requests = self.requests();
        assert_eq!(requests.len(), 1, "requests at the backend: {requests:?}");
        requests.remove(0)
    }

    /// Closes the port and every connection; from here on connections are refused.
    pub fn stop(&mut self) {
        if let State::Running { stop, thread } = &mut self.state {
            stop.cancel();
            thread.take().map(JoinHandle::join);
            self.state = State::Stopped(Some(bind(self.address)));
        }
    }

    /// Listens again on the same port.
    pub fn start_again(&mut self) {
        let State::Stopped(socket) = &mut self.state else { return };
        let socket = socket.take().expect("a stopped backend keeps its port");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let listener = {
            let _inside = runtime.enter();
            socket.listen(BACKLOG).expect("a bound socket can listen")
        };
        let stop = CancellationToken::new();
        let (stopping, serve, journal) = (stop.clone(), Arc::clone(&self.serve), Arc::clone(&self.journal));
        let thread = std::thread::spawn(move || run(&runtime, &listener, &stopping, &serve, &journal));
        self.state = State::Running { stop, thread: Some(thread) };
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        if let State::Running { stop, thread } = &mut self.state {
            stop.cancel();
            thread.take().map(JoinHandle::join);
        }
    }
}

fn bind(address: SocketAddr) -> TcpSocket {
    let bound = TcpSocket::new_v4().and_then(|socket| {
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        Ok(socket)
    });
    bound.unwrap_or_else(|error| panic!("could not bind {address}: {error}"))
}

fn run(runtime: &Runtime, listener: &TcpListener, stop: &CancellationToken, serve: &Serve, journal: &Arc<Journal>) {
    runtime.block_on(stop.run_until_cancelled(async {
        while let Ok((stream, _)) = listener.accept().await {
            journal.connections.fetch_add(1, Ordering::SeqCst);
            tokio::spawn(serve(Wire::new(stream), Arc::clone(journal)));
        }
    }));
    // The runtime goes with this thread, and its open connections with it.
}
