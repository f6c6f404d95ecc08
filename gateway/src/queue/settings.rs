//! What the gateway is told about queues at its start: where brokers are, and how it is reached from outside.

use std::collections::BTreeMap;
use std::str::FromStr;

use clap::Args;
use gateway_config::model::{Broker, Queue};

use super::broker::Durability;

#[derive(Args, Clone, Debug)]
pub(crate) struct QueueSettings {
    /// RabbitMQ, for queues that name no connection: amqp://… or amqps://…
    #[arg(long, env = "AMQP_URL", hide_env_values = true)]
    pub(crate) amqp_url: Option<String>,
    /// Kafka, for queues that name no connection: HOST:PORT, separated by commas
    #[arg(long, env = "KAFKA_BROKERS")]
    pub(crate) kafka_brokers: Option<String>,
    /// Further brokers by the names that queues' `connection` uses: NAME=URL with amqp://, redis:// or kafka://HOST:PORT+HOST:PORT,
    /// separated by commas
    #[arg(long, env = "GATEWAY_CONNECTIONS", value_delimiter = ',', hide_env_values = true)]
    pub(crate) connection: Vec<NamedConnection>,
    /// Only look whether exchanges, queues, streams and topics are there, instead of making what is missing
    #[arg(long, env = "GATEWAY_CHECK_TOPOLOGY")]
    pub(crate) check_topology: bool,
    /// When a message counts as taken by Redis: none (at once), wait:N (N replicas have it) or aof (it is on disk)
    #[arg(long, env = "GATEWAY_REDIS_DURABILITY", default_value = "none")]
    pub(crate) redis_durability: Durability,
    /// Where clients and workers reach this fleet, for the URLs of tasks: https://api.example.com; absent: the traffic address
    #[arg(long, env = "GATEWAY_PUBLIC_URL")]
    pub(crate) public_url: Option<String>,
    /// How much is kept on disk of messages whose broker is away, in MiB; what comes beyond is refused
    #[arg(long, env = "GATEWAY_SPOOL_MAX_MIB", default_value_t = 1024, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) spool_max_mib: u32,
    /// How long the records of tasks are kept after the last thing that happened
    #[arg(long, env = "GATEWAY_TASK_TTL_HOURS", default_value_t = 168, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) task_ttl_hours: u32,
    /// Let applications be called back at private addresses, too
    #[arg(long, env = "GATEWAY_CALLBACK_PRIVATE")]
    pub(crate) callback_private: bool,
    /// How long a worker behind an embedded queue may take to answer
    #[arg(long, env = "GATEWAY_DELIVERY_TIMEOUT_SECONDS", default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) delivery_timeout_seconds: u32,
    /// How long after a gateway's death others take over what it was delivering
    #[arg(long, env = "GATEWAY_DELIVERY_LEASE_SECONDS", default_value_t = 15, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) delivery_lease_seconds: u32,
}

/// A broker under a name of the operator's.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct NamedConnection {
    name: String,
    broker: Broker,
    url: String,
}

impl std::fmt::Debug for NamedConnection {
    /// The URL may hold a password.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NamedConnection")
            .field("name", &self.name)
            .field("broker", &self.broker)
            .finish_non_exhaustive()
    }
}

impl FromStr for NamedConnection {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, url) = text.split_once('=').ok_or("write NAME=URL")?;
        if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte)) {
            return Err("a name is made of letters, digits, - _ and .".to_owned());
        }
        let broker = match url.split_once("://").map(|(scheme, _)| scheme) {
            Some("amqp" | "amqps") => Broker::Rabbitmq,
            Some("redis" | "rediss") => Broker::Redis,
            Some("kafka") => Broker::Kafka,
            _ => return Err("the URL begins with amqp://, amqps://, redis://, rediss:// or kafka://".to_owned()),
        };
        Ok(Self { name: name.to_owned(), broker, url: url.to_owned() })
    }
}

/// Where each broker is.
#[derive(Clone, Default)]
pub(crate) struct Connections {
    /// By kind; the name is empty for the usual one.
    urls: BTreeMap<(&'static str, String), (Broker, String)>,
}

impl Connections {
    pub(crate) fn of(settings: &QueueSettings, redis_url: Option<&str>) -> Self {
        let usual = [
            (Broker::Rabbitmq, settings.amqp_url.clone()),
            (Broker::Kafka, settings.kafka_brokers.as_ref().map(|hosts| format!("kafka://{hosts}"))),
            (Broker::Redis, redis_url.map(str::to_owned)),
        ];
        let usual = usual.into_iter().filter_map(|(broker, url)| {
            url.filter(|url| !url.is_empty()).map(|url| ((word(broker), String::new()), (broker, url)))
        });
        let named =
            settings.connection.iter().map(|it| ((word(it.broker), it.name.clone()), (it.broker, it.url.clone())));
        Self { urls: usual.chain(named).collect() }
    }

    /// Where the queue's broker is; `None`: this gateway was not told.
    pub(crate) fn url(&self, queue: &Queue) -> Option<&str> {
        let name = queue.connection.clone().unwrap_or_default();
        self.urls.get(&(word(queue.broker), name)).map(|(_, url)| url.as_str())
    }

    /// Each with its name and URL.
    pub(crate) fn all(&self) -> impl Iterator<Item = (Broker, &str, &str)> {
        self.urls.iter().map(|((_, name), (broker, url))| (*broker, name.as_str(), url.as_str()))
    }
}

impl std::fmt::Debug for Connections {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.urls.keys()).finish()
    }
}

pub(crate) fn word(broker: Broker) -> &'static str {
    match broker {
        Broker::Embedded => "embedded",
        Broker::Rabbitmq => "rabbitmq",
        Broker::Redis => "redis",
        Broker::Kafka => "kafka",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_named_connection_says_its_broker_by_its_scheme_and_is_never_shown() {
        let connection: NamedConnection = "events=amqps://user:canary@host".parse().unwrap();
        assert_eq!((connection.name.as_str(), connection.broker), ("events", Broker::Rabbitmq));
        assert!(!format!("{connection:?}").contains("canary"));
        for bad in ["", "events", "=amqp://h", "a b=amqp://h", "events=http://h", "events=host"] {
            assert!(bad.parse::<NamedConnection>().is_err(), "{bad}");
        }
    }
}
