//! Load in the background while a test does something to the gateways: keep-alive connections on a thread of their own, each
//! sending as soon as its last answer is in, every failure counted and none repaired.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::client::{Answer, Connection, Failure, Request};
use crate::eventually::eventually;

const KEPT_FAILURES: usize = 10;

/// A refused connection would otherwise fail thousands of times a second.
const PAUSE_WHEN_BROKEN: Duration = Duration::from_millis(5);

/// What came of the requests.
#[derive(Clone, Debug, Default)]
pub struct Report {
    pub sent: u64,
    pub ok: u64,
    pub failed: u64,
    /// The first ten, in words.
    pub failures: Vec<String>,
    pub by_status: BTreeMap<u16, u64>,
    /// Connections opened; with a keep-alive that holds, as many as were asked for.
    pub connections: u64,
    latencies_us: Vec<u32>,
}

impl Report {
    /// The latency that this share of the requests stayed below.
    pub fn latency(&self, percent: usize) -> Duration {
        let mut sorted = self.latencies_us.clone();
        sorted.sort_unstable();
        let at = (sorted.len() * percent / 100).min(sorted.len().saturating_sub(1));
        Duration::from_micros(sorted.get(at).copied().unwrap_or_default().into())
    }

    #[track_caller]
    pub fn assert_nothing_failed(&self) {
        assert!(self.sent > 0, "the load sent nothing");
        assert_eq!(self.failed, 0, "{self}");
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} sent, {} ok, {} failed, by status {:?}, ", self.sent, self.ok, self.failed, self.by_status)?;
        write!(f, "{} connections, p50 {:?}, p99 {:?}", self.connections, self.latency(50), self.latency(99))?;
        self.failures.iter().try_for_each(|failure| write!(f, "\n  {failure}"))
    }
}

/// Load that is running; stopped on drop.
#[derive(Debug)]
pub struct Load {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    stop: AtomicBool,
    sent: AtomicU64,
    report: Mutex<Report>,
}

/// What to send, and how.
#[derive(Clone, Debug)]
pub struct LoadBuilder {
    addresses: Vec<SocketAddr>,
    request: Request,
    connections: usize,
    pause: Duration,
    expected: u16,
}

impl Load {
    /// `GET url` over and over on so many connections.
    pub fn start(url: &str, connections: usize) -> Self {
        let (address, target) = split_url(url);
        Self::of(Request::get(&target), &[address]).connections(connections).start()
    }

    /// With several addresses a connection that is refused, or that an answer told to close, goes on to the next, as with a
    /// load balancer in front; it fails only when all refuse.
    pub fn of(request: Request, addresses: &[SocketAddr]) -> LoadBuilder {
        LoadBuilder { addresses: addresses.to_vec(), request, connections: 4, pause: Duration::ZERO, expected: 200 }
    }

    pub fn sent(&self) -> u64 {
        self.shared.sent.load(Ordering::Relaxed)
    }

    pub fn failed(&self) -> u64 {
        self.shared.report.lock().unwrap().failed
    }

    /// Waits until so many more requests than now have been answered: as long as it takes, while some are.
    pub async fn wait_for(&self, more: u64) {
        let goal = self.sent() + more;
        let mut sent = self.sent();
        while sent < goal {
            sent = eventually(&format!("the next of {goal} requests of the load"), async || {
                let now = self.sent();
                if now > sent { Ok(now) } else { Err(format!("{now} sent")) }
            })
            .await;
        }
    }

    /// Lets the requests in flight end and tells what came of all.
    pub async fn stop(mut self) -> Report {
        self.shared.stop.store(true, Ordering::Relaxed);
        let thread = self.thread.take().expect("the load runs until it is stopped");
        tokio::task::spawn_blocking(move || thread.join()).await.unwrap().expect("the load's thread does not panic");
        self.shared.report.lock().unwrap().clone()
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
    }
}

impl LoadBuilder {
    pub fn connections(mut self, connections: usize) -> Self {
        self.connections = connections;
        self
    }

    /// Waits so long between an answer and the next request of a connection.
    pub fn pause(mut self, pause: Duration) -> Self {
        self.pause = pause;
        self
    }

    /// Counts this status as success instead of 200.
    pub fn expect(mut self, status: u16) -> Self {
        self.expected = status;
        self
    }

    pub fn start(self) -> Load {
        let shared = Arc::new(Shared::default());
        let theirs = Arc::clone(&shared);
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let tasks = (0..self.connections).map(|number| self.run(number, &theirs));
                futures::future::join_all(tasks).await;
            });
        });
        Load { shared, thread: Some(thread) }
    }

    async fn run(&self, number: usize, shared: &Shared) {
        let mut next = number;
        let mut connection = None;
        while !shared.stop.load(Ordering::Relaxed) {
            let start = Instant::now();
            let outcome = self.send(&mut connection, &mut next, shared).await;
            shared.record(outcome, start.elapsed(), self.expected);
            let pause = if connection.is_none() { self.pause.max(PAUSE_WHEN_BROKEN) } else { self.pause };
            if !pause.is_zero() {
                tokio::time::sleep(pause).await;
            }
        }
    }

    async fn send(&self, kept: &mut Option<Connection>, next: &mut usize, shared: &Shared) -> Result<Answer, Failure> {
        let mut connection = match kept.take() {
            Some(connection) => connection,
            None => self.connect(next, shared).await?,
        };
        let answer = connection.send(&self.request).await?;
        if connection.is_open() {
            *kept = Some(connection);
        } else {
            *next += 1;
        }
        Ok(answer)
    }

    async fn connect(&self, next: &mut usize, shared: &Shared) -> Result<Connection, Failure> {
        let mut tried = 1;
        loop {
            match Connection::open(self.addresses[*next % self.addresses.len()]).await {
                Ok(connection) => {
                    shared.report.lock().unwrap().connections += 1;
                    return Ok(connection);
                }
                Err(failure) if tried == self.addresses.len() => return Err(failure),
                Err(_) => {
                    tried += 1;
                    *next += 1;
                }
            }
        }
    }
}

impl Shared {
    fn record(&self, outcome: Result<Answer, Failure>, took: Duration, expected: u16) {
        let mut report = self.report.lock().unwrap();
        report.sent += 1;
        let failure = match outcome {
            Ok(answer) => {
                *report.by_status.entry(answer.status).or_default() += 1;
                report.latencies_us.push(u32::try_from(took.as_micros()).unwrap_or(u32::MAX));
                (answer.status != expected).then(|| format!("{answer}"))
            }
            Err(failure) => Some(failure.to_string()),
        };
        match failure {
            None => report.ok += 1,
            Some(failure) => {
                report.failed += 1;
                if report.failures.len() < KEPT_FAILURES {
                    report.failures.push(failure);
                }
            }
        }
        drop(report);
        self.sent.fetch_add(1, Ordering::Relaxed);
    }
}

/// `http://127.0.0.1:4200/path` → the address and `/path`.
pub fn split_url(url: &str) -> (SocketAddr, String) {
    let rest = url.strip_prefix("http://").unwrap_or_else(|| panic!("not an http URL: {url}"));
    let (address, target) = rest.find('/').map_or((rest, "/"), |slash| rest.split_at(slash));
    (address.parse().unwrap_or_else(|_| panic!("not an address: {address}")), target.to_owned())
}
