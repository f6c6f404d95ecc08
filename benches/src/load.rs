//! A load of a fixed number of requests over keep-alive connections. Each connection sends its next request when its last answer
//! is in. One thread, few allocations, and any answer but a whole 200 fails the run.

use std::cell::Cell;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use futures::future::join_all;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Whole requests, written out beforehand. They are sent in turn, and a load goes on where the one before it ended.
#[derive(Debug)]
pub struct Requests {
    heads: Vec<Vec<u8>>,
    next: AtomicUsize,
}

impl Requests {
    pub fn to_paths<'a>(target: SocketAddr, paths: impl IntoIterator<Item = &'a str>) -> Self {
        Self::new(paths.into_iter().map(|path| request(path, target, "")).collect())
    }

    /// All to one path, each with one of these header lines.
    pub fn with_headers<'a>(target: SocketAddr, path: &str, lines: impl IntoIterator<Item = &'a str>) -> Self {
        Self::new(lines.into_iter().map(|line| request(path, target, &format!("{line}\r\n"))).collect())
    }

    fn new(heads: Vec<Vec<u8>>) -> Self {
        Self { heads, next: AtomicUsize::new(0) }
    }

    #[must_use]
    pub fn len(&self) -> usize {
        self.heads.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.heads.is_empty()
    }

    pub(crate) fn take(&self) -> anyhow::Result<&[u8]> {
        let at = self.next.fetch_add(1, Ordering::Relaxed);
        self.heads.get(at % self.heads.len().max(1)).map(Vec::as_slice).context("there are no requests")
    }
}

#[derive(Clone, Copy, Debug)]
pub struct Load<'r> {
    pub target: SocketAddr,
    pub requests: &'r Requests,
    pub count: usize,
    pub connections: usize,
}

/// How long the requests took, sorted.
#[derive(Debug)]
pub struct Latencies(Vec<u32>);

impl Latencies {
    #[must_use]
    pub fn of(mut micros: Vec<u32>) -> Self {
        micros.sort_unstable();
        Self(micros)
    }

    #[must_use]
    pub fn percentile(&self, percent: usize) -> Duration {
        let at = (self.0.len() * percent / 100).min(self.0.len().saturating_sub(1));
        Duration::from_micros(self.0.get(at).copied().unwrap_or_default().into())
    }

    #[must_use]
    pub fn count(&self) -> usize {
        self.0.len()
    }
}

impl Load<'_> {
    pub fn run(&self) -> anyhow::Result<Latencies> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let sent = Cell::new(0);
        let latencies = runtime.block_on(async {
            let connections = (0..self.connections).map(|_| self.connection(&sent));
            let mut all = Vec::with_capacity(self.count);
            for latencies in join_all(connections).await {
                all.extend(latencies?);
            }
            anyhow::Ok(all)
        });
        Ok(Latencies::of(latencies.with_context(|| format!("the load on {} failed", self.target))?))
    }

    async fn connection(&self, sent: &Cell<usize>) -> anyhow::Result<Vec<u32>> {
        let mut stream = TcpStream::connect(self.target).await.context("could not connect")?;
        stream.set_nodelay(true)?;
        let mut buffer = Vec::with_capacity(128 << 10);
        let mut latencies = Vec::with_capacity(self.count / self.connections + 64);
        while sent.get() < self.count {
            sent.set(sent.get() + 1);
            let request = self.requests.take()?;
            let start = Instant::now();
            stream.write_all(request).await.context("could not send")?;
            if read_answer(&mut stream, &mut buffer).await? != 200 {
                bail!("not a 200: {}", String::from_utf8_lossy(&buffer));
            }
            latencies.push(as_micros(start.elapsed()));
        }
        Ok(latencies)
    }
}

pub(crate) fn as_micros(duration: Duration) -> u32 {
    u32::try_from(duration.as_micros()).unwrap_or(u32::MAX)
}

/// `lines`: whole header lines, with their ends.
fn request(path: &str, target: SocketAddr, lines: &str) -> Vec<u8> {
    let agent = "user-agent: gatehouse-benches\r\naccept: */*\r\naccept-encoding: gzip";
    format!("GET {path} HTTP/1.1\r\nhost: {target}\r\n{agent}\r\n{lines}\r\n").into_bytes()
}

/// Reads one whole answer into `buffer` and answers its status.
pub(crate) async fn read_answer(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> anyhow::Result<u16> {
    buffer.clear();
    let mut expected = None;
    loop {
        if stream.read_buf(buffer).await.context("could not read")? == 0 {
            bail!("the connection was closed in an answer: {}", String::from_utf8_lossy(first_line(buffer)));
        }
        if expected.is_none() {
            expected = expect(buffer)?;
        }
        match expected {
            Some((status, length)) if length == buffer.len() => return Ok(status),
            Some((_, length)) if length < buffer.len() => bail!("more bytes came than the answer has"),
            _ => {}
        }
    }
}

/// The status, and the length of the head and of the body that it announces; `None` while the head is not whole.
fn expect(bytes: &[u8]) -> anyhow::Result<Option<(u16, usize)>> {
    let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else { return Ok(None) };
    let head = std::str::from_utf8(bytes.get(..end).unwrap_or_default()).context("the answer's head is no text")?;
    let status = head.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3)).and_then(|status| status.parse().ok());
    let status = status.with_context(|| format!("no answer of HTTP/1.1: {head}"))?;
    let mut fields = head.lines().skip(1).filter_map(|line| line.split_once(':'));
    let length = fields.find(|(name, _)| name.eq_ignore_ascii_case("content-length"));
    let length: usize = length.context("the answer has no length")?.1.trim().parse()?;
    Ok(Some((status, end + 4 + length)))
}

fn first_line(bytes: &[u8]) -> &[u8] {
    bytes.split(|byte| *byte == b'\r').next().unwrap_or_default()
}
