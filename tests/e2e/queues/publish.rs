//! Publishing to each broker: what a client is told, and what a worker finds.

use std::collections::HashMap;

use e2e::rabbitmq::{RabbitMq, consume, rabbitmq};
use e2e::{Answer, Entity, Request, Stack, application, eventually_within, queue, route};
use rdkafka::Offset;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::{Headers, Message};
use rdkafka::mocking::MockCluster;
use serde_json::{Value, json};

use super::{DEADLINE, task_of};

/// Of a stream: each with its id.
type Entries = Vec<(String, HashMap<String, String>)>;

fn unique() -> String {
    format!("orders-{}", gateway_config::clock::new_id())
}

/// The queue `orders` behind `POST /orders`, for the application `shop`.
async fn ordering(
    setting: (&str, &str),
    broker: &str,
    destination: Value,
    more: impl FnOnce(Entity) -> Entity,
) -> Stack {
    let stack = Stack::builder().setting(setting.0, setting.1).start().await;
    let orders = queue("orders").set("broker", broker).set("destination", destination).set("confirmTimeoutMs", 20_000);
    stack
        .put(&[
            more(orders),
            route("orders").pattern("/orders").to_queue("orders"),
            application("shop").allowed(&["orders"]).endpoint("/orders", &["POST"]),
        ])
        .await;
    stack
}

async fn amqp(url: &str, destination: Value, more: impl FnOnce(Entity) -> Entity) -> (Stack, String) {
    let stack = ordering(("AMQP_URL", url), "rabbitmq", destination, more).await;
    let key = stack.key_of("shop").await;
    (stack, key)
}

fn order(key: &str, body: &str) -> Request {
    Request::post("/orders", body.to_owned()).header("Content-Type", "application/json").api_key(key)
}

/// Sends until it is taken: a gateway may still be connecting.
async fn accepted(stack: &Stack, request: &Request) -> Answer {
    let sending = async || stack.gateway(0).send(request).await.with_status(202);
    eventually_within(DEADLINE, "a message to be taken", sending).await
}

/// What the contract says of the message behind this answer.
fn check_event(accepted: &Answer, id: &str, event: &[u8], data: &Value) {
    let task = task_of(accepted);
    assert_eq!(accepted.header("location"), Some(&*format!("/tasks/{task}")));
    let body = accepted.json();
    assert_eq!((&body["status"], &body["statusUrl"]), (&json!("queued"), &json!(format!("/tasks/{task}"))));
    let event: Value = serde_json::from_slice(event).unwrap();
    assert_eq!(id, task);
    for (field, expected) in [
        ("specversion", json!("1.0")),
        ("id", json!(task)),
        ("source", json!("/gatehouse/routes/orders")),
        ("type", json!("gatehouse.queue.orders")),
        ("subject", json!("/orders")),
        ("datacontenttype", json!("application/json")),
        ("application", json!("shop")),
        ("data", data.clone()),
    ] {
        assert_eq!(event[field], expected, "{field} in {event}");
    }
    assert!(event["statusurl"].as_str().unwrap().ends_with(&format!("/tasks/{task}/status")), "{event}");
    assert!(!event["tasktoken"].as_str().unwrap().is_empty(), "{event}");
}

