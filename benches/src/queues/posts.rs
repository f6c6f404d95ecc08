//! Requests with a body over keep-alive connections, for a time: each connection sends its next one when its last answer is in, and
//! every answer counts by its status.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::Context;
use futures::future::join_all;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::load::{Latencies, as_micros, read_answer};

/// Of a request's body.
const BODY_BYTES: usize = 1 << 10;

#[derive(Clone, Debug)]
pub(super) struct Posts {
    target: SocketAddr,
    request: Vec<u8>,
    connections: usize,
    lasts: Duration,
}

/// What was answered when.
#[derive(Debug)]
pub(super) struct Answers(Vec<(u16, u32)>);

impl Posts {
    /// A JSON document of 1 KiB to `path`.
    pub(super) fn to(target: SocketAddr, path: &str, connections: usize, lasts: Duration) -> Self {
        let (before, after) = (r#"{"order":""#, r#""}"#);
        let body = format!("{before}{}{after}", "x".repeat(BODY_BYTES - before.len() - after.len()));
        let agent = "user-agent: gatehouse-benches\r\naccept: */*\r\naccept-encoding: gzip";
        let content = format!("content-type: application/json\r\ncontent-length: {}", body.len());
        let request = format!("POST {path} HTTP/1.1\r\nhost: {target}\r\n{agent}\r\n{content}\r\n\r\n{body}");
        Self { target, request: request.into_bytes(), connections, lasts }
    }

    /// No body, and a path whose answer the gateway knows by itself.
    pub(super) fn alone(target: SocketAddr, path: &str, connections: usize, lasts: Duration) -> Self {
        let agent = "user-agent: gatehouse-benches\r\naccept: */*\r\naccept-encoding: gzip";
        let request = format!("GET {path} HTTP/1.1\r\nhost: {target}\r\n{agent}\r\n\r\n");
        Self { target, request: request.into_bytes(), connections, lasts }
    }

    pub(super) fn run(&self) -> anyhow::Result<Answers> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let until = Instant::now() + self.lasts;
        let connections = (0..self.connections).map(|_| self.connection(until));
        let mut all = Vec::new();
        for answers in runtime.block_on(join_all(connections)) {
            all.extend(answers.with_context(|| format!("the load on {} failed", self.target))?);
        }
        Ok(Answers(all))
    }

    /// One request; its status.
    pub(super) fn once(&self) -> anyhow::Result<u16> {
        let one = Self { connections: 1, lasts: Duration::from_nanos(1), ..self.clone() };
        Ok(one.run()?.0.first().context("nothing was sent")?.0)
    }

    async fn connection(&self, until: Instant) -> anyhow::Result<Vec<(u16, u32)>> {
        let mut stream = TcpStream::connect(self.target).await.context("could not connect")?;
        stream.set_nodelay(true)?;
        let (mut buffer, mut answers) = (Vec::with_capacity(16 << 10), Vec::new());
        loop {
            let start = Instant::now();
            stream.write_all(&self.request).await.context("could not send")?;
            let status = read_answer(&mut stream, &mut buffer).await?;
            answers.push((status, as_micros(start.elapsed())));
            if Instant::now() >= until {
                return Ok(answers);
            }
        }
    }
}

impl Answers {
    pub(super) fn of(&self, status: u16) -> Vec<u32> {
        self.0.iter().filter(|(got, _)| *got == status).map(|(_, micros)| *micros).collect()
    }

    pub(super) fn latencies(&self, status: u16) -> Latencies {
        Latencies::of(self.of(status))
    }

    /// Whether there is nothing but answers of these.
    pub(super) fn are_all(&self, statuses: &[u16]) -> bool {
        self.0.iter().all(|(got, _)| statuses.contains(got))
    }

    pub(super) fn statuses(&self) -> std::collections::BTreeMap<u16, usize> {
        let mut counts = std::collections::BTreeMap::new();
        for (status, _) in &self.0 {
            *counts.entry(*status).or_default() += 1;
        }
        counts
    }
}
