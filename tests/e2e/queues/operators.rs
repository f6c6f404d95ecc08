//! What operators see of queues and do with them, through the admin API and a gateway at work.

use std::sync::atomic::{AtomicBool, Ordering};

use e2e::rabbitmq::{consume, rabbitmq};
use e2e::{Backend, Reply, Stack, eventually_within, queue, route};
use serde_json::{Value, json};

use super::{DEADLINE, event, mail, mailing, received, task_of};

async fn status(stack: &Stack, queue: &str) -> Value {
    stack.admin().get(&format!("/admin/routing/queues/{queue}/status")).await.json()
}

async fn shows(stack: &Stack, queue: &str, expected: &[(&str, Value)]) {
    let probe = async || {
        let seen = status(stack, queue).await;
        let is_so = expected.iter().all(|(field, value)| seen[*field] == *value);
        if is_so { Ok(()) } else { Err(seen.to_string()) }
    };
    eventually_within(DEADLINE, "the queue's status", probe).await;
}

#[tokio::test]
async fn the_depth_of_a_rabbitmq_queue_is_reported_and_a_test_gets_through() {
    let (url, name) = (rabbitmq().await, format!("orders-{}", gateway_config::clock::new_id()));
    let stack = Stack::builder().setting("AMQP_URL", &url).start().await;
    let destination = json!({"exchange": "", "routingKey": name});
    let orders = queue("orders").set("broker", "rabbitmq").set("destination", destination);
    stack
        .put(&[orders.set("confirmTimeoutMs", 4000), route("orders").pattern("/orders").to_queue("orders").public()])
        .await;
    let path = "/admin/routing/queues/orders/test";
    // The gateway may still be connecting.
    let testing = async || stack.admin().post(path, &json!({"data": {"n": 1}})).await.with_status(200);
    let tested = eventually_within(DEADLINE, "a test to get through", testing).await.json();
    assert_eq!(tested["published"], true);
    shows(&stack, "orders", &[("waiting", json!(1)), ("consumers", json!(0)), ("brokerUp", json!(true))]).await;
    let node = status(&stack, "orders").await["nodes"][0].clone();
    assert_eq!((&node["node"], &node["messages"], &node["spooled"]), (&tested["node"], &json!(1), &json!(0)));

    let (id, message) = consume(&url, &name, 1).await.remove(0);
    let message: Value = serde_json::from_slice(&message).unwrap();
    assert_eq!(tested["taskId"], id);
    assert_eq!((&message["test"], &message["data"], &message["id"]), (&json!(true), &json!({"n": 1}), &json!(id)));
    shows(&stack, "orders", &[("waiting", json!(0))]).await;
}

#[tokio::test]
async fn a_test_of_a_queue_whose_broker_is_away_says_so() {
    let stack = Stack::builder().setting("AMQP_URL", "amqp://127.0.0.1:1/%2f").start().await;
    let destination = json!({"exchange": "", "routingKey": "nowhere"});
    let orders = queue("orders").set("broker", "rabbitmq").set("destination", destination);
    stack.put(&[orders.set("onBrokerDown", "spool")]).await;
    let refused = stack.admin().post("/admin/routing/queues/orders/test", &json!({})).await.expect_status(503).json();
    assert_eq!(refused["code"], "queue_unavailable", "{refused}");
    assert!(refused["message"].as_str().unwrap().contains("the broker is away"), "{refused}");
    shows(&stack, "orders", &[("waiting", Value::Null), ("brokerUp", json!(false)), ("spooled", json!(0))]).await;
}

/// A worker that refuses its first message.
fn failing_first() -> Backend {
    let has_failed = AtomicBool::new(false);
    let status = move || if has_failed.swap(true, Ordering::SeqCst) { 204 } else { 500 };
    Backend::http().otherwise(move |_| Reply::status(status())).start()
}

#[tokio::test]
async fn an_operator_tests_an_embedded_queue_and_replays_its_dead_letter() {
    let worker = failing_first();
    let stack = mailing(Stack::builder(), &worker, |mails| mails.set("maxAttempts", 1)).await;
    let dead = task_of(&stack.gateway(0).send(&mail("hello")).await);
    shows(&stack, "mails", &[("dead", json!(1)), ("waiting", json!(0)), ("brokerUp", json!(true))]).await;
    let letters = stack.admin().get("/admin/routing/queues/mails/dead").await.json();
    let letter = &letters["items"][0];
    assert_eq!((&letter["id"], &letter["lastError"]), (&json!(dead), &json!("status 500")));
    assert_eq!((&letter["event"]["data"]["text"], &letter["event"]["tasktoken"]), (&json!("hello"), &Value::Null));
    let replay = format!("/admin/routing/queues/mails/dead/{dead}/replay");
    stack.admin().post(&replay, &json!({})).await.expect_status(200);
    received(&worker, 2).await;

    let tested = stack.admin().post("/admin/routing/queues/mails/test", &json!({})).await.expect_status(200).json();
    received(&worker, 3).await;
    let last = event(worker.requests().last().unwrap());
    assert_eq!((&last["id"], &last["test"]), (&tested["taskId"], &json!(true)));
    assert_eq!(last["data"], json!({"test": true}));
    let task = format!("/admin/tasks/{}", tested["taskId"].as_str().unwrap());
    let noted = async || stack.admin().get(&task).await.with_status(200);
    let task = eventually_within(DEADLINE, "the task's record", noted).await.json();
    assert_eq!((&task["queue"], &task["application"]), (&json!("mails"), &Value::Null));
}
