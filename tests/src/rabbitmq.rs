//! RabbitMQ: the one of `tests/with-servers`, or a test's own to be killed and started again.

use std::collections::HashSet;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use lapin::options::{BasicAckOptions, BasicConsumeOptions};
use lapin::types::FieldTable;
use lapin::{Channel, Connection, ConnectionProperties};
use rustix::process::{Pid, Signal, kill_process_group};
use tempfile::TempDir;

use crate::eventually::{DEADLINE, eventually_within};
use crate::postgres::free_port;
use crate::proof;

/// It takes some ten seconds to start, on a busy machine more.
const PATIENCE: Duration = Duration::from_secs(90);
/// For what comes after the last that must come.
const QUIET: Duration = Duration::from_millis(500);

/// Where the usual one is, once it answers.
pub async fn rabbitmq() -> String {
    let url = std::env::var("GATEHOUSE_TEST_RABBITMQ").expect("tests/with-servers starts a RabbitMQ");
    connect(&url).await;
    url
}

async fn connect(url: &str) -> Connection {
    let connecting = async || Connection::connect(url, ConnectionProperties::default()).await;
    eventually_within(PATIENCE, "RabbitMQ to answer", connecting).await
}

/// So many messages of a queue, acknowledged: their ids and what they say.
pub async fn consume(url: &str, queue: &str, count: usize) -> Vec<(String, Vec<u8>)> {
    let connection = connect(url).await;
    let channel: Channel = connection.create_channel().await.unwrap();
    let options = BasicConsumeOptions::default();
    let mut consumer = channel.basic_consume(queue.into(), "".into(), options, FieldTable::default()).await.unwrap();
    let mut all = Vec::new();
    while all.len() < count {
        let next = tokio::time::timeout(DEADLINE, futures::StreamExt::next(&mut consumer)).await;
        let next = next.unwrap_or_else(|_| panic!("{} of {count} messages are in {queue}", all.len()));
        let delivery = next.expect("the consumer stays").unwrap();
        all.push((delivery.properties.message_id().as_ref().unwrap().to_string(), delivery.data.clone()));
        delivery.ack(BasicAckOptions::default()).await.unwrap();
    }
    all
}

/// All messages of a queue in their order, taken from it, once these are among them: their ids and what they say.
pub async fn received<'a>(
    url: &str,
    queue: &str,
    wanted: impl IntoIterator<Item = &'a String>,
) -> Vec<(String, Vec<u8>)> {
    let mut missing: HashSet<String> = wanted.into_iter().cloned().collect();
    let wanted = missing.len();
    // It comes to be with its first message. RabbitMQ may end the whole connection of whoever asks while it makes the queue.
    let (_connection, mut consumer) = eventually_within(proof::PATIENCE, "the queue to be there", async || {
        let connection = connect(url).await;
        let channel = connection.create_channel().await?;
        let options = BasicConsumeOptions::default();
        let consumer = channel.basic_consume(queue.into(), "".into(), options, FieldTable::default()).await?;
        Ok::<_, lapin::Error>((connection, consumer))
    })
    .await;
    let (mut all, deadline) = (Vec::new(), Instant::now() + proof::PATIENCE);
    loop {
        let next = tokio::time::timeout(QUIET, futures::StreamExt::next(&mut consumer)).await;
        let Ok(next) = next else {
            if missing.is_empty() {
                return all;
            }
            assert!(Instant::now() < deadline, "{} of {wanted} are missing in {queue}", missing.len());
            continue;
        };
        let delivery = next.expect("the consumer stays").unwrap();
        let id = delivery.properties.message_id().as_ref().unwrap().to_string();
        missing.remove(&id);
        all.push((id, delivery.data.clone()));
        delivery.ack(BasicAckOptions::default()).await.unwrap();
    }
}

/// A server of a test's own.
#[derive(Debug)]
pub struct RabbitMq {
    folder: TempDir,
    port: u16,
    configuration: Vec<String>,
    child: Option<Child>,
}

impl RabbitMq {
    /// Ready when it answers.
    pub async fn start() -> Self {
        Self::configured(&[]).await
    }

    /// With these further lines of configuration.
    pub async fn configured(lines: &[&str]) -> Self {
        let configuration = lines.iter().map(|&line| line.to_owned()).collect();
        let mut server = Self { folder: tempfile::tempdir().unwrap(), port: free_port(), configuration, child: None };
        server.start_again().await;
        server
    }

    pub fn url(&self) -> String {
        format!("amqp://guest:guest@127.0.0.1:{}/%2f", self.port)
    }

    pub async fn start_again(&mut self) {
        let mut command = Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/rabbitmq-server"));
        command.arg(self.folder.path()).arg(self.port.to_string()).args(&self.configuration);
        let child = command.process_group(0).stdin(Stdio::null()).spawn();
        self.child = Some(child.expect("RabbitMQ can be started: see scripts/prerequisites"));
        connect(&self.url()).await;
    }

    /// As by a power cut.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = kill_process_group(Pid::from_child(&child), Signal::KILL);
            let _ = child.wait();
        }
    }
}

impl Drop for RabbitMq {
    fn drop(&mut self) {
        self.kill();
    }
}
