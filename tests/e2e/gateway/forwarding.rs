//! What goes through to the backend and back, and what does not.

use e2e::wire::{Framing, Wire};
use e2e::{Answer, Backend, Gate, Reply, Request, Stack, route, service};
use serde_json::Value;

use super::echoing;

async fn open(backend: &Backend) -> Stack {
    echoing(backend, &[route("all").pattern("/{*rest}").to_service("echo").public()]).await
}

/// The values of a header as the echoing backend saw it.
fn seen(answer: &Answer, name: &str) -> Vec<String> {
    let echo: Value = answer.json();
    let headers = echo["headers"].as_array().cloned().unwrap_or_default();
    let of_name =
        headers.iter().filter(|field| field[0].as_str().is_some_and(|found| found.eq_ignore_ascii_case(name)));
    of_name.filter_map(|field| field[1].as_str().map(str::to_owned)).collect()
}

#[tokio::test]
async fn method_query_headers_and_body_arrive_and_status_headers_and_body_come_back() {
    let backend = Backend::http()
        .otherwise(|request| {
            Reply::status(201)
                .header("X-Seen", &request.method)
                .header("Set-Cookie", "a=1")
                .header("Set-Cookie", "b=2")
                .body("made")
        })
        .start();
    let stack = open(&backend).await;
    let request =
        Request::new("PUT", "/things/7?a=1&b").header("X-Custom", "yes").header("Cookie", "c=3").body("content");
    let answer = stack.gateway(0).send(&request).await.expect_status(201);
    assert_eq!((answer.text().as_str(), answer.header("x-seen")), ("made", Some("PUT")));
    assert_eq!(answer.headers.all("set-cookie"), ["a=1", "b=2"]);
    let request = backend.only_request();
    assert_eq!((request.target.as_str(), &request.body[..]), ("/things/7?a=1&b", &b"content"[..]));
    assert_eq!((request.header("x-custom"), request.header("cookie")), (Some("yes"), Some("c=3")));
}

#[tokio::test]
async fn the_backend_learns_who_calls_and_by_which_way() {
    let backend = Backend::echo();
    let stack = open(&backend).await;
    let answer = stack.gateway(0).send(&Request::get("/").host("shop.example")).await;
    assert_eq!(seen(&answer, "x-forwarded-for"), ["127.0.0.1"]);
    assert_eq!(seen(&answer, "x-forwarded-proto"), ["http"]);
    assert_eq!(seen(&answer, "x-forwarded-host"), ["shop.example"]);
    assert_eq!(seen(&answer, "x-request-id").len(), 1);
    let trace = seen(&answer, "traceparent");
    assert!(trace.len() == 1 && trace[0].starts_with("00-") && trace[0].len() == 55, "{trace:?}");
}

#[tokio::test]
async fn a_trace_that_the_client_began_goes_on() {
    let backend = Backend::echo();
    let stack = open(&backend).await;
    let began = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let answer = stack.gateway(0).send(&Request::get("/").header("traceparent", began)).await;
    let trace = seen(&answer, "traceparent");
    assert!(trace.len() == 1 && trace[0].contains("0af7651916cd43dd8448eb211c80319c"), "{trace:?}");
}

#[tokio::test]
async fn identity_and_way_sent_by_a_client_never_arrive() {
    let backend = Backend::echo();
    let stack = open(&backend).await;
    let names = [
        "X-Gateway-Application",
        "X-Gateway-Subject",
        "X-Gateway-Roles",
        "X-Gateway-Identity",
        "x_gateway_application",
        "X-Gateway_Subject",
        "X-Forwarded-For",
        "X-Forwarded-Host",
        "X-Forwarded-Proto",
        "X_Forwarded_For",
    ];
    let mut request = Request::get("/").header("X-API-Key", "spoofed");
    for name in names {
        request = request.header(name, "spoofed");
    }
    let answer = stack.gateway(0).send(&request).await;
    // A key that is none may also be refused; it must not pass either way.
    assert!(!answer.text().contains("spoofed"), "{answer}");
    let mut request = Request::get("/");
    for name in names {
        request = request.header(name, "spoofed");
    }
    let answer = stack.gateway(0).send(&request).await.expect_status(200);
    assert!(!answer.text().contains("spoofed"), "{answer}");
}

#[tokio::test]
async fn hop_by_hop_fields_end_at_the_gateway() {
    let backend = Backend::echo();
    let stack = open(&backend).await;
    let request = Request::get("/")
        .header("Connection", "keep-alive, X-Secret")
        .header("X-Secret", "for the gateway")
        .header("Keep-Alive", "timeout=5")
        .header("Proxy-Connection", "keep-alive")
        .header("TE", "trailers")
        .header("Proxy-Authorization", "Basic eDp5");
    let answer = stack.gateway(0).send(&request).await.expect_status(200);
    for name in ["x-secret", "keep-alive", "proxy-connection", "proxy-authorization"] {
        assert_eq!(seen(&answer, name), Vec::<String>::new(), "{name}: {answer}");
    }
}

