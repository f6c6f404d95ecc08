//! The contract of brokers: what each must keep, whatever stands behind it. Each broker's own tests run these over its [`Subject`].

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::future::join_all;
use gateway_config::clock::new_id;
use gateway_config::master_key::MasterKey;
use gateway_config::model::{Configuration, Id, Item, Queue};
use gateway_config::snapshot::{CompiledQueue, compile};
use tokio::time::{Instant, sleep, timeout};

use super::{Broker, Message, PublishError};
use crate::queue::task::TaskKeys;

/// So long that only what never comes is too late.
pub(super) const PATIENT: Duration = Duration::from_mins(1);
/// Of a message that will not be confirmed.
const IMPATIENT: Duration = Duration::from_millis(500);
/// More than any broker may hold unconfirmed.
const FLOOD: usize = 9000;

/// One kind of broker, reached through something that can be broken.
#[async_trait]
pub(super) trait Subject: Sync {
    /// Of the gateway's side.
    fn broker(&self) -> &dyn Broker;

    /// A queue that exists or comes to be by being published to.
    async fn queue(&self) -> Arc<CompiledQueue>;

    /// A queue that leads nowhere.
    async fn nowhere(&self) -> Arc<CompiledQueue>;

    /// Everything that is in the queue: ids and events.
    async fn received(&self, queue: &CompiledQueue, at_least: usize) -> Vec<(String, Vec<u8>)>;

    /// Connections break, and no new ones are taken.
    async fn go_down(&self);

    /// Connections stay and carry nothing any more.
    async fn freeze(&self);

    /// As if nothing had been.
    async fn recover(&self);
}

pub(super) fn compiled(queue: Queue) -> Arc<CompiledQueue> {
    let mut configuration = Configuration::default();
    let name = queue.name.clone();
    configuration.put(Item::Queue(Arc::new(queue)));
    compile(&configuration, 1).expect("the queue compiles").queue(&name).expect("it is there").clone()
}

