//! The brokers' own clients at their strongest: all publishers pipeline over one connection, and each waits for its confirm before
//! its next message.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use bytes::Bytes;
use lapin::options::{BasicGetOptions, BasicPublishOptions, ConfirmSelectOptions, QueuePurgeOptions};
use lapin::{BasicProperties, Channel, Confirmation, Connection, ConnectionProperties};
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::{Header, Message, OwnedHeaders};
use rdkafka::producer::{FutureProducer, FutureRecord};
use rdkafka::{Offset, TopicPartitionList};
use redis::AsyncConnectionConfig;
use redis::aio::MultiplexedConnection;
use tokio::runtime::Runtime;
use tokio::task::JoinSet;

use super::{ORDERS, Plan};
use crate::load::as_micros;

const EVENT_TYPE: &str = "application/cloudevents+json; charset=utf-8";
/// As long as a task's id.
const ID: &str = "AQGarhOsXHKzqDH0Kk4v0q8AAAAAAAAAAAAAAAAAAAAAAAGarhOr_3Fyh4Z9cjS8L2KWZkq0Vw8oN4yT1w";
const PATIENCE: Duration = Duration::from_secs(30);
/// At once in a broker, some of which keep them in memory: whoever is faster has a shorter round.
const MOST: usize = 100_000;

/// What gave each client its best on two cores; the README says what was tried.
#[derive(clap::Args, Clone, Copy, Debug)]
pub(super) struct Shape {
    /// The raw client's AMQP channels on each connection
    #[arg(long, default_value_t = 1)]
    channels: usize,
    /// The raw client's threads, beside those that its library starts
    #[arg(long, default_value_t = 1)]
    raw_threads: usize,
    /// How long the raw Kafka client gathers messages
    #[arg(long, default_value_t = 0)]
    pub(super) linger_ms: u32,
    /// Let each of its publishers have a connection of its own
    #[arg(long)]
    apart: bool,
}

/// A client and its connections.
pub(super) enum Raw {
    RabbitMq { channels: Vec<Channel>, _connections: Vec<Connection> },
    Redis(Vec<MultiplexedConnection>),
    Kafka { brokers: String, producer: FutureProducer },
}

/// A client at work.
pub(super) struct Running {
    raw: Arc<Raw>,
    event: Bytes,
    publishers: usize,
    lasts: Duration,
    // Declared last: connections are closed on it.
    runtime: Runtime,
}

impl Running {
    pub(super) fn start(plan: &Plan, raw: impl Future<Output = anyhow::Result<Raw>>) -> anyhow::Result<Self> {
        let runtime = match plan.raw.raw_threads {
            0 | 1 => tokio::runtime::Builder::new_current_thread().enable_all().build()?,
            threads => tokio::runtime::Builder::new_multi_thread().worker_threads(threads).enable_all().build()?,
        };
        let raw = Arc::new(runtime.block_on(raw)?);
        Ok(Self { raw, event: Bytes::new(), publishers: plan.connections, lasts: plan.lasts(), runtime })
    }

    /// From now on publishes copies of a message that is there.
    pub(super) fn take_sample(&mut self) -> anyhow::Result<()> {
        self.event = self.runtime.block_on(self.raw.any_message())?;
        println!("\nevents of {} bytes", self.event.len());
        Ok(())
    }

    /// How long each confirmed message took, in microseconds.
    pub(super) fn publish(&self) -> anyhow::Result<Vec<u32>> {
        let until = Instant::now() + self.lasts;
        self.runtime.block_on(async {
            let (mut publishers, begun) = (JoinSet::new(), Arc::new(AtomicUsize::new(0)));
            for number in 0..self.publishers {
                let (raw, event, begun) = (self.raw.clone(), self.event.clone(), begun.clone());
                publishers.spawn(async move {
                    let mut micros = Vec::new();
                    while Instant::now() < until && begun.fetch_add(1, Ordering::Relaxed) < MOST {
                        let start = Instant::now();
                        raw.publish(number, &event).await?;
                        micros.push(as_micros(start.elapsed()));
                    }
                    anyhow::Ok(micros)
                });
            }
            let mut all = Vec::new();
            while let Some(micros) = publishers.join_next().await {
                all.extend(micros??);
            }
            Ok(all)
        })
    }

    /// A broker that fills up is another one in each round.
    pub(super) fn clear(&self) -> anyhow::Result<()> {
        self.runtime.block_on(self.raw.clear())
    }
}

impl Raw {
    pub(super) async fn rabbitmq(url: &str, plan: &Plan) -> anyhow::Result<Self> {
        let (mut connections, mut channels) = (Vec::new(), Vec::new());
        for _ in 0..plan.connection_count() {
            let connection = Connection::connect(url, ConnectionProperties::default()).await?;
            for _ in 0..plan.raw.channels {
                let channel = connection.create_channel().await?;
                channel.confirm_select(ConfirmSelectOptions::default()).await?;
                channels.push(channel);
            }
            connections.push(connection);
        }
        Ok(Self::RabbitMq { channels, _connections: connections })
    }

