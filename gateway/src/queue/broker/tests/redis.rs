//! Redis: the contract, and what is its own.

use std::collections::HashMap;
use std::sync::Arc;

use async_trait::async_trait;
use gateway_config::clock::new_id;
use gateway_config::model::{Broker as Kind, Destination, Queue};
use gateway_config::snapshot::CompiledQueue;
use redis::aio::MultiplexedConnection;
use redis::streams::StreamRangeReply;
use redis::{Client, FromRedisValue};

use super::contract::{self, PATIENT, Subject, compiled, message};
use super::network::{Network, Weather};
use super::{gauge, server};
use crate::queue::broker::redis::{Durability, Redis};
use crate::queue::broker::{Broker, Depth, PublishError};

struct Bench {
    network: Network,
    broker: Redis,
    connection: MultiplexedConnection,
}

impl Bench {
    async fn new(durability: Durability) -> Self {
        let url = server("GATEHOUSE_TEST_REDIS");
        let (network, through) = Network::before(&url).await;
        let broker = Redis::start(&through, "redis".to_owned(), durability, true, gauge()).unwrap();
        let _ = broker.reach(PATIENT).await;
        let connection = Client::open(url).unwrap().get_multiplexed_async_connection().await.unwrap();
        Self { network, broker, connection }
    }

    async fn ask<T: FromRedisValue>(&self, command: &str) -> T {
        let mut words = command.split(' ');
        let mut asked = redis::cmd(words.next().unwrap());
        asked.arg(words.collect::<Vec<_>>()).query_async(&mut self.connection.clone()).await.unwrap()
    }
}

fn queue(stream: &str) -> Arc<CompiledQueue> {
    let destination = Destination { stream: Some(stream.to_owned()), ..Destination::default() };
    let name = format!("q-{}", new_id());
    compiled(Queue { name, broker: Kind::Redis, destination, ..Queue::default() })
}

fn stream_of(queue: &CompiledQueue) -> &str {
    queue.source.destination.stream.as_deref().unwrap()
}

fn unique() -> String {
    format!("gatehouse-test:{}", new_id())
}

#[async_trait]
impl Subject for Bench {
    fn broker(&self) -> &dyn Broker {
        &self.broker
    }

    async fn queue(&self) -> Arc<CompiledQueue> {
        let stream = unique();
        self.ask::<()>(&format!("XGROUP CREATE {stream} workers 0 MKSTREAM")).await;
        queue(&stream)
    }

    async fn nowhere(&self) -> Arc<CompiledQueue> {
        queue(&unique())
    }

