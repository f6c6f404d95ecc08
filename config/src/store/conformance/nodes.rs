//! Checks of the fleet's nodes.

use crate::clock::new_id;
use crate::model::{Node, Timestamp};
use crate::store::Result;

use super::Subject;

const HOUR: i64 = 3600 * 1_000_000;

fn node(last_seen: i64) -> Node {
    Node {
        id: new_id(),
        version: "0.1.0".to_owned(),
        format: 1,
        address: "127.0.0.1:4200".to_owned(),
        generation: 7,
        digest: "abc".to_owned(),
        degraded: vec!["the database is away".to_owned()],
        last_seen: Timestamp::from_micros(last_seen),
        has_left: false,
    }
}

pub(super) async fn a_node_is_what_it_reported_last(subject: &dyn Subject) -> Result<()> {
    let store = subject.open().await;
    let (first, mut second) = (node(HOUR), node(HOUR));
    store.report_node(&first).await?;
    store.report_node(&second).await?;
    second.generation = 8;
    second.degraded.clear();
    second.last_seen = Timestamp::from_micros(HOUR + 1);
    store.report_node(&second).await?;
    assert_eq!(store.nodes().await?, [first.clone(), second.clone()]);
    assert_eq!(
        subject.open().await.begin().await?.nodes().await?,
        [first.clone(), second.clone()],
        "in a transaction too"
    );

    assert!(store.leave_node(second.id, Timestamp::from_micros(HOUR + 2)).await?);
    assert!(!store.leave_node(new_id(), Timestamp::default()).await?, "nobody of this id");
    assert_eq!(store.nodes().await?, [first.clone(), Node { has_left: true, ..second.clone() }]);
    store.report_node(&second).await?;
    assert_eq!(store.nodes().await?, [first, second], "whoever reports is back");
    Ok(())
}

pub(super) async fn a_node_that_left_is_forgotten_after_a_day(subject: &dyn Subject) -> Result<()> {
    let store = subject.open().await;
    let (silent, removed, drained) = (node(0), node(0), Node { has_left: true, ..node(10 * HOUR) });
    for node in [&silent, &removed, &drained] {
        store.report_node(node).await?;
    }
    store.leave_node(removed.id, Timestamp::from_micros(HOUR)).await?;
    let alive = node(26 * HOUR);
    store.report_node(&alive).await?;
    let ids: Vec<_> = store.nodes().await?.iter().map(|node| node.id).collect();
    assert_eq!(ids, [silent.id, drained.id, alive.id], "a silent node stays until it is removed");
    Ok(())
}
