//! Which instance takes a request, and what happens when it cannot.

use e2e::{Backend, Fault, Load, Request, Stack, route, service};
use serde_json::json;

async fn serving(shop: e2e::Entity) -> Stack {
    let stack = Stack::start().await;
    stack.put(&[shop, route("shop").pattern("/{*rest}").to_service("shop").public()]).await;
    stack
}

#[tokio::test]
async fn instances_take_turns() {
    let backends = [Backend::saying("a"), Backend::saying("b"), Backend::saying("c")];
    let stack = serving(service("shop").instances("v1", &backends.each_ref().map(Backend::url))).await;
    let mut connection = stack.gateway(0).connect().await;
    for _ in 0..60 {
        connection.send(&Request::get("/")).await.unwrap().expect_status(200);
    }
    let counts = backends.each_ref().map(Backend::count);
    assert!(counts.iter().all(|count| (15..=25).contains(count)), "{counts:?}");
}

#[tokio::test]
async fn weighted_instances_take_their_share() {
    let backends = [Backend::saying("a"), Backend::saying("b")];
    let [a, b] = backends.each_ref().map(Backend::url);
    let version =
        json!([{"version": "v1", "weight": 1, "instances": [{"url": a, "weight": 9}, {"url": b, "weight": 1}]}]);
    let shop = service("shop").set("versions", version).set("loadBalancing", json!({"algorithm": "weighted"}));
    let stack = serving(shop).await;
    let mut connection = stack.gateway(0).connect().await;
    for _ in 0..200 {
        connection.send(&Request::get("/")).await.unwrap().expect_status(200);
    }
    let counts = backends.each_ref().map(Backend::count);
    assert!((170..=190).contains(&counts[0]), "{counts:?}");
}

#[tokio::test]
async fn a_refused_connection_is_tried_on_another_instance_for_every_method() {
    let (gone, there) = (Backend::failing(Fault::Refuse), Backend::echo());
    let stack = serving(service("shop").instances("v1", &[gone.url(), there.url()])).await;
    let mut connection = stack.gateway(0).connect().await;
    for number in 0..20 {
        let body = format!("body {number}");
        let answer = connection.send(&Request::post("/", body.clone())).await.unwrap().expect_status(200);
        assert_eq!(answer.json()["body"], body);
    }
    assert_eq!(there.count(), 20);
}

#[tokio::test]
async fn a_backend_that_goes_and_comes_back_under_load_loses_nothing_while_another_stands() {
    let (mut weak, strong) = (Backend::saying("hello"), Backend::saying("hello"));
    let stack = serving(service("shop").instances("v1", &[weak.url(), strong.url()])).await;
    let load = Load::start(&stack.gateway(0).url("/"), 4);
    for _ in 0..3 {
        load.wait_for(200).await;
        weak.stop();
        load.wait_for(200).await;
        weak.start_again();
    }
    load.wait_for(200).await;
    load.stop().await.assert_nothing_failed();
}

#[tokio::test]
async fn the_fallback_serves_when_no_instance_can_be_reached() {
    let (gone, fallback) = (Backend::failing(Fault::Refuse), Backend::saying("fallback"));
    let stack = serving(service("shop").version("v1", gone.url(), 1).fallback(fallback.url())).await;
    for request in [Request::get("/"), Request::post("/", "body")] {
        assert_eq!(stack.gateway(0).send(&request).await.expect_status(200).text(), "fallback");
    }
}

#[tokio::test]
async fn a_service_that_nobody_answers_for_is_refused_without_waiting_for_a_timeout() {
    let gone = [Backend::failing(Fault::Refuse), Backend::failing(Fault::Refuse)];
    // Longer than the client waits.
    let timeouts = json!({"connectMs": 60_000, "readMs": 60_000, "writeMs": 60_000});
    let shop = service("shop").instances("v1", &gone.each_ref().map(Backend::url)).set("timeouts", timeouts);
    let stack = serving(shop).await;
    let answer = stack.gateway(0).get("/").await;
    assert!(
        [(502, Some("upstream_unreachable")), (503, Some("no_healthy_upstream"))]
            .contains(&(answer.status, answer.code())),
        "{answer}"
    );
}

#[tokio::test]
async fn a_post_that_arrived_is_never_sent_twice() {
    for fault in [Fault::Close, Fault::ResetAfter(0), Fault::Garbage] {
        let (broken, other) = (Backend::failing(fault), Backend::failing(fault));
        let stack = serving(service("shop").instances("v1", &[broken.url(), other.url()])).await;
        let answer = stack.gateway(0).send(&Request::post("/", "pay 7")).await;
        assert_eq!(answer.status, 502, "{fault:?}: {answer}");
        assert_eq!(broken.count() + other.count(), 1, "{fault:?}");
    }
}

#[tokio::test]
async fn a_connection_that_the_backend_closed_between_requests_loses_no_get() {
    let backend = Backend::failing(Fault::CloseAfterAnswer);
    let stack = serving(service("shop").url(backend.url())).await;
    let load = Load::start(&stack.gateway(0).url("/"), 2);
    load.wait_for(300).await;
    load.stop().await.assert_nothing_failed();
}
