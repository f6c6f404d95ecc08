//! A load of a fixed rate: requests are due at fixed moments, whatever the answers do. One that finds no connection free when it is
//! due has waited since then.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use anyhow::Context;
use futures::future::join_all;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpSocket, TcpStream};

use crate::load::{Latencies, Requests, as_micros, read_answer};

/// How long answers are waited for when the time is over.
const PATIENCE: Duration = Duration::from_secs(2);

#[derive(Debug)]
pub struct Pace {
    pub target: SocketAddr,
    pub per_second: u32,
    pub lasts: Duration,
    pub connections: usize,
    /// Where the connections come from, in turn.
    pub sources: Vec<IpAddr>,
}

#[derive(Debug)]
pub struct Paced {
    /// Of those that were answered.
    pub latencies: Latencies,
    pub statuses: BTreeMap<u16, usize>,
    /// Requests without a whole answer.
    pub broken: usize,
    /// Requests that were due and never sent, because all connections waited.
    pub unsent: u32,
}

#[derive(Debug)]
struct Course<'r> {
    requests: &'r Requests,
    began: Instant,
    claimed: Cell<u32>,
    micros: RefCell<Vec<u32>>,
    statuses: RefCell<BTreeMap<u16, usize>>,
    broken: Cell<usize>,
}

impl Paced {
    #[must_use]
    pub fn answered(&self, status: u16) -> usize {
        self.statuses.get(&status).copied().unwrap_or_default()
    }
}

impl Pace {
    pub fn run(&self, requests: &Requests) -> anyhow::Result<Paced> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let course = Course {
            requests,
            began: Instant::now(),
            claimed: Cell::new(0),
            micros: RefCell::default(),
            statuses: RefCell::default(),
            broken: Cell::new(0),
        };
        let done = runtime.block_on(join_all((0..self.connections).map(|number| self.connection(number, &course))));
        done.into_iter().collect::<anyhow::Result<()>>()?;
        let Course { micros, statuses, broken, claimed, .. } = course;
        let latencies = Latencies::of(micros.into_inner());
        let due = u32::try_from(u64::from(self.per_second).saturating_mul(self.lasts.as_secs())).unwrap_or(u32::MAX);
        let unsent = due.saturating_sub(claimed.get());
        Ok(Paced { latencies, statuses: statuses.into_inner(), broken: broken.get(), unsent })
    }

    async fn connection(&self, number: usize, course: &Course<'_>) -> anyhow::Result<()> {
        let (mut stream, mut buffer) = (None, Vec::with_capacity(16 << 10));
        loop {
            let due = Duration::from_secs(course.claimed.get().into()) / self.per_second;
            // Also when some that were due have not been sent yet: where answers wait for long, the rate can't be held.
            if due >= self.lasts || course.began.elapsed() >= self.lasts {
                return Ok(());
            }
            course.claimed.set(course.claimed.get() + 1);
            let due = course.began + due;
            let mut since = due;
            if Instant::now() < due {
                tokio::time::sleep_until(due.into()).await;
                // How late a timer fires is nobody's fault.
                since = Instant::now();
            }
            let mut connected = match stream.take() {
                Some(connected) => connected,
                None => self.connect(number).await?,
            };
            let exchange = exchange(&mut connected, course.requests.take()?, &mut buffer);
            let answered = tokio::time::timeout_at((course.began + self.lasts + PATIENCE).into(), exchange).await;
            let Ok(Ok(status)) = answered else {
                course.broken.set(course.broken.get() + 1);
                continue;
            };
            course.micros.borrow_mut().push(as_micros(since.elapsed()));
            *course.statuses.borrow_mut().entry(status).or_default() += 1;
            stream = Some(connected).filter(|_| !closes(&buffer));
        }
    }

    async fn connect(&self, number: usize) -> anyhow::Result<TcpStream> {
        let source = self.sources.get(number % self.sources.len().max(1)).context("there are no sources")?;
        let socket = TcpSocket::new_v4()?;
        socket.bind((*source, 0).into()).with_context(|| format!("could not come from {source}"))?;
        let stream = socket.connect(self.target).await.context("could not connect")?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }
}

async fn exchange(stream: &mut TcpStream, request: &[u8], buffer: &mut Vec<u8>) -> anyhow::Result<u16> {
    stream.write_all(request).await.context("could not send")?;
    read_answer(stream, buffer).await
}

/// Whether the answer is the connection's last.
fn closes(answer: &[u8]) -> bool {
    let end = answer.windows(4).position(|window| window == b"\r\n\r\n").unwrap_or(answer.len());
    let head = String::from_utf8_lossy(answer.get(..end).unwrap_or_default()).to_ascii_lowercase();
    head.lines().any(|line| line.strip_prefix("connection:").is_some_and(|value| value.trim() == "close"))
}
