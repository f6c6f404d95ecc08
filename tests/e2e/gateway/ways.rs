//! A request goes the short way or Pingora's: what comes of it is the same, on both sides of the gateway.

use e2e::client::Failure;
use e2e::{Answer, Backend, Fault, Reply, Request, Stack, route, service};
use serde_json::{Value, json};

use super::echoing;

/// The same request in pieces as they are sent. The first two go the short way.
const WAYS: [(&str, &[&str]); 9] = [
    ("whole", &["GET /x?a=1 HTTP/1.1\r\nHost: a.example\r\n\r\n"]),
    ("with the wish to stay", &["GET /x?a=1 HTTP/1.1\r\nHost: a.example\r\nConnection: Keep-Alive\r\n\r\n"]),
    ("in pieces", &["G", "ET /x?a=1 HTTP/1.1\r\nHost: a.exa", "mple\r\n\r\n"]),
    ("with a field for this hop", &["GET /x?a=1 HTTP/1.1\r\nHost: a.example\r\nTE: trailers\r\n\r\n"]),
    (
        "with a field that is named",
        &["GET /x?a=1 HTTP/1.1\r\nHost: a.example\r\nConnection: X-Hop\r\nX-Hop: 1\r\n\r\n"],
    ),
    (
        "with two wishes",
        &["GET /x?a=1 HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\nConnection: X-Hop\r\nX-Hop: 1\r\n\r\n"],
    ),
    ("with bare line ends", &["GET /x?a=1 HTTP/1.1\nHost: a.example\n\n"]),
    ("of another method", &["PUT /x?a=1 HTTP/1.1\r\nHost: a.example\r\nContent-Length: 0\r\n\r\n"]),
    ("with an upgrade", &["GET /x?a=1 HTTP/1.1\r\nHost: a.example\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n"]),
];

/// What a backend saw, but for what is new each time.
fn seen(answer: &Answer) -> (Value, Vec<Value>) {
    let echo: Value = answer.json();
    let is_steady = |field: &&Value| {
        let name = field[0].as_str().unwrap().to_lowercase();
        !["x-request-id", "traceparent", "x-gateway-identity", "content-length"].contains(&name.as_str())
    };
    let mut headers: Vec<Value> = echo["headers"].as_array().unwrap().iter().filter(is_steady).cloned().collect();
    headers.sort_by_key(ToString::to_string);
    (echo["target"].clone(), headers)
}

#[tokio::test]
async fn however_a_request_comes_its_backend_and_its_client_see_the_same() {
    let backend = Backend::echo();
    let stack = echoing(&backend, &[route("all").pattern("/{*rest}").to_service("echo").public()]).await;
    let gateway = stack.gateway(0);
    let whole = gateway.send(&Request::get("/x?a=1").host("a.example")).await.expect_status(200);
    for (way, pieces) in WAYS {
        let mut connection = gateway.connect().await;
        for piece in pieces {
            connection.wire().write(piece.as_bytes()).await.unwrap();
            // Whatever was sent before this is answered has been read.
            gateway.get("/between").await.expect_status(200);
        }
        let method = pieces[0].split(' ').next().filter(|method| *method != "G").unwrap_or("GET");
        let answer = connection.read_answer(method).await.unwrap().expect_status(200);
        assert_eq!(seen(&answer), seen(&whole), "{way}");
        let names = |answer: &Answer| answer.headers.0.iter().map(|(name, _)| name.to_lowercase()).collect::<Vec<_>>();
        assert_eq!(names(&answer), names(&whole), "{way}");
        if answer.header("connection") == Some("keep-alive") {
            connection.send(&Request::get("/next")).await.unwrap().expect_status(200);
        }
    }
}

#[tokio::test]
async fn a_body_that_ends_like_a_head_is_not_lost() {
    let backend = Backend::echo();
    let stack = echoing(&backend, &[route("all").pattern("/{*rest}").to_service("echo").public()]).await;
    for framed in
        ["Content-Length: 6\r\n\r\nab\r\n\r\n", "Transfer-Encoding: chunked\r\n\r\n6\r\nab\r\n\r\n\r\n0\r\n\r\n"]
    {
        let mut connection = stack.gateway(0).connect().await;
        let request = format!("GET /x HTTP/1.1\r\nHost: a.example\r\n{framed}");
        connection.wire().write(request.as_bytes()).await.unwrap();
        let answer = connection.read_answer("GET").await.unwrap().expect_status(200);
        assert_eq!(answer.json()["body"], "ab\r\n\r\n", "{answer}");
        connection.send(&Request::get("/next")).await.unwrap().expect_status(200);
    }
}

/// Nobody may take the second for part of the first, or answer it twice.
#[tokio::test]
async fn of_two_requests_at_once_each_is_answered_in_turn_or_not_at_all() {
    let backend = Backend::echo();
    let stack = echoing(&backend, &[route("all").pattern("/{*rest}").to_service("echo").public()]).await;
    for second in ["GET /second", "POST /second"] {
        let mut connection = stack.gateway(0).connect().await;
        let both =
            format!("GET /first HTTP/1.1\r\nHost: a\r\n\r\n{second} HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n");
        connection.wire().write(both.as_bytes()).await.unwrap();
        let mut targets = Vec::new();
        while let Ok(answer) = connection.read_answer("GET").await {
            targets.push(answer.expect_status(200).json()["target"].clone());
            if targets.len() == 2 {
                break;
            }
        }
        assert!(targets == ["/first"] || targets == ["/first", "/second"], "{targets:?}");
    }
}

