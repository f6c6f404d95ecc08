//! The embedded broker: what was accepted is received.

use std::collections::HashSet;

use e2e::{Backend, Database, Gate, Reply, Stack, eventually_within};
use gateway_config::master_key::MasterKey;
use gateway_config::model::{Id, Timestamp};
use gateway_config::webhook::WebhookSecret;

use super::{DEADLINE, event, ids, mail, mailing, received, task_of};

/// Accepted over four connections at once, by turns at all gateways; the ids.
async fn accept(stack: &Stack, count: usize) -> Vec<String> {
    let senders = (0..4).map(|sender| async move {
        let gateway = stack.gateway(sender % stack.gateways().len());
        let mut connection = gateway.connect().await;
        let mut accepted = Vec::new();
        for number in 0..count / 4 {
            accepted.push(task_of(&connection.send(&mail(&format!("{sender}-{number}"))).await.unwrap()));
        }
        accepted
    });
    futures::future::join_all(senders).await.concat()
}

async fn settled(stack: &Stack) {
    let depth = || async {
        let url = stack.database().url();
        let store = gateway_config::store::open(&url).await.unwrap();
        store.queue_depths(Timestamp::from_micros(0)).await.unwrap()
    };
    let probe = async || {
        let depths = depth().await;
        if depths.iter().all(|depth| depth.waiting + depth.claimed == 0) { Ok(()) } else { Err(format!("{depths:?}")) }
    };
    eventually_within(DEADLINE, "everything to be settled", probe).await;
}

#[tokio::test]
async fn what_is_accepted_is_received_once_and_signed() {
    let worker = Backend::http().otherwise(|_| Reply::status(204)).start();
    let stack = mailing(Stack::builder(), &worker, |mails| mails).await;
    let accepted = accept(&stack, 200).await;
    received(&worker, 200).await;
    settled(&stack).await;
    let (sent, got): (HashSet<_>, HashSet<_>) =
        (accepted.iter().cloned().collect(), ids(&worker).into_iter().collect());
    assert_eq!((sent.len(), worker.count()), (200, 200));
    assert_eq!(sent, got);

    let first = &worker.requests()[0];
    assert_eq!(event(first)["data"]["text"].as_str().map(|text| &text[1..2]), Some("-"));
    let queue = stack.admin().get("/admin/routing/queues/mails").await.json();
    let master = MasterKey::of(e2e::stack::MASTER_KEY).unwrap();
    let secret = WebhookSecret::of_queue(&master, Id::new(queue["id"].as_str().unwrap().parse().unwrap()));
    let seconds: i64 = first.header("webhook-timestamp").unwrap().parse().unwrap();
    let at = Timestamp::from_micros(seconds * 1_000_000);
    let signature = secret.sign(first.header("webhook-id").unwrap(), at, &first.body);
    assert_eq!(first.header("webhook-signature"), Some(&*signature));
}

#[tokio::test]
async fn a_poison_message_becomes_a_dead_letter_and_holds_up_nobody() {
    let poison = |body: &[u8]| body.windows(6).any(|part| part == b"poison");
    let worker = Backend::http().otherwise(move |it| Reply::status(if poison(&it.body) { 500 } else { 204 })).start();
    let stack = mailing(Stack::builder(), &worker, |mails| mails.set("maxAttempts", 3).set("concurrency", 1)).await;
    let dead = task_of(&stack.gateway(0).send(&mail("poison")).await);
    let good = task_of(&stack.gateway(0).send(&mail("good")).await);
    let store = gateway_config::store::open(&stack.database().url()).await.unwrap();
    let probe = async || store.dead_letters("mails", 0, 9).await.unwrap().pop().ok_or("none");
    let letter = eventually_within(DEADLINE, "a dead letter", probe).await;
    assert_eq!((letter.id, letter.attempts, letter.last_error.as_deref()), (dead.clone(), 3, Some("status 500")));
    let ids = ids(&worker);
    assert_eq!((ids.iter().filter(|id| **id == dead).count(), ids.iter().filter(|id| **id == good).count()), (3, 1));
    assert_eq!(stack.gateway(0).metric("gatehouse_queue_deliveries_total", &["result=\"dead\""]).await, Some(1.0));
    // The worker is mended, and the letter replayed.
    store.replay_dead_letters("mails", Some(&dead), Timestamp::from_micros(0)).await.unwrap();
    received(&worker, 5).await;
}

