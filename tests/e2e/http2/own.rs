//! What the gateway answers itself, over HTTP/2: messages for queues, what became of them, who a caller is, browsers' questions.

use e2e::{Backend, Http2, Reply, Request, Stack, application, eventually, queue, route, service};
use serde_json::{Value, json};

use super::http2;

async fn mailing(worker: &Backend) -> (Stack, Http2, String) {
    let stack = Stack::start().await;
    stack
        .put(&[
            queue("mails").deliver_to(worker.url()).set("maxBodyBytes", 1000),
            route("mails").pattern("/mails").to_queue("mails"),
            application("shop").allowed(&["mails"]).endpoint("/mails", &["POST"]),
        ])
        .await;
    let (client, key) = (http2(&stack).await, stack.key_of("shop").await);
    (stack, client, key)
}

fn mail(key: &str, text: &str) -> Request {
    Request::post("/mails", json!({"text": text}).to_string()).header("Content-Type", "application/json").api_key(key)
}

#[tokio::test]
async fn a_message_is_accepted_delivered_and_followed_to_its_end() {
    let worker = Backend::http().otherwise(|_| Reply::status(204)).start();
    let (_stack, client, key) = mailing(&worker).await;
    let accepted = client.send(&mail(&key, "hello")).await.expect_status(202);
    let id = accepted.json()["taskId"].as_str().unwrap().to_owned();
    assert_eq!(accepted.header("location"), Some(&*format!("/tasks/{id}")));
    let body = eventually("the message at the worker", async || worker.requests().pop().ok_or("none yet")).await.body;
    let event: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!((&event["id"], &event["data"]["text"]), (&json!(id), &json!("hello")));

    let follow = Request::get(&format!("/tasks/{id}/events")).api_key(&key);
    let (mut events, _) = client.begin(&follow, true).await.unwrap();
    assert!(events.piece().await.unwrap().is_some());
    assert_eq!(events.headers.get("content-type"), Some("text/event-stream"));
    let report = Request::post(&format!("/tasks/{id}/status"), json!({"status": "succeeded"}).to_string());
    let token = event["tasktoken"].as_str().unwrap();
    client.send(&report.header("Authorization", &format!("Bearer {token}"))).await.expect_status(200);
    let rest = events.whole().await.expect("the stream ends with its task").text();
    assert!(rest.contains("succeeded"), "{rest}");
    let shown = client.send(&Request::get(&format!("/tasks/{id}")).api_key(&key)).await.expect_status(200);
    assert_eq!(shown.json()["status"], "succeeded");
}

#[tokio::test]
async fn a_body_for_a_queue_that_is_too_large_is_refused_and_the_connection_goes_on() {
    let worker = Backend::http().otherwise(|_| Reply::status(204)).start();
    let (_stack, client, key) = mailing(&worker).await;
    for _ in 0..3 {
        // Declared, and found out on the way.
        let declared = mail(&key, &"a".repeat(100_000));
        let length = declared.sent_body().unwrap().len().to_string();
        for request in [declared.clone(), declared.header("Content-Length", &length)] {
            let answer = client.send(&request).await;
            assert_eq!((answer.status, answer.code()), (413, Some("body_too_large")), "{answer}");
        }
    }
    client.send(&mail(&key, "small")).await.expect_status(202);
}

#[tokio::test]
async fn a_caller_learns_who_it_is_and_changes_its_key() {
    let worker = Backend::http().start();
    let (_stack, client, key) = mailing(&worker).await;
    let me = Request::get("/.well-known/gateway/me");
    assert_eq!(client.send(&me).await.expect_status(401).code(), Some("credentials_missing"));
    assert_eq!(client.send(&me.clone().api_key(&key)).await.expect_status(200).json()["application"], "shop");
    client.send(&Request::get("/.well-known/gateway/jwks.json")).await.expect_status(200);
    let rotate = Request::post("/.well-known/gateway/me/rotate", "{}").api_key(&key);
    let new = client.send(&rotate).await.expect_status(201).json()["key"].as_str().unwrap().to_owned();
    client.send(&me.api_key(&new)).await.expect_status(200);
}

#[tokio::test]
async fn a_browsers_question_is_answered_and_its_origin_is_looked_at() {
    let backend = Backend::saying("ok");
    let stack = Stack::start().await;
    let cors = json!({"allowOrigins": ["https://shop.example"]});
    let closed = route("closed").pattern("/closed").method("PUT").to_service("echo").set("cors", cors);
    stack.put(&[service("echo").url(backend.url()), closed]).await;
    let client = http2(&stack).await;
    for (origin, allowed) in [("https://shop.example", Some("https://shop.example")), ("https://evil.example", None)] {
        let question =
            Request::new("OPTIONS", "/closed").header("Origin", origin).header("Access-Control-Request-Method", "PUT");
        let answer = client.send(&question).await.expect_status(204);
        assert_eq!(answer.header("access-control-allow-origin"), allowed, "{answer}");
        let refused = client.send(&Request::new("PUT", "/closed").header("Origin", origin)).await.expect_status(401);
        assert_eq!(refused.header("access-control-allow-origin"), allowed, "{refused}");
    }
    assert_eq!(backend.count(), 0);
}
