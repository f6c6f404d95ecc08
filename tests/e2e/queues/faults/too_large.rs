//! A message that is larger than RabbitMQ takes: it says so by closing the channel on which all others travel.

use e2e::rabbitmq::RabbitMq;
use e2e::{Request, Stack};

use super::{Place, Server, crowd, unique};

#[tokio::test]
async fn a_message_beyond_rabbitmqs_limit_is_told_so_and_loses_no_other() {
    let server = RabbitMq::configured(&["max_message_size = 20000"]).await;
    let place = Place { name: unique(), server: Server::OwnRabbitmq(server) };
    let stack = place.ordering(Stack::builder(), &place.url(), "reject").await;
    let large = |size: usize| Request::post("/orders", "x".repeat(size)).header("Content-Type", "text/plain");

    let crowd_at_first = crowd(&stack, 400).start();
    crowd_at_first.wait_taken(100).await;
    let refused = stack.gateway(0).send(&large(30_000)).await.expect_status(413);
    assert_eq!(refused.code(), Some("body_too_large"));
    let told = crowd_at_first.over().await;
    let tally = told.check(&place.received(&told.ids()).await);
    assert_eq!(tally.accepted, 400);

    // By now the limit is known, and nobody else notices. The others are new orders of other clients.
    let crowd_afterwards = crowd(&stack, 400).from(1000).start();
    crowd_afterwards.wait_taken(100).await;
    for size in [30_000, 25_000, 40_000] {
        stack.gateway(0).send(&large(size)).await.expect_status(413);
    }
    let told = crowd_afterwards.over().await;
    assert!(told.refused.is_empty(), "{told}");
}
