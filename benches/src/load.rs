//! A load of a fixed number of requests over keep-alive connections. Each connection sends its next request when its last answer
//! is in. One thread, few allocations, and any answer but a whole 200 fails the run.

use std::cell::Cell;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use futures::future::join_all;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

#[derive(Clone, Debug)]
pub struct Load {
    pub target: SocketAddr,
    pub paths: Vec<String>,
    pub requests: usize,
    pub connections: usize,
}

/// How long the requests took, sorted.
#[derive(Debug)]
pub struct Latencies(Vec<u32>);

impl Latencies {
    #[must_use]
    pub fn percentile(&self, percent: usize) -> Duration {
        let at = (self.0.len() * percent / 100).min(self.0.len().saturating_sub(1));
        Duration::from_micros(self.0.get(at).copied().unwrap_or_default().into())
    }
}

impl Load {
    pub fn run(&self) -> anyhow::Result<Latencies> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let sent = Cell::new(0);
        let requests: Vec<Vec<u8>> = self.paths.iter().map(|path| request(path, self.target)).collect();
        let latencies = runtime.block_on(async {
            let connections = (0..self.connections).map(|_| self.connection(&requests, &sent));
            let mut all = Vec::with_capacity(self.requests);
            for latencies in join_all(connections).await {
                all.extend(latencies?);
            }
            anyhow::Ok(all)
        });
        let mut latencies = latencies.with_context(|| format!("the load on {} failed", self.target))?;
        latencies.sort_unstable();
        Ok(Latencies(latencies))
    }

    async fn connection(&self, requests: &[Vec<u8>], sent: &Cell<usize>) -> anyhow::Result<Vec<u32>> {
        let mut stream = TcpStream::connect(self.target).await.context("could not connect")?;
        stream.set_nodelay(true)?;
        let mut buffer = Vec::with_capacity(128 << 10);
        let mut latencies = Vec::with_capacity(self.requests / self.connections + 64);
        while sent.get() < self.requests {
            let Some(request) = requests.get(sent.get() % requests.len().max(1)) else { bail!("there are no paths") };
            sent.set(sent.get() + 1);
            let start = Instant::now();
            stream.write_all(request).await.context("could not send")?;
            read_answer(&mut stream, &mut buffer).await?;
            latencies.push(u32::try_from(start.elapsed().as_micros()).unwrap_or(u32::MAX));
        }
        Ok(latencies)
    }
}

fn request(path: &str, target: SocketAddr) -> Vec<u8> {
    let agent = "user-agent: gatehouse-benches\r\naccept: */*\r\naccept-encoding: gzip";
    format!("GET {path} HTTP/1.1\r\nhost: {target}\r\n{agent}\r\n\r\n").into_bytes()
}

async fn read_answer(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> anyhow::Result<()> {
    buffer.clear();
    let mut whole = None;
    while whole.is_none_or(|whole| buffer.len() < whole) {
        if stream.read_buf(buffer).await.context("could not read")? == 0 {
            bail!("the connection was closed in an answer: {}", String::from_utf8_lossy(first_line(buffer)));
        }
        if whole.is_none() {
            whole = answer_length(buffer)?;
        }
    }
    if whole != Some(buffer.len()) {
        bail!("more bytes came than the answer has");
    }
    Ok(())
}

/// The length of the head and of the body that it announces; `None` while the head is not whole.
fn answer_length(bytes: &[u8]) -> anyhow::Result<Option<usize>> {
    let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else { return Ok(None) };
    let head = std::str::from_utf8(bytes.get(..end).unwrap_or_default()).context("the answer's head is no text")?;
    if !head.starts_with("HTTP/1.1 200 ") {
        bail!("not a 200: {}", String::from_utf8_lossy(bytes));
    }
    let mut fields = head.lines().skip(1).filter_map(|line| line.split_once(':'));
    let length = fields.find(|(name, _)| name.eq_ignore_ascii_case("content-length"));
    let length: usize = length.context("the answer has no length")?.1.trim().parse()?;
    Ok(Some(end + 4 + length))
}

fn first_line(bytes: &[u8]) -> &[u8] {
    bytes.split(|byte| *byte == b'\r').next().unwrap_or_default()
}
