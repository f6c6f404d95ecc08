//! Brokers that are killed (-9) under load and come back, again and again. Two queues on each: one refuses meanwhile, the other spools.

use e2e::{Crowd, Stack, eventually_within, proof, queue, route};
use serde_json::Value;

use super::{DEADLINE, Place, crowd, first_is_taken, spool_is_empty};

async fn is_known(stack: &Stack, up: bool) {
    let look = async || match stack.gateway(0).metric("gatehouse_queue_broker_up", &[]).await {
        // The embedded broker is one, too.
        Some(seen) if (seen > 1.0) == up => Ok(()),
        seen => Err(format!("{seen:?}")),
    };
    eventually_within(DEADLINE, "the gateway to notice", look).await;
}

/// A queue beside `orders` that spools.
async fn add_spooling(stack: &Stack, place: &Place) -> Place {
    let beside = place.beside();
    let (broker, destination) = beside.destination();
    let spooled = queue("spooled").set("broker", broker).set("destination", destination).set("onBrokerDown", "spool");
    stack.put(&[spooled, route("spooled").pattern("/spooled").to_queue("spooled").public()]).await;
    beside
}

/// Why messages of the queue were not taken, as the gateway's log has it.
fn reasons(stack: &Stack, queue: &str) -> Vec<String> {
    let lines = stack.gateway(0).process().lines();
    let of_queue = lines.into_iter().filter(|line| line.field("queue").and_then(Value::as_str) == Some(queue));
    of_queue.map(|line| line.text).collect()
}

/// While the broker is away each client is told so, or its order is spooled; afterwards all goes on by itself.
async fn nothing_is_lost(mut place: Place, kills: usize) {
    // Of both queues together.
    let orders = proof::count(3_000, 100_000) / 2;
    let builder = Stack::builder().setting("GATEWAY_REDIS_DURABILITY", "aof");
    let stack = place.ordering(builder, &place.url(), "reject").await;
    let beside = add_spooling(&stack, &place).await;
    is_known(&stack, true).await;
    for path in ["/orders", "/spooled"] {
        first_is_taken(&stack, path).await;
    }
    let refusing = crowd(&stack, orders).start();
    let spooling = Crowd::at(stack.gateway(0).address(), "/spooled").orders(orders).start();
    for kill in 1..=kills {
        refusing.wait_taken(orders * kill / (kills + 1)).await;
        let (refused, spooled) = (refusing.refused(), spooling.taken());
        place.kill().await;
        refusing.wait_refused(refused + 50).await;
        spooling.wait_taken(spooled + 50).await;
        place.start_again().await;
        is_known(&stack, true).await;
    }
    let (refusing, spooling) = (refusing.over().await, spooling.over().await);
    spool_is_empty(&stack).await;
    for (told, place) in [(&refusing, &place), (&spooling, &beside)] {
        let tally = told.check(&place.received(&told.ids()).await);
        assert_eq!(tally.accepted, orders / 8 * 8, "each of eight clients sends as many");
    }
    assert!(spooling.refused.is_empty(), "{spooling}\n{:#?}", reasons(&stack, "spooled"));
}

#[tokio::test]
async fn a_killed_rabbitmq_loses_nothing_that_was_accepted() {
    nothing_is_lost(Place::own_rabbitmq().await, proof::count(1, 20)).await;
}

#[tokio::test]
async fn a_killed_redis_loses_nothing_that_was_accepted() {
    nothing_is_lost(Place::own_redis().await, proof::count(3, 20)).await;
}
