//! RabbitMQ: the contract, and what is its own.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::StreamExt;
use gateway_config::clock::new_id;
use gateway_config::model::{Broker as Kind, Destination, Queue};
use gateway_config::snapshot::CompiledQueue;
use lapin::options::{
    BasicAckOptions, BasicConsumeOptions, ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions,
    QueueDeleteOptions,
};
use lapin::types::{FieldTable, ShortString};
use lapin::{Channel, Connection, ConnectionProperties, ExchangeKind};
use tokio::time::{sleep, timeout};

use super::contract::{self, PATIENT, Subject, compiled, eventually_published, message};
use super::network::{Network, Weather};
use super::rabbitmq_server::RabbitMqServer;
use super::{gauge, server};
use crate::queue::broker::rabbitmq::RabbitMq;
use crate::queue::broker::{Broker, Depth, Message, PublishError};
use crate::queue::event::EVENT_TYPE;

/// Nothing is made, so that what leads nowhere stays so.
const ONLY_CHECK: bool = true;

struct Bench {
    url: String,
    network: Network,
    broker: RabbitMq,
}

impl Bench {
    async fn new(check_topology: bool) -> Self {
        let url = server("GATEHOUSE_TEST_RABBITMQ");
        drop(connected(&url).await);
        Self::on(url, check_topology).await
    }

    async fn on(url: String, check_topology: bool) -> Self {
        let (network, through) = Network::before(&url).await;
        let broker = RabbitMq::start(&through, "rabbitmq".to_owned(), check_topology, gauge()).unwrap();
        let _ = broker.reach(PATIENT).await;
        Self { url, network, broker }
    }

    async fn channel(&self) -> Channel {
        connected(&self.url).await.create_channel().await.unwrap()
    }
}

/// Waits for a server that is still starting.
async fn connected(url: &str) -> Arc<Connection> {
    let connecting = async {
        loop {
            match Connection::connect(url, ConnectionProperties::default()).await {
                Ok(connection) => return Arc::new(connection),
                Err(_) => sleep(Duration::from_millis(200)).await,
            }
        }
    };
    timeout(PATIENT, connecting).await.expect("RabbitMQ answers")
}

fn queue(exchange: &str, routing_key: &str) -> Arc<CompiledQueue> {
    let destination = Destination {
        exchange: Some(exchange.to_owned()),
        routing_key: Some(routing_key.to_owned()),
        ..Destination::default()
    };
    let name = format!("q-{}", new_id());
    compiled(Queue { name, broker: Kind::Rabbitmq, destination, ..Queue::default() })
}

fn unique() -> String {
    format!("test-{}", new_id())
}

async fn consumed(channel: &Channel, name: &str, at_least: usize) -> Vec<(String, Vec<u8>)> {
    let consumer = channel.basic_consume(name.into(), "".into(), BasicConsumeOptions::default(), FieldTable::default());
    let mut consumer = consumer.await.unwrap();
    let mut all = Vec::new();
    // What comes after the last that must come would be one too many.
    while let Ok(Some(delivery)) =
        timeout(if all.len() < at_least { PATIENT } else { Duration::from_millis(300) }, consumer.next()).await
    {
        let delivery = delivery.unwrap();
        assert_eq!(*delivery.properties.delivery_mode(), Some(2));
        assert_eq!(delivery.properties.content_type().as_ref().unwrap().as_str(), EVENT_TYPE);
        all.push((delivery.properties.message_id().as_ref().unwrap().to_string(), delivery.data.clone()));
        delivery.ack(BasicAckOptions::default()).await.unwrap();
    }
    all
}

#[async_trait]
impl Subject for Bench {
    fn broker(&self) -> &dyn Broker {
        &self.broker
    }

    async fn queue(&self) -> Arc<CompiledQueue> {
        let name = unique();
        let options = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
        let declared = self.channel().await.queue_declare(name.as_str().into(), options, FieldTable::default()).await;
        declared.unwrap();
        queue("", &name)
    }

