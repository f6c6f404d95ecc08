//! Tasks: what the client hears of its request, and what workers report.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use e2e::{Answer, Backend, Connection, Reply, Request, Stack, eventually_within};
use gateway_config::master_key::MasterKey;
use gateway_config::model::{Id, Timestamp};
use gateway_config::webhook::WebhookSecret;
use serde_json::{Value, json};

use super::{DEADLINE, event, mail, mailing, received, shop, task_of};

/// A stack whose worker takes everything and does nothing.
async fn lazy() -> (Backend, Stack) {
    let worker = Backend::http().otherwise(|_| Reply::status(204)).start();
    let stack = mailing(Stack::builder(), &worker, |mails| mails).await;
    (worker, stack)
}

fn closed(key: &str) -> Request {
    Request::post("/closed", "{}").header("Content-Type", "application/json").api_key(key)
}

/// The token of the newest message.
async fn token(worker: &Backend, id: &str) -> String {
    let found = async || {
        let events = worker.requests().iter().map(event).collect::<Vec<_>>();
        events.into_iter().find(|event| event["id"] == *id).ok_or("not yet")
    };
    let event = eventually_within(DEADLINE, "the message at the worker", found).await;
    assert!(event["statusurl"].as_str().unwrap().ends_with(&format!("/tasks/{id}/status")), "{event}");
    event["tasktoken"].as_str().unwrap().to_owned()
}

async fn report(stack: &Stack, id: &str, token: &str, report: &Value) -> Answer {
    let request = Request::post(&format!("/tasks/{id}/status"), report.to_string());
    stack.gateway(0).send(&request.header("Authorization", &format!("Bearer {token}"))).await
}

async fn show(stack: &Stack, id: &str, key: &str) -> Answer {
    stack.gateway(0).send(&Request::get(&format!("/tasks/{id}")).api_key(key)).await
}

/// Reads on until the text holds this.
async fn read_until(connection: &mut Connection, text: &mut String, part: &str) {
    let reading = async {
        while !text.contains(part) {
            let chunk = connection.wire().read_chunk().await.unwrap();
            text.push_str(std::str::from_utf8(&chunk.unwrap_or_else(|| panic!("over at {text}"))).unwrap());
        }
    };
    tokio::time::timeout(DEADLINE, reading).await.unwrap_or_else(|_| panic!("no {part}"));
}

#[tokio::test]
async fn a_task_is_followed_from_the_202_to_its_end() {
    let (worker, stack) = lazy().await;
    let key = stack.key_of("shop").await;
    let accepted = stack.gateway(0).send(&closed(&key)).await.expect_status(202);
    let id = task_of(&accepted);
    assert_eq!(accepted.header("location"), Some(&*format!("/tasks/{id}")));
    let shown = show(&stack, &id, &key).await.expect_status(200).json();
    assert_eq!((&shown["taskId"], &shown["status"]), (&json!(id), &json!("queued")));
    let mut events = stack.gateway(0).connect().await;
    let head = events.begin(&Request::get(&format!("/tasks/{id}/events")).api_key(&key)).await.unwrap();
    assert_eq!(head.headers.get("content-type"), Some("text/event-stream"));
    let mut text = String::new();
    read_until(&mut events, &mut text, "\"queued\"").await;

    let token = token(&worker, &id).await;
    let running = report(&stack, &id, &token, &json!({"status": "running"})).await.expect_status(200).json();
    assert_eq!(running["status"], "running");
    read_until(&mut events, &mut text, "\"running\"").await;
    let done = json!({"status": "succeeded", "result": {"sent": 1}});
    report(&stack, &id, &token, &done).await.expect_status(200);
    read_until(&mut events, &mut text, "\"succeeded\"").await;
    assert_eq!(events.wire().read_chunk().await.unwrap(), None, "the stream ends with its task");
    assert!(text.contains("id: 1\nevent: status\n") && text.contains("id: 3\nevent: status\n"), "{text}");

    let shown = show(&stack, &id, &key).await.json();
    assert_eq!(
        (&shown["status"], &shown["result"], &shown["queue"]),
        (&json!("succeeded"), &json!({"sent": 1}), &json!("mails"))
    );
    assert!(shown["finishedAt"].is_string() && shown["createdAt"].is_string());
    let again = Request::get(&format!("/tasks/{id}/events")).api_key(&key);
    stack.gateway(0).send(&again.clone().header("Last-Event-ID", "3")).await.expect_status(204);
    let rest = stack.gateway(0).send(&again.header("Last-Event-ID", "2")).await.text();
    assert!(rest.contains("id: 3\n") && !rest.contains("id: 2\n"), "{rest}");
}

