//! Checks of the samples of traffic, and of the last use of routes.

use std::collections::{BTreeMap, HashMap};

use uuid::Uuid;

use crate::clock::new_id;
use crate::model::{Id, Route, Sample, SampledCaller, SampledOutcome, SampledRequest, SampledToken, Timestamp};
use crate::store::{Result, RouteUsage, TrafficQuery};

use super::Subject;

fn at(micros: i64) -> Timestamp {
    Timestamp::from_micros(micros)
}

/// The number is in its id, too.
fn sample(node: Uuid, number: u128, at: Timestamp) -> Sample {
    let values = |values: &[&str]| Some(values.iter().map(|&value| value.to_owned()).collect());
    Sample {
        id: Uuid::from_u128(number),
        at,
        node,
        weight: 7,
        generation: 3,
        request: SampledRequest {
            method: "GET".to_owned(),
            host: "a.com".to_owned(),
            path: "/orders/{id}".to_owned(),
            target_bytes: 12,
            query: BTreeMap::from([("page".to_owned(), None), ("q".to_owned(), values(&["a", "b"]))]),
            headers: BTreeMap::from([("x-tier".to_owned(), values(&["gold"])), ("cookie".to_owned(), None)]),
            address: Some([127, 0, 0, 1].into()),
            secure: true,
            entropy: u64::MAX,
        },
        caller: SampledCaller::Verified {
            application: Some("shop".to_owned()),
            key: Some(Id::new(Uuid::from_u128(9))),
            token: Some(SampledToken { subject: Some("ann".to_owned()), ..SampledToken::default() }),
        },
        outcome: SampledOutcome {
            route: Some("orders".to_owned()),
            application: Some("shop".to_owned()),
            status: 200,
            ..SampledOutcome::default()
        },
    }
}

fn some(limit: u32) -> TrafficQuery {
    TrafficQuery { limit, ..TrafficQuery::default() }
}

fn ids(samples: &[Sample]) -> Vec<u128> {
    samples.iter().map(|sample| sample.id.as_u128()).collect()
}

pub(super) async fn a_sample_reads_back_whole(subject: &dyn Subject) -> Result<()> {
    let store = subject.open().await;
    let mut samples: Vec<Sample> = (1..).map(|number| sample(new_id(), number, at(5))).take(3).collect();
    samples[1].caller = SampledCaller::Anonymous;
    samples[2].caller = SampledCaller::Rejected { code: "key_expired".to_owned() };
    samples[2].outcome = SampledOutcome::default();
    store.record_traffic(new_id(), &samples, at(0)).await?;
    samples.reverse();
    assert_eq!(subject.open().await.traffic(&some(10)).await?, samples, "the newest first, then the greatest id");
    Ok(())
}

pub(super) async fn samples_are_found_by_what_they_are_of(subject: &dyn Subject) -> Result<()> {
    let store = subject.open().await;
    let node = new_id();
    let mut samples: Vec<Sample> = (1u8..=4).map(|it| sample(node, it.into(), at(i64::from(it) * 10))).collect();
    samples[0].outcome.route = Some("other".to_owned());
    samples[1].caller = SampledCaller::Anonymous;
    samples[1].outcome.application = None;
    samples[2].outcome.status = 403;
    samples[2].outcome.code = Some("ip_denied".to_owned());
    store.record_traffic(node, &samples, at(0)).await?;
    let text = |text: &str| Some(text.to_owned());
    for (query, expected) in [
        (some(10), vec![4, 3, 2, 1]),
        (some(3), vec![4, 3, 2]),
        (TrafficQuery { before: Some((at(30), Uuid::from_u128(3))), ..some(10) }, vec![2, 1]),
        (TrafficQuery { before: Some((at(30), Uuid::from_u128(4))), ..some(1) }, vec![3]),
        (TrafficQuery { since: at(20), ..some(10) }, vec![4, 3, 2]),
        (TrafficQuery { route: text("other"), ..some(10) }, vec![1]),
        (TrafficQuery { application: text("shop"), ..some(10) }, vec![4, 3, 1]),
        (TrafficQuery { status: Some(403), ..some(10) }, vec![3]),
        (TrafficQuery { code: text("ip_denied"), application: text("shop"), ..some(10) }, vec![3]),
        (TrafficQuery { code: text("ip_denied"), status: Some(200), ..some(10) }, vec![]),
    ] {
        assert_eq!(ids(&store.traffic(&query).await?), expected, "{query:?}");
    }
    Ok(())
}

pub(super) async fn old_samples_are_deleted_by_those_who_took_them(subject: &dyn Subject) -> Result<()> {
    const MINUTE: i64 = 60 * 1_000_000;
    let store = subject.open().await;
    let (node, other) = (new_id(), new_id());
    // More than one statement of each size.
    let old: Vec<Sample> = (1..=123).map(|number| sample(node, number, at(MINUTE))).collect();
    store.record_traffic(node, &old, at(0)).await?;
    store.record_traffic(other, &[sample(other, 200, at(2 * MINUTE))], at(0)).await?;
    assert_eq!(store.traffic(&some(1000)).await?.len(), 124);
    store.record_traffic(node, &[sample(node, 201, at(3 * MINUTE))], at(3 * MINUTE - 1)).await?;
    assert_eq!(ids(&store.traffic(&some(1000)).await?), [201, 200], "its own at once");
    store.record_traffic(node, &[], at(3 * MINUTE + 1)).await?;
    assert_eq!(ids(&store.traffic(&some(1000)).await?), [], "those of others when they are long due");
    Ok(())
}

pub(super) async fn the_last_use_of_a_route_only_moves_forward(subject: &dyn Subject) -> Result<()> {
    let store = subject.open().await;
    assert_eq!(store.route_usage().await?, RouteUsage::default());
    let ids: Vec<Id<Route>> = (0..530).map(|_| Id::new(new_id())).collect();
    let uses = |moment: i64| ids.iter().map(|id| (*id, at(moment))).collect::<Vec<_>>();
    store.record_route_usage(&[], at(3)).await?;
    store.record_route_usage(&uses(5), at(5)).await?;
    let backwards: Vec<_> = uses(4).into_iter().rev().collect();
    subject.open().await.record_route_usage(&backwards, at(6)).await?;
    store.record_route_usage(&[(ids[0], at(8)), (ids[0], at(7))], at(8)).await?;
    let mut last_used: HashMap<_, _> = uses(5).into_iter().collect();
    last_used.insert(ids[0], at(8));
    assert_eq!(store.route_usage().await?, RouteUsage { since: Some(at(3)), last_used });
    Ok(())
}
