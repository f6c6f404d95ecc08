//! Following a topic: all its partitions from where they end. No group is joined and nothing is committed, so that workers' groups
//! notice nothing. librdkafka keeps the place in each partition, also while the brokers are away.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use gateway_config::clock::new_id;
use rdkafka::client::ClientContext;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::consumer::{Consumer, ConsumerContext, StreamConsumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::Message;
use rdkafka::{Offset, TopicPartitionList};
use tokio::task::AbortHandle;
use tokio::time::sleep;

use super::{ASK_PATIENCE, judge, reason};
use crate::queue::broker::{PublishError, Source};

/// How often it is looked whether there are more partitions.
const LOOK: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(100);

type Reader = StreamConsumer<Quiet>;

/// What librdkafka says by itself is for whoever looks closely: it helps itself.
struct Quiet;

impl ClientContext for Quiet {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        tracing::debug!(?level, facility, "librdkafka: {message}");
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(%error, "librdkafka: {reason}");
    }
}

impl ConsumerContext for Quiet {}

pub(super) struct Follower {
    /// `None` only while it is dropped.
    reader: Option<Arc<Reader>>,
    looking: AbortHandle,
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.looking.abort();
        if let Some(reader) = self.reader.take() {
            end(reader);
        }
    }
}

/// The end of a consumer may take a while. It is on a thread of its own, which nobody waits for when the process ends.
fn end(reader: Arc<Reader>) {
    std::thread::spawn(move || drop(reader));
}

pub(super) async fn follow(brokers: &str, topic: &str) -> Result<Follower, PublishError> {
    let reader = Arc::new(reader(brokers).map_err(|error| away(&error))?);
    let at_end = {
        let (reader, topic) = (reader.clone(), topic.to_owned());
        tokio::task::spawn_blocking(move || ends(&reader, &topic))
    };
    let assigned = match at_end.await.unwrap_or_else(|_| Err(away(&KafkaError::Canceled))) {
        Ok(places) => reader.assign(&places).map(|()| places.count()).map_err(|error| away(&error)),
        Err(error) => Err(error),
    };
    let known = match assigned {
        Ok(known) => known,
        Err(error) => {
            end(reader);
            return Err(error);
        }
    };
    let looking = tokio::spawn(look_for_partitions(reader.clone(), topic.to_owned(), known)).abort_handle();
    Ok(Follower { reader: Some(reader), looking })
}

fn reader(brokers: &str) -> Result<Reader, KafkaError> {
    let mut config = ClientConfig::new();
    // librdkafka assigns nothing without the name of a group, though none is joined.
    let group = format!("gatehouse-channel-{}", new_id());
    for (name, value) in [
        ("bootstrap.servers", brokers),
        ("client.id", "gatehouse"),
        ("group.id", &group),
        ("enable.auto.commit", "false"),
        ("enable.auto.offset.store", "false"),
        // Where its place is no more, as when the topic was made anew, nothing of what is there was seen.
        ("auto.offset.reset", "earliest"),
        ("queued.max.messages.kbytes", "16384"),
        ("socket.keepalive.enable", "true"),
        ("reconnect.backoff.ms", "50"),
        ("reconnect.backoff.max.ms", "500"),
    ] {
        config.set(name, value);
    }
    config.set_log_level(RDKafkaLogLevel::Warning);
    config.create_with_context(Quiet)
}

/// Where each partition of the topic ends. Waits.
fn ends(reader: &Reader, topic: &str) -> Result<TopicPartitionList, PublishError> {
    let mut places = TopicPartitionList::new();
    for partition in partitions(reader, topic)? {
        let (_, end) = reader.fetch_watermarks(topic, partition, ASK_PATIENCE).map_err(|error| away(&error))?;
        places.add_partition_offset(topic, partition, Offset::Offset(end)).map_err(|error| away(&error))?;
    }
    Ok(places)
}

/// Waits.
fn partitions(reader: &Reader, topic: &str) -> Result<Vec<i32>, PublishError> {
    let metadata = reader.fetch_metadata(Some(topic), ASK_PATIENCE).map_err(|error| away(&error))?;
    let missing = || PublishError::Unroutable(format!("there is no topic {topic:?}"));
    let found = metadata.topics().first().ok_or_else(missing)?;
    if let Some(error) = found.error() {
        return Err(match judge(RDKafkaErrorCode::from(error)) {
            PublishError::Unroutable(_) => missing(),
            _ => PublishError::Unavailable(format!("it says {:?} of the topic", RDKafkaErrorCode::from(error))),
        });
    }
    Ok(found.partitions().iter().map(rdkafka::metadata::MetadataPartition::id).collect())
}

