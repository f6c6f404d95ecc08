//! Queues at work: how full they are, their dead letters, test messages and webhook secrets.

use std::time::Duration;

use gateway_config::clock::{Clock, new_id};
use gateway_config::model::{Id, Queue, Timestamp};
use gateway_config::store::{Here, MessageClaim, NewMessage, QueueReport, QueueTest, QueueTestState, Settlement};
use gateway_config::webhook::WebhookSecret;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::client::{Admin, Answer, master_key};

const MAILS: &str = "/admin/routing/queues/mails";
const ORDERS: &str = "/admin/routing/queues/orders";

/// With the embedded queue `mails` and the queue `orders` in RabbitMQ.
async fn queues() -> Admin {
    let admin = Admin::start().await;
    let mails = json!({"broker": "embedded", "destination": {"deliverTo": "http://127.0.0.1:7202/mails"}});
    admin.put(MAILS).json(mails).send().await.expect(201);
    let orders = json!({"broker": "rabbitmq", "destination": {"exchange": "", "routingKey": "orders"}});
    admin.put(ORDERS).json(orders).send().await.expect(201);
    admin
}

async fn id_of(admin: &Admin, path: &str) -> Id<Queue> {
    let queue = admin.get(path).send().await.expect(200).body;
    Id::new(queue["id"].as_str().unwrap().parse().unwrap())
}

fn seconds_ago(admin: &Admin, seconds: i64) -> Timestamp {
    Timestamp::from_micros(admin.clock.now().micros() - seconds * 1_000_000)
}

fn event(id: &str) -> Value {
    json!({"specversion": "1.0", "id": id, "tasktoken": "t0ps3cret", "data": {"to": "ann"}})
}

async fn accept(admin: &Admin, ids: &[&str]) {
    let accepted_at = seconds_ago(admin, 90);
    let message = |id: &&str| {
        let (id, queue) = ((*id).to_owned(), "mails".to_owned());
        NewMessage { event: event(&id).to_string(), id, queue, accepted_at }
    };
    let messages: Vec<NewMessage> = ids.iter().map(message).collect();
    admin.store.accept_messages(&messages).await.unwrap();
}

async fn claim(admin: &Admin, limit: u32) -> Vec<(Uuid, i64)> {
    let (worker, now) = (new_id(), admin.clock.now());
    let until = seconds_ago(admin, -60);
    let claim = MessageClaim { queue: "mails", worker, now, until, limit, concurrency: 99, here: Here::default() };
    let claimed = admin.store.claim_messages(&claim).await.unwrap().messages;
    claimed.iter().map(|message| (worker, message.number)).collect()
}

/// Accepted, and given up after one try.
async fn bury(admin: &Admin, ids: &[&str]) {
    accept(admin, ids).await;
    for (worker, number) in claim(admin, 99).await {
        let dead = Settlement::Dead { at: seconds_ago(admin, 1), error: "status 500".to_owned() };
        admin.store.settle_messages(worker, &[(number, dead)], &[]).await.unwrap();
    }
}

async fn deeds(admin: &Admin, action: &str) -> Vec<String> {
    let audit = admin.get(format!("/admin/audit?action={action}")).send().await.expect(200);
    let mut deeds: Vec<String> = audit.names("summary").into_iter().map(str::to_owned).collect();
    deeds.reverse();
    deeds
}

#[tokio::test]
async fn the_status_of_an_embedded_queue_is_what_the_database_holds() {
    let admin = queues().await;
    let path = format!("{MAILS}/status");
    let empty = admin.get(&path).send().await.expect(200).body;
    let known = ["waiting", "inDelivery", "dead", "oldestAt", "spooled", "brokerUp"].map(|field| empty[field].clone());
    assert_eq!(known, [json!(0), json!(0), json!(0), Value::Null, Value::Null, json!(true)]);
    bury(&admin, &["a"]).await;
    accept(&admin, &["b", "c", "d"]).await;
    claim(&admin, 1).await;
    let status = admin.get(&path).send().await.expect(200).body;
    assert_eq!(
        status,
        json!({
            "queue": "mails", "broker": "embedded", "brokerUp": true, "waiting": 2, "inDelivery": 1, "dead": 1,
            "oldestAt": seconds_ago(&admin, 90), "oldestAgeSeconds": 90, "consumers": null, "spooled": null, "nodes": [],
        })
    );
}

