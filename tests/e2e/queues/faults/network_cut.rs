//! A network that is cut in the middle of confirms: messages arrive, and nobody hears of it.

use std::time::Duration;

use e2e::network::{Network, Weather};
use e2e::{Stack, proof};

use super::{Place, crowd, first_is_taken, spool_is_empty};

/// The broker behind a network, which is cut again and again under load, and heals.
async fn nothing_is_lost(place: Place, weather: Weather, when_down: &str) {
    let (orders, cuts) = (proof::count(600, 20_000), proof::count(2, 20));
    let (network, url) = Network::before(&place.url()).await;
    let stack = place.ordering(Stack::builder(), &url, when_down).await;
    first_is_taken(&stack, "/orders").await;
    let crowd = crowd(&stack, orders).start();
    for cut in 1..=cuts {
        crowd.wait_taken(orders * cut / (cuts + 1)).await;
        let (taken, refused) = (crowd.taken(), crowd.refused());
        network.turn(weather);
        if when_down == "spool" {
            crowd.wait_taken(taken + 20).await;
        } else {
            crowd.wait_refused(refused + 20).await;
        }
        network.turn(Weather::Fair);
    }
    let told = crowd.over().await;
    spool_is_empty(&stack).await;
    let tally = told.check(&place.received(&told.ids()).await);
    assert_eq!(tally.accepted, orders);
    assert_eq!(told.refused.is_empty(), when_down == "spool", "{told}");
    // Far from the client's own patience.
    assert!(told.refused_within() < Duration::from_secs(20), "{told}");
}

#[tokio::test]
async fn a_mute_network_before_rabbitmq_loses_nothing() {
    nothing_is_lost(Place::rabbitmq().await, Weather::Mute, "reject").await;
}

#[tokio::test]
async fn a_frozen_network_before_rabbitmq_loses_nothing_that_is_spooled() {
    nothing_is_lost(Place::rabbitmq().await, Weather::Frozen, "spool").await;
}

#[tokio::test]
async fn a_mute_network_before_redis_loses_nothing() {
    nothing_is_lost(Place::redis(), Weather::Mute, "reject").await;
}

#[tokio::test]
async fn a_frozen_network_before_redis_loses_nothing_that_is_spooled() {
    nothing_is_lost(Place::redis(), Weather::Frozen, "spool").await;
}
