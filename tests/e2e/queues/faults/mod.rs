//! Faults, each under load and with its messages counted: what was accepted is received, nothing is lost, and what comes twice has
//! the same id.

mod broker_killed;
mod database_away;
mod disk_full;
mod gateway_killed;
mod impatient;
mod kafka;
mod network_cut;
mod newborn;
mod same_key;
mod too_large;
mod worker_killed;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use e2e::kafka::Kafka;
use e2e::rabbitmq::RabbitMq;
use e2e::redis::RedisServer;
use e2e::stack::StackBuilder;
use e2e::{Backend, Crowd, Reply, Request, Stack, eventually_within, queue, rabbitmq, redis, route};
use serde_json::{Value, json};

use super::{DEADLINE, task_of};

/// What a queue does that is not told what to do while its broker is down.
const BY_DEFAULT: &str = "";

type Messages = Vec<(String, Vec<u8>)>;

fn unique() -> String {
    format!("orders-{}", gateway_config::clock::new_id())
}

/// The queue `orders` behind `POST /orders`, open to all.
async fn ordering(builder: StackBuilder, broker: &str, destination: Value, when_down: &str) -> Stack {
    let stack = builder.start().await;
    let mut orders = queue("orders").set("broker", broker).set("destination", destination);
    if when_down != BY_DEFAULT {
        orders = orders.set("onBrokerDown", when_down);
    }
    stack.put(&[orders, route("orders").pattern("/orders").to_queue("orders").public()]).await;
    stack
}

/// A broker of whichever kind: where it is, and where orders wait on it.
struct Place {
    name: String,
    server: Server,
}

enum Server {
    /// The run's own.
    Rabbitmq(String),
    Redis(String),
    OwnRabbitmq(RabbitMq),
    OwnRedis(RedisServer),
    Kafka(Kafka),
}

impl Place {
    async fn rabbitmq() -> Self {
        Self { name: unique(), server: Server::Rabbitmq(rabbitmq::rabbitmq().await) }
    }

    fn redis() -> Self {
        Self { name: unique(), server: Server::Redis(redis::redis()) }
    }

    async fn own_rabbitmq() -> Self {
        Self { name: unique(), server: Server::OwnRabbitmq(RabbitMq::start().await) }
    }

    async fn own_redis() -> Self {
        Self { name: unique(), server: Server::OwnRedis(RedisServer::start().await) }
    }

    async fn kafka() -> Self {
        let name = unique();
        let server = Server::Kafka(Kafka::start(&[&name]).await);
        Self { name, server }
    }

    fn url(&self) -> String {
        match &self.server {
            Server::Rabbitmq(url) | Server::Redis(url) => url.clone(),
            Server::OwnRabbitmq(server) => server.url(),
            Server::OwnRedis(server) => server.url(),
            Server::Kafka(server) => server.brokers().to_owned(),
        }
    }

    /// The kind of broker, and how it is told where to put orders.
    fn destination(&self) -> (&'static str, Value) {
        match &self.server {
            Server::Rabbitmq(_) | Server::OwnRabbitmq(_) => {
                ("rabbitmq", json!({"exchange": "", "routingKey": self.name}))
            }
            Server::Redis(_) | Server::OwnRedis(_) => ("redis", json!({"stream": self.name})),
            Server::Kafka(_) => ("kafka", json!({"topic": self.name})),
        }
    }

    /// With this broker at `url`.
    async fn ordering(&self, builder: StackBuilder, url: &str, when_down: &str) -> Stack {
        let (broker, destination) = self.destination();
        let setting = match broker {
            "rabbitmq" => "AMQP_URL",
            "redis" => "REDIS_URL",
            _ => "KAFKA_BROKERS",
        };
        ordering(builder.setting(setting, url), broker, destination, when_down).await
    }

    /// All that is there, once these ids are among it.
    async fn received(&self, wanted: &BTreeSet<String>) -> Messages {
        match &self.server {
            Server::Rabbitmq(_) | Server::OwnRabbitmq(_) => rabbitmq::received(&self.url(), &self.name, wanted).await,
            Server::Redis(_) | Server::OwnRedis(_) => redis::received(&self.url(), &self.name, wanted).await,
            Server::Kafka(server) => server.received(&self.name, wanted).await,
        }
    }

    /// Another place on the same server, which stays this one's to kill.
    fn beside(&self) -> Self {
        let server = match &self.server {
            Server::Rabbitmq(_) | Server::OwnRabbitmq(_) => Server::Rabbitmq(self.url()),
            Server::Redis(_) | Server::OwnRedis(_) => Server::Redis(self.url()),
            Server::Kafka(_) => panic!("its topics are made at its start"),
        };
        Self { name: unique(), server }
    }

    async fn kill(&mut self) {
        match &mut self.server {
            Server::OwnRabbitmq(server) => server.kill(),
            Server::OwnRedis(server) => server.kill().await,
            _ => panic!("others use it, too"),
        }
    }

    async fn start_again(&mut self) {
        match &mut self.server {
            Server::OwnRabbitmq(server) => server.start_again().await,
            Server::OwnRedis(server) => server.start_again().await,
            _ => panic!("it was never killed"),
        }
    }
}

fn crowd(stack: &Stack, orders: usize) -> e2e::crowd::CrowdBuilder {
    Crowd::at(stack.gateway(0).address(), "/orders").orders(orders)
}

/// The gateway is connected, and the queue is made: RabbitMQ refuses what comes while it makes one. Answers the order's id.
async fn first_is_taken(stack: &Stack, path: &str) -> String {
    let order = Request::post(path, r#"{"order": "first"}"#).header("Content-Type", "application/json");
    let sending = async || stack.gateway(0).send(&order).await.with_status(202);
    task_of(&eventually_within(DEADLINE, "an order to be taken", sending).await)
}

/// Nothing waits on disk any more.
async fn spool_is_empty(stack: &Stack) {
    let look = async || match stack.gateway(0).metric("gatehouse_spool_messages", &[]).await {
        Some(0.0) => Ok(()),
        waiting => Err(format!("{waiting:?} messages wait in the spool")),
    };
    eventually_within(e2e::proof::PATIENCE, "the spool to be published", look).await;
}

/// A worker behind an embedded queue that keeps all it gets.
struct Worker {
    backend: Backend,
    received: Arc<Mutex<Messages>>,
}

impl Worker {
    fn start() -> Self {
        let received = Arc::<Mutex<Messages>>::default();
        let theirs = received.clone();
        let backend = Backend::http().otherwise(move |request| {
            let id = request.header("webhook-id").unwrap_or_default().to_owned();
            theirs.lock().unwrap().push((id, request.body.to_vec()));
            Reply::status(204)
        });
        Self { backend: backend.start(), received }
    }

    async fn ordering(&self, builder: StackBuilder, when_down: &str) -> Stack {
        let destination = json!({"deliverTo": format!("{}/orders", self.backend.url())});
        ordering(builder, "embedded", destination, when_down).await
    }

    /// All that came, once these ids are among it.
    async fn received(&self, wanted: &BTreeSet<String>) -> Messages {
        let look = async || {
            let ids: BTreeSet<String> = self.received.lock().unwrap().iter().map(|(id, _)| id.clone()).collect();
            let missing = wanted.difference(&ids).count();
            if missing == 0 { Ok(()) } else { Err(format!("{missing} of {} are missing", wanted.len())) }
        };
        eventually_within(e2e::proof::PATIENCE.max(DEADLINE), "the messages at the worker", look).await;
        self.received.lock().unwrap().clone()
    }
}
