//! The answers that the gateway makes itself.

use e2e::eventually::DEADLINE;
use e2e::{Backend, Request, route};

use super::echoing;

#[tokio::test]
async fn a_refusal_has_the_shape_that_clients_rely_on() {
    let backend = Backend::echo();
    let stack = echoing(&backend, &[]).await;
    let answer = stack.gateway(0).get("/nowhere/x?secret=1").await.expect_status(404);
    assert!(answer.header("content-type").is_some_and(|kind| kind.starts_with("application/json")), "{answer}");
    assert_eq!(answer.header("x-gateway-code"), Some("route_not_found"));
    let body = answer.json();
    assert_eq!((&body["statusCode"], &body["error"]), (&404.into(), &"Not Found".into()));
    assert_eq!((&body["code"], &body["path"]), (&"route_not_found".into(), &"/nowhere/x".into()));
    for field in ["message", "timestamp", "requestId"] {
        assert!(body[field].as_str().is_some_and(|text| !text.is_empty()), "{field}: {body}");
    }
    assert_eq!(answer.header("x-content-type-options"), Some("nosniff"), "{answer}");
}

/// Pingora's reader would refuse them with an empty answer in its own name.
#[tokio::test]
async fn what_cannot_be_read_as_a_request_is_refused_in_the_same_shape_and_counted() {
    let backend = Backend::echo();
    let stack = echoing(&backend, &[route("all").pattern("/{*rest}").to_service("echo").public()]).await;
    let gateway = stack.gateway(0);
    let unreadable = [
        (400, "GET / HTTP/9\r\nHost: a\r\n\r\n"),
        (400, "GET /\r\n\r\n"),
        (400, "GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n"),
        (400, "GET / HTTP/1.1\r\nHost : secret\r\n\r\n"),
        (400, "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n\r\n"),
        (400, "POST / HTTP/1.1\r\nHost: a\r\nHost: b\r\nContent-Length: 3\r\n\r\nabc"),
        (400, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabc"),
        (400, "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\nabc"),
        (400, "POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
        (400, "POST / HTTP/1.1\r\nHost: a\r\nbad name: secret\r\n\r\n"),
        (405, "CONNECT b:443 HTTP/1.1\r\nHost: b:443\r\n\r\n"),
        (400, "POST /<b> HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n"),
        (405, "CONNECT / HTTP/1.1\r\nHost: a\r\n\r\n"),
        (400, "\u{16}\u{3}\u{1} secret\r\n\r\n"),
    ];
    for (status, request) in unreadable {
        let mut connection = gateway.connect().await;
        // Whatever follows may be anything.
        let more = format!("{request}GET /more HTTP/1.1\r\nHost: a\r\n\r\n");
        connection.wire().write(more.as_bytes()).await.unwrap();
        let answer = connection.read_answer("GET").await.unwrap().expect_status(status);
        let code = if status == 400 { "bad_request" } else { "method_not_allowed" };
        assert_eq!(answer.header("x-gateway-code"), Some(code), "{request}: {answer}");
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"), "{answer}");
        let body = answer.json();
        assert_eq!((&body["statusCode"], &body["code"]), (&status.into(), &code.into()));
        assert!(body["requestId"].as_str().is_some_and(|id| id.len() > 8 && answer.header("x-request-id") == Some(id)));
        assert!(body["message"].as_str().is_some_and(|message| !message.is_empty() && !message.contains("secret")));
        let rest = tokio::time::timeout(DEADLINE, connection.wire().read_to_end()).await;
        assert_eq!(rest.expect("the connection ends").unwrap_or_default(), "");
    }
    assert_eq!(backend.count(), 0);
    let counted = gateway.metric("gatehouse_requests_total", &["route=\"-\"", "status=\"4xx\""]).await;
    assert_eq!(counted.map(|count| count.to_string()), Some(unreadable.len().to_string()));
}

#[tokio::test]
async fn who_asks_for_a_head_gets_no_body_also_when_that_cannot_be_read() {
    let backend = Backend::echo();
    let stack = echoing(&backend, &[]).await;
    let mut connection = stack.gateway(0).connect().await;
    connection.wire().write(b"HEAD / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n").await.unwrap();
    let all = tokio::time::timeout(DEADLINE, connection.wire().read_to_end()).await.expect("an end").unwrap();
    let all = String::from_utf8_lossy(&all);
    assert!(all.starts_with("HTTP/1.1 400 Bad Request\r\n") && all.ends_with("\r\n\r\n"), "{all}");
}

/// Empty lines before it, more fields than are looked at, and an end that comes later: nothing of it is lost, and what is judged is what is sent.
#[tokio::test]
async fn a_head_in_pieces_is_read_whole_however_it_begins() {
    let backend = Backend::echo();
    let stack = echoing(&backend, &[route("all").pattern("/{*rest}").to_service("echo").public()]).await;
    let fields = "a: b\r\n".repeat(65);
    for (begin, end) in [
        (format!("\r\n\r\nGET /x HTTP/1.1\r\n{fields}"), "Host: a\r\n\r\n"),
        (format!("\r\n\r\nPOST /x HTTP/1.1\r\n{fields}"), "Host: a\r\nContent-Length: 3\r\n\r\nabc"),
    ] {
        let mut connection = stack.gateway(0).connect().await;
        connection.wire().write(begin.as_bytes()).await.unwrap();
        // Whatever was sent before this is answered has been read.
        stack.gateway(0).get("/between").await.expect_status(200);
        connection.wire().write(end.as_bytes()).await.unwrap();
        let answer = connection.read_answer("GET").await.unwrap().expect_status(200).json();
        let body = if end.ends_with("abc") { "abc" } else { "" };
        assert_eq!((&answer["target"], &answer["body"]), (&"/x".into(), &body.into()));
        assert_eq!(answer["headers"].as_array().unwrap().iter().filter(|field| field[0] == "a").count(), 65);
        connection.send(&Request::get("/next")).await.unwrap().expect_status(200);
    }
}

/// A head that looks odd and is none the worse for it, with and without a body behind it.
#[tokio::test]
async fn what_only_looks_strange_is_served() {
    let backend = Backend::echo();
    let stack = echoing(&backend, &[route("all").pattern("/{*rest}").to_service("echo").public()]).await;
    for request in [
        "POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\nabc",
        "POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: Chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
        "POST http://a/x HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc",
        "POST /x HTTP/1.0\r\nContent-Length: 3\r\nConnection: keep-alive\r\n\r\nabc",
    ] {
        let mut connection = stack.gateway(0).connect().await;
        connection.wire().write(request.as_bytes()).await.unwrap();
        let answer = connection.read_answer("POST").await.unwrap().expect_status(200).json();
        assert_eq!((&answer["target"], &answer["body"]), (&"/x".into(), &"abc".into()), "{request}");
        connection.send(&Request::get("/next")).await.unwrap().expect_status(200);
    }
}

#[tokio::test]
async fn a_client_that_asks_for_problem_json_gets_it() {
    let backend = Backend::echo();
    let stack = echoing(&backend, &[]).await;
    let request = Request::get("/nowhere").header("Accept", "application/problem+json");
    let answer = stack.gateway(0).send(&request).await.expect_status(404);
    assert_eq!(answer.header("content-type"), Some("application/problem+json"));
    let body = answer.json();
    assert_eq!((&body["status"], &body["code"]), (&404.into(), &"route_not_found".into()));
    assert!(body["title"].is_string(), "{body}");
}

#[tokio::test]
async fn the_request_id_of_a_sane_client_is_kept_and_another_replaced() {
    let backend = Backend::echo();
    let stack = echoing(&backend, &[]).await;
    let sane = Request::get("/").header("X-Request-Id", "order-7.A_b");
    assert_eq!(stack.gateway(0).send(&sane).await.json()["requestId"], "order-7.A_b");
    let long = "x".repeat(500);
    for insane in ["a b", "<script>", "\"", &long] {
        let answer = stack.gateway(0).send(&Request::get("/").header("X-Request-Id", insane)).await;
        let given = answer.json()["requestId"].as_str().unwrap_or_default().to_owned();
        assert!(!given.is_empty() && given != insane, "{insane}: {given}");
    }
}

#[tokio::test]
async fn a_refusal_leaves_the_connection_usable() {
    let backend = Backend::echo();
    let stack = echoing(&backend, &[route("x").pattern("/x").to_service("echo").public()]).await;
    let mut connection = stack.gateway(0).connect().await;
    for path in ["/nowhere", "/x", "/nowhere", "/x"] {
        let expected = if path == "/x" { 200 } else { 404 };
        connection.send(&Request::get(path)).await.expect("the connection is kept").expect_status(expected);
    }
}
