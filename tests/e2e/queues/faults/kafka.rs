//! Kafka that falls silent, and leaders that answer with errors. The cluster is librdkafka's mock: nothing here says how durable a real one
//! is.

use std::time::Duration;

use e2e::{Crowd, Stack, proof};
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr as Code};

use super::{Place, Server, crowd, spool_is_empty};

fn cluster(place: &Place) -> &e2e::kafka::Kafka {
    let Server::Kafka(cluster) = &place.server else { panic!("it is on Kafka") };
    cluster
}

/// Counts what came of as many orders, of which the crowd has sent some.
async fn count(place: &Place, stack: &Stack, crowd: Crowd, orders: usize) -> e2e::crowd::Told {
    let told = crowd.over().await;
    spool_is_empty(stack).await;
    let tally = told.check(&place.received(&told.ids()).await);
    assert_eq!(tally.accepted, orders);
    told
}

/// It takes everything, and says nothing.
async fn a_silent_cluster_loses_nothing(when_down: &str) {
    let (orders, silences) = (proof::count(600, 20_000), proof::count(2, 20));
    let place = Place::kafka().await;
    let stack = place.ordering(Stack::builder(), &place.url(), when_down).await;
    let crowd = crowd(&stack, orders).start();
    for silence in 1..=silences {
        crowd.wait_taken(orders * silence / (silences + 1)).await;
        let (taken, refused) = (crowd.taken(), crowd.refused());
        cluster(&place).tell(|mock| mock.broker_round_trip_time(-1, Duration::from_mins(10)).unwrap()).await;
        if when_down == "spool" {
            crowd.wait_taken(taken + 20).await;
        } else {
            crowd.wait_refused(refused + 20).await;
        }
        cluster(&place).tell(|mock| mock.broker_round_trip_time(-1, Duration::ZERO).unwrap()).await;
    }
    let told = count(&place, &stack, crowd, orders).await;
    assert_eq!(told.refused.is_empty(), when_down == "spool", "{told}");
}

#[tokio::test]
async fn a_silent_kafka_loses_nothing_where_clients_are_refused_meanwhile() {
    a_silent_cluster_loses_nothing("reject").await;
}

#[tokio::test]
async fn a_silent_kafka_loses_nothing_where_orders_are_spooled_meanwhile() {
    a_silent_cluster_loses_nothing("spool").await;
}

/// A leader that does not keep a message, or perhaps.
const ERRORS: [Code; 7] = [
    Code::RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS,
    Code::RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS_AFTER_APPEND,
    Code::RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT,
    Code::RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE,
    Code::RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION,
    Code::RD_KAFKA_RESP_ERR_KAFKA_STORAGE_ERROR,
    Code::RD_KAFKA_RESP_ERR__TRANSPORT,
];

/// Each error on its own, once and four times in a row, again and again.
///
/// One client: the mock looks at no sequence numbers, so it takes a message behind one that it refused, where a real leader would see the
/// gap; and librdkafka may then believe that it has both.
async fn leaders_that_refuse_lose_nothing(when_down: &str) {
    let (orders, rounds) = (proof::count(80, 2_000), proof::count(2, 20));
    let place = Place::kafka().await;
    let stack = place.ordering(Stack::builder(), &place.url(), when_down).await;
    for (number, error) in ERRORS.into_iter().enumerate() {
        let crowd = crowd(&stack, orders).clients(1).from(number * orders).start();
        for round in 1..=rounds {
            crowd.wait_taken(orders * round / (rounds + 1)).await;
            let many = vec![error; 1 + 3 * (round % 2)];
            cluster(&place).tell(move |mock| mock.request_errors(RDKafkaApiKey::Produce, &many)).await;
        }
        eprintln!("{error:?}");
        count(&place, &stack, crowd, orders).await;
    }
}

#[tokio::test]
async fn leaders_that_refuse_lose_nothing_where_clients_are_refused_meanwhile() {
    leaders_that_refuse_lose_nothing("reject").await;
}

#[tokio::test]
async fn leaders_that_refuse_lose_nothing_where_orders_are_spooled_meanwhile() {
    leaders_that_refuse_lose_nothing("spool").await;
}
