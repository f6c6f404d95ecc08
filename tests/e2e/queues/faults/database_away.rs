//! The database away: brokers are there, so publishing goes on; behind the embedded broker, whose messages are in it, the spool takes over.

use std::sync::Arc;

use e2e::{Crowd, Database, PostgresCluster, Request, Stack, eventually_within, proof};
use serde_json::Value;

use super::{BY_DEFAULT, DEADLINE, Place, Worker, crowd, first_is_taken, spool_is_empty};

async fn cluster() -> (Arc<PostgresCluster>, Database) {
    let cluster = Arc::new(PostgresCluster::start().await);
    let database = Database::on(&cluster).await;
    (cluster, database)
}

async fn task(stack: &Stack, accepted: &Value) -> Value {
    stack.gateway(0).get(accepted["statusUrl"].as_str().unwrap()).await.expect_status(200).json()
}

#[tokio::test]
async fn without_its_database_a_gateway_publishes_and_writes_the_records_later() {
    let (cluster, database) = cluster().await;
    let place = Place::rabbitmq().await;
    let stack = place.ordering(Stack::builder().database(database), &place.url(), "reject").await;
    first_is_taken(&stack, "/orders").await;
    cluster.stop_hard().await;

    let orders = proof::count(400, 10_000);
    let told = crowd(&stack, orders).start().over().await;
    assert!(told.refused.is_empty(), "{told}");
    let order = Request::post("/orders", r#"{"order": "9-3"}"#).header("Content-Type", "application/json");
    let accepted = stack.gateway(0).send(&order).await.expect_status(202).json();
    // Its worker may be done with it by now: nobody can say.
    let meanwhile = stack.gateway(0).get(accepted["statusUrl"].as_str().unwrap()).await.expect_status(503);
    assert!(meanwhile.header("retry-after").is_some(), "{meanwhile}");

    cluster.start_again().await;
    let record = async || {
        let shown = task(&stack, &accepted).await;
        if shown["queue"] == "orders" { Ok(shown) } else { Err(shown.to_string()) }
    };
    assert_eq!(eventually_within(DEADLINE, "the record of the task", record).await["status"], "queued");
    let all = async || match stack.database().number("SELECT COUNT(*) FROM gateway_task WHERE is_published").await {
        count if usize::try_from(count) == Ok(orders + 2) => Ok(()),
        count => Err(format!("{count} of {}", orders + 2)),
    };
    eventually_within(DEADLINE, "all records", all).await;
    let tally = told.check(&place.received(&told.ids()).await);
    assert_eq!(tally.accepted, orders);
}

/// Orders before, while the database is away, and afterwards.
async fn through_an_outage(stack: &Stack, cluster: &PostgresCluster, outages: usize, is_told: bool) -> Crowd {
    let orders = proof::count(900, 20_000);
    let crowd = crowd(stack, orders).start();
    for outage in 1..=outages {
        crowd.wait_taken(orders * outage / (outages + 2)).await;
        let (taken, refused) = (crowd.taken(), crowd.refused());
        cluster.stop_hard().await;
        if is_told {
            crowd.wait_refused(refused + 30).await;
        } else {
            crowd.wait_taken(taken + 30).await;
        }
        cluster.start_again().await;
    }
    crowd
}

async fn nothing_is_lost_of_the_embedded_broker(when_down: &str) {
    let (cluster, database) = cluster().await;
    let worker = Worker::start();
    let stack = worker.ordering(Stack::builder().database(database), when_down).await;
    let first = first_is_taken(&stack, "/orders").await;
    let is_told = when_down == "reject";
    let told = through_an_outage(&stack, &cluster, proof::count(1, 10), is_told).await.over().await;
    spool_is_empty(&stack).await;
    let mut received = worker.received(&told.ids()).await;
    received.retain(|(id, _)| *id != first);
    told.check_unordered(&received);
    assert_eq!(told.refused.is_empty(), !is_told, "{told}");
}

#[tokio::test]
async fn without_its_database_an_embedded_queue_spools_unless_it_is_told_otherwise() {
    nothing_is_lost_of_the_embedded_broker(BY_DEFAULT).await;
}

#[tokio::test]
async fn without_its_database_an_embedded_queue_refuses_where_it_is_told_to() {
    nothing_is_lost_of_the_embedded_broker("reject").await;
}
