//! Confirmed publishes through the gateway beside the brokers' own clients; embedded queues, whose messages are synced to disk; and
//! what clients feel while a broker is away.

mod away;
mod embedded;
mod gatehouse;
mod posts;
mod raw;
mod rounds;
mod servers;
mod sink;

use std::time::Duration;

use rdkafka::mocking::MockCluster;
use serde_json::{Value, json};

use gatehouse::Gatehouse;
use raw::{Raw, Running};
use servers::{RabbitMq, Redis};

/// Of the raw client's rate.
const OF_RAW: f64 = 0.8;

/// The queue, its route, stream and topic.
const ORDERS: &str = "orders";
const PARTITIONS: i32 = 4;
/// One that is spooled while its broker is away.
const KEPT: &str = "kept";

#[derive(clap::Args, Clone, Debug)]
pub struct Plan {
    #[arg(long, value_delimiter = ',', default_value = "rabbitmq,redis,redis-aof,kafka,embedded,away")]
    parts: Vec<Part>,
    #[arg(long, default_value_t = 6)]
    rounds: usize,
    /// Of each side in each round
    #[arg(long, default_value_t = 2.0)]
    seconds: f64,
    /// As many publishers has the raw client
    #[arg(long, default_value_t = 64)]
    connections: usize,
    /// The gateway's proxy workers
    #[arg(long, default_value_t = 1)]
    threads: usize,
    #[command(flatten)]
    raw: raw::Shape,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Part {
    /// A quorum queue, persistent messages, mandatory
    Rabbitmq,
    /// A stream that nobody saves
    Redis,
    /// A stream in a Redis that syncs each write before it answers
    RedisAof,
    /// librdkafka's mock cluster: no disk, one thread
    Kafka,
    Embedded,
    /// Brokers killed under load and started again
    Away,
}

impl Plan {
    fn lasts(&self) -> Duration {
        Duration::from_secs_f64(self.seconds)
    }
}

/// Answers which promises were missed.
pub fn run(plan: &Plan, postgres: Option<&str>) -> anyhow::Result<Vec<String>> {
    let mut missed = Vec::new();
    for part in &plan.parts {
        missed.extend(match part {
            Part::Rabbitmq => rabbitmq(plan)?,
            Part::Redis => redis(plan, false)?,
            Part::RedisAof => redis(plan, true)?,
            Part::Kafka => kafka(plan)?,
            Part::Embedded => embedded::run(plan, postgres)?,
            Part::Away => away::run(plan)?,
        });
    }
    Ok(missed)
}

fn rabbitmq(plan: &Plan) -> anyhow::Result<Vec<String>> {
    let server = RabbitMq::start()?;
    let gatehouse = Gatehouse::start(plan, None, &[("AMQP_URL", server.url())], &[orders("rabbitmq", &amqp(ORDERS))])?;
    let raw = Running::start(plan, Raw::rabbitmq(&server.url(), plan))?;
    beside("RabbitMQ, quorum queue, persistent, mandatory", plan, &gatehouse, raw)
}

fn redis(plan: &Plan, synced: bool) -> anyhow::Result<Vec<String>> {
    let server = Redis::start(synced)?;
    let durability = if synced { "aof" } else { "none" };
    let variables = [("REDIS_URL", server.url()), ("GATEWAY_REDIS_DURABILITY", durability.to_owned())];
    let gatehouse = Gatehouse::start(plan, None, &variables, &[orders("redis", &json!({"stream": ORDERS}))])?;
    let raw = Running::start(plan, Raw::redis(&server.url(), plan))?;
    let title = if synced { "Redis, XADD, appendfsync always" } else { "Redis, XADD, nothing saved" };
    beside(title, plan, &gatehouse, raw)
}

fn kafka(plan: &Plan) -> anyhow::Result<Vec<String>> {
    let cluster = MockCluster::new(1)?;
    cluster.create_topic(ORDERS, PARTITIONS, 1)?;
    let brokers = cluster.bootstrap_servers();
    let variables = [("KAFKA_BROKERS", brokers.clone())];
    let gatehouse = Gatehouse::start(plan, None, &variables, &[orders("kafka", &json!({"topic": ORDERS}))])?;
    let raw = Running::start(plan, async { Raw::kafka(&brokers, plan.raw.linger_ms) })?;
    beside("Kafka, a mock in this process, acks=all, idempotent", plan, &gatehouse, raw)
}

/// Prints a table.
fn beside(title: &str, plan: &Plan, gatehouse: &Gatehouse, mut raw: Running) -> anyhow::Result<Vec<String>> {
    let posts = gatehouse.posts(ORDERS, plan.connections, plan.lasts());
    Gatehouse::wait_accepted(&posts)?;
    // What the gateway makes of a request is what the raw client sends.
    raw.take_sample()?;
    let ratio = rounds::beside(title, plan, &raw, gatehouse, &posts)?;
    let is_missed = ratio < OF_RAW;
    Ok(is_missed
        .then(|| format!("{title}: {ratio:.2} of the raw client's rate, at least {OF_RAW}"))
        .into_iter()
        .collect())
}

fn amqp(routing_key: &str) -> Value {
    json!({"exchange": "", "routingKey": routing_key})
}

fn orders(broker: &str, destination: &Value) -> (&'static str, Value) {
    (ORDERS, json!({"broker": broker, "destination": destination, "confirmTimeoutMs": 20_000}))
}
