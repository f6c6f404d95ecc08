//! The embedded broker over a real database, on a clock that the test moves, pushing to a worker of the test's own.

mod batches;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use gateway_config::clock::{Clock, ManualClock, new_id};
use gateway_config::master_key::MasterKey;
use gateway_config::model::{Configuration, Destination, Id, Queue, Timestamp};
use gateway_config::snapshot::{CompiledQueue, compile};
use gateway_config::store::{self, QueueDepth, Store};
use gateway_config::webhook::WebhookSecret;
use parking_lot::Mutex;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::{Broker, Deliverer, DeliverySettings, Embedded, Message, PublishError};
use crate::identity::egress::Egress;
use crate::live::{Current, Live};
use crate::observe::metrics::{Metrics, QueueMetrics, RouteSeries};
use crate::queue::task::{TaskKeys, Tasks};
use crate::upstream::Clusters;

const PATIENCE: Duration = Duration::from_secs(20);
const MASTER: &str = "a text of more than 32 characters, I think";

/// What a worker got.
#[derive(Clone, Debug)]
struct Got {
    headers: HashMap<String, String>,
    body: String,
}

impl Got {
    fn id(&self) -> &str {
        &self.headers["webhook-id"]
    }
}

/// Answers the first requests with these statuses and all others with 204.
struct Worker {
    url: String,
    got: Arc<Mutex<Vec<Got>>>,
    came: Arc<Notify>,
}

impl Worker {
    async fn answering(answers: &[&'static str]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/work", listener.local_addr().unwrap());
        let (got, came) = (Arc::<Mutex<Vec<Got>>>::default(), Arc::<Notify>::default());
        let (seen, told) = (got.clone(), came.clone());
        let answers = answers.to_vec();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let answers = answers.clone();
                let (seen, told) = (seen.clone(), told.clone());
                tokio::spawn(async move { serve(stream, &answers, &seen, &told).await });
            }
        });
        Self { url, got, came }
    }

    async fn wait_for(&self, count: usize) -> Vec<Got> {
        let waiting = async {
            while self.got.lock().len() < count {
                self.came.notified().await;
            }
        };
        tokio::time::timeout(PATIENCE, waiting).await.expect("the worker gets its messages");
        self.got.lock().clone()
    }
}