#[tokio::test]
async fn nominating_a_field_of_the_gateway_as_hop_by_hop_strips_nothing() {
    let backend = Backend::echo();
    let stack = open(&backend).await;
    for name in ["X-Forwarded-For", "X-Request-Id", "Host"] {
        let answer = stack.gateway(0).send(&Request::get("/").header("Connection", name)).await;
        assert!(answer.status == 400 || seen(&answer, name).len() == 1, "{name}: {answer}");
    }
}

#[tokio::test]
async fn large_bodies_go_through_both_ways_unchanged() {
    let backend = Backend::http().otherwise(|request| Reply::status(200).body(request.body.clone())).start();
    let stack = open(&backend).await;
    let body: Vec<u8> = (0..8 * 1024 * 1024_u32).map(|number| number.to_le_bytes()[number as usize % 4]).collect();
    let answer = stack.gateway(0).send(&Request::post("/", body.clone())).await.expect_status(200);
    assert!(answer.body == body, "the body came back changed, {} bytes", answer.body.len());
}

#[tokio::test]
async fn an_answer_streams_through() {
    let gate = Gate::default();
    let held = gate.clone();
    let backend = Backend::http().otherwise(move |_| Reply::parts("first", &held, "second")).start();
    let stack = open(&backend).await;
    let mut connection = stack.gateway(0).connect().await;
    let begun = connection.begin(&Request::get("/")).await.unwrap();
    assert_eq!(begun.status().unwrap(), 200);
    assert_eq!(connection.wire().read_chunk().await.unwrap().unwrap(), "first");
    gate.open();
    assert_eq!(connection.wire().read_chunk().await.unwrap().unwrap(), "second");
    assert_eq!(connection.wire().read_chunk().await.unwrap(), None);
}

#[tokio::test]
async fn a_request_streams_through() {
    let (arrived, mut arrivals) = tokio::sync::mpsc::unbounded_channel();
    let backend = Backend::raw(move |mut wire: Wire| {
        let arrived = arrived.clone();
        async move {
            let head = wire.read_head().await.unwrap().expect("a request");
            assert_eq!(Framing::of_request(&head).unwrap(), Framing::Chunked);
            while let Ok(Some(chunk)) = wire.read_chunk().await {
                arrived.send(chunk).unwrap();
            }
            let _ = wire.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
        }
    });
    let stack = open(&backend).await;
    let mut connection = stack.gateway(0).connect().await;
    let head = "POST /up HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: chunked\r\n\r\n";
    connection.wire().write(head.as_bytes()).await.unwrap();
    connection.wire().write(b"5\r\nfirst\r\n").await.unwrap();
    assert_eq!(arrivals.recv().await.unwrap(), "first", "the first part arrives before the second is sent");
    connection.wire().write(b"6\r\nsecond\r\n0\r\n\r\n").await.unwrap();
    assert_eq!(arrivals.recv().await.unwrap(), "second");
    assert_eq!(connection.read_answer("POST").await.unwrap().expect_status(200).text(), "ok");
}

#[tokio::test]
async fn answers_without_a_body_leave_the_connection_in_step() {
    let backend = Backend::http()
        .route("/empty", |_| Reply::status(204))
        .route("/same", |_| Reply::status(304).header("ETag", "\"x\""))
        .otherwise(|_| Reply::text("hello"))
        .start();
    let stack = open(&backend).await;
    let mut connection = stack.gateway(0).connect().await;
    for (request, status, body) in [
        (Request::new("HEAD", "/"), 200, ""),
        (Request::get("/"), 200, "hello"),
        (Request::get("/empty"), 204, ""),
        (Request::get("/same"), 304, ""),
        (Request::get("/"), 200, "hello"),
    ] {
        let answer = connection.send(&request).await.unwrap().expect_status(status);
        assert_eq!(answer.text(), body, "{request:?}");
    }
}

#[tokio::test]
async fn a_client_that_waits_for_100_continue_gets_it() {
    let backend = Backend::echo();
    let stack = open(&backend).await;
    let mut connection = stack.gateway(0).connect().await;
    let head = "POST /x HTTP/1.1\r\nHost: a.example\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n";
    connection.wire().write(head.as_bytes()).await.unwrap();
    let interim = connection.wire().read_head().await.unwrap().expect("an interim answer");
    assert_eq!(interim.status().unwrap(), 100);
    connection.wire().write(b"body").await.unwrap();
    let answer = connection.read_answer("POST").await.unwrap().expect_status(200);
    assert_eq!(answer.json()["body"], "body");
}