    async fn nowhere(&self) -> Arc<CompiledQueue> {
        queue("", &unique())
    }

    async fn received(&self, queue: &CompiledQueue, at_least: usize) -> Vec<(String, Vec<u8>)> {
        let name = queue.source.destination.routing_key.as_deref().unwrap();
        consumed(&self.channel().await, name, at_least).await
    }

    async fn go_down(&self) {
        self.network.turn(Weather::Down);
    }

    async fn freeze(&self) {
        self.network.turn(Weather::Frozen);
    }

    async fn recover(&self) {
        self.network.turn(Weather::Fair);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_confirmed_is_there_with_its_id_and_bytes() {
    contract::what_is_confirmed_is_there_with_its_id_and_bytes(&Bench::new(ONLY_CHECK).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_at_once_arrive_once_each() {
    contract::a_thousand_at_once_arrive_once_each(&Bench::new(ONLY_CHECK).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_leads_nowhere_is_never_accepted_and_harms_nothing_else() {
    contract::what_leads_nowhere_is_never_accepted_and_harms_nothing_else(&Bench::new(ONLY_CHECK).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_is_away_is_told_at_once_and_found_when_it_is_back() {
    contract::a_broker_that_is_away_is_told_at_once_and_found_when_it_is_back(&Bench::new(ONLY_CHECK).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cut_network_leaves_messages_unconfirmed_and_heals() {
    contract::a_cut_network_leaves_messages_unconfirmed_and_heals(&Bench::new(ONLY_CHECK).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_for_confirms_is_bounded() {
    contract::what_waits_for_confirms_is_bounded(&Bench::new(ONLY_CHECK).await).await;
}

/// On one channel, while the way to the queue comes and goes: returns and confirms are interleaved.
#[tokio::test(flavor = "multi_thread")]
async fn a_return_is_never_taken_for_another_messages() {
    let bench = Bench::new(ONLY_CHECK).await;
    let (channel, exchange, name) = (bench.channel().await, unique(), unique());
    let declared = channel.exchange_declare(
        exchange.as_str().into(),
        ExchangeKind::Direct,
        ExchangeDeclareOptions::default(),
        FieldTable::default(),
    );
    declared.await.unwrap();
    // Of a queue that is not durable messages are confirmed as soon as those that came back, often in one answer for both.
    channel.queue_declare(name.as_str().into(), QueueDeclareOptions::default(), FieldTable::default()).await.unwrap();
    let queue = queue(&exchange, "key");
    let sent: Vec<Message> = (0..10_000).map(|n| message(&queue, &n.to_string())).collect();
    let toggling = async {
        let (name, exchange) = (ShortString::from(name.as_str()), ShortString::from(exchange.as_str()));
        loop {
            let bound = channel.queue_bind(
                name.clone(),
                exchange.clone(),
                "key".into(),
                QueueBindOptions::default(),
                FieldTable::default(),
            );
            bound.await.unwrap();
            channel.queue_unbind(name.clone(), exchange.clone(), "key".into(), FieldTable::default()).await.unwrap();
        }
    };
    let publishing = futures::stream::iter(&sent)
        .map(async |message| (message.id.to_string(), bench.broker.publish(message, PATIENT).await))
        .buffered(256)
        .collect::<Vec<_>>();
    let outcomes = tokio::select! { outcomes = publishing => outcomes, () = toggling => unreachable!() };
    let accepted = |outcome: &Result<(), PublishError>| match outcome {
        Ok(()) => true,
        Err(PublishError::Unroutable(_)) => false,
        Err(other) => panic!("{other}"),
    };
    let accepted: BTreeSet<String> = outcomes.into_iter().filter(|(_, it)| accepted(it)).map(|(id, _)| id).collect();
    assert!((1..sent.len()).contains(&accepted.len()), "{} of {}: nothing was interleaved", accepted.len(), sent.len());
    let received = consumed(&channel, &name, accepted.len()).await.into_iter().map(|(id, _)| id);
    assert!(received.collect::<BTreeSet<_>>() == accepted, "what was accepted is not what arrived");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_missing_is_made_with_its_dead_letters_and_made_again() {
    let bench = Bench::new(!ONLY_CHECK).await;
    let channel = bench.channel().await;
    for exchange in [String::new(), unique()] {
        let queue = queue(&exchange, &unique());
        let name =
            if exchange.is_empty() { queue.source.destination.routing_key.as_deref() } else { Some(queue.name()) };
        let name = name.unwrap();
        let first = message(&queue, "first");
        bench.broker.publish(&first, PATIENT).await.expect("its way is made");
        assert_eq!(consumed(&channel, name, 1).await[0].0, first.id.to_string());
        let passive = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
        for beside in ["dead", "retry"] {
            let declared =
                channel.queue_declare(format!("{name}.{beside}").into(), passive, FieldTable::default()).await;
            assert_eq!(declared.expect("it was made").message_count(), 0);
        }
        channel.queue_delete(name.into(), QueueDeleteOptions::default()).await.unwrap();
        bench.broker.publish(&message(&queue, "second"), PATIENT).await.expect("it is made again");
        assert_eq!(consumed(&channel, name, 1).await.len(), 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_exchange_that_is_missing_is_told_and_not_made_where_topology_is_only_checked() {
    let bench = Bench::new(ONLY_CHECK).await;
    let missing = queue(&unique(), "key");
    for _ in 0..3 {
        let outcome = bench.broker.publish(&message(&missing, "x"), PATIENT).await;
        assert!(matches!(outcome, Err(PublishError::Unroutable(_))), "{outcome:?}");
    }
    eventually_published(&bench.broker, &bench.queue().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn depth_counts_messages_and_consumers() {
    let bench = Bench::new(ONLY_CHECK).await;
    let queue = bench.queue().await;
    for _ in 0..3 {
        bench.broker.publish(&message(&queue, "x"), PATIENT).await.unwrap();
    }
    let depth = bench.broker.depth(&queue).await.unwrap();
    assert_eq!(depth, Depth { messages: Some(3), consumers: Some(0) });
    let nowhere = bench.nowhere().await;
    let missing = bench.broker.depth(&nowhere).await.unwrap();
    assert_eq!(missing, Depth::default());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_rabbitmq_confirmed_survives_its_death() {
    let mut server = RabbitMqServer::start();
    drop(connected(&server.url()).await);
    let bench = Bench::on(server.url(), false).await;
    let queue = queue("", &unique());
    let confirmed = eventually_published(&bench.broker, &queue).await.pop().unwrap();
    server.kill();
    let outcome = timeout(PATIENT, bench.broker.publish(&message(&queue, "dead"), PATIENT)).await.expect("no hang");
    assert!(matches!(outcome, Err(PublishError::Unavailable(_) | PublishError::Unconfirmed)), "{outcome:?}");
    server.start_again();
    let last = eventually_published(&bench.broker, &queue).await.pop().unwrap();
    let ids: Vec<String> = bench.received(&queue, 2).await.into_iter().map(|(id, _)| id).collect();
    for message in [confirmed, last] {
        assert!(ids.contains(&message.id.to_string()), "{ids:?}");
    }
}

#[tokio::test]
async fn a_password_is_in_no_error() {
    let started = RabbitMq::start("amqp//user:canary@host", "rabbitmq".to_owned(), true, gauge());
    assert!(!started.unwrap_err().contains("canary"));
    let url = server("GATEHOUSE_TEST_RABBITMQ").replace("guest:guest", "guest:canary");
    drop(connected(&server("GATEHOUSE_TEST_RABBITMQ")).await);
    let broker = RabbitMq::start(&url, "rabbitmq".to_owned(), true, gauge()).unwrap();
    let why = broker.reach(PATIENT).await.expect_err("the password is wrong").to_string();
    assert!(
        why.contains("ACCESS_REFUSED") && !why.contains("canary") && !format!("{broker:?}").contains("canary"),
        "{why}"
    );
}
