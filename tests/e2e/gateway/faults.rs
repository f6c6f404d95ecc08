//! Backends that misbehave: what the client hears, how soon, and that nobody else notices.

use std::time::{Duration, Instant};

use e2e::client::Failure;
use e2e::{Backend, Fault, Load, Request, Stack, route, service};
use serde_json::json;

/// The service `bad` on `/bad`, which gives up after 500 ms of silence, and the healthy `good` on `/good`.
async fn beside(fault: Fault) -> (Stack, Backend, Backend) {
    let (bad, good) = (Backend::failing(fault), Backend::saying("good"));
    let stack = Stack::start().await;
    stack
        .put(&[
            service("bad").url(bad.url()).set("timeouts", json!({"readMs": 500})),
            service("good").url(good.url()),
            route("bad").pattern("/bad").to_service("bad").public(),
            route("good").pattern("/good").to_service("good").public(),
        ])
        .await;
    (stack, bad, good)
}

#[tokio::test]
async fn a_refusing_backend_is_502_at_once() {
    let (stack, _bad, _good) = beside(Fault::Refuse).await;
    let start = Instant::now();
    let answer = stack.gateway(0).get("/bad").await;
    assert_eq!((answer.status, answer.code()), (502, Some("upstream_unreachable")), "{answer}");
    // At once, and not after some timeout: the shortest is 2 s to connect. How soon is for `benches/`.
    assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
}

#[tokio::test]
async fn a_hanging_backend_is_504_at_its_timeout() {
    let (stack, _bad, _good) = beside(Fault::Hang).await;
    for request in [Request::get("/bad"), Request::post("/bad", "body")] {
        let start = Instant::now();
        let answer = stack.gateway(0).send(&request).await;
        assert_eq!((answer.status, answer.code()), (504, Some("upstream_timeout")), "{answer}");
        let took = start.elapsed();
        assert!((450..1_000).contains(&took.as_millis()), "{took:?}");
    }
}

#[tokio::test]
async fn the_total_timeout_ends_a_request_that_trickles_on() {
    let trickling = Backend::raw(|mut wire| async move {
        let _ = wire.read_head().await;
        let _ = wire.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n").await;
        let mut drops = tokio::time::interval(Duration::from_millis(50));
        while wire.write(b"x").await.is_ok() {
            drops.tick().await;
        }
    });
    let stack = Stack::start().await;
    stack
        .put(&[
            service("slow").url(trickling.url()),
            route("slow").pattern("/slow").to_service("slow").public().set("timeouts", json!({"totalMs": 700})),
        ])
        .await;
    let start = Instant::now();
    let outcome = stack.gateway(0).try_send(&Request::get("/slow")).await;
    assert!(matches!(outcome, Err(Failure::BrokenAnswer { .. })), "{outcome:?}");
    let took = start.elapsed();
    assert!((600..2_000).contains(&took.as_millis()), "{took:?}");
}

#[tokio::test]
async fn a_truncated_body_never_looks_complete() {
    for fault in [Fault::DieInBody, Fault::DieInChunks, Fault::ResetAfter(120), Fault::HangInBody] {
        let (stack, _bad, _good) = beside(fault).await;
        let outcome = stack.gateway(0).try_send(&Request::get("/bad")).await;
        let broken = match &outcome {
            Ok(answer) => answer.status >= 500,
            Err(failure) => matches!(failure, Failure::BrokenAnswer { .. } | Failure::NoAnswer { .. }),
        };
        assert!(broken, "{fault:?}: {outcome:?}");
    }
}

#[tokio::test]
async fn a_backend_that_gives_no_valid_answer_is_502() {
    for fault in [Fault::Close, Fault::ResetAfter(0), Fault::ResetAfter(10), Fault::Garbage] {
        let (stack, _bad, _good) = beside(fault).await;
        let answer = stack.gateway(0).send(&Request::post("/bad", "x")).await;
        assert_eq!(answer.status, 502, "{fault:?}: {answer}");
        assert!(answer.code().is_some_and(|code| code.starts_with("upstream_")), "{fault:?}: {answer}");
    }
}

#[tokio::test]
async fn an_unasked_101_does_not_reach_the_client() {
    let backend = Backend::raw(|mut wire| async move {
        let _ = wire.read_head().await;
        let _ = wire.write(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n").await;
        let _ = wire.read_some().await;
    });
    let stack = Stack::start().await;
    let odd = service("odd").url(backend.url()).set("timeouts", json!({"readMs": 1000}));
    stack.put(&[odd, route("odd").pattern("/{*rest}").to_service("odd").public()]).await;
    match stack.gateway(0).try_send(&Request::get("/")).await {
        Ok(answer) => assert!(answer.status >= 500, "{answer}"),
        Err(failure) => assert!(matches!(failure, Failure::NoAnswer { .. }), "{failure}"),
    }
}

#[tokio::test]
async fn a_hanging_backend_hurts_only_its_own_route() {
    let (stack, _bad, good) = beside(Fault::Hang).await;
    let gateway = stack.gateway(0);
    let waiting = Load::of(Request::get("/bad"), &[gateway.address()]).connections(64).expect(504).start();
    waiting.wait_for(64).await;
    let load = Load::start(&gateway.url("/good"), 2);
    load.wait_for(500).await;
    let report = load.stop().await;
    report.assert_nothing_failed();
    // Half of the hanging backend's timeout: whoever waited for it would take all of that.
    assert!(report.latency(50) < Duration::from_millis(250), "{report}");
    assert!(good.count() >= 500);
    waiting.stop().await.assert_nothing_failed();
}
