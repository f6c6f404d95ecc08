//! Kafka: acknowledged by all in-sync replicas, by an idempotent producer. librdkafka works on threads of its own.
//!
//! Topics are not made here: how many partitions and copies one has is the operator's choice. TLS and SASL are not in this build.

mod follow;
mod producer;

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use gateway_config::snapshot::CompiledQueue;
use parking_lot::Mutex;
use prometheus::IntGauge;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{FutureRecord, Producer as _};
use rdkafka::types::RDKafkaRespErr;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

use super::keep::{Dial, Keeper};
use super::{Broker, Depth, Message, PublishError, Source};
use crate::queue::event::EVENT_TYPE;
use producer::Producer;

/// What the cluster said no to is not asked again so soon.
const NO_HOLDS: Duration = Duration::from_secs(1);
/// For questions to the cluster, on a thread that may wait.
const ASK_PATIENCE: Duration = Duration::from_millis(1400);

pub(super) struct Kafka {
    keeper: Keeper<Dialer>,
    brokers: String,
}

struct Dialer {
    brokers: String,
    doubt: Arc<Notify>,
    /// A producer that has found no broker yet: it goes on looking by itself.
    lonely: Mutex<Option<Producer>>,
}

struct Link {
    producer: Producer,
    /// Topics that were asked for: there, or missing until then.
    topics: Mutex<HashMap<String, Topic>>,
}

#[derive(Clone, Copy)]
enum Topic {
    There,
    MissingUntil(Instant),
}

impl Kafka {
    /// `brokers` as in `host:port,host:port`; `name` is what logs call it.
    pub(super) fn start(brokers: &str, name: String, up: IntGauge) -> Self {
        let brokers = brokers.trim_start_matches("kafka://").replace('+', ",");
        let dialer = Dialer { brokers: brokers.clone(), doubt: Arc::default(), lonely: Mutex::default() };
        Self { keeper: Keeper::start(dialer, name, up), brokers }
    }
}

impl fmt::Debug for Kafka {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.keeper.fmt(f)
    }
}

#[async_trait]
impl Broker for Kafka {
    async fn publish(&self, message: &Message, patience: Duration) -> Result<(), PublishError> {
        let deadline = Instant::now() + patience;
        let link = self.keeper.link().await?;
        if link.producer.is_lost() {
            self.keeper.doubt();
            return Err(PublishError::Unavailable("it lost all brokers".to_owned()));
        }
        let topic = topic(&message.queue)?;
        let known = timeout_at(deadline, link.knows(topic)).await;
        let sent = match known.unwrap_or_else(|_| Err(PublishError::Unavailable("it told nothing of the topic".into())))
        {
            Ok(()) => link.send(topic, message, deadline).await,
            Err(error) => Err(error),
        };
        match &sent {
            Err(PublishError::Unconfirmed | PublishError::Unavailable(_)) => self.keeper.doubt(),
            Err(PublishError::Unroutable(_)) => link.forget(topic),
            _ => {}
        }
        sent
    }

    fn is_up(&self) -> bool {
        self.keeper.is_up()
    }

    async fn reach(&self, patience: Duration) -> Result<(), PublishError> {
        self.keeper.reach(patience).await.map(drop)
    }

    /// Kafka keeps what was consumed, and each group of consumers has its own place in it: there is no one number.
    async fn depth(&self, _queue: &CompiledQueue) -> Result<Depth, PublishError> {
        self.keeper.link().await.map(|_| Depth::default())
    }

    async fn follow(&self, queue: &CompiledQueue) -> Result<Box<dyn Source>, PublishError> {
        Ok(Box::new(follow::follow(&self.brokers, topic(queue)?).await?))
    }
}

fn topic(queue: &CompiledQueue) -> Result<&str, PublishError> {
    let topic = queue.source.destination.topic.as_deref();
    topic.ok_or_else(|| PublishError::Unroutable("the queue names no topic".to_owned()))
}

#[async_trait]
impl Dial for Dialer {
    type Link = Link;

    async fn dial(&self) -> Result<Link, String> {
        let kept = self.lonely.lock().take();
        let producer = match kept {
            Some(producer) => producer,
            None => producer::make(&self.brokers, self.doubt.clone()).map_err(|error| error.to_string())?,
        };
        *self.lonely.lock() = Some(producer.clone());
        ask(&producer, None).await.map_err(|error| reason(&error))?;
        producer.found_a_broker();
        self.lonely.lock().take();
        Ok(Link { producer, topics: Mutex::default() })
    }

    async fn is_alive(&self, link: &Link) -> bool {
        let topic = link.topics.lock().keys().next().cloned();
        ask(&link.producer, topic).await.is_ok()
    }

    fn is_lost(&self, link: &Link) -> bool {
        link.producer.is_lost()
    }