#[tokio::test]
async fn connections_to_the_backend_are_reused() {
    let backend = Backend::saying("hello");
    let stack = open(&backend).await;
    let mut connection = stack.gateway(0).connect().await;
    for _ in 0..50 {
        connection.send(&Request::get("/")).await.unwrap().expect_status(200);
    }
    assert_eq!(backend.connections(), 1);
}

/// Says this in answer to each request, and closes.
fn saying(answer: &'static str) -> Backend {
    Backend::raw(move |mut wire: Wire| async move {
        if let Ok(Some(head)) = wire.read_head().await {
            let _ = wire.read_body(Framing::of_request(&head).unwrap()).await;
            let _ = wire.write(answer.as_bytes()).await;
        }
        wire.close().await;
    })
}

/// All that comes in answer, up to the end of the connection.
async fn all_that_comes(stack: &Stack, request: &str) -> String {
    let mut connection = stack.gateway(0).connect().await;
    connection.wire().write(request.as_bytes()).await.unwrap();
    let all = tokio::time::timeout(e2e::eventually::DEADLINE, connection.wire().read_to_end()).await;
    String::from_utf8(all.expect("the connection ends").unwrap().to_vec()).unwrap()
}

#[tokio::test]
async fn every_answer_is_in_the_version_of_the_gateway_not_of_its_backend() {
    for (answer, body) in [
        ("HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello", "hello"),
        ("HTTP/1.0 200 OK\r\n\r\nhello", "5\r\nhello\r\n0\r\n\r\n"),
        ("HTTP/1.0 204 No Content\r\n\r\n", ""),
    ] {
        let backend = saying(answer);
        let stack = open(&backend).await;
        for request in ["GET / HTTP/1.1\r\n", "POST / HTTP/1.1\r\nContent-Length: 0\r\n"] {
            let came = all_that_comes(&stack, &format!("{request}Host: a\r\nConnection: close\r\n\r\n")).await;
            let (head, rest) = came.split_once("\r\n\r\n").unwrap();
            assert!(head.starts_with("HTTP/1.1 20"), "{came}");
            assert_eq!(rest, body, "{request}: {came}");
        }
    }
}

#[tokio::test]
async fn who_speaks_http_1_0_gets_neither_chunks_nor_interim_answers() {
    let chunks = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n";
    let interim = "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nConnection: close\r\n\r\nhello";
    for answer in [chunks, interim] {
        let backend = saying(answer);
        let stack = open(&backend).await;
        for request in ["GET / HTTP/1.0\r\n", "GET / HTTP/1.0\r\nConnection: keep-alive\r\n"] {
            let came = all_that_comes(&stack, &format!("{request}Host: a\r\n\r\n")).await;
            let (head, rest) = came.split_once("\r\n\r\n").unwrap();
            assert!(head.starts_with("HTTP/1.1 200 OK\r\n") && head.contains("\r\nConnection: close"), "{came}");
            assert!(!head.contains("Transfer-Encoding"), "{came}");
            assert_eq!(rest, "hello", "{came}");
        }
    }
}

#[tokio::test]
async fn who_speaks_http_1_0_may_keep_a_connection_whose_answers_have_a_length() {
    let backend = Backend::http().route("/same", |_| Reply::status(304)).otherwise(|_| Reply::text("hello")).start();
    let stack = open(&backend).await;
    let mut connection = stack.gateway(0).connect().await;
    for (path, status, body) in [("/", 200, "hello"), ("/same", 304, ""), ("/", 200, "hello")] {
        let request = format!("GET {path} HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n");
        connection.wire().write(request.as_bytes()).await.unwrap();
        let answer = connection.read_answer("GET").await.unwrap().expect_status(status);
        assert_eq!((answer.text().as_str(), answer.header("connection")), (body, Some("keep-alive")));
    }
}

/// Pingora would make chunks of it.
#[tokio::test]
async fn an_answer_of_http_2_without_a_length_is_refused_to_who_speaks_http_1_0() {
    let backend = Backend::grpc(&Gate::default());
    let stack = Stack::start().await;
    let echo = service("echo").url(backend.url()).set("protocol", "h2c");
    stack.put(&[echo, route("all").pattern("/{*rest}").to_service("echo").public()]).await;
    let came = all_that_comes(&stack, "GET /x HTTP/1.0\r\nHost: a\r\n\r\n").await;
    assert!(came.starts_with("HTTP/1.1 502 ") && came.contains("upstream_invalid"), "{came}");
    assert!(!came.to_lowercase().contains("transfer-encoding"), "{came}");
}
