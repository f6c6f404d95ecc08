//! Gateways that are killed (-9) under load and started again, again and again.

use e2e::network::{Network, Weather};
use e2e::stack::StackBuilder;
use e2e::{Crowd, Database, Stack, proof};

use super::{Place, Worker, crowd, spool_is_empty};

fn orders() -> usize {
    proof::count(2_000, 100_000)
}

fn kills() -> usize {
    proof::count(3, 20)
}

/// Kills spread among the orders.
async fn kill_again_and_again(stack: &mut Stack, crowd: &Crowd) {
    for kill in 1..=kills() {
        crowd.wait_taken(orders() * kill / (kills() + 1)).await;
        stack.gateway_mut(0).restart_hard().await;
    }
}

async fn nothing_is_lost_of_the_embedded_broker(builder: StackBuilder) {
    let worker = Worker::start();
    let builder = builder.setting("GATEWAY_DELIVERY_LEASE_SECONDS", "2");
    let mut stack = worker.ordering(builder, "spool").await;
    let crowd = crowd(&stack, orders()).may_break().start();
    kill_again_and_again(&mut stack, &crowd).await;
    let told = crowd.over().await;
    let received = worker.received(&told.ids()).await;
    // Eight are delivered at once, in no order.
    let tally = told.check_unordered(&received);
    assert_eq!(tally.accepted, orders());
}

#[tokio::test]
async fn a_killed_gateway_loses_nothing_of_the_embedded_broker_on_sqlite() {
    nothing_is_lost_of_the_embedded_broker(Stack::builder().database(Database::sqlite())).await;
}

#[tokio::test]
async fn a_killed_gateway_loses_nothing_of_the_embedded_broker_on_postgres() {
    nothing_is_lost_of_the_embedded_broker(Stack::builder().database(Database::postgres().await)).await;
}

#[tokio::test]
async fn a_killed_gateway_loses_nothing_on_its_way_to_rabbitmq() {
    let place = Place::rabbitmq().await;
    let mut stack = place.ordering(Stack::builder(), &place.url(), "reject").await;
    let crowd = crowd(&stack, orders()).may_break().start();
    kill_again_and_again(&mut stack, &crowd).await;
    let told = crowd.over().await;
    let tally = told.check(&place.received(&told.ids()).await);
    assert_eq!(tally.accepted, orders());
}

/// The broker is away all the time, and the gateway is killed while its spool fills, and once while it is published.
async fn nothing_is_lost_of_the_spool(place: Place) {
    let (network, url) = Network::before(&place.url()).await;
    network.turn(Weather::Down);
    let mut stack = place.ordering(Stack::builder(), &url, "spool").await;
    let crowd = crowd(&stack, orders()).may_break().start();
    kill_again_and_again(&mut stack, &crowd).await;
    let told = crowd.over().await;
    assert_eq!(told.taken.len(), orders());
    stack.gateway_mut(0).restart_hard().await;
    stack.gateway(0).wait_ready().await;
    let waiting = stack.gateway(0).metric("gatehouse_spool_messages", &[]).await;
    assert!(
        waiting >= Some(f64::from(u32::try_from(orders()).unwrap())),
        "{waiting:?} wait, says one that has just been started"
    );
    network.turn(Weather::Fair);
    stack.gateway_mut(0).restart_hard().await;
    stack.gateway(0).wait_ready().await;
    spool_is_empty(&stack).await;
    let tally = told.check(&place.received(&told.ids()).await);
    assert_eq!(tally.accepted, orders());
}

#[tokio::test]
async fn a_killed_gateway_loses_nothing_that_it_spooled_for_rabbitmq() {
    nothing_is_lost_of_the_spool(Place::rabbitmq().await).await;
}

#[tokio::test]
async fn a_killed_gateway_loses_nothing_that_it_spooled_for_redis() {
    nothing_is_lost_of_the_spool(Place::redis()).await;
}