#[tokio::test]
async fn reports_are_taken_from_the_tasks_worker_only_and_never_back() {
    let (worker, stack) = lazy().await;
    let key = stack.key_of("shop").await;
    let (id, other) =
        (task_of(&stack.gateway(0).send(&closed(&key)).await), task_of(&stack.gateway(0).send(&closed(&key)).await));
    let (mine, theirs) = (token(&worker, &id).await, token(&worker, &other).await);
    let done = json!({"status": "failed", "error": "no such address"});
    assert_eq!(report(&stack, &id, &theirs, &done).await.expect_status(401).code(), Some("credentials_invalid"));
    let bare = Request::post(&format!("/tasks/{id}/status"), done.to_string());
    stack.gateway(0).send(&bare).await.expect_status(401);
    stack.gateway(0).send(&bare.clone().api_key(&key)).await.expect_status(401);
    assert_eq!(report(&stack, "AQAB", &mine, &done).await.expect_status(404).code(), Some("task_not_found"));
    for bad in [json!({"status": "queued"}), json!({"status": "gone"}), json!({}), json!({"status": "running", "x": 1})]
    {
        report(&stack, &id, &mine, &bad).await.expect_status(400);
    }
    let large = json!({"status": "running", "result": "x".repeat(300_000)});
    report(&stack, &id, &mine, &large).await.expect_status(413);

    stack.gateway(0).send(&bare.header("X-Task-Token", &mine)).await.expect_status(200);
    assert_eq!(report(&stack, &id, &mine, &done).await.expect_status(200).json()["status"], "failed");
    let late = report(&stack, &id, &mine, &json!({"status": "succeeded"})).await.expect_status(409);
    assert_eq!((&late.json()["status"], &late.json()["error"]), (&json!("failed"), &json!("no such address")));
    report(&stack, &id, &mine, &json!({"status": "running"})).await.expect_status(409);
    assert_eq!(show(&stack, &id, &key).await.json()["status"], "failed");
    stack.gateway(0).send(&Request::new("DELETE", &format!("/tasks/{id}"))).await.expect_status(405);
}

#[tokio::test]
async fn a_task_is_seen_by_whoever_made_it_and_by_nobody_else() {
    let (_worker, stack) = lazy().await;
    let (shop, depot) = (stack.key_of("shop").await, stack.key_of("depot").await);
    let id = task_of(&stack.gateway(0).send(&closed(&shop)).await);
    show(&stack, &id, &shop).await.expect_status(200);
    assert_eq!(show(&stack, &id, &depot).await.expect_status(404).code(), Some("task_not_found"));
    assert_eq!(show(&stack, &format!("{id}A"), &shop).await.expect_status(404).code(), Some("task_not_found"));
    stack.gateway(0).get(&format!("/tasks/{id}")).await.expect_status(401);
    let foreign = Request::get(&format!("/tasks/{id}/events")).api_key(&depot);
    stack.gateway(0).send(&foreign).await.expect_status(404);

    let anonymous = stack.gateway(0).send(&mail("a")).await.expect_status(202).json();
    let url = anonymous["statusUrl"].as_str().unwrap();
    assert_eq!(stack.gateway(0).get(url).await.expect_status(200).json()["taskId"], anonymous["taskId"]);
    let bare = url.split('?').next().unwrap();
    stack.gateway(0).get(bare).await.expect_status(404);
    stack.gateway(0).get(&format!("{bare}?capability=x")).await.expect_status(404);
    stack.gateway(0).send(&Request::get(bare).api_key(&shop)).await.expect_status(404);
}

#[tokio::test]
async fn the_same_key_and_body_are_one_task_and_another_body_is_refused() {
    let (worker, stack) = lazy().await;
    let (shop, depot) = (stack.key_of("shop").await, stack.key_of("depot").await);
    let with = |key: &str, body: &str| {
        let request = Request::post("/closed", body.to_owned()).header("Content-Type", "application/json");
        request.api_key(key).header("Idempotency-Key", "order-7")
    };
    let first = task_of(&stack.gateway(0).send(&with(&shop, "{\"n\": 1}")).await);
    received(&worker, 1).await;
    assert_eq!(task_of(&stack.gateway(0).send(&with(&shop, "{\"n\": 1}")).await), first);
    let refused = stack.gateway(0).send(&with(&shop, "{\"n\": 2}")).await.expect_status(422);
    assert_eq!(refused.code(), Some("idempotency_mismatch"));
    assert_ne!(task_of(&stack.gateway(0).send(&with(&depot, "{\"n\": 2}")).await), first);
    received(&worker, 2).await;
    let token = token(&worker, &first).await;
    report(&stack, &first, &token, &json!({"status": "succeeded"})).await.expect_status(200);
    let again = stack.gateway(0).send(&with(&shop, "{\"n\": 1}")).await.expect_status(202);
    assert_eq!(again.json()["status"], "succeeded");
    assert_eq!(worker.count(), 2, "nothing was published again");
}

