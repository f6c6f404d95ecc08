//! Kafka: the contract on librdkafka's own mock cluster, which speaks the protocol over real sockets. It keeps nothing on any disk, so
//! nothing here says how durable a real cluster is.

use std::sync::Arc;
use std::sync::mpsc;
use std::time::Duration;

use async_trait::async_trait;
use futures::StreamExt;
use gateway_config::clock::new_id;
use gateway_config::model::{Broker as Kind, Destination, Queue};
use gateway_config::snapshot::CompiledQueue;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{Consumer, StreamConsumer};
use rdkafka::message::{Headers, Message as _};
use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};
use rdkafka::{Offset, TopicPartitionList};
use tokio::time::timeout;

use super::contract::{self, PATIENT, Subject, compiled, message};
use super::gauge;
use crate::queue::broker::kafka::Kafka;
use crate::queue::broker::{Broker, Depth, Message, PublishError};
use crate::queue::event::EVENT_TYPE;

const PARTITIONS: i32 = 3;

type Cluster = MockCluster<'static, DefaultProducerContext>;
type Order = Box<dyn FnOnce(&Cluster) + Send>;

struct Bench {
    orders: mpsc::Sender<Order>,
    brokers: String,
    broker: Kafka,
}

impl Bench {
    async fn new() -> Self {
        let (orders, incoming) = mpsc::channel::<Order>();
        let (found, brokers) = tokio::sync::oneshot::channel();
        // The cluster may not leave its thread.
        std::thread::spawn(move || {
            let cluster = MockCluster::new(1).unwrap();
            let _ = found.send(cluster.bootstrap_servers());
            while let Ok(order) = incoming.recv() {
                order(&cluster);
            }
        });
        let brokers = brokers.await.unwrap();
        let broker = Kafka::start(&brokers, "kafka".to_owned(), gauge());
        broker.reach(PATIENT).await.unwrap();
        Self { orders, brokers, broker }
    }

    async fn order(&self, order: impl FnOnce(&Cluster) + Send + 'static) {
        let (done, finished) = tokio::sync::oneshot::channel();
        let order: Order = Box::new(move |cluster| {
            order(cluster);
            let _ = done.send(());
        });
        self.orders.send(order).unwrap();
        finished.await.unwrap();
    }

    /// The next answers to messages are these errors.
    async fn refuse_produce(&self, errors: &'static [RDKafkaRespErr]) {
        self.order(move |cluster| cluster.request_errors(RDKafkaApiKey::Produce, errors)).await;
    }

    async fn consume(&self, queue: &CompiledQueue, at_least: usize) -> Vec<Consumed> {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.brokers).set("group.id", "test");
        let consumer: StreamConsumer = config.create().unwrap();
        let mut partitions = TopicPartitionList::new();
        for partition in 0..PARTITIONS {
            partitions.add_partition_offset(topic_of(queue), partition, Offset::Beginning).unwrap();
        }
        consumer.assign(&partitions).unwrap();
        let mut stream = consumer.stream();
        let mut all = Vec::new();
        while let Ok(Some(next)) =
            timeout(if all.len() < at_least { PATIENT } else { Duration::from_millis(500) }, stream.next()).await
        {
            let next = next.unwrap();
            let headers = next.headers().unwrap();
            let header = |name| headers.iter().find(|header| header.key == name).and_then(|header| header.value);
            assert_eq!(header("content-type"), Some(EVENT_TYPE.as_bytes()));
            all.push(Consumed {
                id: String::from_utf8(header("ce_id").unwrap().to_vec()).unwrap(),
                event: next.payload().unwrap().to_vec(),
                key: next.key().map(|key| String::from_utf8(key.to_vec()).unwrap()),
                partition: next.partition(),
            });
        }
        all
    }
}

struct Consumed {
    id: String,
    event: Vec<u8>,
    key: Option<String>,
    partition: i32,
}

fn queue(topic: &str) -> Arc<CompiledQueue> {
    let destination = Destination { topic: Some(topic.to_owned()), ..Destination::default() };
    let name = format!("q-{}", new_id());
    compiled(Queue { name, broker: Kind::Kafka, destination, ..Queue::default() })
}

fn topic_of(queue: &CompiledQueue) -> &str {
    queue.source.destination.topic.as_deref().unwrap()
}

#[async_trait]
impl Subject for Bench {
    fn broker(&self) -> &dyn Broker {
        &self.broker
    }

    async fn queue(&self) -> Arc<CompiledQueue> {
        let topic = format!("test-{}", new_id());
        let name = topic.clone();
        self.order(move |cluster| cluster.create_topic(&name, PARTITIONS, 1).unwrap()).await;
        queue(&topic)
    }