    async fn received(&self, queue: &CompiledQueue, _at_least: usize) -> Vec<(String, Vec<u8>)> {
        let all: StreamRangeReply = self.ask(&format!("XRANGE {} - +", stream_of(queue))).await;
        let fields = |entry: redis::streams::StreamId| {
            let fields: HashMap<String, Vec<u8>> =
                entry.map.into_iter().map(|(name, value)| (name, redis::from_redis_value(value).unwrap())).collect();
            assert_eq!(fields.len(), 2);
            (String::from_utf8(fields["id"].clone()).unwrap(), fields["event"].clone())
        };
        all.ids.into_iter().map(fields).collect()
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
    contract::what_is_confirmed_is_there_with_its_id_and_bytes(&Bench::new(Durability::None).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_at_once_arrive_once_each() {
    contract::a_thousand_at_once_arrive_once_each(&Bench::new(Durability::None).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_leads_nowhere_is_never_accepted_and_harms_nothing_else() {
    contract::what_leads_nowhere_is_never_accepted_and_harms_nothing_else(&Bench::new(Durability::None).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_is_away_is_told_at_once_and_found_when_it_is_back() {
    contract::a_broker_that_is_away_is_told_at_once_and_found_when_it_is_back(&Bench::new(Durability::None).await)
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cut_network_leaves_messages_unconfirmed_and_heals() {
    contract::a_cut_network_leaves_messages_unconfirmed_and_heals(&Bench::new(Durability::None).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_for_confirms_is_bounded() {
    contract::what_waits_for_confirms_is_bounded(&Bench::new(Durability::None).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_is_made_unless_topology_is_only_checked() {
    let bench = Bench::new(Durability::None).await;
    let making =
        Redis::start(&server("GATEHOUSE_TEST_REDIS"), "redis".to_owned(), Durability::None, false, gauge()).unwrap();
    making.reach(PATIENT).await.unwrap();
    let queue = queue(&unique());
    let outcome = bench.broker.publish(&message(&queue, "x"), PATIENT).await;
    assert!(matches!(outcome, Err(PublishError::Unroutable(_))), "{outcome:?}");
    making.publish(&message(&queue, "x"), PATIENT).await.unwrap();
    bench.broker.publish(&message(&queue, "x"), PATIENT).await.unwrap();
    assert_eq!(bench.received(&queue, 2).await.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_is_no_stream_leads_nowhere() {
    let bench = Bench::new(Durability::None).await;
    let key = unique();
    bench.ask::<()>(&format!("SET {key} x")).await;
    let outcome = bench.broker.publish(&message(&queue(&key), "x"), PATIENT).await;
    assert!(matches!(outcome, Err(PublishError::Unroutable(_))), "{outcome:?}");
}

/// The Redis of the tests has no replica, so nobody can have it.
#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_no_replica_has_is_unconfirmed() {
    let bench = Bench::new(Durability::Wait(1)).await;
    let queue = bench.queue().await;
    assert_eq!(bench.broker.publish(&message(&queue, "x"), PATIENT).await, Err(PublishError::Unconfirmed));
}

/// The Redis of the tests writes nothing to disk, so durability on disk is refused rather than pretended.
#[tokio::test(flavor = "multi_thread")]
async fn durability_that_the_server_lacks_is_refused() {
    let bench = Bench::new(Durability::Aof).await;
    let why = bench.broker.reach(PATIENT).await.expect_err("nothing is on disk").to_string();
    assert!(why.contains("appendonly"), "{why}");
    let outcome = bench.broker.publish(&message(&bench.queue().await, "x"), PATIENT).await;
    assert!(matches!(outcome, Err(PublishError::Unavailable(_))), "{outcome:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn depth_is_what_a_group_has_still_to_finish() {
    let bench = Bench::new(Durability::None).await;
    let queue = bench.queue().await;
    for _ in 0..3 {
        bench.broker.publish(&message(&queue, "x"), PATIENT).await.unwrap();
    }
    let stream = stream_of(&queue);
    let depth = async || bench.broker.depth(&queue).await.unwrap();
    assert_eq!(depth().await, Depth { messages: Some(3), consumers: Some(0) });
    let read = format!("XREADGROUP GROUP workers one COUNT 1 STREAMS {stream} >");
    let _: redis::Value = bench.ask(&read).await;
    // Taken, and not finished.
    assert_eq!(depth().await, Depth { messages: Some(3), consumers: Some(1) });
    let _: redis::Value = bench.ask(&read.replace("COUNT 1", "COUNT 1 NOACK")).await;
    assert_eq!(depth().await.messages, Some(2));
}

#[tokio::test]
async fn a_password_is_in_no_error() {
    for url in ["redis//:canary@host", "redis://:canary@127.0.0.1:1/x"] {
        let started = Redis::start(url, "redis".to_owned(), Durability::None, false, gauge());
        if let Err(why) = started {
            assert!(!why.contains("canary"), "{why}");
        }
    }
    let url = server("GATEHOUSE_TEST_REDIS").replace("redis://", "redis://nobody:canary@");
    let broker = Redis::start(&url, "redis".to_owned(), Durability::None, false, gauge()).unwrap();
    let why = broker.reach(PATIENT).await.expect_err("the password is wrong").to_string();
    assert!(!why.contains("canary") && !format!("{broker:?}").contains("canary"), "{why}");
}