async fn with_callbacks(settings: &[(&str, &str)]) -> (Backend, Backend, Stack) {
    let (worker, client) = (
        Backend::http().otherwise(|_| Reply::status(204)).start(),
        Backend::http().otherwise(|_| Reply::status(204)).start(),
    );
    let builder = settings.iter().fold(Stack::builder(), |builder, (name, value)| builder.setting(name, value));
    let stack = mailing(builder, &worker, |mails| mails).await;
    stack.put(&[shop().set("callbackHosts", json!(["localhost"]))]).await;
    (worker, client, stack)
}

#[tokio::test]
async fn at_the_end_the_client_is_called_back_with_a_signature() {
    let (worker, client, stack) = with_callbacks(&[("GATEWAY_CALLBACK_PRIVATE", "true")]).await;
    let key = stack.key_of("shop").await;
    let url = format!("http://localhost:{}/done", client.address().port());
    let foreign = closed(&key).header("X-Callback-Url", &format!("http://127.0.0.1:{}/", client.address().port()));
    stack.gateway(0).send(&foreign).await.expect_status(400);
    let id = task_of(&stack.gateway(0).send(&closed(&key).header("X-Callback-Url", &url)).await);
    let token = token(&worker, &id).await;
    report(&stack, &id, &token, &json!({"status": "running"})).await.expect_status(200);
    report(&stack, &id, &token, &json!({"status": "succeeded", "result": 7})).await.expect_status(200);
    received(&client, 1).await;
    let called = client.only_request();
    let told: Value = serde_json::from_slice(&called.body).unwrap();
    assert_eq!((&told["taskId"], &told["status"], &told["result"]), (&json!(id), &json!("succeeded"), &json!(7)));
    let application = stack.admin().get("/admin/access/applications/shop").await.json();
    let master = MasterKey::of(e2e::stack::MASTER_KEY).unwrap();
    let secret = WebhookSecret::of_application(&master, Id::new(application["id"].as_str().unwrap().parse().unwrap()));
    let seconds: i64 = called.header("webhook-timestamp").unwrap().parse().unwrap();
    let signature = secret.sign(&id, Timestamp::from_micros(seconds * 1_000_000), &called.body);
    assert_eq!((called.header("webhook-id"), called.header("webhook-signature")), (Some(&*id), Some(&*signature)));
    assert!(!String::from_utf8_lossy(&called.body).contains(&token), "a task's token is never shown");
}

#[tokio::test]
async fn a_callback_to_a_private_address_is_not_made_unless_allowed() {
    let (worker, client, stack) = with_callbacks(&[]).await;
    let key = stack.key_of("shop").await;
    let url = format!("http://localhost:{}/done", client.address().port());
    let id = task_of(&stack.gateway(0).send(&closed(&key).header("X-Callback-Url", &url)).await);
    let token = token(&worker, &id).await;
    report(&stack, &id, &token, &json!({"status": "succeeded"})).await.expect_status(200);
    let probe = async || {
        let tried = stack.gateway(0).metric("gatehouse_task_callbacks_total", &["result=\"retry\""]).await;
        tried.filter(|tried| *tried > 0.0).ok_or("not tried yet")
    };
    eventually_within(DEADLINE, "the callback to be tried", probe).await;
    assert_eq!(client.connections(), 0);
}

#[tokio::test]
async fn a_stream_of_events_ends_with_its_callers_access() {
    let (_worker, stack) = lazy().await;
    let issued = stack.issue_key("shop", json!({"name": "a"})).await;
    let key = issued["key"].as_str().unwrap();
    let id = task_of(&stack.gateway(0).send(&closed(key)).await);
    let mut events = stack.gateway(0).connect().await;
    events.begin(&Request::get(&format!("/tasks/{id}/events")).api_key(key)).await.unwrap();
    read_until(&mut events, &mut String::new(), "\"queued\"").await;
    let path = format!("/admin/access/applications/shop/keys/{}?wait=10s", issued["id"].as_str().unwrap());
    stack.admin().delete(&path).await.expect_status(204);
    let ended = async { while !matches!(events.wire().read_chunk().await, Ok(None) | Err(_)) {} };
    tokio::time::timeout(Duration::from_secs(10), ended).await.expect("the stream ends");
}

