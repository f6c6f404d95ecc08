//! Behind the handshake: the same as in plain text, and what is different because the client is safe.

use e2e::client::Failure;
use e2e::{
    Backend, Connection, Exit, Gate, Reply, Request, Signal, Stack, TlsClient, application, eventually, route, service,
};
use futures::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio_tungstenite::client_async;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

use super::{DEADLINE, HOST, Secure};
use crate::gateway::streams::parrot;

async fn secured(stack: &Stack, client: &TlsClient) -> Connection {
    client.connect(stack.gateway(0).tls_address(), HOST).await.unwrap()
}

#[tokio::test]
async fn backends_and_browsers_are_told_that_the_client_is_safe() {
    let backend = Backend::echo();
    let secure = Secure::with_host(&backend, &[("GATEWAY_HTTPS_REDIRECT", "4243")]).await;
    let defaults = json!({"securityHeaders": {"strict-transport-security": "max-age=60"}});
    secure.stack.admin().put("/admin/edge/defaults?wait=10s", &defaults).await.expect_status(200);
    let (address, client) = (secure.stack.gateway(0).tls_address(), secure.authority.client());
    let request = Request::get("/a").host(HOST).header("X-Forwarded-Proto", "http");
    let http1 = client.connect(address, HOST).await.unwrap().send(&request).await.unwrap();
    let http2 = client.http2(address, HOST).await.unwrap().send(&request).await;
    for answer in [http1, http2] {
        let answer = answer.expect_status(200);
        assert_eq!(answer.header("strict-transport-security"), Some("max-age=60"), "{answer}");
    }
    for request in backend.requests() {
        assert_eq!(request.header("x-forwarded-proto"), Some("https"));
        assert_eq!(request.header("x-forwarded-host"), Some(HOST));
        assert_eq!(request.header("x-forwarded-for"), Some("127.0.0.1"));
    }
    let refused = client.connect(address, HOST).await.unwrap().send(&Request::get("/%2f")).await.unwrap();
    assert_eq!(refused.expect_status(400).header("strict-transport-security"), Some("max-age=60"));

    let plain = secure.stack.gateway(0).send(&Request::get("/a").host(HOST)).await.expect_status(308);
    assert_eq!(plain.header("location"), Some("https://shop.test:4243/a"));
    assert_eq!(plain.header("strict-transport-security"), None);
    assert_eq!(backend.count(), 2);
}

#[tokio::test]
async fn bodies_come_and_go_whole() {
    let backend = Backend::http().otherwise(|request| Reply::text("").body(request.body.clone())).start();
    let secure = Secure::with_host(&backend, &[]).await;
    let (address, client) = (secure.stack.gateway(0).tls_address(), secure.authority.client());
    let body: Vec<u8> = (0..900_000_u32).map(|number| number.to_be_bytes()[3]).collect();
    let mut http1 = client.connect(address, HOST).await.unwrap();
    let http2 = client.http2(address, HOST).await.unwrap();
    for length in [0, 1, 16_384, 16_385, body.len()] {
        let request = Request::post("/", body[..length].to_vec());
        let answers = [http1.send(&request).await.unwrap(), http2.send(&request).await];
        for answer in answers {
            assert!(answer.expect_status(200).body == body[..length], "{length} bytes came back otherwise");
        }
    }
}

async fn key_of(stack: &Stack) -> Value {
    stack
        .put(&[
            service("streams").url(parrot().await),
            route("streams").pattern("/s/{*rest}").to_service("streams"),
            application("shop").allowed(&["streams"]).endpoint("/s/{*rest}", &["GET"]),
        ])
        .await;
    stack.issue_key("shop", json!({"name": "a"})).await
}

#[tokio::test]
async fn a_websocket_over_tls_talks_and_is_told_when_its_key_is_revoked() {
    let backend = Backend::echo();
    let secure = Secure::with_host(&backend, &[]).await;
    let key = key_of(&secure.stack).await;
    let client = secure.authority.client().offering(&["http/1.1"]);
    let stream = client.shake_hands(secure.stack.gateway(0).tls_address(), HOST).await.unwrap();
    let mut request = format!("wss://{HOST}/s/socket").into_client_request().unwrap();
    request.headers_mut().insert("x-api-key", key["key"].as_str().unwrap().parse().unwrap());
    let mut socket = client_async(request, stream).await.unwrap().0;
    let text = "a".repeat(100_000);
    for _ in 0..3 {
        socket.send(Message::text(text.as_str())).await.unwrap();
        assert_eq!(socket.next().await.unwrap().unwrap(), Message::text(text.as_str()));
    }
    let path = format!("/admin/access/applications/shop/keys/{}?wait=10s", key["id"].as_str().unwrap());
    secure.stack.admin().delete(&path).await.expect_status(204);
    let told = tokio::time::timeout(DEADLINE, socket.next()).await.expect("the end is told");
    let Some(Ok(Message::Close(Some(close)))) = told else { panic!("{told:?}") };
    assert_eq!(close.code, CloseCode::Policy);
    assert!(tokio::time::timeout(DEADLINE, socket.next()).await.expect("it ends").is_none());
}

#[tokio::test]
async fn a_draining_gateway_finishes_what_it_began_over_tls_and_takes_nothing_new() {
    let gate = Gate::default();
    let held = gate.clone();
    let backend = Backend::http().otherwise(move |_| Reply::parts("first", &held, "second")).start();
    let secure = Secure::with_host(&backend, &[("GATEWAY_DRAIN_TIMEOUT_SECONDS", "600")]).await;
    let (gateway, client) = (secure.stack.gateway(0), secure.authority.client());
    let mut http1 = secured(&secure.stack, &client).await;
    http1.begin(&Request::get("/")).await.unwrap();
    assert_eq!(http1.wire().read_chunk().await.unwrap().unwrap(), "first");
    let mut http2 = client.http2(gateway.tls_address(), HOST).await.unwrap();
    let (mut exchange, _to) = http2.begin(&Request::get("/"), true).await.unwrap();
    assert_eq!(exchange.piece().await.unwrap().unwrap(), "first");
    let _idle = secured(&secure.stack, &client).await;

    gateway.process().signal(Signal::TERM);
    eventually("new connections to be refused", async || match Connection::open(gateway.tls_address()).await {
        Err(Failure::Connect(_)) => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await;
    assert!(gateway.process().is_running());
    gate.open();
    assert_eq!(http1.wire().read_chunk().await.unwrap().unwrap(), "second");
    assert_eq!(http1.wire().read_chunk().await.unwrap(), None);
    assert_eq!(exchange.piece().await.unwrap().unwrap(), "second");
    assert_eq!(exchange.piece().await.unwrap(), None);
    // The client's own goodbye may find nobody there.
    let ended = http2.ended().await;
    assert!(ended.as_ref().map_or_else(h2::Error::is_io, |()| true), "the connection ends well: {ended:?}");
    assert_eq!(gateway.process().wait_exit().await, Exit::Code(0));
}
