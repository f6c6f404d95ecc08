//! The same request twice at once.

use std::collections::BTreeSet;

use e2e::network::{Network, Weather};
use e2e::{Request, Stack, eventually_within};

use super::super::task_of;
use super::{DEADLINE, Place};

fn order(key: &str, body: &str) -> Request {
    Request::post("/orders", body.to_owned()).header("Content-Type", "application/json").header("Idempotency-Key", key)
}

/// While the first waits for its confirm, others with its key come.
#[tokio::test]
async fn what_is_sent_again_before_it_is_confirmed_is_published_once() {
    let place = Place::rabbitmq().await;
    let (network, url) = Network::before(&place.url()).await;
    let stack = place.ordering(Stack::builder(), &url, "reject").await;
    let gateway = stack.gateway(0);
    let first = async || gateway.send(&order("first", r#"{"order": "first"}"#)).await.with_status(202);
    let first = task_of(&eventually_within(DEADLINE, "an order to be taken", first).await);

    network.turn(Weather::Mute);
    let body = r#"{"order": "again"}"#;
    let sending = futures::future::join_all((0..8).map(|_| async { gateway.send(&order("again", body)).await }));
    let letting_go = async {
        let look = async || match gateway.metric("gatehouse_requests_in_flight", &[]).await {
            Some(8.0) => Ok(()),
            other => Err(format!("{other:?}")),
        };
        eventually_within(DEADLINE, "all to wait", look).await;
        let other = gateway.send(&order("again", r#"{"order": "other"}"#)).await.expect_status(422);
        assert_eq!(other.code(), Some("idempotency_mismatch"));
        network.turn(Weather::Fair);
    };
    let (answers, ()) = futures::join!(sending, letting_go);
    let ids: BTreeSet<String> = answers.iter().map(task_of).collect();
    assert_eq!(ids.len(), 1, "{ids:?}");
    let published = gateway.metric("gatehouse_queue_publishes_total", &["queue=\"orders\""]).await;
    let mut received: Vec<String> = place.received(&ids).await.into_iter().map(|(id, _)| id).collect();
    assert_eq!(published, Some(2.0), "{received:?}");
    received.retain(|id| *id != first);
    assert_eq!(received, ids.into_iter().collect::<Vec<_>>());
}