#[tokio::test]
async fn a_request_is_a_message_in_rabbitmq() {
    let (url, name) = (rabbitmq().await, unique());
    let (stack, key) = amqp(&url, json!({"exchange": "", "routingKey": name}), |orders| orders).await;
    let answer = accepted(&stack, &order(&key, r#"{"n": 1}"#)).await;
    // Brokers are asked now and then.
    let waiting = async || match stack.gateway(0).metric("gatehouse_queue_messages", &["queue=\"orders\""]).await {
        Some(1.0) => Ok(()),
        other => Err(format!("{other:?}")),
    };
    eventually_within(DEADLINE, "the message to be counted", waiting).await;
    let (id, event) = consume(&url, &name, 1).await.remove(0);
    check_event(&answer, &id, &event, &json!({"n": 1}));
    let up = stack.gateway(0).metric("gatehouse_queue_broker_up", &["broker=\"rabbitmq\""]).await;
    let confirmed = ["queue=\"orders\"", "result=\"confirmed\""];
    assert_eq!(
        (up, stack.gateway(0).metric("gatehouse_queue_publishes_total", &confirmed).await),
        (Some(1.0), Some(1.0))
    );
}

#[tokio::test]
async fn a_request_is_an_entry_of_a_redis_stream() {
    let url = std::env::var("GATEHOUSE_TEST_REDIS").expect("tests/with-servers starts a Redis");
    let name = unique();
    let stack = ordering(("REDIS_URL", &url), "redis", json!({"stream": name}), |orders| orders).await;
    let key = stack.key_of("shop").await;
    let answer = accepted(&stack, &order(&key, r#"{"n": 2}"#)).await;
    let mut connection = redis::Client::open(url).unwrap().get_multiplexed_async_connection().await.unwrap();
    let entries: Entries =
        redis::cmd("XRANGE").arg(&name).arg("-").arg("+").query_async(&mut connection).await.unwrap();
    let [(_, fields)] = entries.as_slice() else { panic!("{entries:?}") };
    check_event(&answer, &fields["id"], fields["event"].as_bytes(), &json!({"n": 2}));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_is_a_record_of_a_kafka_topic_under_its_key() {
    let (cluster, name) = (MockCluster::new(1).unwrap(), unique());
    cluster.create_topic(&name, 1, 1).unwrap();
    let brokers = cluster.bootstrap_servers();
    let consumer: BaseConsumer =
        ClientConfig::new().set("bootstrap.servers", &brokers).set("group.id", "test").create().unwrap();
    // The cluster may not be kept over an await.
    let reading = std::thread::spawn({
        let name = name.clone();
        move || {
            let mut partitions = rdkafka::TopicPartitionList::new();
            partitions.add_partition_offset(&name, 0, Offset::Beginning).unwrap();
            consumer.assign(&partitions).unwrap();
            let message = consumer.poll(DEADLINE).expect("a message").unwrap();
            let id = message.headers().unwrap().iter().find(|header| header.key == "ce_id").unwrap().value.unwrap();
            let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
            (text(id), message.payload().unwrap().to_vec(), message.key().map(text))
        }
    });
    let stack =
        ordering(("KAFKA_BROKERS", &brokers), "kafka", json!({"topic": name, "keyFrom": "/customer"}), |orders| orders)
            .await;
    let key = stack.key_of("shop").await;
    let answer = accepted(&stack, &order(&key, r#"{"customer": "c-7"}"#)).await;
    let (id, event, record_key) = tokio::task::spawn_blocking(|| reading.join().unwrap()).await.unwrap();
    check_event(&answer, &id, &event, &json!({"customer": "c-7"}));
    assert_eq!(record_key.as_deref(), Some("c-7"));
}

#[tokio::test]
async fn what_does_not_fit_is_told_and_never_published() {
    let (url, name) = (rabbitmq().await, unique());
    let schema = json!({"type": "object", "required": ["to"], "properties": {"n": {"maximum": 3}}});
    let destination = json!({"exchange": "", "routingKey": name});
    let (stack, key) = amqp(&url, destination, |orders| orders.set("schema", schema).set("maxBodyBytes", 100)).await;
    let refused = stack.gateway(0).send(&order(&key, r#"{"n": 9}"#)).await.expect_status(422);
    assert_eq!(refused.code(), Some("payload_invalid"));
    let body = refused.json();
    let paths: Vec<&str> = body["problems"].as_array().unwrap().iter().map(|it| it["path"].as_str().unwrap()).collect();
    assert!(paths.contains(&"/n") && paths.contains(&""), "{refused}");
    let large = stack.gateway(0).send(&order(&key, &format!(r#"{{"to": "{}"}}"#, "x".repeat(200)))).await;
    assert_eq!(large.expect_status(413).code(), Some("body_too_large"));
    stack.gateway(0).send(&order(&key, "{")).await.expect_status(400);
    // Only what fits is there.
    let answer = accepted(&stack, &order(&key, r#"{"to": "a"}"#)).await;
    let (id, _) = consume(&url, &name, 1).await.remove(0);
    assert_eq!(id, task_of(&answer));
}

#[tokio::test]
async fn what_leads_nowhere_is_refused() {
    let url = rabbitmq().await;
    let stack = Stack::builder().setting("AMQP_URL", &url).setting("GATEWAY_CHECK_TOPOLOGY", "true").start().await;
    let to = |key: String| json!({"exchange": "", "routingKey": key});
    stack
        .put(&[
            queue("orders").set("broker", "rabbitmq").set("destination", to(unique())).set("confirmTimeoutMs", 20_000),
            route("orders").pattern("/orders").to_queue("orders").public(),
        ])
        .await;
    let unroutable = async || {
        let refused = stack.gateway(0).send(&Request::post("/orders", "x")).await.expect_status(503);
        assert_eq!(refused.code(), Some("queue_unavailable"));
        assert!(refused.header("retry-after").is_some(), "{refused}");
        let counted = ["queue=\"orders\"", "result=\"unroutable\""];
        stack.gateway(0).metric("gatehouse_queue_publishes_total", &counted).await.ok_or("not connected yet")
    };
    eventually_within(DEADLINE, "a message that comes back", unroutable).await;
}

#[tokio::test]
async fn while_the_broker_is_dead_clients_are_told_and_afterwards_served() {
    let mut server = RabbitMq::start().await;
    let name = unique();
    let (stack, key) = amqp(&server.url(), json!({"exchange": "", "routingKey": name}), |orders| orders).await;
    let before = task_of(&accepted(&stack, &order(&key, "{}")).await);
    server.kill();
    for _ in 0..5 {
        let refused = stack.gateway(0).send(&order(&key, "{}")).await.expect_status(503);
        assert_eq!(refused.code(), Some("queue_unavailable"));
        assert!(refused.header("retry-after").is_some(), "{refused}");
    }
    server.start_again().await;
    let after = task_of(&accepted(&stack, &order(&key, "{}")).await);
    let ids: Vec<String> = consume(&server.url(), &name, 2).await.into_iter().map(|(id, _)| id).collect();
    assert_eq!(ids, [before, after]);
}