pub(super) fn message(queue: &Arc<CompiledQueue>, text: &str) -> Message {
    let keys = TaskKeys::of(&MasterKey::of("a text of more than 32 characters, I think").unwrap());
    let id = keys.fresh(Id::default(), Id::new(new_id()));
    let event = format!(r#"{{"id":"{id}","data":"{text}"}}"#);
    Message { id, queue: queue.clone(), event: Bytes::from(event), key: None }
}

/// Publishes until it is taken.
pub(super) async fn eventually_published(broker: &dyn Broker, queue: &Arc<CompiledQueue>) -> Vec<Message> {
    let deadline = Instant::now() + PATIENT;
    let mut tried = Vec::new();
    loop {
        tried.push(message(queue, "again"));
        match broker.publish(tried.last().unwrap(), Duration::from_secs(2)).await {
            Ok(()) => return tried,
            Err(error) => assert!(Instant::now() < deadline, "it does not recover: {error}"),
        }
        sleep(Duration::from_millis(20)).await;
    }
}

/// Neither an answer nor a hang.
async fn told<T>(what: &str, telling: impl Future<Output = T>) -> T {
    timeout(PATIENT, telling).await.unwrap_or_else(|_| panic!("{what}: no answer"))
}

fn counted(received: &[(String, Vec<u8>)]) -> BTreeMap<&str, usize> {
    let mut counts = BTreeMap::new();
    for (id, _) in received {
        *counts.entry(id.as_str()).or_default() += 1;
    }
    counts
}

pub(super) async fn what_is_confirmed_is_there_with_its_id_and_bytes(subject: &dyn Subject) {
    let queue = subject.queue().await;
    let sent = message(&queue, "grüß – \\u0000 \\\"");
    told("publish", subject.broker().publish(&sent, PATIENT)).await.expect("it is taken");
    let received = subject.received(&queue, 1).await;
    assert_eq!(received, [(sent.id.to_string(), sent.event.to_vec())]);
}

pub(super) async fn a_thousand_at_once_arrive_once_each(subject: &dyn Subject) {
    let queue = subject.queue().await;
    let sent: Vec<Message> = (0..1000).map(|n| message(&queue, &n.to_string())).collect();
    let outcomes = join_all(sent.iter().map(|message| subject.broker().publish(message, PATIENT))).await;
    assert!(outcomes.iter().all(Result::is_ok), "{:?}", outcomes.iter().find(|outcome| outcome.is_err()));
    let received = subject.received(&queue, sent.len()).await;
    let counts = counted(&received);
    assert_eq!(received.len(), sent.len());
    assert!(sent.iter().all(|message| counts.get(message.id.to_string().as_str()) == Some(&1)));
}

pub(super) async fn what_leads_nowhere_is_never_accepted_and_harms_nothing_else(subject: &dyn Subject) {
    let (queue, nowhere) = (subject.queue().await, subject.nowhere().await);
    let mixed: Vec<Message> =
        (0..400).map(|n| message(if n % 2 == 0 { &queue } else { &nowhere }, &n.to_string())).collect();
    let outcomes = join_all(mixed.iter().map(|message| subject.broker().publish(message, PATIENT))).await;
    for (message, outcome) in mixed.iter().zip(&outcomes) {
        if message.queue.name() == queue.name() {
            assert_eq!(*outcome, Ok(()));
        } else {
            assert!(matches!(outcome, Err(PublishError::Unroutable(_))), "{outcome:?}");
        }
    }
    assert_eq!(subject.received(&queue, 200).await.len(), 200);
}

pub(super) async fn a_broker_that_is_away_is_told_at_once_and_found_when_it_is_back(subject: &dyn Subject) {
    let queue = subject.queue().await;
    let mut confirmed = eventually_published(subject.broker(), &queue).await.split_off(0);
    confirmed.drain(..confirmed.len() - 1);
    subject.go_down().await;
    // The first may be on their way when the connection breaks.
    let deadline = Instant::now() + PATIENT;
    loop {
        let outcome = told("publish", subject.broker().publish(&message(&queue, "lost?"), PATIENT)).await;
        match outcome.expect_err("nobody can have taken it") {
            PublishError::Unavailable(_) => break,
            PublishError::Unconfirmed => assert!(Instant::now() < deadline, "it is never known to be away"),
            other => panic!("{other:?}"),
        }
    }
    let refused: Vec<Message> = (0..50).map(|_| message(&queue, "refused")).collect();
    for message in &refused {
        let outcome = told("publish", subject.broker().publish(message, PATIENT)).await;
        assert!(matches!(outcome, Err(PublishError::Unavailable(_))), "{outcome:?}");
    }
    subject.recover().await;
    confirmed.extend(eventually_published(subject.broker(), &queue).await.pop());
    let received = subject.received(&queue, 2).await;
    let counts = counted(&received);
    for message in &confirmed {
        assert!(counts.contains_key(message.id.to_string().as_str()), "what was confirmed is lost");
    }
    for message in &refused {
        assert!(!counts.contains_key(message.id.to_string().as_str()), "what was certainly not accepted is there");
    }
}

pub(super) async fn a_cut_network_leaves_messages_unconfirmed_and_heals(subject: &dyn Subject) {
    let queue = subject.queue().await;
    let first = eventually_published(subject.broker(), &queue).await.pop().unwrap();
    subject.freeze().await;
    let outcome = told("publish", subject.broker().publish(&message(&queue, "cut"), IMPATIENT)).await;
    assert_eq!(outcome, Err(PublishError::Unconfirmed));
    // Nobody answers, so it is found out that nobody is there.
    let deadline = Instant::now() + PATIENT;
    while !matches!(
        told("publish", subject.broker().publish(&message(&queue, "cut"), IMPATIENT)).await,
        Err(PublishError::Unavailable(_))
    ) {
        assert!(Instant::now() < deadline, "it is never known to be away");
    }
    subject.recover().await;
    let last = eventually_published(subject.broker(), &queue).await.pop().unwrap();
    let received = subject.received(&queue, 2).await;
    let counts = counted(&received);
    for message in [first, last] {
        assert!(counts.contains_key(message.id.to_string().as_str()), "what was confirmed is lost");
    }
}

pub(super) async fn what_waits_for_confirms_is_bounded(subject: &dyn Subject) {
    let queue = subject.queue().await;
    eventually_published(subject.broker(), &queue).await;
    subject.freeze().await;
    let flood: Vec<Message> = (0..FLOOD).map(|n| message(&queue, &n.to_string())).collect();
    let publishing = flood.iter().map(|message| subject.broker().publish(message, Duration::from_secs(5)));
    let outcomes = told("publish", join_all(publishing)).await;
    let overloaded = outcomes.iter().filter(|it| matches!(it, Err(PublishError::Overloaded(_)))).count();
    assert!(outcomes.iter().all(Result::is_err), "nobody can have taken it");
    assert!((1..FLOOD).contains(&overloaded), "{overloaded} of {FLOOD} were refused");
    subject.recover().await;
    eventually_published(subject.broker(), &queue).await;
}
