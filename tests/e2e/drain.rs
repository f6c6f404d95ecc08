//! The end of a gateway: requests in flight finish, it goes as soon as it is idle, and a fleet loses nothing.

use e2e::client::Failure;
use e2e::{Backend, Connection, Exit, Gate, Load, Reply, Request, Signal, Stack, eventually, proof, route, service};

/// Gateways that would wait ten minutes for what is in flight, much longer than any test waits for their end.
async fn serving(backend: &Backend, gateways: usize) -> Stack {
    let stack = Stack::builder().gateways(gateways).setting("GATEWAY_DRAIN_TIMEOUT_SECONDS", "600").start().await;
    stack.put(&[service("one").url(backend.url()), route("one").pattern("/{*rest}").to_service("one").public()]).await;
    stack
}

#[tokio::test]
async fn an_idle_gateway_ends_well_without_waiting_for_anybody() {
    let backend = Backend::saying("hello");
    let stack = serving(&backend, 1).await;
    stack.gateway(0).get("/").await.expect_status(200);
    // An idle keep-alive connection keeps nobody waiting.
    let mut idle = stack.gateway(0).connect().await;
    idle.send(&Request::get("/")).await.unwrap();
    assert_eq!(stack.gateway(0).terminate().await, Exit::Code(0));
}

#[tokio::test]
async fn a_draining_gateway_finishes_what_it_began_is_not_ready_and_takes_nothing_new() {
    let gate = Gate::default();
    let held = gate.clone();
    let backend = Backend::http().otherwise(move |_| Reply::text("late").held_by(&held)).start();
    let stack = serving(&backend, 1).await;
    let gateway = stack.gateway(0);
    let address = gateway.address();
    let in_flight = tokio::spawn(async move { Request::get("/slow").send(address).await });
    eventually("the request at the backend", async || if backend.count() == 1 { Ok(()) } else { Err("none") }).await;

    gateway.process().signal(Signal::TERM);
    eventually("readiness to go", async || gateway.try_ops("/readyz").await?.with_status(503)).await;
    eventually("new connections to be refused", async || match Connection::open(address).await {
        Err(Failure::Connect(_)) => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await;
    assert!(gateway.process().is_running() && !in_flight.is_finished());

    gate.open();
    assert_eq!(in_flight.await.unwrap().expect("the request in flight is answered").expect_status(200).text(), "late");
    assert_eq!(gateway.process().wait_exit().await, Exit::Code(0));
}

#[tokio::test]
async fn an_answer_that_streams_is_finished_before_the_end() {
    let gate = Gate::default();
    let held = gate.clone();
    let backend = Backend::http().otherwise(move |_| Reply::parts("first", &held, "second")).start();
    let stack = serving(&backend, 1).await;
    let mut connection = stack.gateway(0).connect().await;
    connection.begin(&Request::get("/")).await.unwrap();
    assert_eq!(connection.wire().read_chunk().await.unwrap().unwrap(), "first");
    stack.gateway(0).process().signal(Signal::TERM);
    eventually("readiness to go", async || stack.gateway(0).try_ops("/readyz").await?.with_status(503)).await;
    gate.open();
    assert_eq!(connection.wire().read_chunk().await.unwrap().unwrap(), "second");
    assert_eq!(connection.wire().read_chunk().await.unwrap(), None);
    assert_eq!(stack.gateway(0).process().wait_exit().await, Exit::Code(0));
}

#[tokio::test]
async fn a_rolling_restart_under_load_loses_nothing() {
    let backend = Backend::saying("hello");
    let mut stack = serving(&backend, 2).await;
    let addresses = [stack.gateway(0).address(), stack.gateway(1).address()];
    let load = Load::of(Request::get("/"), &addresses).connections(8).start();
    for _ in 0..proof::count(3, 20) {
        for number in 0..2 {
            load.wait_for(300).await;
            stack.gateway_mut(number).restart().await;
        }
    }
    load.wait_for(300).await;
    load.stop().await.assert_nothing_failed();
}

#[tokio::test]
async fn a_gateway_that_left_keeps_no_write_waiting() {
    let backend = Backend::saying("hello");
    let stack = serving(&backend, 2).await;
    stack.gateway(1).terminate().await;
    let answer =
        stack.admin().put("/admin/routing/services/two?wait=10s", &service("two").url(backend.url()).json()).await;
    assert_eq!((answer.status, answer.header("x-config-applied")), (201, Some("1/1")), "{answer}");
}