/// One request a connection.
async fn serve(mut stream: TcpStream, answers: &[&'static str], seen: &Mutex<Vec<Got>>, told: &Notify) {
    let mut text = Vec::new();
    let (head, length) = loop {
        if stream.read_buf(&mut text).await.unwrap_or(0) == 0 {
            return;
        }
        let whole = String::from_utf8_lossy(&text).into_owned();
        let Some((head, _)) = whole.split_once("\r\n\r\n") else { continue };
        let headers: HashMap<String, String> = head
            .lines()
            .skip(1)
            .filter_map(|line| line.split_once(": "))
            .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
            .collect();
        let length = headers["content-length"].parse::<usize>().unwrap();
        break (headers, whole.find("\r\n\r\n").unwrap() + 4 + length);
    };
    while text.len() < length {
        stream.read_buf(&mut text).await.unwrap();
    }
    let body = String::from_utf8(text[length - head["content-length"].parse::<usize>().unwrap()..].to_vec()).unwrap();
    let answer = {
        let mut seen = seen.lock();
        seen.push(Got { headers: head, body });
        answers.get(seen.len() - 1).copied().unwrap_or("204 No Content")
    };
    told.notify_one();
    if answer == "hang" {
        std::future::pending::<()>().await;
    }
    let _ = stream.write_all(format!("HTTP/1.1 {answer}\r\nconnection: close\r\n\r\n").as_bytes()).await;
}

struct Bench {
    dir: TempDir,
    store: Arc<dyn Store>,
    clock: Arc<ManualClock>,
    current: Arc<Current>,
    queue: Arc<CompiledQueue>,
    keys: TaskKeys,
    metrics: QueueMetrics,
    accepted: Arc<Notify>,
    broker: Arc<Embedded>,
}

impl Bench {
    async fn new(url: &str, change: impl FnOnce(&mut Queue)) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let dir = TempDir::with_prefix("gatehouse-queue-").unwrap();
        let store = store::open(&format!("sqlite://{}", dir.path().join("gateway.db").display())).await.unwrap();
        store.migrate().await.unwrap();
        let destination = Destination { deliver_to: Some(url.to_owned()), ..Destination::default() };
        let mut queue = Queue { id: Id::new(new_id()), name: "q".to_owned(), destination, ..Queue::default() };
        change(&mut queue);
        let configuration =
            Configuration { queues: [("q".to_owned(), Arc::new(queue))].into(), ..Configuration::default() };
        let snapshot = Arc::new(compile(&configuration, 1).unwrap());
        let queue = snapshot.queue("q").unwrap().clone();
        let current = Arc::new(Current::default());
        current.swap(Arc::new(Live { snapshot, clusters: Clusters::default(), series: RouteSeries::default() }));
        let clock = Arc::new(ManualClock::at(Timestamp::from_micros(1_795_000_000_000_000)));
        let metrics = Metrics::new().unwrap().queues;
        let accepted = Arc::<Notify>::default();
        let broker = Embedded::start(store.clone(), clock.clone(), accepted.clone(), metrics.up("embedded", ""));
        let keys = TaskKeys::of(&MasterKey::of(MASTER).unwrap());
        Self { dir, store, clock, current, queue, keys, metrics, accepted, broker }
    }

    fn message(&self, text: &str) -> Message {
        let id = self.keys.fresh(Id::default(), self.queue.source.id);
        Message { id, queue: self.queue.clone(), event: Bytes::copy_from_slice(text.as_bytes()), key: None }
    }

    /// All at once; their ids.
    async fn publish_many(&self, count: usize) -> Vec<String> {
        let messages: Vec<Message> = (0..count).map(|number| self.message(&number.to_string())).collect();
        let publishing = messages.iter().map(|message| self.broker.publish(message, PATIENCE));
        for published in futures::future::join_all(publishing).await {
            published.unwrap();
        }
        messages.iter().map(|message| message.id.to_string()).collect()
    }

    async fn publish(&self, text: &str) -> String {
        let message = self.message(text);
        self.broker.publish(&message, PATIENCE).await.unwrap();
        message.id.to_string()
    }

    /// A gateway that delivers, until it is drained or stopped.
    fn deliver(&self, timeout: Duration) -> Delivering {
        let (drain, stop) = (CancellationToken::new(), CancellationToken::new());
        let (store, clock) = (self.store.clone(), self.clock.clone());
        let dropped = self.metrics.task_records_dropped.clone();
        let (tasks, _) = Tasks::open(store, clock, Duration::from_hours(1), dropped, Arc::default(), &stop);
        let deliverer = Deliverer {
            store: self.store.clone(),
            egress: Arc::new(Egress::new(Vec::new())),
            clock: self.clock.clone(),
            current: self.current.clone(),
            tasks: Arc::new(tasks),
            master: MasterKey::of(MASTER).unwrap(),
            metrics: self.metrics.clone(),
            settings: DeliverySettings { timeout, lease: Duration::from_secs(15) },
            accepted: self.accepted.clone(),
        };
        let running = tokio::spawn(Arc::new(deliverer).run(drain.clone(), stop.clone()));
        Delivering { drain, stop, running }
    }

    async fn depth(&self) -> (u64, u64, u64) {
        let depths = self.store.queue_depths(Timestamp::from_micros(i64::MAX / 2)).await.unwrap();
        depths.first().map_or((0, 0, 0), |QueueDepth { waiting, claimed, dead, .. }| (*waiting, *claimed, *dead))
    }

    /// Moves the clock until `count` messages are dead or all is delivered.
    async fn until(&self, what: &str, done: impl Fn((u64, u64, u64)) -> bool) {
        let waiting = async {
            while !done(self.depth().await) {
                let claimed = self.store.queue_depth("q", self.clock.now()).await.unwrap().claimed;
                // While something is being delivered the clock goes slowly, or its lease would run out meanwhile.
                self.clock.advance_millis(if claimed == 0 { 1000 } else { 100 });
                self.accepted.notify_one();
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::time::timeout(PATIENCE, waiting).await.expect(what);
    }
}

struct Delivering {
    drain: CancellationToken,
    stop: CancellationToken,
    running: tokio::task::JoinHandle<()>,
}

impl Delivering {
    async fn stop(self) {
        self.stop.cancel();
        tokio::time::timeout(PATIENCE, self.running).await.expect("it stops").unwrap();
    }

    async fn drain(self) {
        self.drain.cancel();
        tokio::time::timeout(PATIENCE, self.running).await.expect("it drains").unwrap();
    }
}

#[tokio::test]
async fn what_was_accepted_is_pushed_with_a_signature_and_is_gone_then() {
    let worker = Worker::answering(&[]).await;
    let bench = Bench::new(&worker.url, |_| {}).await;
    let delivering = bench.deliver(PATIENCE);
    let id = bench.publish(r#"{"data": "grüß"}"#).await;
    let got = worker.wait_for(1).await.remove(0);
    assert_eq!((got.id(), got.body.as_str()), (id.as_str(), r#"{"data": "grüß"}"#));
    assert_eq!(got.headers["content-type"], "application/cloudevents+json; charset=utf-8");
    assert_eq!(got.headers["webhook-timestamp"], "1795000000");
    let secret = WebhookSecret::of_queue(&MasterKey::of(MASTER).unwrap(), bench.queue.source.id);
    let at = Timestamp::from_micros(1_795_000_000_000_000);
    assert_eq!(got.headers["webhook-signature"], secret.sign(&id, at, got.body.as_bytes()));
    bench.until("the message is settled", |depth| depth == (0, 0, 0)).await;
    delivering.drain().await;
}

#[tokio::test]
async fn a_message_that_fails_is_tried_again_and_dies_at_last() {
    let worker = Worker::answering(&["500 No"; 50]).await;
    let bench = Bench::new(&worker.url, |queue| queue.max_attempts = 3).await;
    let delivering = bench.deliver(PATIENCE);
    let id = bench.publish("poison").await;
    bench.until("it is a dead letter", |(_, _, dead)| dead == 1).await;
    let got = worker.wait_for(3).await;
    assert!(got.len() == 3 && got.iter().all(|got| got.id() == id), "{got:?}");
    let dead = bench.store.dead_letters("q", 0, 9).await.unwrap();
    assert_eq!((dead[0].id.as_str(), dead[0].attempts), (id.as_str(), 3));
    assert_eq!(dead[0].last_error.as_deref(), Some("status 500"));
    delivering.drain().await;
}

#[tokio::test]
async fn a_worker_that_is_gone_for_good_is_asked_once() {
    let worker = Worker::answering(&["410 Gone"]).await;
    let bench = Bench::new(&worker.url, |_| {}).await;
    let delivering = bench.deliver(PATIENCE);
    bench.publish("x").await;
    bench.until("it is a dead letter", |(_, _, dead)| dead == 1).await;
    assert_eq!(worker.wait_for(1).await.len(), 1);
    delivering.drain().await;
}

#[tokio::test]
async fn a_workers_wish_to_wait_is_granted() {
    let worker = Worker::answering(&["503 Busy\r\nretry-after: 100"]).await;
    let bench = Bench::new(&worker.url, |_| {}).await;
    let delivering = bench.deliver(PATIENCE);
    bench.publish("x").await;
    worker.wait_for(1).await;
    let retried = async {
        while bench.store.queue_depths(Timestamp::from_micros(0)).await.unwrap()[0].claimed > 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, retried).await.unwrap();
    bench.clock.advance_millis(99_000);
    assert_eq!(bench.store.due_queues(gateway_config::clock::Clock::now(&*bench.clock)).await.unwrap(), [""; 0]);
    bench.clock.advance_millis(1_000);
    bench.accepted.notify_one();
    worker.wait_for(2).await;
    delivering.drain().await;
}

#[tokio::test]
async fn at_a_stop_what_is_not_over_is_given_back_as_if_it_had_not_been_tried() {
    let worker = Worker::answering(&["hang"]).await;
    let bench = Bench::new(&worker.url, |_| {}).await;
    let first = bench.deliver(PATIENCE);
    let id = bench.publish("x").await;
    worker.wait_for(1).await;
    first.stop().await;
    let second = bench.deliver(PATIENCE);
    let got = worker.wait_for(2).await;
    assert_eq!(got[1].id(), id);
    bench.until("the message is settled", |depth| depth == (0, 0, 0)).await;
    second.drain().await;
}

#[tokio::test]
async fn a_worker_that_does_not_answer_in_time_is_asked_again() {
    let worker = Worker::answering(&["hang"]).await;
    let bench = Bench::new(&worker.url, |_| {}).await;
    let delivering = bench.deliver(Duration::from_millis(50));
    bench.publish("x").await;
    bench.until("it is delivered", |depth| depth == (0, 0, 0)).await;
    assert_eq!(worker.wait_for(2).await.len(), 2);
    delivering.drain().await;
}

#[tokio::test]
async fn many_at_once_are_all_accepted_and_each_once() {
    let bench = Bench::new("http://127.0.0.1:9/", |_| {}).await;
    let messages: Vec<Message> = (0..2000).map(|number| bench.message(&number.to_string())).collect();
    let publishing = messages.iter().chain(&messages).map(|message| bench.broker.publish(message, PATIENCE));
    for published in futures::future::join_all(publishing).await {
        published.unwrap();
    }
    assert_eq!(bench.depth().await, (2000, 0, 0));
}

#[tokio::test]
async fn a_database_that_is_away_is_told_at_once_and_taken_back() {
    let bench = Bench::new("http://127.0.0.1:9/", |_| {}).await;
    // Before anybody has opened it.
    let (file, kept) = (bench.dir.path().join("queue.db"), bench.dir.path().join("kept.db"));
    std::fs::rename(&file, &kept).unwrap();
    std::fs::create_dir(&file).unwrap();
    for _ in 0..2 {
        let refused = bench.broker.publish(&bench.message("during"), PATIENCE).await;
        assert!(matches!(refused, Err(PublishError::Unavailable(_))), "{refused:?}");
        assert!(!bench.broker.is_up());
    }
    std::fs::remove_dir(&file).unwrap();
    std::fs::rename(&kept, &file).unwrap();
    let back = async { while bench.broker.publish(&bench.message("after"), PATIENCE).await.is_err() {} };
    tokio::time::timeout(PATIENCE, back).await.expect("messages are taken again");
    assert_eq!(bench.depth().await, (1, 0, 0));
}