    /// The mock makes topics that are asked for, unless it is told to know better.
    async fn nowhere(&self) -> Arc<CompiledQueue> {
        let queue = self.queue().await;
        let topic = topic_of(&queue).to_owned();
        let unknown = RDKafkaRespErr::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART;
        self.order(move |cluster| cluster.topic_error(&topic, unknown).unwrap()).await;
        queue
    }

    async fn received(&self, queue: &CompiledQueue, at_least: usize) -> Vec<(String, Vec<u8>)> {
        self.consume(queue, at_least).await.into_iter().map(|it| (it.id, it.event)).collect()
    }

    async fn go_down(&self) {
        self.order(|cluster| cluster.broker_down(-1).unwrap()).await;
    }

    async fn freeze(&self) {
        self.order(|cluster| cluster.broker_round_trip_time(-1, Duration::from_mins(10)).unwrap()).await;
    }

    async fn recover(&self) {
        self.order(|cluster| {
            cluster.broker_round_trip_time(-1, Duration::ZERO).unwrap();
            cluster.broker_up(-1).unwrap();
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_confirmed_is_there_with_its_id_and_bytes() {
    contract::what_is_confirmed_is_there_with_its_id_and_bytes(&Bench::new().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_at_once_arrive_once_each() {
    contract::a_thousand_at_once_arrive_once_each(&Bench::new().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_leads_nowhere_is_never_accepted_and_harms_nothing_else() {
    contract::what_leads_nowhere_is_never_accepted_and_harms_nothing_else(&Bench::new().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_is_away_is_told_at_once_and_found_when_it_is_back() {
    contract::a_broker_that_is_away_is_told_at_once_and_found_when_it_is_back(&Bench::new().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cut_network_leaves_messages_unconfirmed_and_heals() {
    contract::a_cut_network_leaves_messages_unconfirmed_and_heals(&Bench::new().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_for_confirms_is_bounded() {
    contract::what_waits_for_confirms_is_bounded(&Bench::new().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_of_one_key_stay_in_order() {
    let bench = Bench::new().await;
    let queue = bench.queue().await;
    for n in 0..60 {
        let message = Message { key: Some(format!("key-{}", n % 5)), ..message(&queue, &format!("{n:03}")) };
        bench.broker.publish(&message, PATIENT).await.unwrap();
    }
    let consumed = bench.consume(&queue, 60).await;
    for key in 0..5 {
        let key = format!("key-{key}");
        let of_key: Vec<&Consumed> = consumed.iter().filter(|it| it.key.as_deref() == Some(&*key)).collect();
        assert_eq!(of_key.len(), 12);
        assert!(of_key.iter().all(|it| it.partition == of_key[0].partition), "{key} is in several partitions");
        let data: Vec<&[u8]> = of_key.iter().map(|it| it.event.split_at(it.event.len() - 5).1).collect();
        assert!(data.is_sorted(), "{data:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_leader_refuses_is_told_by_what_it_means() {
    use RDKafkaRespErr as Code;
    let bench = Bench::new().await;
    let queue = bench.queue().await;
    bench.refuse_produce(&[Code::RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE]).await;
    let outcome = bench.broker.publish(&message(&queue, "large"), PATIENT).await;
    assert!(matches!(outcome, Err(PublishError::Refused(_))), "{outcome:?}");
    bench.refuse_produce(&[Code::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED]).await;
    let outcome = bench.broker.publish(&message(&queue, "forbidden"), PATIENT).await;
    assert!(matches!(outcome, Err(PublishError::Unavailable(_))), "{outcome:?}");
}

/// The leader breaks the connection instead of answering, and is asked again: the producer is idempotent.
#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_is_lost_makes_no_duplicate() {
    let bench = Bench::new().await;
    let queue = bench.queue().await;
    bench.refuse_produce(&[RDKafkaRespErr::RD_KAFKA_RESP_ERR__TRANSPORT; 2]).await;
    contract::eventually_published(&bench.broker, &queue).await;
    let received = bench.received(&queue, 1).await;
    let mut ids: Vec<&str> = received.iter().map(|(id, _)| id.as_str()).collect();
    ids.dedup();
    assert_eq!(ids.len(), received.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_beyond_the_clients_limit_is_refused() {
    let bench = Bench::new().await;
    let queue = bench.queue().await;
    let outcome = bench.broker.publish(&message(&queue, &"x".repeat(2 << 20)), PATIENT).await;
    assert!(matches!(outcome, Err(PublishError::Refused(_))), "{outcome:?}");
    assert_eq!(bench.broker.depth(&queue).await, Ok(Depth::default()));
}