    pub(super) async fn redis(url: &str, plan: &Plan) -> anyhow::Result<Self> {
        let client = redis::Client::open(url)?;
        let config = AsyncConnectionConfig::new().set_response_timeout(Some(PATIENCE));
        let mut connections = Vec::new();
        for _ in 0..plan.connection_count() {
            connections.push(client.get_multiplexed_async_connection_with_config(&config).await?);
        }
        Ok(Self::Redis(connections))
    }

    pub(super) fn kafka(brokers: &str, linger_ms: u32) -> anyhow::Result<Self> {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", brokers).set("acks", "all").set("enable.idempotence", "true");
        config.set("linger.ms", linger_ms.to_string());
        Ok(Self::Kafka { brokers: brokers.to_owned(), producer: config.create()? })
    }

    /// Until the broker has confirmed it.
    async fn publish(&self, publisher: usize, event: &Bytes) -> anyhow::Result<()> {
        match self {
            Self::RabbitMq { channels, .. } => {
                let properties = BasicProperties::default()
                    .with_delivery_mode(2)
                    .with_content_type(EVENT_TYPE.into())
                    .with_message_id(ID.into());
                let options = BasicPublishOptions { mandatory: true, immediate: false };
                let channel = turn(channels, publisher)?;
                let sent = channel.basic_publish("".into(), ORDERS.into(), options, event, properties).await?;
                match sent.await? {
                    Confirmation::Ack(None) => Ok(()),
                    other => bail!("RabbitMQ answered {other:?}"),
                }
            }
            Self::Redis(connections) => {
                let mut connection = turn(connections, publisher)?.clone();
                let mut add = redis::cmd("XADD");
                add.arg(ORDERS).arg("*").arg("id").arg(ID).arg("event").arg(&**event);
                Ok(add.query_async::<()>(&mut connection).await?)
            }
            Self::Kafka { producer, .. } => {
                let header = |key, value| Header { key, value: Some(value) };
                let headers =
                    OwnedHeaders::new().insert(header("ce_id", ID)).insert(header("content-type", EVENT_TYPE));
                let record = FutureRecord::<str, [u8]>::to(ORDERS).payload(event).headers(headers);
                let sent = producer.send_result(record).map_err(|(error, _)| error)?;
                sent.await?.map_err(|(error, _)| error)?;
                Ok(())
            }
        }
    }

    async fn any_message(&self) -> anyhow::Result<Bytes> {
        match self {
            Self::RabbitMq { channels, .. } => {
                let got = turn(channels, 0)?.basic_get(ORDERS.into(), BasicGetOptions { no_ack: true }).await?;
                Ok(got.context("the queue is empty")?.data.clone().into())
            }
            Self::Redis(connections) => {
                let mut connection = turn(connections, 0)?.clone();
                let mut newest = redis::cmd("XREVRANGE");
                newest.arg(ORDERS).arg("+").arg("-").arg("COUNT").arg(1);
                let newest = newest.query_async::<Vec<(String, [Bytes; 4])>>(&mut connection).await?;
                let (_, [_, _, _, event]) = newest.into_iter().next().context("the stream is empty")?;
                Ok(event)
            }
            Self::Kafka { brokers, .. } => {
                let mut config = ClientConfig::new();
                config.set("bootstrap.servers", brokers).set("group.id", "benches");
                let consumer: BaseConsumer = config.create()?;
                let mut partitions = TopicPartitionList::new();
                for partition in 0..super::PARTITIONS {
                    partitions.add_partition_offset(ORDERS, partition, Offset::Beginning)?;
                }
                consumer.assign(&partitions)?;
                let message = consumer.poll(PATIENCE).context("the topic is empty")??;
                Ok(Bytes::copy_from_slice(message.payload().context("the message is empty")?))
            }
        }
    }

    async fn clear(&self) -> anyhow::Result<()> {
        match self {
            Self::RabbitMq { channels, .. } => {
                turn(channels, 0)?.queue_purge(ORDERS.into(), QueuePurgeOptions::default()).await?;
            }
            Self::Redis(connections) => {
                redis::cmd("UNLINK").arg(ORDERS).query_async::<()>(&mut turn(connections, 0)?.clone()).await?;
            }
            // The mock forgets by itself what is older than some megabytes.
            Self::Kafka { .. } => {}
        }
        Ok(())
    }
}

fn turn<T>(all: &[T], number: usize) -> anyhow::Result<&T> {
    all.get(number % all.len().max(1)).context("there is no connection")
}

impl Plan {
    fn connection_count(&self) -> usize {
        if self.raw.apart { self.connections } else { 1 }
    }
}
