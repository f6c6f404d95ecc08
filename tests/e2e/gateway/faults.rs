//! Backends that misbehave: what the client hears, which timeout ends it, and that nobody else notices.

use std::time::Duration;

use e2e::client::Failure;
use e2e::{Answer, Backend, Fault, Gateway, Load, Request, Stack, eventually, route, service};
use serde_json::json;

use super::echoing;
use tokio::task::JoinHandle;

/// Longer than the client waits.
const PATIENT: u32 = 60_000;

/// The service `bad` on `/bad`, which gives up after 500 ms of silence, and on `/patient` the same backend with all the patience;
/// the healthy `good` on `/good`.
async fn beside(fault: Fault) -> (Stack, Backend, Backend) {
    let (bad, good) = (Backend::failing(fault), Backend::saying("good"));
    let stack = Stack::start().await;
    let patient = json!({"connectMs": PATIENT, "readMs": PATIENT, "writeMs": PATIENT});
    stack
        .put(&[
            service("bad").url(bad.url()).set("timeouts", json!({"readMs": 500})),
            service("patient").url(bad.url()).set("timeouts", patient),
            service("good").url(good.url()),
            route("bad").pattern("/bad").to_service("bad").public(),
            route("patient").pattern("/patient").to_service("patient").public(),
            route("good").pattern("/good").to_service("good").public(),
        ])
        .await;
    (stack, bad, good)
}

/// So many requests that wait for the hanging backend, on connections of their own, and have arrived there.
async fn waiting_for(bad: &Backend, gateway: &Gateway, count: u64) -> Vec<JoinHandle<Result<Answer, Failure>>> {
    let address = gateway.address();
    let send = |_| tokio::spawn(async move { Request::get("/patient").send(address).await });
    let waiting = (0..count).map(send).collect();
    eventually("the requests at the backend", async || match bad.count() {
        arrived if arrived == count => Ok(()),
        arrived => Err(arrived),
    })
    .await;
    waiting
}

#[tokio::test]
async fn a_refusing_backend_is_502_without_waiting_for_a_timeout() {
    let (stack, _bad, _good) = beside(Fault::Refuse).await;
    let answer = stack.gateway(0).get("/patient").await;
    assert_eq!((answer.status, answer.code()), (502, Some("upstream_unreachable")), "{answer}");
}

#[tokio::test]
async fn a_hanging_backend_is_504_at_the_timeout_of_its_service_and_not_before() {
    let (stack, bad, _good) = beside(Fault::Hang).await;
    let waiting = waiting_for(&bad, stack.gateway(0), 1).await;
    for request in [Request::get("/bad"), Request::post("/bad", "body")] {
        let answer = stack.gateway(0).send(&request).await;
        assert_eq!((answer.status, answer.code()), (504, Some("upstream_timeout")), "{answer}");
    }
    assert!(!waiting[0].is_finished(), "the patient one began first");
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
            service("slow").url(trickling.url()).set("timeouts", json!({"readMs": PATIENT})),
            route("slow").pattern("/slow").to_service("slow").public().set("timeouts", json!({"totalMs": 700})),
        ])
        .await;
    // All that would come is more than an hour's worth of drops.
    let outcome = stack.gateway(0).try_send(&Request::get("/slow")).await;
    assert!(matches!(outcome, Err(Failure::BrokenAnswer { .. })), "{outcome:?}");
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

/// There is none in HTTP/1.0, and Pingora would switch on one side only.
#[tokio::test]
async fn a_101_of_http_1_0_does_not_reach_the_client_either() {
    let backend = Backend::raw(|mut wire| async move {
        let _ = wire.read_head().await;
        let _ = wire.write(b"HTTP/1.0 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n").await;
        let _ = wire.read_some().await;
    });
    let stack = echoing(&backend, &[route("all").pattern("/{*rest}").to_service("echo").public()]).await;
    let upgrade = Request::get("/").header("Connection", "Upgrade").header("Upgrade", "x");
    stack.gateway(0).send(&upgrade).await.expect_status(502);
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
    let (stack, bad, good) = beside(Fault::Hang).await;
    let gateway = stack.gateway(0);
    let waiting = waiting_for(&bad, gateway, 64).await;
    let load = Load::start(&gateway.url("/good"), 2);
    load.wait_for(500).await;
    load.stop().await.assert_nothing_failed();
    assert!(good.count() >= 500);
    // Who had to wait for these would not be through yet.
    assert!(waiting.iter().all(|it| !it.is_finished()));
}