#[tokio::test]
async fn a_dead_letter_fails_its_task_and_a_replay_opens_it_again() {
    let mended = Arc::new(AtomicBool::new(false));
    let is_mended = mended.clone();
    let status = move || if is_mended.load(Ordering::Relaxed) { 204 } else { 500 };
    let worker = Backend::http().otherwise(move |_| Reply::status(status())).start();
    let stack = mailing(Stack::builder(), &worker, |mails| mails.set("maxAttempts", 2)).await;
    let key = stack.key_of("shop").await;
    let id = task_of(&stack.gateway(0).send(&closed(&key)).await);
    let failed = async || {
        let shown = show(&stack, &id, &key).await.json();
        if shown["status"] == "failed" { Ok(shown) } else { Err(shown.to_string()) }
    };
    let shown = eventually_within(DEADLINE, "the task to fail", failed).await;
    let error = json!({"code": "dead_letter", "message": "given up after 2 attempts"});
    assert_eq!((&shown["error"], worker.count()), (&error, 2));

    mended.store(true, Ordering::Relaxed);
    let path = format!("/admin/routing/queues/mails/dead/{id}/replay");
    stack.admin().post(&path, &Value::Null).await.expect_status(200);
    received(&worker, 3).await;
    assert_eq!(show(&stack, &id, &key).await.json()["status"], "queued");
    let token = token(&worker, &id).await;
    report(&stack, &id, &token, &json!({"status": "succeeded"})).await.expect_status(200);
    let shown = show(&stack, &id, &key).await.json();
    assert_eq!((&shown["status"], &shown["error"]), (&json!("succeeded"), &Value::Null));
}

#[tokio::test]
async fn a_dead_letter_that_is_discarded_at_once_fails_its_task() {
    let worker = Backend::http().otherwise(|_| Reply::status(500)).start();
    let stack = mailing(Stack::builder(), &worker, |mails| mails.set("maxAttempts", 1)).await;
    let key = stack.key_of("shop").await;
    let id = task_of(&stack.gateway(0).send(&closed(&key)).await);
    let record = async || stack.admin().get(&format!("/admin/tasks/{id}")).await.with_status(200);
    eventually_within(DEADLINE, "the task's record", record).await;
    let path = format!("/admin/routing/queues/mails/dead/{id}");
    let discard = async || stack.admin().delete(&path).await.with_status(204);
    eventually_within(DEADLINE, "the dead letter", discard).await;
    let task = show(&stack, &id, &key).await.json();
    assert_eq!(
        (task["status"].as_str(), task["error"]["code"].as_str()),
        (Some("failed"), Some("dead_letter")),
        "{task}"
    );
}

#[tokio::test]
async fn a_dead_letter_that_is_replayed_at_once_does_not_fail_its_task() {
    let mended = Arc::new(AtomicBool::new(false));
    let is_mended = mended.clone();
    let is_good =
        move |body: &[u8]| is_mended.load(Ordering::Relaxed) && !body.windows(6).any(|part| part == b"poison");
    let worker = Backend::http().otherwise(move |it| Reply::status(if is_good(&it.body) { 204 } else { 500 })).start();
    let stack = mailing(Stack::builder(), &worker, |mails| mails.set("maxAttempts", 1)).await;
    let key = stack.key_of("shop").await;
    let id = task_of(&stack.gateway(0).send(&closed(&key)).await);
    received(&worker, 1).await;
    mended.store(true, Ordering::Relaxed);
    let path = format!("/admin/routing/queues/mails/dead/{id}/replay");
    let replay = async || stack.admin().post(&path, &Value::Null).await.with_status(200);
    eventually_within(DEADLINE, "the dead letter", replay).await;
    received(&worker, 2).await;

    // Gateways tell of dead letters in the order in which they were given up.
    let later = stack.gateway(0).send(&mail("poison")).await.expect_status(202).json();
    let failed = async || {
        let shown = stack.gateway(0).get(later["statusUrl"].as_str().unwrap()).await.json();
        if shown["status"] == "failed" { Ok(()) } else { Err(shown.to_string()) }
    };
    eventually_within(DEADLINE, "a later task to fail", failed).await;
    assert_eq!(show(&stack, &id, &key).await.json()["status"], "queued");
    let token = token(&worker, &id).await;
    report(&stack, &id, &token, &json!({"status": "succeeded"})).await.expect_status(200);
}
