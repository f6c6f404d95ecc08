//! Heads that are malformed, ambiguous or too large: refused on their stream, never forwarded, and the connection goes on.

use e2e::http2::{Outcome, RawHttp2};
use e2e::{Backend, Request};

use super::{http2, open};

const PROTOCOL_ERROR: u32 = 1;

fn get<'h>(path: &'h str, more: &[(&'h str, &'h str)]) -> Vec<(&'h str, &'h str)> {
    let mut head = vec![(":method", "GET"), (":scheme", "http"), (":path", path)];
    head.extend(more);
    head
}

#[tokio::test]
async fn fields_of_http_1_connections_are_malformed() {
    let backend = Backend::echo();
    let stack = open(&backend).await;
    let mut raw = RawHttp2::open(stack.gateway(0).address()).await;
    for (name, value) in [
        ("connection", "close"),
        ("connection", "x-api-key"),
        ("upgrade", "websocket"),
        ("transfer-encoding", "chunked"),
        ("keep-alive", "timeout=5"),
        ("proxy-connection", "keep-alive"),
        ("te", "gzip"),
    ] {
        let head = get("/", &[(":authority", "a.example"), (name, value)]);
        assert_eq!(raw.ask(&head).await, Outcome::Reset(PROTOCOL_ERROR), "{name}: {value}");
    }
    let fine = get("/", &[(":authority", "a.example"), ("te", "trailers")]);
    assert_eq!(raw.ask(&fine).await, Outcome::Answered(200));
    assert_eq!(backend.count(), 1);
}

#[tokio::test]
async fn a_host_that_is_missing_doubled_contradicted_or_invalid_is_refused() {
    let backend = Backend::echo();
    let stack = open(&backend).await;
    let mut raw = RawHttp2::open(stack.gateway(0).address()).await;
    let hosts: [&[(&str, &str)]; 6] = [
        &[],
        &[(":authority", "a.example"), ("host", "b.example")],
        &[("host", "a.example"), ("host", "a.example")],
        &[(":authority", "user@a.example")],
        &[(":authority", "a.example:port")],
        &[(":authority", "*.example")],
    ];
    for host in hosts {
        let outcome = raw.ask(&get("/", host)).await;
        assert!(matches!(outcome, Outcome::Answered(400) | Outcome::Reset(PROTOCOL_ERROR)), "{host:?}: {outcome:?}");
    }
    for host in [&[("host", "a.example")][..], &[(":authority", "a.example"), ("host", "a.example")]] {
        assert_eq!(raw.ask(&get("/", host)).await, Outcome::Answered(200), "{host:?}");
    }
    assert_eq!(backend.count(), 2);
}

#[tokio::test]
async fn no_way_leads_through_connect() {
    let backend = Backend::echo();
    let stack = open(&backend).await;
    let mut raw = RawHttp2::open(stack.gateway(0).address()).await;
    let plain = [(":method", "CONNECT"), (":authority", "a.example:80")];
    assert_eq!(raw.ask(&plain).await, Outcome::Answered(405));
    // A WebSocket over HTTP/2 (RFC 8441), which was never offered.
    let mut extended = get("/", &[(":authority", "a.example"), (":protocol", "websocket")]);
    extended[0].1 = "CONNECT";
    // `:protocol` stands among the pseudo-headers.
    assert_eq!(raw.ask(&extended).await, Outcome::Reset(PROTOCOL_ERROR));
    let fine = get("/", &[(":authority", "a.example")]);
    assert_eq!(raw.ask(&fine).await, Outcome::Answered(200));
    assert_eq!(backend.count(), 1);
}

#[tokio::test]
async fn paths_are_read_as_in_http_1() {
    let backend = Backend::echo();
    let stack = open(&backend).await;
    let mut raw = RawHttp2::open(stack.gateway(0).address()).await;
    for bad in ["/a%2fb", "/a%5cb", "/a%00", "/a%zz", "/a;b", "a", "http://a.example/", "/a b"] {
        let outcome = raw.ask(&get(bad, &[(":authority", "a.example")])).await;
        assert!(matches!(outcome, Outcome::Answered(400) | Outcome::Reset(PROTOCOL_ERROR)), "{bad}: {outcome:?}");
    }
    assert_eq!(backend.count(), 0);
    let answer = http2(&stack).await.send(&Request::get("/a/./b/../c//d?e=/../f")).await.expect_status(200);
    assert_eq!(answer.json()["target"], "/a/c/d?e=/../f");
}

#[tokio::test]
async fn what_is_too_large_or_too_much_is_refused_by_its_code() {
    let backend = Backend::echo();
    let stack = open(&backend).await;
    let client = http2(&stack).await;
    let refused = async |request: &Request, status, code| {
        let answer = client.send(request).await;
        assert_eq!((answer.status, answer.code()), (status, Some(code)), "{answer}");
    };
    refused(&Request::get(&format!("/{}", "a".repeat(9000))), 414, "uri_too_long").await;
    refused(&Request::get("/").header("x-large", &"a".repeat(40_000)), 431, "headers_too_large").await;
    let many = (0..300).fold(Request::get("/"), |request, number| request.header(&format!("x-{number}"), "1"));
    refused(&many, 431, "headers_too_large").await;
    // Beyond what is read at all nobody can say it in our words.
    let answer = client.send(&Request::get("/").header("x-large", &"a".repeat(100_000))).await;
    assert_eq!(answer.status, 431);
    assert_eq!(backend.count(), 0);
    client.send(&Request::get("/")).await.expect_status(200);
}

#[tokio::test]
async fn larger_headers_pass_where_the_configuration_lets_them() {
    let backend = Backend::saying("hello");
    let stack = open(&backend).await;
    let defaults = serde_json::json!({"maxHeaderBytes": 200_000});
    stack.admin().patch("/admin/edge/defaults?wait=10s", &defaults).await.expect_status(200);
    let large = Request::get("/").header("x-large", &"a".repeat(150_000));
    http2(&stack).await.send(&large).await.expect_status(200);
}
