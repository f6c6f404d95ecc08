//! Messages of a Kafka topic, for a consumer group that has the worker's name: one after the other, and what is done is committed afterwards.
//! What failed for now goes to `<topic>.retry` and is read from there once its time has come, so that it holds up nobody; what was given up goes
//! to `<topic>.dead`. Where these are missing, the message is tried again in its place, and the others behind it wait.

use std::{sync::Arc, time::Duration};

use anyhow::{Context, Result};
use rdkafka::{
    ClientConfig, Message,
    consumer::{Consumer, StreamConsumer},
    message::{BorrowedMessage, Header, Headers, OwnedHeaders},
    producer::{FutureProducer, FutureRecord},
};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::announce;
use crate::{
    clock::Clock,
    workers::{
        settings::Consume,
        worker::{Verdict, Worker, to_its_end},
    },
};

const ATTEMPTS: &str = "x-attempts";
const NOT_BEFORE: &str = "x-not-before-ms";
const ERROR: &str = "x-error";
const PATIENCE: Duration = Duration::from_secs(5);

struct Desk<'w> {
    worker: &'w Arc<Worker>,
    topic: &'w str,
    producer: FutureProducer,
    stop: &'w CancellationToken,
}

pub(super) async fn consume(worker: &Arc<Worker>, from: &Consume, stop: &CancellationToken) -> Result<()> {
    let brokers = worker.settings.kafka_brokers.as_deref().unwrap_or_default();
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", brokers).set("client.id", format!("{} worker", worker.name));
    let mut sure = config.clone();
    sure.set("acks", "all").set("enable.idempotence", "true").set("message.timeout.ms", "5000");
    let desk = Desk { worker, topic: &from.place, producer: sure.create()?, stop };
    config.set("auto.offset.reset", "earliest");
    // By default a member that its group lost sight of is missed for 45 seconds, and so long its partitions wait.
    config.set("session.timeout.ms", "10000").set("heartbeat.interval.ms", "2000");
    // An offset is stored when the work is done, and committed a moment later and at the end.
    config.set("enable.auto.offset.store", "false").set("auto.commit.interval.ms", "500");

    let (group, retry) = (worker.name.as_str(), format!("{}.retry", from.place));
    let first: StreamConsumer = config.set("group.id", group).create().context("could not make a consumer")?;
    first.subscribe(&[&from.place])?;
    let second: StreamConsumer = config.set("group.id", format!("{group}.retry")).create()?;
    second.subscribe(&[&retry])?;
    announce(from);
    tokio::try_join!(desk.read(&first), desk.read(&second)).map(drop)
}

impl Desk<'_> {
    async fn read(&self, consumer: &StreamConsumer) -> Result<()> {
        loop {
            let received = tokio::select! {
                () = self.stop.cancelled() => return Ok(()),
                received = consumer.recv() => received,
            };
            match received {
                Ok(message) => {
                    if !self.see_to(&message).await {
                        return Ok(());
                    }
                    consumer.store_offset_from_message(&message)?;
                }
                // A topic that is missing may come; librdkafka goes on looking by itself.
                Err(cause) => {
                    tracing::debug!(topic = self.topic, %cause, "Kafka");
                    sleep(Duration::from_millis(200)).await;
                }
            }
        }
    }

    /// Whether the message is settled. It is not, and comes again, when the process is to stop first.
    async fn see_to(&self, message: &BorrowedMessage<'_>) -> bool {
        let told = number(message, ATTEMPTS).saturating_add(1);
        let mut pause = Duration::from_millis(number(message, NOT_BEFORE).saturating_sub(now_ms()));
        loop {
            tokio::select! {
                () = self.stop.cancelled() => return false,
                () = sleep(pause) => {}
            }
            let payload = message.payload().unwrap_or_default().to_vec();
            let attempt = u32::try_from(told).unwrap_or(u32::MAX);
            let put = match to_its_end(self.worker, payload, attempt).await {
                Verdict::Over => return true,
                Verdict::Later(wait) => {
                    pause = wait;
                    let due = now_ms().saturating_add(u64::try_from(wait.as_millis()).unwrap_or(u64::MAX));
                    self.put("retry", message, &[(ATTEMPTS, &told.to_string()), (NOT_BEFORE, &due.to_string())]).await
                }
                Verdict::Dead(why) => {
                    pause = PATIENCE;
                    self.put("dead", message, &[(ERROR, &why)]).await
                }
            };
            match put {
                Ok(()) => return true,
                Err(cause) => warn!(topic = self.topic, "a message is tried again in its place: {cause:#}"),
            }
        }
    }

    /// Puts a message into one of the topics beside, and is sure of it.
    async fn put(&self, beside: &str, message: &BorrowedMessage<'_>, more: &[(&str, &str)]) -> Result<()> {
        let topic = format!("{}.{beside}", self.topic);
        let kept = ["ce_id", "content-type"].into_iter().filter_map(|name| Some((name, text(message, name)?)));
        let headers = kept
            .chain(more.iter().copied())
            .fold(OwnedHeaders::new(), |headers, (key, value)| headers.insert(Header { key, value: Some(value) }));
        let mut record =
            FutureRecord::<[u8], [u8]>::to(&topic).payload(message.payload().unwrap_or_default()).headers(headers);
        if let Some(key) = message.key() {
            record = record.key(key);
        }
        let sent = self.producer.send(record, PATIENCE).await.map_err(|(cause, _)| cause);
        sent.map(drop).with_context(|| format!("could not write to {topic}"))
    }
}

fn text<'m>(message: &'m BorrowedMessage<'_>, name: &str) -> Option<&'m str> {
    let mut headers = message.headers()?.iter();
    let found = headers.find(|header| header.key == name)?;
    std::str::from_utf8(found.value?).ok()
}

/// 0 where it is not said.
fn number(message: &BorrowedMessage<'_>, name: &str) -> u64 {
    text(message, name).and_then(|text| text.parse().ok()).unwrap_or(0)
}

fn now_ms() -> u64 {
    u64::try_from(Clock::default().now_ms()).unwrap_or(0)
}