#[tokio::test]
async fn what_is_judged_here_and_sent_by_pingora_is_judged_once() {
    let backend = Backend::grpc(&e2e::Gate::default());
    let stack = Stack::start().await;
    let limit = json!([{"requests": 9, "perSeconds": 3600, "by": "ip"}]);
    stack
        .put(&[
            service("other").url(backend.url()).set("protocol", "h2c"),
            route("other").pattern("/{*rest}").to_service("other").public().set("limits", limit),
        ])
        .await;
    let mut connection = stack.gateway(0).connect().await;
    for left in ["8", "7", "6"] {
        let answer = connection.send(&Request::get("/x").host("a.example")).await.unwrap().expect_status(200);
        assert_eq!(answer.header("x-ratelimit-remaining"), Some(left), "{answer}");
    }
    assert_eq!(backend.count(), 3);
    assert_eq!(backend.requests()[0].header("x-forwarded-for"), Some("127.0.0.1"));
}

#[tokio::test]
async fn a_backend_that_fails_fails_alike_both_ways() {
    let outcome = |outcome: Result<Answer, Failure>| match outcome {
        Ok(answer) => format!("{} {:?}", answer.status, answer.code()),
        Err(Failure::BrokenAnswer { status, .. }) => format!("{status}, broken"),
        Err(Failure::NoAnswer { .. }) => "none".to_owned(),
        Err(other) => panic!("{other}"),
    };
    for fault in [
        Fault::Refuse,
        Fault::Hang,
        Fault::HangInBody,
        Fault::Close,
        Fault::ResetAfter(0),
        Fault::ResetAfter(10),
        Fault::ResetAfter(120),
        Fault::DieInBody,
        Fault::DieInChunks,
        Fault::Garbage,
    ] {
        let backend = Backend::failing(fault);
        let stack = Stack::start().await;
        let service = service("bad").url(backend.url()).set("timeouts", json!({"readMs": 500}));
        stack.put(&[service, route("bad").pattern("/{*rest}").to_service("bad").public()]).await;
        let short = stack.gateway(0).try_send(&Request::get("/x")).await;
        let long = stack.gateway(0).try_send(&Request::get("/x").header("TE", "trailers")).await;
        assert_eq!(outcome(short), outcome(long), "{fault:?}");
    }
}

#[tokio::test]
async fn interim_answers_come_before_the_last_one() {
    let backend = Backend::raw(|mut wire| async move {
        while let Ok(Some(_)) = wire.read_head().await {
            let interim = b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\nHTTP/1.1 103 Early Hints\r\n\r\n";
            let _ = wire.write(interim).await;
            let _ = wire.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
        }
    });
    let stack = echoing(&backend, &[route("all").pattern("/{*rest}").to_service("echo").public()]).await;
    let mut connection = stack.gateway(0).connect().await;
    for _ in 0..2 {
        connection.wire().write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
        for _ in 0..2 {
            assert_eq!(connection.wire().read_head().await.unwrap().unwrap().status().unwrap(), 103);
        }
        let answer = connection.read_answer("GET").await.unwrap().expect_status(200);
        assert_eq!(answer.text(), "ok");
    }
}

/// An answer without a length ends with its connection; the client's stays.
#[tokio::test]
async fn an_answer_that_ends_with_its_connection_is_whole_and_the_clients_connection_stays() {
    let backend = Backend::raw(|mut wire| async move {
        let _ = wire.read_head().await;
        let _ = wire.write(b"HTTP/1.1 200 OK\r\n\r\nall of it").await;
        wire.close().await;
    });
    let stack = echoing(&backend, &[route("all").pattern("/{*rest}").to_service("echo").public()]).await;
    let mut connection = stack.gateway(0).connect().await;
    for _ in 0..3 {
        let answer = connection.send(&Request::get("/")).await.unwrap().expect_status(200);
        assert_eq!(answer.text(), "all of it");
    }
}

/// Whoever goes away is not worked for any longer.
#[tokio::test]
async fn a_client_that_is_gone_frees_its_backend() {
    let (gone, mut ends) = tokio::sync::mpsc::unbounded_channel();
    let backend = Backend::raw(move |mut wire| {
        let gone = gone.clone();
        async move {
            let _ = wire.read_head().await;
            gone.send(false).unwrap();
            let _ = wire.read_some().await;
            gone.send(true).unwrap();
        }
    });
    let stack = echoing(&backend, &[route("all").pattern("/{*rest}").to_service("echo").public()]).await;
    let mut connection = stack.gateway(0).connect().await;
    connection.wire().write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    assert_eq!(ends.recv().await, Some(false));
    drop(connection);
    let end = tokio::time::timeout(super::DEADLINE, ends.recv()).await;
    assert_eq!(end.expect("the backend goes on for nobody"), Some(true));
}

#[tokio::test]
async fn a_connection_that_died_in_the_pool_costs_nobody_an_answer() {
    let backend = Backend::failing(Fault::CloseAfterAnswer);
    let stack = echoing(&backend, &[route("all").pattern("/{*rest}").to_service("echo").public()]).await;
    let mut connection = stack.gateway(0).connect().await;
    for _ in 0..20 {
        let answer = connection.send(&Request::get("/")).await.unwrap().expect_status(200);
        assert_eq!(answer.text(), "hello");
    }
}

#[tokio::test]
async fn a_large_answer_comes_whole() {
    let body: Vec<u8> = (0..4 * 1024 * 1024_u32).map(|number| number.to_le_bytes()[number as usize % 4]).collect();
    let served = body.clone();
    let backend = Backend::http().otherwise(move |_| Reply::status(200).body(served.clone())).start();
    let stack = echoing(&backend, &[route("all").pattern("/{*rest}").to_service("echo").public()]).await;
    let answer = stack.gateway(0).send(&Request::get("/")).await.expect_status(200);
    assert!(answer.body == body, "the body came back changed, {} bytes", answer.body.len());
}