#[tokio::test]
async fn the_status_of_another_queue_is_what_gateways_said_within_a_minute() {
    let admin = queues().await;
    let path = format!("{ORDERS}/status");
    let unknown = admin.get(&path).send().await.expect(200).body;
    assert_eq!(
        (&unknown["waiting"], &unknown["brokerUp"], &unknown["nodes"]),
        (&json!(null), &json!(null), &json!([]))
    );
    let queue = id_of(&admin, ORDERS).await;
    let (old, one, other) = (new_id(), new_id(), new_id());
    let say = async |node, ago, messages, broker_up, spooled| {
        let at = seconds_ago(&admin, ago);
        let report = QueueReport { node, queue, messages, consumers: messages.map(|_| 2), broker_up, spooled, at };
        admin.store.report_queues(node, &[report], at).await.unwrap();
    };
    say(old, 61, Some(99), false, 50).await;
    say(one, 20, Some(7), true, 0).await;
    say(other, 5, None, true, 3).await;
    let status = admin.get(&path).send().await.expect(200).body;
    let seen = |node: Uuid, ago, up: Value, messages: Value, consumers: Value, spooled: Value| {
        json!({"node": node, "at": seconds_ago(&admin, ago), "brokerUp": up, "messages": messages, "consumers": consumers,
            "spooled": spooled})
    };
    let null = || Value::Null;
    let nodes = json!([
        seen(other, 5, json!(true), null(), null(), json!(3)),
        seen(one, 20, json!(true), json!(7), json!(2), json!(0)),
        seen(old, 61, null(), null(), null(), null()),
    ]);
    assert_eq!(
        status,
        json!({
            "queue": "orders", "broker": "rabbitmq", "brokerUp": true, "waiting": 7, "inDelivery": null, "dead": null,
            "oldestAt": null, "oldestAgeSeconds": null, "consumers": 2, "spooled": 3, "nodes": nodes,
        })
    );
    say(one, 4, None, false, 0).await;
    assert_eq!(admin.get(&path).send().await.expect(200).body["brokerUp"], false, "one does not see it");
}

#[tokio::test]
async fn dead_letters_are_listed_page_by_page_without_their_tokens() {
    let admin = queues().await;
    bury(&admin, &["a", "b", "c"]).await;
    let path = format!("{MAILS}/dead");
    let first = admin.get(format!("{path}?limit=2")).send().await.expect(200);
    assert_eq!(first.names("id"), ["a", "b"]);
    assert!(!first.text.contains("t0ps3cret"), "{}", first.text);
    let event = json!({"specversion": "1.0", "id": "a", "data": {"to": "ann"}});
    assert_eq!(
        first.body["items"][0],
        json!({"id": "a", "attempts": 1, "lastError": "status 500", "event": event,
            "acceptedAt": seconds_ago(&admin, 90), "deadAt": seconds_ago(&admin, 1)})
    );
    let cursor = first.body["nextCursor"].as_str().unwrap();
    let rest = admin.get(format!("{path}?limit=2&cursor={cursor}")).send().await.expect(200);
    assert_eq!((rest.names("id"), &rest.body["nextCursor"]), (vec!["c"], &Value::Null));
    for (query, name) in [("q=a", "q"), ("limit=0", "limit"), ("cursor=zz", "cursor"), ("cursor=2d31", "cursor")] {
        let refused = admin.get(format!("{path}?{query}")).send().await.refused(422, "invalid");
        assert_eq!(refused.problems(), [name]);
    }
}

#[tokio::test]
async fn a_dead_letter_is_replayed_or_discarded_once_and_the_audit_says_by_whom() {
    let admin = queues().await;
    bury(&admin, &["a", "b", "c", "d"]).await;
    let dead = |rest: &str| format!("{MAILS}/dead/{rest}");
    assert_eq!(admin.post(dead("b/replay")).send().await.expect(200).body, json!({"replayed": 1}));
    admin.post(dead("b/replay")).send().await.refused(404, "not_found");
    admin.delete(dead("b")).send().await.refused(404, "not_found");
    admin.delete(dead("c")).send().await.expect(204);
    admin.delete(dead("c")).send().await.refused(404, "not_found");
    admin.delete(dead("%00")).send().await.refused(404, "not_found");
    let left = admin.get(format!("{MAILS}/dead")).send().await;
    assert_eq!(left.names("id"), ["a", "d"]);
    assert_eq!(admin.post(dead("replay")).send().await.expect(200).body, json!({"replayed": 2}));
    assert_eq!(admin.post(dead("replay")).send().await.expect(200).body, json!({"replayed": 0}));
    assert_eq!(claim(&admin, 99).await.len(), 3, "they are due again, and the discarded one is not");
    let replays = ["replay dead letter b of queue mails", "replay all 2 dead letters of queue mails"];
    assert_eq!(deeds(&admin, "queue.replay").await, replays);
    assert_eq!(deeds(&admin, "queue.discard").await, ["discard dead letter c of queue mails"]);
}

#[tokio::test]
async fn dead_letters_of_other_brokers_are_not_here() {
    let admin = queues().await;
    for (method, rest) in [("GET", ""), ("POST", "/replay"), ("POST", "/x/replay"), ("DELETE", "/x")] {
        let answer = admin.call(method, format!("{ORDERS}/dead{rest}")).send().await.refused(409, "conflict");
        assert!(answer.body["message"].as_str().unwrap().contains("kept by its broker"), "{}", answer.text);
        let nowhere = format!("/admin/routing/queues/ghost/dead{rest}");
        admin.call(method, nowhere).send().await.refused(404, "not_found");
    }
}

