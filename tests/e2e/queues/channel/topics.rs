//! Topics of each broker, as producers and workers see them that do not come through the gateway.

use std::time::Duration;

use e2e::kafka::Kafka;
use e2e::rabbitmq::{RabbitMq, rabbitmq};
use e2e::redis::{RedisServer, redis};
use futures::StreamExt;
use lapin::options::{
    BasicConsumeOptions, BasicPublishOptions, ConfirmSelectOptions, ExchangeDeclareOptions, QueueBindOptions,
    QueueDeclareOptions,
};
use lapin::types::FieldTable;
use lapin::{BasicProperties, Channel, Confirmation, Connection, ConnectionProperties, ExchangeKind};
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{Consumer, StreamConsumer};
use rdkafka::message::Message;
use rdkafka::producer::{FutureProducer, FutureRecord};
use rdkafka::{Offset, TopicPartitionList};
use serde_json::{Value, json};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use super::{DEADLINE, unique};

pub(super) enum Topics {
    RabbitMq { url: String, exchange: String, server: Option<RabbitMq> },
    Redis { url: String, server: Option<RedisServer> },
    Kafka(Kafka),
}

type Entries = Vec<(String, Vec<(String, Vec<Vec<u8>>)>)>;

impl Topics {
    /// Of the usual server, with an exchange that is not there yet.
    pub(super) async fn rabbitmq() -> Self {
        Self::RabbitMq { url: rabbitmq().await, exchange: unique("chat"), server: None }
    }

    pub(super) fn redis() -> Self {
        Self::Redis { url: redis(), server: None }
    }

    pub(super) async fn kafka(topics: &[&str]) -> Self {
        Self::Kafka(Kafka::start(topics).await)
    }

    pub(super) async fn own_rabbitmq() -> Self {
        let server = RabbitMq::start().await;
        Self::RabbitMq { url: server.url(), exchange: unique("chat"), server: Some(server) }
    }

    pub(super) async fn own_redis() -> Self {
        let server = RedisServer::start().await;
        Self::Redis { url: server.url(), server: Some(server) }
    }

    pub(super) fn broker(&self) -> &'static str {
        match self {
            Self::RabbitMq { .. } => "rabbitmq",
            Self::Redis { .. } => "redis",
            Self::Kafka(_) => "kafka",
        }
    }

    /// Of a gateway.
    pub(super) fn setting(&self) -> (&'static str, String) {
        match self {
            Self::RabbitMq { url, .. } => ("AMQP_URL", url.clone()),
            Self::Redis { url, .. } => ("REDIS_URL", url.clone()),
            Self::Kafka(kafka) => ("KAFKA_BROKERS", kafka.brokers().to_owned()),
        }
    }

    pub(super) fn destination(&self, topic: &str) -> Value {
        match self {
            Self::RabbitMq { exchange, .. } => json!({"exchange": exchange, "routingKey": topic}),
            Self::Redis { .. } => json!({"stream": topic}),
            Self::Kafka(_) => json!({"topic": topic}),
        }
    }

    /// Publishes one message after the other; each is taken when this returns.
    pub(super) async fn say(&self, topic: &str, messages: &[Value]) {
        match self {
            Self::RabbitMq { url, exchange, .. } => {
                let channel = amqp(url, exchange).await;
                for message in messages {
                    publish(&channel, exchange, topic, message).await;
                }
            }
            Self::Redis { url, .. } => {
                let mut connection =
                    redis::Client::open(url.as_str()).unwrap().get_multiplexed_async_connection().await.unwrap();
                let mut pipeline = redis::pipe();
                for message in messages {
                    pipeline.cmd("XADD").arg(topic).arg("*").arg("event").arg(message.to_string());
                }
                pipeline.query_async::<Vec<String>>(&mut connection).await.unwrap();
            }
            Self::Kafka(kafka) => {
                let producer: FutureProducer =
                    ClientConfig::new().set("bootstrap.servers", kafka.brokers()).create().unwrap();
                for message in messages {
                    let payload = message.to_string();
                    let record = FutureRecord::<str, str>::to(topic).payload(&payload);
                    producer.send(record, DEADLINE).await.map_err(|(error, _)| error).unwrap();
                }
            }
        }
    }

    /// Everything on a topic from now on, as a worker of its own would take it.
    pub(super) async fn hear(&self, topic: &str) -> UnboundedReceiver<Value> {
        let (heard, hearing) = unbounded_channel();
        let tell = move |bytes: &[u8]| drop(heard.send(serde_json::from_slice(bytes).unwrap()));
        match self {
            Self::RabbitMq { url, exchange, .. } => hear_rabbitmq(url, exchange, topic, tell).await,
            Self::Redis { url, .. } => hear_redis(url, topic, tell).await,
            Self::Kafka(kafka) => hear_kafka(kafka, topic, tell),
        }
        hearing
    }

    /// Whether a message would reach anybody at all.
    pub(super) async fn reaches_somebody(&self, topic: &str) -> bool {
        let Self::RabbitMq { url, exchange, .. } = self else { panic!("only RabbitMQ tells") };
        let channel = amqp(url, exchange).await;
        match publish(&channel, exchange, topic, &json!({})).await {
            Confirmation::Ack(returned) => returned.is_none(),
            other => panic!("{other:?}"),
        }
    }
}

