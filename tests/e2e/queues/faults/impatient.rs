//! Clients that hang up before they are answered.

use std::collections::{BTreeSet, HashSet};

use e2e::client::Connection;
use e2e::network::{Network, Weather};
use e2e::{Request, Stack, eventually_within, proof};
use serde_json::Value;

use super::{DEADLINE, Place};

/// Orders sent ahead of their confirms: fewer than a busy broker leaves waiting for so long that the gateway refuses some.
const AT_ONCE: usize = 100;

/// Sends an order without its last bytes, and hangs up.
async fn hang_up(stack: &Stack, order: &str, missing: usize) {
    let body = format!(r#"{{"order": "{order}", "padding": "{}"}}"#, "x".repeat(2000));
    let head = "POST /orders HTTP/1.1\r\nHost: orders\r\nContent-Type: application/json\r\nContent-Length: ";
    let whole = format!("{head}{}\r\n\r\n{body}", body.len());
    let mut connection = Connection::open(stack.gateway(0).address()).await.unwrap();
    connection.wire().write(&whole.as_bytes()[..whole.len() - missing]).await.unwrap();
}

/// How many messages the gateway says that it published.
async fn published(stack: &Stack, result: &str) -> usize {
    let labels = ["queue=\"orders\"", result];
    let count = stack.gateway(0).metric("gatehouse_queue_publishes_total", &labels).await.unwrap_or_default();
    format!("{count}").parse().unwrap()
}

async fn nothing_is_in_flight(stack: &Stack) {
    let look = async || {
        let requests = stack.gateway(0).metric("gatehouse_requests_in_flight", &[]).await;
        let connections = stack.gateway(0).metric("gatehouse_connections", &[]).await;
        let is_idle = (requests, connections) == (Some(0.0), Some(0.0));
        if is_idle { Ok(()) } else { Err(format!("{requests:?} requests, {connections:?} connections")) }
    };
    eventually_within(DEADLINE, "nothing to be in flight", look).await;
}

/// The queue, which has taken its first order.
async fn opened(place: &Place, url: &str) -> Stack {
    let stack = place.ordering(Stack::builder(), url, "reject").await;
    let order = Request::post("/orders", r#"{"order": "first"}"#).header("Content-Type", "application/json");
    let sending = async || stack.gateway(0).send(&order).await.with_status(202);
    eventually_within(DEADLINE, "an order to be taken", sending).await;
    stack
}

/// What is there, once each; nothing of it was cut off.
async fn received(place: &Place) -> HashSet<String> {
    let mut orders = HashSet::new();
    for (_, event) in place.received(&BTreeSet::new()).await {
        let event: Value = serde_json::from_slice(&event).unwrap();
        let order = event["data"]["order"].as_str().unwrap().to_owned();
        assert!(!order.starts_with("part"), "{order} was never sent to its end");
        assert!(orders.insert(order), "{event} came twice");
    }
    orders
}

#[tokio::test]
async fn what_was_begun_for_clients_that_left_is_finished_or_not_at_all() {
    let place = Place::rabbitmq().await;
    let stack = opened(&place, &place.url()).await;
    let count = proof::count(300, 10_000);
    for number in 0..count {
        hang_up(&stack, &format!("whole-{number}"), 0).await;
        hang_up(&stack, &format!("part-{number}"), 1 + number % 2000).await;
        let sent = number + 1;
        if sent % AT_ONCE == 0 || sent == count {
            confirmed(&stack, sent + 1).await;
        }
    }
    nothing_is_in_flight(&stack).await;
    assert_eq!(published(&stack, "").await, count + 1, "nothing but what was confirmed was published");
    assert_eq!(received(&place).await.len(), count + 1);
}

/// So many orders.
async fn confirmed(stack: &Stack, count: usize) {
    let look = async || match published(stack, "\"confirmed\"").await {
        seen if seen == count => Ok(()),
        seen => Err(format!("{seen} of {count}")),
    };
    eventually_within(DEADLINE, "all whole orders to be confirmed", look).await;
}

/// The broker has the messages and its confirms are on their way when the clients leave.
#[tokio::test]
async fn a_confirm_that_nobody_waits_for_is_counted_and_leaves_nothing_behind() {
    let place = Place::rabbitmq().await;
    let (network, url) = Network::before(&place.url()).await;
    let stack = opened(&place, &url).await;
    network.turn(Weather::Mute);
    for number in 0..100 {
        hang_up(&stack, &format!("whole-{number}"), 0).await;
    }
    nothing_is_in_flight(&stack).await;
    network.turn(Weather::Fair);
    let settled = async || match published(&stack, "").await {
        101 => Ok(()),
        seen => Err(format!("{seen}")),
    };
    eventually_within(DEADLINE, "all orders to be settled", settled).await;
    let (confirmed, unconfirmed) = (published(&stack, "\"confirmed\"").await, published(&stack, "unconfirmed").await);
    assert_eq!((confirmed + unconfirmed, received(&place).await.len()), (101, 101), "{confirmed}, {unconfirmed}");
}
