//! A queue that nobody made, and many clients at once: RabbitMQ refuses what comes while a queue is being made.

use e2e::{Stack, proof};

use super::{BY_DEFAULT, Place, crowd};

#[tokio::test]
async fn the_first_messages_of_many_clients_are_taken_while_their_queue_is_made() {
    for _ in 0..proof::count(3, 20) {
        let place = Place::rabbitmq().await;
        let stack = place.ordering(Stack::builder(), &place.url(), BY_DEFAULT).await;
        let told = crowd(&stack, 320).clients(32).start().over().await;
        assert!(told.refused.is_empty(), "{told}");
        let tally = told.check(&place.received(&told.ids()).await);
        assert_eq!((tally.accepted, tally.unknown), (320, 0));
    }
}
