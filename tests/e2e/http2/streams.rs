//! A stream of HTTP/2 whose caller has lost access ends by itself; what shares its connection lives on.

use std::time::{Duration, Instant};

use e2e::http2::Exchange;
use e2e::{Backend, Entity, Gate, Grpc, Http2, Reply, Request, Stack, application, route, service};
use serde_json::{Value, json};

use super::http2;

const KEYS: &str = "/admin/access/applications/shop/keys";

fn key_text(key: &Value) -> &str {
    key["key"].as_str().unwrap()
}

async fn with_shop(service: Entity) -> (Stack, Value, Value) {
    let stack = Stack::start().await;
    let name = service.name().to_owned();
    stack
        .put(&[
            service,
            route("all").pattern("/{*rest}").to_service(&name),
            application("shop").allowed(&[&name]).endpoint("/{*rest}", &["*"]),
        ])
        .await;
    let first = stack.issue_key("shop", json!({"name": "first"})).await;
    let second = stack.issue_key("shop", json!({"name": "second"})).await;
    (stack, first, second)
}

/// Revokes a key; answers when every gateway knew.
async fn revoke(stack: &Stack, key: &Value) -> Instant {
    let path = format!("{KEYS}/{}?wait=10s", key["id"].as_str().unwrap());
    stack.admin().delete(&path).await.expect_status(204);
    Instant::now()
}

fn assert_within_a_second(since: Instant) {
    assert!(since.elapsed() < Duration::from_secs(1), "it took {:?}", since.elapsed());
}

async fn listen(client: &Http2, key: &Value) -> Exchange {
    let (mut events, _) = client.begin(&Request::get("/events").api_key(key_text(key)), true).await.unwrap();
    assert_eq!(events.piece().await.unwrap().unwrap(), "data: 1\n\n");
    events
}

#[tokio::test]
async fn an_event_stream_ends_within_a_second_and_another_of_the_same_connection_lives() {
    let gate = Gate::default();
    let held = gate.clone();
    let events = move || Reply::parts("data: 1\n\n", &held, "data: 2\n\n").header("Content-Type", "text/event-stream");
    let backend = Backend::http().otherwise(move |_| events()).start();
    let (stack, first, second) = with_shop(service("events").url(backend.url())).await;
    let client = http2(&stack).await;
    let (mut revoked, mut other) = (listen(&client, &first).await, listen(&client, &second).await);
    let answered = async || stack.gateway(0).metric("gatehouse_requests_total", &["route=\"all\"", "2xx"]).await;
    assert_eq!(answered().await, None, "none of them is over");

    stack.put(&[service("unrelated").url("http://127.0.0.1:9")]).await;
    let since = revoke(&stack, &first).await;
    let end = revoked.piece().await.expect_err("the stream is cut");
    assert_within_a_second(since);
    assert!(end.is_reset() && end.is_remote(), "its stream and no more: {end}");
    assert_eq!(answered().await, Some(1.0), "it is accounted for");

    let refused = client.send(&Request::get("/events").api_key(key_text(&first))).await;
    assert_eq!(refused.code(), Some("credentials_invalid"));
    gate.open();
    assert_eq!(other.piece().await.unwrap().unwrap(), "data: 2\n\n");
    assert_eq!(other.piece().await.unwrap(), None);
    assert_eq!(answered().await, Some(2.0));
}

#[tokio::test]
async fn a_grpc_stream_ends_within_a_second_and_another_of_the_same_connection_lives() {
    let backend = Backend::grpc(&Gate::default());
    let (stack, first, second) = with_shop(service("grpc").url(backend.url()).set("protocol", "h2c")).await;
    let client = http2(&stack).await;
    let chat = async |key: &Value| {
        let mut chat = Grpc::call(&client, &Grpc::request("/echo/Chat").api_key(key_text(key))).await.unwrap();
        chat.say(b"hello");
        assert_eq!(chat.next().await.unwrap().unwrap(), "hello");
        chat
    };
    let (mut revoked, mut other) = (chat(&first).await, chat(&second).await);
    let since = revoke(&stack, &first).await;
    let end = revoked.next().await.expect_err("the stream is cut");
    assert_within_a_second(since);
    assert!(end.is_reset() && end.is_remote(), "its stream and no more: {end}");
    other.say(b"still here");
    assert_eq!(other.next().await.unwrap().unwrap(), "still here");
    assert_eq!(backend.connections(), 1, "the connection to the backend lives, too");
}
