//! Kafka: librdkafka's own mock cluster, which speaks the protocol over real sockets, can be told to fail, and keeps nothing on disk.

use std::collections::HashSet;
use std::fmt;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::{Headers, Message};
use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;
use rdkafka::{Offset, TopicPartitionList};

use crate::proof;

/// For what comes after the last that must come.
const QUIET: Duration = Duration::from_millis(500);

pub type Mock = MockCluster<'static, DefaultProducerContext>;
type Order = Box<dyn FnOnce(&Mock) + Send>;

/// One broker; gone on drop.
pub struct Kafka {
    /// The cluster may not leave its thread.
    orders: mpsc::Sender<Order>,
    brokers: String,
}

impl fmt::Debug for Kafka {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Kafka").field("brokers", &self.brokers).finish_non_exhaustive()
    }
}

impl Kafka {
    /// With these topics of one partition each.
    pub async fn start(topics: &[&str]) -> Self {
        let (orders, incoming) = mpsc::channel::<Order>();
        let (found, brokers) = tokio::sync::oneshot::channel();
        let topics: Vec<String> = topics.iter().map(|&topic| topic.to_owned()).collect();
        std::thread::spawn(move || {
            let cluster = MockCluster::new(1).unwrap();
            for topic in topics {
                cluster.create_topic(&topic, 1, 1).unwrap();
            }
            let _ = found.send(cluster.bootstrap_servers());
            while let Ok(order) = incoming.recv() {
                order(&cluster);
            }
        });
        Self { orders, brokers: brokers.await.unwrap() }
    }

    pub fn brokers(&self) -> &str {
        &self.brokers
    }

    /// Done when this returns.
    pub async fn tell(&self, order: impl FnOnce(&Mock) + Send + 'static) {
        let (done, finished) = tokio::sync::oneshot::channel();
        let order: Order = Box::new(move |cluster| {
            order(cluster);
            let _ = done.send(());
        });
        self.orders.send(order).unwrap();
        finished.await.unwrap();
    }

    /// Everything in the topic in its order, once these are among it: ids and events.
    pub async fn received<'a>(
        &self,
        topic: &str,
        wanted: impl IntoIterator<Item = &'a String>,
    ) -> Vec<(String, Vec<u8>)> {
        let mut missing: HashSet<String> = wanted.into_iter().cloned().collect();
        let (brokers, topic) = (self.brokers.clone(), topic.to_owned());
        let reading = tokio::task::spawn_blocking(move || {
            let mut config = ClientConfig::new();
            let consumer: BaseConsumer =
                config.set("bootstrap.servers", &brokers).set("group.id", "test").create().unwrap();
            let mut partitions = TopicPartitionList::new();
            partitions.add_partition_offset(&topic, 0, Offset::Beginning).unwrap();
            consumer.assign(&partitions).unwrap();
            let (mut all, deadline) = (Vec::new(), Instant::now() + proof::PATIENCE);
            loop {
                match consumer.poll(QUIET) {
                    None if missing.is_empty() => return all,
                    None => assert!(Instant::now() < deadline, "{} messages are missing in {topic}", missing.len()),
                    // Such as a broker that it has not found yet.
                    Some(Err(error)) => assert!(Instant::now() < deadline, "{topic} can't be read: {error}"),
                    Some(Ok(message)) => {
                        let mut headers = message.headers().expect("a message has headers").iter();
                        let id = headers.find(|header| header.key == "ce_id").expect("and among them its id").value;
                        let id = String::from_utf8(id.unwrap().to_vec()).unwrap();
                        missing.remove(&id);
                        all.push((id, message.payload().unwrap().to_vec()));
                    }
                }
            }
        });
        reading.await.unwrap()
    }
}