#[tokio::test]
async fn what_a_killed_gateway_was_delivering_is_delivered_again_under_the_same_id() {
    let gate = Gate::default();
    let held = gate.clone();
    let worker = Backend::http().otherwise(move |_| Reply::status(204).held_by(&held)).start();
    let builder = Stack::builder().setting("GATEWAY_DELIVERY_LEASE_SECONDS", "2");
    let mut stack = mailing(builder, &worker, |mails| mails).await;
    let id = task_of(&stack.gateway(0).send(&mail("a")).await);
    received(&worker, 1).await;
    stack.gateway_mut(0).restart_hard().await;
    gate.open();
    received(&worker, 2).await;
    assert_eq!(ids(&worker), [id.clone(), id]);
    settled(&stack).await;
}

#[tokio::test]
async fn a_delivery_that_takes_longer_than_its_lease_is_not_begun_again() {
    let gate = Gate::default();
    let held = gate.clone();
    let worker = Backend::http().otherwise(move |_| Reply::status(204).held_by(&held)).start();
    let builder = Stack::builder().setting("GATEWAY_DELIVERY_LEASE_SECONDS", "2");
    let stack = mailing(builder, &worker, |mails| mails).await;
    stack.gateway(0).send(&mail("a")).await.expect_status(202);
    received(&worker, 1).await;
    // What is to be seen is that nothing happens.
    tokio::time::sleep(std::time::Duration::from_secs(5)).await;
    gate.open();
    settled(&stack).await;
    assert_eq!(worker.count(), 1);
}

#[tokio::test]
async fn a_gateway_that_stops_lets_deliveries_end() {
    let gate = Gate::default();
    let held = gate.clone();
    let worker = Backend::http().otherwise(move |_| Reply::status(204).held_by(&held)).start();
    let stack = mailing(Stack::builder().gateways(2), &worker, |mails| mails).await;
    stack.gateway(0).send(&mail("a")).await.expect_status(202);
    received(&worker, 1).await;
    let opening = async {
        tokio::time::sleep(std::time::Duration::from_secs(1)).await;
        gate.open();
    };
    futures::join!(stack.gateway(0).terminate(), stack.gateway(1).terminate(), opening);
    assert_eq!(worker.count(), 1);
    settled(&stack).await;
}

#[tokio::test]
async fn two_gateways_on_postgres_share_the_work_and_deliver_nothing_twice() {
    let worker = Backend::http().otherwise(|_| Reply::status(204)).start();
    let builder = Stack::builder().database(Database::postgres().await).gateways(2);
    let stack = mailing(builder, &worker, |mails| mails).await;
    let mut accepted = HashSet::new();
    // One of them may be done with a few hundred before the other has seen any.
    let both_deliver = async || {
        accepted.extend(accept(&stack, 100).await);
        let mut shares = Vec::new();
        for gateway in stack.gateways() {
            let delivered = gateway.metric("gatehouse_queue_deliveries_total", &["result=\"delivered\""]).await;
            shares.push(delivered.unwrap_or(0.0));
        }
        if shares.iter().all(|share| *share > 0.0) { Ok(()) } else { Err(format!("{shares:?}")) }
    };
    eventually_within(DEADLINE, "both to deliver", both_deliver).await;
    let count = u64::try_from(accepted.len()).unwrap();
    received(&worker, count).await;
    settled(&stack).await;
    assert_eq!(worker.count(), count);
    assert_eq!(ids(&worker).into_iter().collect::<HashSet<_>>(), accepted);
}
