//! All brokers of this gateway, each made when it is first needed and kept from then on.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use gateway_config::model::{Broker as Kind, Kind as EntityKind, Queue, Target};
use gateway_config::snapshot::Snapshot;
use parking_lot::Mutex;
use tokio::runtime::Handle;

use super::kafka::Kafka;
use super::rabbitmq::RabbitMq;
use super::redis::{Durability, Redis};
use super::{Broker, Message, PublishError};
use crate::observe::metrics::QueueMetrics;
use crate::queue::settings::{Connections, QueueSettings, word};

/// A broker, or why there is none.
type Made = Result<Arc<dyn Broker>, String>;

/// Brokers by kind and connection. They outlive every snapshot.
#[derive(Debug)]
pub(crate) struct Brokers {
    connections: Connections,
    durability: Durability,
    check_topology: bool,
    metrics: QueueMetrics,
    /// Where the gateway has a database to keep messages in.
    embedded: Option<Arc<dyn Broker>>,
    /// What is not to be had stands here with its reason, so that it is told once.
    made: Mutex<HashMap<String, Made>>,
    /// Where connections are kept.
    control: Handle,
}

impl Brokers {
    /// `control`: what outlives a request runs there.
    pub(crate) fn new(
        settings: &QueueSettings,
        redis_url: Option<&str>,
        metrics: QueueMetrics,
        control: Handle,
    ) -> Self {
        Self {
            connections: Connections::of(settings, redis_url),
            durability: settings.redis_durability,
            check_topology: settings.check_topology,
            metrics,
            embedded: None,
            made: Mutex::default(),
            control,
        }
    }

    pub(crate) fn with_embedded(self, broker: Arc<dyn Broker>) -> Self {
        Self { embedded: Some(broker), ..self }
    }

    /// The broker behind a queue; an error where this gateway was not told where it is.
    pub(crate) fn of(&self, queue: &Queue) -> Result<Arc<dyn Broker>, PublishError> {
        if queue.broker == Kind::Embedded {
            let away = || PublishError::Unavailable("this gateway has no embedded broker".to_owned());
            return self.embedded.clone().ok_or_else(away);
        }
        let connection = queue.connection.as_deref().unwrap_or_default();
        let Some(url) = self.connections.url(queue) else {
            return Err(PublishError::Unavailable("no such connection is set up on this gateway".to_owned()));
        };
        self.get(queue.broker, connection, url).map_err(PublishError::Unavailable)
    }

    fn get(&self, kind: Kind, connection: &str, url: &str) -> Made {
        let name = name(kind, connection);
        let mut made = self.made.lock();
        if let Some(broker) = made.get(&name) {
            return broker.clone();
        }
        let broker = self.make(kind, connection, name.clone(), url);
        if let Err(why) = &broker {
            tracing::error!(broker = name, why, "could not use {name}");
        }
        made.insert(name, broker.clone());
        broker
    }

    fn make(&self, kind: Kind, connection: &str, name: String, url: &str) -> Made {
        let _runtime = self.control.enter();
        let up = self.metrics.up(word(kind), connection);
        Ok(match kind {
            Kind::Rabbitmq => Arc::new(RabbitMq::start(url, name, self.check_topology, up)?),
            Kind::Redis => Arc::new(Redis::start(url, name, self.durability, self.check_topology, up)?),
            Kind::Kafka => Arc::new(Kafka::start(url, name, up)),
            Kind::Embedded => return Err("the embedded broker has no connection".to_owned()),
        })
    }

    /// Connects to what the configuration's queues will need, before a request has to wait for it.
    pub(crate) fn warm_up(&self, snapshot: &Snapshot) {
        for queue in snapshot.queues() {
            let Ok(broker) = self.of(&queue.source) else { continue };
            let mut routes =
                snapshot.referrers(EntityKind::Queue, queue.name()).filter_map(|name| snapshot.route(name));
            if routes.any(|route| matches!(route.source.target, Target::Channel(_))) {
                broker.will_be_followed(&queue.source);
            }
        }
    }

    /// Publishes and counts how that went.
    pub(crate) async fn publish(&self, message: &Message, patience: Duration) -> Result<(), PublishError> {
        let broker = self.of(&message.queue.source);
        let started = Instant::now();
        let published = match broker {
            Ok(broker) => broker.publish(message, patience).await,
            Err(error) => Err(error),
        };
        self.metrics.published(message.queue.name(), &published, started.elapsed());
        published
    }

    /// Reaches everything that the settings name: each with what came of it.
    pub(crate) async fn check(&self, patience: Duration) -> Vec<(String, Result<String, String>)> {
        let mut said = Vec::new();
        for (kind, connection, url) in self.connections.all() {
            let outcome = match self.get(kind, connection, url) {
                Ok(broker) => match broker.reach(patience).await {
                    Ok(()) => Ok("it answers".to_owned()),
                    Err(error) => Err(error.to_string()),
                },
                Err(why) => Err(why),
            };
            said.push((name(kind, connection), outcome));
        }
        said
    }
}

/// What logs and people call it.
fn name(kind: Kind, connection: &str) -> String {
    let kind = word(kind);
    if connection.is_empty() { kind.to_owned() } else { format!("{kind} {connection}") }
}