    fn hang_up(&self, link: &Link) {
        producer::end(link.producer.clone());
    }

    fn doubted(&self) -> Arc<Notify> {
        self.doubt.clone()
    }
}

/// The state of a topic, or of whatever there is. Waits on a thread that may.
async fn ask(producer: &Producer, topic: Option<String>) -> Result<Option<RDKafkaRespErr>, KafkaError> {
    let client = producer.client.clone();
    let asking = tokio::task::spawn_blocking(move || {
        let metadata = client.client().fetch_metadata(topic.as_deref(), ASK_PATIENCE)?;
        Ok(metadata.topics().first().and_then(rdkafka::metadata::MetadataTopic::error))
    });
    asking.await.unwrap_or(Err(KafkaError::Canceled))
}

impl Link {
    /// Asks for a topic before its first message: librdkafka itself would wait long for one that is missing.
    async fn knows(&self, topic: &str) -> Result<(), PublishError> {
        let missing = || PublishError::Unroutable(format!("there is no topic {topic:?}"));
        let known = self.topics.lock().get(topic).copied();
        match known {
            Some(Topic::There) => return Ok(()),
            Some(Topic::MissingUntil(until)) if until > Instant::now() => return Err(missing()),
            _ => {}
        }
        let state = ask(&self.producer, Some(topic.to_owned())).await;
        let (known, answer) = match state.map_err(|error| PublishError::Unavailable(reason(&error)))? {
            // Without a leader for now: the message may wait for one as long as its patience lasts.
            None | Some(RDKafkaRespErr::RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE) => (Topic::There, Ok(())),
            Some(error) => {
                let answer = match judge(RDKafkaErrorCode::from(error)) {
                    PublishError::Unroutable(_) => missing(),
                    other => other,
                };
                (Topic::MissingUntil(Instant::now() + NO_HOLDS), Err(answer))
            }
        };
        self.topics.lock().insert(topic.to_owned(), known);
        answer
    }

    fn forget(&self, topic: &str) {
        let mut topics = self.topics.lock();
        if matches!(topics.get(topic), Some(Topic::There)) {
            topics.remove(topic);
        }
    }

    async fn send(&self, topic: &str, message: &Message, deadline: Instant) -> Result<(), PublishError> {
        let id = message.id.to_string();
        let header = |key, value| Header { key, value: Some(value) };
        let headers =
            OwnedHeaders::new().insert(header("ce_id", id.as_str())).insert(header("content-type", EVENT_TYPE));
        let mut record = FutureRecord::<str, [u8]>::to(topic).payload(&message.event).headers(headers);
        if let Some(key) = &message.key {
            record = record.key(key);
        }
        // Queues it and no more; what waits in librdkafka is bounded there.
        let sending = self.producer.client.send_result(record).map_err(|(error, _)| judge_error(&error))?;
        match timeout_at(deadline, sending).await {
            Ok(Ok(Ok(_))) => Ok(()),
            Ok(Ok(Err((error, _)))) => Err(judge_error(&error)),
            Ok(Err(_)) | Err(_) => Err(PublishError::Unconfirmed),
        }
    }
}

fn judge_error(error: &KafkaError) -> PublishError {
    error.rdkafka_error_code().map_or(PublishError::Unconfirmed, judge)
}

/// What an error means for the message that met it.
fn judge(code: RDKafkaErrorCode) -> PublishError {
    use RDKafkaErrorCode as Code;
    match code {
        Code::QueueFull => PublishError::Overloaded("too many messages wait for its confirms".to_owned()),
        Code::ThrottlingQuotaExceeded => PublishError::Overloaded("its quota is used up".to_owned()),
        Code::MessageSizeTooLarge | Code::InvalidMessageSize | Code::MessageBatchTooLarge => {
            PublishError::Refused("the message is larger than the topic takes".to_owned())
        }
        Code::UnknownTopic | Code::UnknownTopicOrPartition | Code::UnknownPartition | Code::InvalidTopic => {
            PublishError::Unroutable("there is no such topic".to_owned())
        }
        // Never sent; or refused by a leader that then did not write it.
        Code::PurgeQueue
        | Code::NotEnoughReplicas
        | Code::PolicyViolation
        | Code::TopicAuthorizationFailed
        | Code::ClusterAuthorizationFailed
        | Code::SaslAuthenticationFailed
        | Code::Authentication
        | Code::AllBrokersDown
        | Code::Fatal => PublishError::Unavailable(format!("it says {code:?}")),
        // Timed out, cut off while in flight, written by the leader alone, or unheard of.
        _ => PublishError::Unconfirmed,
    }
}

fn reason(error: &KafkaError) -> String {
    match error.rdkafka_error_code() {
        Some(code) => format!("{code:?}"),
        None => "no answer".to_owned(),
    }
}
