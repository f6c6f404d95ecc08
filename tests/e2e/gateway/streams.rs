//! Streams outlive the decision that let them in, but not the access of whoever opened them.

use e2e::{Backend, Connection, Gate, Gateway, Reply, Request, Stack, application, route, service};
use futures::{SinkExt, StreamExt};
use gateway_config::clock::{Clock, SystemClock};
use gateway_config::model::Timestamp;
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::{WebSocketStream, accept_async, client_async};

const KEYS: &str = "/admin/access/applications/shop/keys";

type WebSocket = WebSocketStream<TcpStream>;

/// A backend that says every message back.
pub(crate) async fn parrot() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let Ok(socket) = accept_async(stream).await else { return };
                let (to, from) = socket.split();
                let _ = from.forward(to).await;
            });
        }
    });
    url
}

/// A service that the application `shop` may call below `/s`.
async fn with_shop(url: &str) -> Stack {
    let stack = Stack::start().await;
    stack
        .put(&[
            service("streams").url(url),
            route("streams").pattern("/s/{*rest}").to_service("streams"),
            application("shop").allowed(&["streams"]).endpoint("/s/{*rest}", &["GET"]),
        ])
        .await;
    stack
}

async fn issue(stack: &Stack, body: Value) -> Value {
    stack.issue_key("shop", body).await
}

async fn revoke(stack: &Stack, key: &Value) {
    let path = format!("{KEYS}/{}?wait=10s", key["id"].as_str().unwrap());
    stack.admin().delete(&path).await.expect_status(204);
}

async fn open(gateway: &Gateway, key: &Value) -> WebSocket {
    let mut request = format!("ws://{}/s/socket", gateway.address()).into_client_request().unwrap();
    request.headers_mut().insert("x-api-key", key["key"].as_str().unwrap().parse().unwrap());
    let stream = TcpStream::connect(gateway.address()).await.unwrap();
    client_async(request, stream).await.unwrap().0
}

async fn next(socket: &mut WebSocket) -> Option<Message> {
    let message = tokio::time::timeout(super::DEADLINE, socket.next()).await.expect("nothing comes and nothing ends");
    message.transpose().unwrap()
}

async fn assert_lives(socket: &mut WebSocket, text: &str) {
    socket.send(Message::text(text)).await.unwrap();
    assert_eq!(next(socket).await, Some(Message::text(text)));
}

async fn assert_told(socket: &mut WebSocket) {
    let Some(Message::Close(Some(close))) = next(socket).await else { panic!("the end is not told") };
    assert_eq!(close.code, CloseCode::Policy);
    assert_eq!(next(socket).await, None);
}

fn begin(key: &Value) -> Request {
    Request::get("/s/events").header("x-api-key", key["key"].as_str().unwrap())
}

/// An open event stream, its first event read.
async fn listen(gateway: &Gateway, key: &Value) -> Connection {
    let mut connection = gateway.connect().await;
    connection.begin(&begin(key)).await.unwrap();
    assert_eq!(connection.wire().read_chunk().await.unwrap().as_deref(), Some(&b"data: 1\n\n"[..]));
    connection
}

#[tokio::test]
async fn a_websocket_whose_key_is_revoked_is_told_so_and_the_others_live_on() {
    let stack = with_shop(&parrot().await).await;
    let (first, second) = (issue(&stack, json!({"name": "a"})).await, issue(&stack, json!({"name": "b"})).await);
    let mut revoked = open(stack.gateway(0), &first).await;
    let mut other = open(stack.gateway(0), &second).await;
    assert_lives(&mut revoked, "before").await;
    assert_lives(&mut other, "before").await;

    stack.put(&[service("unrelated").url("http://127.0.0.1:9")]).await;
    assert_lives(&mut revoked, "through a change").await;
    revoke(&stack, &first).await;
    assert_told(&mut revoked).await;
    assert_lives(&mut other, "after").await;
}

#[tokio::test]
async fn websockets_open_however_fast_the_backend_switches() {
    let stack = with_shop(&parrot().await).await;
    let key = issue(&stack, json!({"name": "a"})).await;
    for number in 0..100 {
        assert_lives(&mut open(stack.gateway(0), &key).await, &number.to_string()).await;
    }
}

#[tokio::test]
async fn a_websocket_ends_when_its_key_runs_out() {
    let stack = with_shop(&parrot().await).await;
    let soon = Timestamp::from_micros(SystemClock.now().micros() + 3_000_000);
    let key = issue(&stack, json!({"name": "a", "expiresAt": soon})).await;
    let mut socket = open(stack.gateway(0), &key).await;
    assert_lives(&mut socket, "in time").await;
    assert_told(&mut socket).await;
}

#[tokio::test]
async fn an_event_stream_ends_with_its_application_and_is_whole_otherwise() {
    let gate = Gate::default();
    let second = gate.clone();
    let answer =
        move || Reply::parts("data: 1\n\n", &second, "data: 2\n\n").header("Content-Type", "text/event-stream");
    let backend = Backend::http().otherwise(move |_| answer()).start();
    let stack = with_shop(&backend.url()).await;
    stack.put(&[application("depot").allowed(&["streams"]).endpoint("/s/{*rest}", &["GET"])]).await;
    let key = issue(&stack, json!({"name": "a"})).await;
    let depot = KEYS.replace("shop", "depot");
    let others =
        stack.admin().post(&format!("{depot}?wait=10s"), &json!({"name": "b"})).await.expect_status(201).json();
    let mut ended = listen(stack.gateway(0), &key).await;
    let mut other = listen(stack.gateway(0), &others).await;

    let closed =
        application("shop").allowed(&["streams"]).endpoint("/s/{*rest}", &["GET"]).set("isActive", json!(false));
    stack.put(&[closed]).await;
    let rest =
        tokio::time::timeout(super::DEADLINE, ended.wire().read_to_end()).await.expect("the stream does not end");
    assert!(rest.is_err() || rest.is_ok_and(|rest| rest.is_empty()), "it ends without an end of its body");
    gate.open();
    assert_eq!(other.wire().read_chunk().await.unwrap().as_deref(), Some(&b"data: 2\n\n"[..]));
}
