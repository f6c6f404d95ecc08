//! From a client of HTTP/2 to a backend of HTTP/1.

use e2e::http2::send_all;
use e2e::wire::Framing;
use e2e::{Backend, Received, Reply, Request, route, service};
use serde_json::{Value, json};
use std::sync::{Arc, Mutex};

use super::{http2, open};

fn seen<'e>(echo: &'e Value, name: &str) -> Vec<&'e str> {
    let headers = echo["headers"].as_array().into_iter().flatten();
    let named = headers.filter(|field| field[0].as_str().is_some_and(|it| it.eq_ignore_ascii_case(name)));
    named.filter_map(|field| field[1].as_str()).collect()
}

#[tokio::test]
async fn every_method_and_body_arrives_and_http_1_is_served_as_before_on_the_same_port() {
    let backend = Backend::echo();
    let stack = open(&backend).await;
    let client = http2(&stack).await;
    for method in ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PROPFIND"] {
        for body in [None, Some(""), Some("hello"), Some(&*"a".repeat(200_000))] {
            let mut request = Request::new(method, "/a/b?c=d%20e").header("X-Mine", "1");
            if let Some(body) = body {
                request = request.body(body.to_owned());
            }
            let echo = client.send(&request).await.expect_status(200).json();
            assert_eq!((&echo["method"], &echo["target"]), (&json!(method), &json!("/a/b?c=d%20e")));
            assert_eq!(echo["body"].as_str().unwrap().len(), body.unwrap_or_default().len(), "{method}");
            assert_eq!(seen(&echo, "x-mine"), ["1"]);
        }
    }
    let answer = client.send(&Request::new("HEAD", "/")).await.expect_status(200);
    assert!(answer.body.is_empty());
    stack.gateway(0).send(&Request::post("/", "one")).await.expect_status(200);
    assert!(backend.connections() < 10, "connections are pooled, whatever the client speaks");
}

#[tokio::test]
async fn a_backend_of_http_1_sees_a_request_of_http_1() {
    let backend = Backend::echo();
    let stack = open(&backend).await;
    let request = Request::get("/a")
        .host("shop.example:81")
        .header("Cookie", "a=1")
        .header("Cookie", "b=2")
        .header("Te", "trailers")
        .header("Trailer", "x")
        .header("Proxy-Authorization", "x")
        .header("HTTP2-Settings", "x");
    let echo = http2(&stack).await.send(&request).await.expect_status(200).json();
    assert_eq!(seen(&echo, "cookie"), ["a=1; b=2"]);
    assert_eq!(seen(&echo, "host").len(), 1);
    assert_eq!(seen(&echo, "x-forwarded-host"), ["shop.example:81"]);
    assert_eq!(seen(&echo, "x-forwarded-for"), ["127.0.0.1"]);
    for gone in ["te", "trailer", "proxy-authorization", "http2-settings", "connection", "upgrade", ":authority"] {
        assert_eq!(seen(&echo, gone), Vec::<&str>::new(), "{gone}");
    }
}

#[tokio::test]
async fn what_a_client_says_in_the_gateways_name_is_taken_out() {
    let backend = Backend::echo();
    let stack = open(&backend).await;
    let names =
        ["x-gateway-application", "x_gateway_subject", "x-gateway_roles", "x_gateway_identity", "x_forwarded_for"];
    let mut request = Request::get("/a");
    for name in names {
        request = request.header(name, "canary");
    }
    let echo = http2(&stack).await.send(&request).await.expect_status(200);
    assert!(!echo.text().contains("canary"), "{echo}");
}

/// Every byte of a backend's connections, request by request: what is not a request would be read as the next one.
#[tokio::test]
async fn a_body_of_unknown_length_leaves_a_pooled_connection_in_step() {
    let journal: Arc<Mutex<Vec<(String, usize)>>> = Arc::default();
    let (noted, connections) = (journal.clone(), Arc::new(Mutex::new(0)));
    let opened = connections.clone();
    let backend = Backend::raw(move |mut wire| {
        let (noted, opened) = (noted.clone(), opened.clone());
        async move {
            *opened.lock().unwrap() += 1;
            loop {
                let head = match wire.read_head().await {
                    Ok(Some(head)) => head,
                    Ok(None) => return,
                    Err(error) => return noted.lock().unwrap().push((format!("out of step: {error}"), 0)),
                };
                let body = wire.read_body(Framing::of_request(&head).unwrap()).await.unwrap();
                noted.lock().unwrap().push((head.start_line.clone(), body.len()));
                wire.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await.unwrap();
            }
        }
    });
    let stack = open(&backend).await;
    let client = http2(&stack).await;
    for round in 0..20 {
        // With an empty last frame, as clients end a body whose length they did not know.
        let (mut exchange, mut to) = client.begin(&Request::new("POST", &format!("/{round}")), false).await.unwrap();
        send_all(&mut to, vec![b'a'; 10].into()).await.unwrap();
        exchange.whole().await.unwrap().expect_status(200);
        client.send(&Request::get("/next")).await.expect_status(200);
    }
    let journal = journal.lock().unwrap();
    let expected =
        (0..20).flat_map(|round| [(format!("POST /{round} HTTP/1.1"), 10), ("GET /next HTTP/1.1".to_owned(), 0)]);
    assert_eq!(*journal, expected.collect::<Vec<_>>());
    // A client may ask for more before its connection is back in the pool.
    assert!(*connections.lock().unwrap() < 20, "connections were pooled");
}

#[tokio::test]
async fn requests_of_one_connection_do_not_wait_for_each_other() {
    let gate = e2e::Gate::default();
    let held = gate.clone();
    let reply = move |request: &Received| match request.path() {
        "/slow" => Reply::text("slow").held_by(&held),
        _ => Reply::text("fast"),
    };
    let backend = Backend::http().otherwise(reply).start();
    let stack = open(&backend).await;
    let client = http2(&stack).await;
    let (mut slow, _) = client.begin(&Request::get("/slow"), true).await.unwrap();
    for _ in 0..10 {
        assert_eq!(client.send(&Request::get("/fast")).await.text(), "fast");
    }
    gate.open();
    assert_eq!(slow.whole().await.unwrap().text(), "slow");
}

#[tokio::test]
async fn the_host_comes_from_the_authority() {
    let (shop, any) = (Backend::saying("shop"), Backend::saying("any"));
    let stack = open(&any).await;
    stack.put(&[service("shop").url(shop.url())]).await;
    stack.put(&[route("shop").pattern("/{*rest}").host("shop.example").to_service("shop").public()]).await;
    let client = http2(&stack).await;
    for (host, text) in [("shop.example", "shop"), ("Shop.Example:8080", "shop"), ("other.example", "any")] {
        assert_eq!(client.send(&Request::get("/").host(host)).await.text(), text, "{host}");
    }
}