/// A gateway that takes a test of the queue `orders`. `None`: it never answers.
async fn gateway(admin: &Admin, node: Uuid, outcome: Option<Result<(), String>>) -> QueueTest {
    let orders = id_of(admin, ORDERS).await;
    let test = loop {
        let open = admin.store.open_queue_tests(Timestamp::from_micros(0)).await.unwrap();
        match open.into_iter().find(|test| test.queue == orders) {
            Some(test) => break test,
            None => tokio::time::sleep(Duration::from_millis(5)).await,
        }
    };
    assert!(admin.store.take_queue_test(test.id, node, "t1").await.unwrap());
    if let Some(outcome) = outcome {
        admin.store.settle_queue_test(test.id, outcome).await.unwrap();
    }
    test
}

/// The answer to the operator, and what the gateway was asked for.
async fn tested(admin: &Admin, node: Uuid, outcome: Option<Result<(), String>>) -> (Answer, QueueTest) {
    let asking = admin.post(format!("{ORDERS}/test")).json(json!({"data": {"to": "ann"}})).send();
    futures::join!(asking, gateway(admin, node, outcome))
}

#[tokio::test]
async fn a_test_is_answered_with_what_came_of_it_at_a_gateway() {
    let admin = queues().await;
    let node = admin.report(2).await.id;
    let (answer, test) = tested(&admin, node, Some(Ok(()))).await;
    assert_eq!(answer.expect(200).body, json!({"published": true, "node": node, "taskId": "t1"}));
    assert_eq!(test.data.as_deref(), Some(r#"{"to":"ann"}"#));
    let (answer, test) = tested(&admin, node, Some(Err("the broker is away: no".to_owned()))).await;
    let refused = answer.refused(503, "queue_unavailable");
    let expected = format!("gateway {node} could not publish task t1: the broker is away: no");
    assert_eq!(refused.body["message"], expected);
    assert_eq!(admin.store.queue_test(test.id).await.unwrap(), None, "nothing is left of it");
    let deed = "publish a test message to queue orders";
    assert_eq!(deeds(&admin, "queue.test").await, [deed, deed]);
}

#[tokio::test]
async fn a_test_that_nobody_answers_is_taken_back_after_five_seconds() {
    let admin = queues().await;
    let node = admin.report(2).await.id;
    let asking = admin.post(format!("{MAILS}/test")).send();
    let ((answer, test), nobody) = futures::join!(tested(&admin, node, None), asking);
    let refused = answer.refused(503, "queue_unavailable");
    assert!(refused.body["message"].as_str().unwrap().contains("task t1 may be published still"), "{}", refused.text);
    assert_eq!(admin.store.queue_test(test.id).await.unwrap(), None);
    assert_eq!(refused.header("retry-after"), "1");

    let refused = nobody.refused(503, "queue_unavailable");
    assert!(refused.body["message"].as_str().unwrap().contains("no gateway that knows this queue"), "{}", refused.text);
    assert_eq!(admin.store.open_queue_tests(Timestamp::from_micros(0)).await.unwrap(), []);
}

#[tokio::test]
async fn a_test_that_can_not_be_made_is_refused_at_once() {
    let admin = queues().await;
    let path = format!("{MAILS}/test");
    let alone = admin.post(&path).send().await.refused(503, "queue_unavailable");
    assert_eq!(alone.body["message"], "no gateway is live that could publish it");
    admin.report(2).await;
    admin.patch(MAILS).json(json!({"isActive": false})).send().await.expect(200);
    admin.post(&path).send().await.refused(409, "conflict");
    admin.post("/admin/routing/queues/ghost/test").send().await.refused(404, "not_found");
    admin.post(&path).json(json!({"dat": 1})).send().await.refused(422, "invalid");
    admin.post(&path).json(json!([1])).send().await.refused(422, "invalid");
    assert_eq!(deeds(&admin, "queue.test").await, [""; 0]);
    assert_eq!(admin.store.queue_test(new_id()).await.unwrap(), None::<QueueTestState>);
}

#[tokio::test]
async fn webhook_secrets_are_shown_to_operators_and_that_is_noted() {
    let admin = queues().await;
    let shop = "/admin/access/applications/shop";
    let shown = admin.put(shop).json(json!({})).send().await.expect(201).body;
    let answer = admin.get(format!("{MAILS}/webhook-secret")).send().await.expect(200);
    let expected = WebhookSecret::of_queue(&master_key(), id_of(&admin, MAILS).await);
    assert_eq!((&answer.body, answer.header("cache-control")), (&json!({"secret": expected.text()}), "no-store"));
    let answer = admin.get(format!("{shop}/webhook-secret")).send().await.expect(200);
    let id = Id::new(shown["id"].as_str().unwrap().parse().unwrap());
    assert_eq!(answer.body, json!({"secret": WebhookSecret::of_application(&master_key(), id).text()}));
    let noted = ["read the webhook secret of queue mails", "read the webhook secret of application shop"];
    assert_eq!(deeds(&admin, "secret.read").await, noted);
    let audit = admin.get("/admin/audit").send().await;
    assert!(!audit.text.contains("whsec_"));

    admin.get(format!("{ORDERS}/webhook-secret")).send().await.refused(409, "conflict");
    admin.get("/admin/access/applications/ghost/webhook-secret").send().await.refused(404, "not_found");
    assert_eq!(deeds(&admin, "secret.read").await, noted);
}
