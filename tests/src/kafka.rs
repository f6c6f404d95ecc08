//! Kafka: librdkafka's own mock cluster, which speaks the protocol over real sockets, can be told to fail, and keeps nothing on disk.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::{Headers, Message};
use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;
use rdkafka::{Offset, TopicPartitionList};

use crate::eventually::eventually_within;
use crate::proof;

/// For what comes after the last that must come.
const QUIET: Duration = Duration::from_millis(500);

pub type Mock = MockCluster<'static, DefaultProducerContext>;
/// Ids and events.
pub type Messages = Vec<(String, Vec<u8>)>;
type Order = Box<dyn FnOnce(&Mock) + Send>;

/// One broker; gone on drop.
pub struct Kafka {
    /// The cluster may not leave its thread.
    orders: mpsc::Sender<Order>,
    brokers: String,
    read: HashMap<String, Arc<Mutex<Messages>>>,
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
        let made = topics.clone();
        std::thread::spawn(move || {
            let cluster = MockCluster::new(1).unwrap();
            for topic in made {
                cluster.create_topic(&topic, 1, 1).unwrap();
            }
            let _ = found.send(cluster.bootstrap_servers());
            while let Ok(order) = incoming.recv() {
                order(&cluster);
            }
        });
        let brokers = brokers.await.unwrap();
        let read = topics.iter().map(|topic| (topic.clone(), read(&brokers, topic))).collect();
        Self { orders, brokers, read }
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
    pub async fn received<'a>(&self, topic: &str, wanted: impl IntoIterator<Item = &'a String>) -> Messages {
        let all = &self.read[topic];
        let mut missing: HashSet<&String> = wanted.into_iter().collect();
        let mut seen = 0;
        eventually_within(proof::PATIENCE, &format!("the messages in {topic}"), async || {
            let all = all.lock().unwrap();
            for (id, _) in &all[seen..] {
                missing.remove(id);
            }
            seen = all.len();
            if missing.is_empty() { Ok(()) } else { Err(format!("{} are missing", missing.len())) }
        })
        .await;
        // What comes after the last that must come.
        loop {
            tokio::time::sleep(QUIET).await;
            let all = all.lock().unwrap();
            if all.len() == seen {
                return all.clone();
            }
            seen = all.len();
        }
    }
}

/// Takes in all that comes, until nobody wants it any more. From the first message on: the mock keeps 5 MiB of a partition and
/// forgets the oldest for the next, so who only reads at the end may find little.
fn read(brokers: &str, topic: &str) -> Arc<Mutex<Messages>> {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", brokers).set("group.id", "test");
    // A cluster that was silent is asked again soon.
    config.set("fetch.wait.max.ms", "100").set("socket.timeout.ms", "1200");
    config
        .set("reconnect.backoff.ms", "20")
        .set("reconnect.backoff.max.ms", "100")
        .set("auto.offset.reset", "earliest");
    let consumer: BaseConsumer = config.create().unwrap();
    let mut partitions = TopicPartitionList::new();
    partitions.add_partition_offset(topic, 0, Offset::Beginning).unwrap();
    consumer.assign(&partitions).unwrap();
    let all = Arc::new(Mutex::new(Messages::new()));
    let kept = Arc::downgrade(&all);
    std::thread::spawn(move || {
        while let Some(all) = kept.upgrade() {
            // An error is a broker that it has not found yet, or that is silent.
            let Some(Ok(message)) = consumer.poll(QUIET) else { continue };
            let id = message.headers().and_then(|headers| headers.iter().find(|header| header.key == "ce_id")?.value);
            // Without an id it is nothing that the gateway may have published.
            let id = String::from_utf8(id.unwrap_or_default().to_vec()).expect("an id is text");
            all.lock().unwrap().push((id, message.payload().unwrap_or_default().to_vec()));
        }
    });
    all
}