/// Reads also those partitions that come to be, each from its beginning.
async fn look_for_partitions(reader: Arc<Reader>, topic: String, mut known: usize) {
    loop {
        sleep(LOOK).await;
        let (looking, its_topic) = (reader.clone(), topic.clone());
        let look = tokio::task::spawn_blocking(move || add_partitions(&looking, &its_topic, known));
        match look.await {
            Ok(Ok(now)) => known = now,
            Ok(Err(error)) => tracing::debug!(%error, topic, "could not look for partitions of topic {topic}"),
            Err(_) => return,
        }
    }
}

/// How many are read by now. Partitions are numbered from 0, and none ever goes. Waits.
fn add_partitions(reader: &Reader, topic: &str, known: usize) -> Result<usize, PublishError> {
    let mut more = TopicPartitionList::new();
    let all = partitions(reader, topic)?;
    for partition in all.iter().filter(|partition| usize::try_from(**partition).is_ok_and(|it| it >= known)) {
        more.add_partition_offset(topic, *partition, Offset::Beginning).map_err(|error| away(&error))?;
    }
    if more.count() > 0 {
        reader.incremental_assign(&more).map_err(|error| away(&error))?;
        tracing::info!(topic, partitions = all.len(), "topic {topic} has more partitions: they are followed too");
    }
    Ok(known.max(all.len()))
}

fn away(error: &KafkaError) -> PublishError {
    PublishError::Unavailable(reason(error))
}

#[async_trait]
impl Source for Follower {
    async fn next(&mut self) -> Result<Bytes, String> {
        let Some(reader) = &self.reader else { return Err("it is over".to_owned()) };
        loop {
            match reader.recv().await {
                Ok(message) => {
                    if let Some(payload) = message.payload() {
                        return Ok(Bytes::copy_from_slice(payload));
                    }
                }
                Err(error) => {
                    if reader.client().fatal_error().is_some() {
                        return Err(reason(&error));
                    }
                    // It goes on from its place by itself.
                    tracing::debug!(%error, "Kafka is away from a follower");
                    sleep(PAUSE).await;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use rdkafka::mocking::MockCluster;
    use rdkafka::producer::{FutureProducer, FutureRecord};

    use super::*;

    const PATIENT: Duration = Duration::from_mins(1);

    #[tokio::test(flavor = "multi_thread")]
    async fn partitions_that_come_to_be_are_read_from_their_beginning() {
        let cluster = MockCluster::new(1).unwrap();
        let (brokers, topic) = (cluster.bootstrap_servers(), "growing");
        cluster.create_topic(topic, 3, 1).unwrap();
        let producer: FutureProducer = ClientConfig::new().set("bootstrap.servers", &brokers).create().unwrap();
        let say = async |partition, text: &str| {
            let record = FutureRecord::<str, str>::to(topic).partition(partition).payload(text);
            producer.send(record, PATIENT).await.map_err(|(error, _)| error).unwrap();
        };
        say(0, "before").await;
        say(1, "first").await;
        // As if the topic had had but one partition when it began to be followed.
        let mut follower = follow(&brokers, topic).await.unwrap();
        let reader = follower.reader.clone().unwrap();
        let mut one = TopicPartitionList::new();
        one.add_partition_offset(topic, 0, Offset::Offset(1)).unwrap();
        reader.assign(&one).unwrap();
        let known = tokio::task::spawn_blocking(move || add_partitions(&reader, topic, 1)).await.unwrap();
        assert_eq!(known, Ok(3));
        say(2, "second").await;
        say(0, "after").await;
        let mut texts = Vec::new();
        for _ in 0..3 {
            texts.push(tokio::time::timeout(PATIENT, follower.next()).await.expect("it comes").unwrap());
        }
        texts.sort();
        assert_eq!(texts, ["after", "first", "second"]);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_follower_ends_also_when_the_cluster_is_gone() {
        let cluster = MockCluster::new(1).unwrap();
        cluster.create_topic("gone", 1, 1).unwrap();
        let mut follower = follow(&cluster.bootstrap_servers(), "gone").await.unwrap();
        let reader = follower.reader.take().unwrap();
        drop((follower, cluster));
        let (ended, end) = tokio::sync::oneshot::channel();
        std::thread::spawn(move || {
            drop(reader);
            let _ = ended.send(());
        });
        tokio::time::timeout(PATIENT, end).await.expect("it ends").unwrap();
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_topic_that_is_missing_can_not_be_followed() {
        let cluster = MockCluster::new(1).unwrap();
        let unknown = rdkafka::types::RDKafkaRespErr::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART;
        cluster.create_topic("gone", 1, 1).unwrap();
        cluster.topic_error("gone", unknown).unwrap();
        let followed = follow(&cluster.bootstrap_servers(), "gone").await.map(drop);
        assert!(matches!(followed, Err(PublishError::Unroutable(_))), "{followed:?}");
    }
}