/// A channel that confirms, and the exchange.
async fn amqp(url: &str, exchange: &str) -> Channel {
    let connection = Connection::connect(url, ConnectionProperties::default()).await.unwrap();
    let channel = connection.create_channel().await.unwrap();
    channel.confirm_select(ConfirmSelectOptions::default()).await.unwrap();
    let durable = ExchangeDeclareOptions { durable: true, ..Default::default() };
    channel.exchange_declare(exchange.into(), ExchangeKind::Topic, durable, FieldTable::default()).await.unwrap();
    channel
}

async fn publish(channel: &Channel, exchange: &str, topic: &str, message: &Value) -> Confirmation {
    let (payload, options) = (message.to_string(), BasicPublishOptions { mandatory: true, ..Default::default() });
    let properties = BasicProperties::default();
    let sent = channel.basic_publish(exchange.into(), topic.into(), options, payload.as_bytes(), properties).await;
    sent.unwrap().await.unwrap()
}

async fn hear_rabbitmq(url: &str, exchange: &str, topic: &str, tell: impl Fn(&[u8]) + Send + 'static) {
    let channel = amqp(url, exchange).await;
    let options = QueueDeclareOptions { exclusive: true, ..Default::default() };
    let queue = channel.queue_declare("".into(), options, FieldTable::default()).await.unwrap().name().clone();
    let bind = QueueBindOptions::default();
    channel.queue_bind(queue.clone(), exchange.into(), topic.into(), bind, FieldTable::default()).await.unwrap();
    let options = BasicConsumeOptions { no_ack: true, ..Default::default() };
    let mut consumer = channel.basic_consume(queue, "".into(), options, FieldTable::default()).await.unwrap();
    tokio::spawn(async move {
        let _channel = channel;
        while let Some(Ok(delivery)) = consumer.next().await {
            tell(&delivery.data);
        }
    });
}

async fn hear_redis(url: &str, topic: &str, tell: impl Fn(&[u8]) + Send + 'static) {
    let config = redis::AsyncConnectionConfig::new().set_response_timeout(Some(DEADLINE));
    let client = redis::Client::open(url).unwrap();
    let mut connection = client.get_multiplexed_async_connection_with_config(&config).await.unwrap();
    let (topic, mut place) = (topic.to_owned(), "0".to_owned());
    tokio::spawn(async move {
        loop {
            let mut asking = redis::cmd("XREAD");
            asking.arg("BLOCK").arg(500).arg("STREAMS").arg(&topic).arg(&place);
            let Ok(read) = asking.query_async::<Option<Entries>>(&mut connection).await else { return };
            for (at, fields) in read.into_iter().flatten().flat_map(|(_, entries)| entries) {
                place = at;
                tell(&fields.chunks(2).find(|pair| pair[0] == b"event").unwrap()[1]);
            }
        }
    });
}

fn hear_kafka(kafka: &Kafka, topic: &str, tell: impl Fn(&[u8]) + Send + 'static) {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", kafka.brokers()).set("group.id", "hearing");
    // At its end it would wait for a commit to a cluster that may be gone.
    config.set("enable.auto.commit", "false");
    let consumer: StreamConsumer = config.create().unwrap();
    let mut places = TopicPartitionList::new();
    places.add_partition_offset(topic, 0, Offset::Beginning).unwrap();
    consumer.assign(&places).unwrap();
    tokio::spawn(async move {
        loop {
            match consumer.recv().await {
                Ok(message) => tell(message.payload().unwrap()),
                // Such as a broker that it has not found yet.
                Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        }
    });
}
