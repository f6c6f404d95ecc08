//! Redis: a test's own server, which has on disk what it answered for, to be killed and started again.

use std::collections::{HashMap, HashSet};
use std::process::Command;

use redis::aio::MultiplexedConnection;
use tempfile::TempDir;

use crate::eventually::{eventually, eventually_within};
use crate::postgres::free_port;
use crate::process::Process;
use crate::proof;

/// Of a stream: each with its place and its fields.
type Entries = Vec<(String, HashMap<String, String>)>;

/// Small enough to come within the client's time also where messages are large.
const PAGE: usize = 500;

/// Where the usual one is.
pub fn redis() -> String {
    std::env::var("GATEHOUSE_TEST_REDIS").expect("tests/with-servers starts a Redis")
}

/// All entries of a stream in their order, once these are among them: their ids and events.
pub async fn received<'a>(
    url: &str,
    stream: &str,
    wanted: impl IntoIterator<Item = &'a String>,
) -> Vec<(String, Vec<u8>)> {
    let mut missing: HashSet<String> = wanted.into_iter().cloned().collect();
    let wanted = missing.len();
    let mut connection = connect(url).await;
    let (mut all, mut last) = (Vec::new(), "0".to_owned());
    eventually_within(proof::PATIENCE, &format!("the messages in {stream}"), async || {
        loop {
            let mut asking = redis::cmd("XRANGE");
            let page = asking.arg(stream).arg(format!("({last}")).arg("+").arg("COUNT").arg(PAGE);
            let entries: Entries = page.query_async(&mut connection).await.unwrap();
            let count = entries.len();
            for (place, mut fields) in entries {
                last = place;
                let id = fields.remove("id").expect("an entry has an id");
                missing.remove(&id);
                all.push((id, fields.remove("event").expect("an entry has an event").into_bytes()));
            }
            if count < PAGE {
                break;
            }
        }
        if missing.is_empty() { Ok(()) } else { Err(format!("{} of {wanted} are missing", missing.len())) }
    })
    .await;
    all
}

async fn connect(url: &str) -> MultiplexedConnection {
    let client = redis::Client::open(url).unwrap();
    eventually("Redis to answer", async || client.get_multiplexed_async_connection().await).await
}

/// A server of a test's own.
#[derive(Debug)]
pub struct RedisServer {
    // Before the folder: the server must end before its files go.
    server: Option<Process>,
    folder: TempDir,
    port: u16,
}

impl RedisServer {
    /// Ready when it answers.
    pub async fn start() -> Self {
        let folder = TempDir::with_prefix("gatehouse-redis-").unwrap();
        let mut server = Self { server: None, folder, port: free_port() };
        server.start_again().await;
        server
    }

    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Every write is on disk before it is answered.
    pub async fn start_again(&mut self) {
        let mut command = Command::new("redis-server");
        command.args(["--port", &self.port.to_string(), "--bind", "127.0.0.1", "--save", ""]);
        command.args(["--appendonly", "yes", "--appendfsync", "always", "--dir"]).arg(self.folder.path());
        self.server = Some(Process::start("redis", command));
        let mut connection = connect(&self.url()).await;
        // It answers before it has read its data.
        eventually("Redis to have read its data", async || {
            redis::cmd("PING").query_async::<String>(&mut connection).await
        })
        .await;
    }

    /// As by a power cut.
    pub async fn kill(&mut self) {
        if let Some(server) = self.server.take() {
            server.kill().await;
        }
    }
}
