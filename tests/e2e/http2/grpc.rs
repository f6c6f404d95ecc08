//! gRPC through the gateway, and the gateway's own refusals as its clients read them.

use e2e::http2::framed;
use e2e::{Backend, Gate, Grpc, Http2, Request, Stack, route, service};
use serde_json::json;

use super::{http2, open, open_to};

async fn with_grpc(backend: &Backend) -> (Stack, Http2) {
    let stack = open_to(service("grpc").url(backend.url()).set("protocol", "h2c"), &[]).await;
    let client = http2(&stack).await;
    (stack, client)
}

async fn call(client: &Http2, path: &str) -> Grpc {
    Grpc::call(client, &Grpc::request(path)).await.unwrap()
}

#[tokio::test]
async fn a_call_gets_its_answer_and_its_trailers_and_the_backend_learns_who_calls() {
    let backend = Backend::grpc(&Gate::default());
    let (_stack, client) = with_grpc(&backend).await;
    let request = Grpc::request("/echo/Unary").host("shop.example").header("x-gateway-roles", "root");
    let request = request.header("proxy-authorization", "for the gateway").header("http2-settings", "x");
    let mut call = Grpc::call(&client, &request).await.unwrap();
    call.say(b"hello");
    call.finish();
    assert_eq!(call.next().await.unwrap().as_deref(), Some(&b"hello"[..]));
    assert_eq!(call.next().await.unwrap(), None);
    let outcome = call.outcome().await.unwrap();
    assert_eq!((outcome.get("grpc-status"), outcome.get("x-trailer")), (Some("0"), Some("kept")));
    assert_eq!(call.headers.get("x-content-type-options"), Some("nosniff"));

    let seen = backend.only_request();
    assert_eq!((seen.method.as_str(), seen.target.as_str()), ("POST", "/echo/Unary"));
    assert_eq!((seen.header("te"), seen.header("content-type")), (Some("trailers"), Some("application/grpc")));
    assert_eq!(seen.header("x-forwarded-host"), Some("shop.example"));
    assert!(seen.header("x-request-id").is_some() && seen.header(":authority").is_some());
    for gone in ["x-gateway-roles", "proxy-authorization", "http2-settings"] {
        assert_eq!(seen.header(gone), None, "{gone}");
    }
}

#[tokio::test]
async fn messages_come_as_they_are_sent_in_both_directions() {
    let gate = Gate::default();
    let backend = Backend::grpc(&gate);
    let (_stack, client) = with_grpc(&backend).await;

    let mut counting = call(&client, "/echo/Count").await;
    counting.finish();
    for expected in ["1", "2"] {
        assert_eq!(counting.next().await.unwrap().unwrap(), expected);
    }
    let mut chat = call(&client, "/echo/Chat").await;
    for text in ["one", "two", &"long".repeat(50_000)] {
        chat.say(text.as_bytes());
        assert_eq!(chat.next().await.unwrap().unwrap(), text);
    }
    chat.finish();
    assert_eq!(chat.next().await.unwrap(), None);
    assert_eq!(chat.outcome().await.unwrap().get("grpc-status"), Some("0"));
    gate.open();
    assert_eq!(counting.next().await.unwrap().unwrap(), "3");
    assert_eq!(counting.next().await.unwrap(), None);
    assert_eq!(counting.outcome().await.unwrap().get("grpc-status"), Some("0"));
    assert_eq!(backend.connections(), 1, "calls share a connection to the backend");
}

#[tokio::test]
async fn an_answer_of_nothing_but_a_status_arrives_as_such() {
    let backend = Backend::grpc(&Gate::default());
    let (_stack, client) = with_grpc(&backend).await;
    let mut missing = call(&client, "/echo/Missing").await;
    missing.finish();
    assert_eq!(missing.next().await.unwrap(), None);
    let outcome = missing.outcome().await.unwrap();
    assert_eq!((outcome.get("grpc-status"), outcome.get("grpc-message")), (Some("5"), Some("no such thing")));
}

#[tokio::test]
async fn a_client_that_cancels_leaves_the_others_and_the_connection_to_the_backend() {
    let gate = Gate::default();
    let backend = Backend::grpc(&gate);
    let (_stack, client) = with_grpc(&backend).await;
    for _ in 0..5 {
        let mut counting = call(&client, "/echo/Count").await;
        counting.finish();
        assert_eq!(counting.next().await.unwrap().unwrap(), "1");
        drop(counting);
    }
    let mut chat = call(&client, "/echo/Chat").await;
    chat.say(b"still here");
    assert_eq!(chat.next().await.unwrap().unwrap(), "still here");
    assert_eq!(backend.connections(), 1);
}

#[tokio::test]
async fn refusals_say_in_grpcs_words_what_they_say_in_http() {
    let backend = Backend::grpc(&Gate::default());
    let (stack, client) = with_grpc(&backend).await;
    let small = route("small").pattern("/small").to_service("grpc").public().set("maxBodyBytes", 10);
    let limit = json!([{"requests": 1, "perSeconds": 3600, "by": "global"}]);
    let limited = route("limited").pattern("/echo/Unary").to_service("grpc").public().set("limits", limit);
    let gone = service("gone").url("http://127.0.0.1:9").set("protocol", "h2c");
    let gone = [gone, route("gone").pattern("/gone").to_service("gone").public()];
    stack.put(&[small, limited, route("closed").pattern("/closed").to_service("grpc")]).await;
    stack.put(&gone).await;
    let refused = async |path: &str, body: &[u8], status, code, grpc: &str| {
        let answer = client.send(&Grpc::request(path).body(framed(body))).await;
        assert_eq!((answer.status, answer.code()), (status, Some(code)), "{answer}");
        assert_eq!(answer.header("grpc-status"), Some(grpc), "{answer}");
        assert_eq!(answer.header("grpc-message"), answer.json()["message"].as_str(), "{answer}");
    };
    refused("/closed", b"", 401, "credentials_missing", "16").await;
    refused("/.well-known/gateway/none", b"", 404, "route_not_found", "12").await;
    refused("/small", b"0123456789", 413, "body_too_large", "8").await;
    refused("/a%2fb", b"", 400, "bad_request", "3").await;
    client.send(&Grpc::request("/echo/Unary").body(framed(b""))).await.expect_status(200);
    refused("/echo/Unary", b"", 429, "rate_limited", "8").await;
    refused("/gone", b"", 502, "upstream_unreachable", "14").await;
    // Nobody else is bothered with it.
    let answer = client.send(&Request::get("/closed")).await.expect_status(401);
    assert_eq!(answer.header("grpc-status"), None);
}

#[tokio::test]
async fn a_backend_of_http_1_is_no_place_for_grpc_and_says_so_itself() {
    let backend = Backend::http().start();
    let stack = open(&backend).await;
    http2(&stack).await.send(&Grpc::request("/echo/Unary").body(framed(b"hello"))).await.expect_status(404);
    http2(&stack).await.send(&Request::get("/")).await.expect_status(404);
}
