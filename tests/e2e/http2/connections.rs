//! How long a client may keep a connection, whatever it speaks, and how it ends.

use std::time::Duration;

use e2e::client::Failure;
use e2e::http2::PREFACE;
use e2e::network::{Network, Weather};
use e2e::{Backend, Connection, Exit, Gate, Http2, Received, Reply, Request, Signal, Stack, eventually, service};
use tokio::time::timeout;

use super::{DEADLINE, http2, open_to};

async fn impatient(backend: &Backend, idle: &str, head: &str) -> Stack {
    let settings = [("GATEWAY_KEEPALIVE_SECONDS", idle), ("GATEWAY_HEADER_TIMEOUT_SECONDS", head)];
    open_to(service("echo").url(backend.url()), &settings).await
}

/// Reads until the gateway ends the connection.
async fn read_to_end(connection: &mut Connection) {
    let end = async { while connection.wire().read_some().await.is_ok_and(|bytes| !bytes.is_empty()) {} };
    timeout(DEADLINE, end).await.expect("the connection is ended");
}

#[tokio::test]
async fn whoever_sends_nothing_or_a_part_of_the_preface_is_cut() {
    let backend = Backend::echo();
    let stack = impatient(&backend, "1", "1").await;
    for sent in [&b""[..], b"P", &PREFACE[..23]] {
        let mut connection = stack.gateway(0).connect().await;
        connection.wire().write(sent).await.unwrap();
        read_to_end(&mut connection).await;
    }
}

#[tokio::test]
async fn whoever_trickles_the_preface_is_cut() {
    let backend = Backend::echo();
    // Nobody is idle for so long in a test.
    let stack = impatient(&backend, "600", "1").await;
    let mut connection = stack.gateway(0).connect().await;
    let wire = connection.wire();
    let trickle = async {
        for byte in PREFACE {
            wire.write(&[*byte]).await.unwrap();
            let read = timeout(Duration::from_millis(200), wire.read_some()).await;
            if read.is_ok_and(|read| read.map_or(true, |bytes| bytes.is_empty())) {
                return true;
            }
        }
        false
    };
    assert!(trickle.await, "it got through the whole preface");
}

#[tokio::test]
async fn an_idle_connection_ends_after_its_time_and_one_with_a_request_does_not() {
    let gate = Gate::default();
    let held = gate.clone();
    let reply = move |request: &Received| match request.path() {
        "/slow" => Reply::text("late").held_by(&held),
        _ => Reply::text("hello"),
    };
    let backend = Backend::http().otherwise(reply).start();
    let stack = impatient(&backend, "1", "1").await;
    let (mut idle, mut silent, busy) = (http2(&stack).await, http2(&stack).await, http2(&stack).await);
    let (mut slow, _) = busy.begin(&Request::get("/slow"), true).await.unwrap();
    idle.send(&Request::get("/")).await.expect_status(200);
    let _ = idle.ended().await;
    let _ = silent.ended().await;
    // Twice as long again as either patience.
    for _ in 0..2 {
        let _ = http2(&stack).await.ended().await;
    }
    assert_eq!(busy.send(&Request::get("/")).await.text(), "hello");
    gate.open();
    assert_eq!(slow.whole().await.unwrap().text(), "late");
}

#[tokio::test]
async fn a_gateway_without_patience_keeps_connections_of_both_protocols() {
    let backend = Backend::saying("hello");
    let stack = impatient(&backend, "0", "0").await;
    let (client, mut connection) = (http2(&stack).await, stack.gateway(0).connect().await);
    for _ in 0..2 {
        client.send(&Request::get("/")).await.expect_status(200);
        connection.send(&Request::get("/")).await.unwrap().expect_status(200);
    }
}

#[tokio::test]
async fn a_draining_gateway_finishes_what_it_began_over_http_2_and_takes_nothing_new() {
    let gate = Gate::default();
    let held = gate.clone();
    let backend = Backend::http().otherwise(move |_| Reply::parts("first", &held, "second")).start();
    let stack = open_to(service("echo").url(backend.url()), &[("GATEWAY_DRAIN_TIMEOUT_SECONDS", "600")]).await;
    let gateway = stack.gateway(0);
    let (mut client, idle) = (http2(&stack).await, http2(&stack).await);
    let (mut exchange, _to) = client.begin(&Request::get("/"), true).await.unwrap();
    assert_eq!(exchange.piece().await.unwrap().unwrap(), "first");

    gateway.process().signal(Signal::TERM);
    eventually("readiness to go", async || gateway.try_ops("/readyz").await?.with_status(503)).await;
    eventually("new connections to be refused", async || match Connection::open(gateway.address()).await {
        Err(Failure::Connect(_)) => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await;
    // Both were sent GOAWAY: what begins after it is the client's to try elsewhere.
    for client in [&client, &idle] {
        eventually("new requests to be refused", async || match client.begin(&Request::get("/"), true).await {
            Err(_) => Ok(()),
            Ok((mut late, _)) => late.head().await.map_or(Ok(()), |()| Err(format!("{late:?}"))),
        })
        .await;
    }
    assert!(gateway.process().is_running());

    gate.open();
    assert_eq!(exchange.piece().await.unwrap().unwrap(), "second");
    assert_eq!(exchange.piece().await.unwrap(), None);
    client.ended().await.expect("the connection ends well");
    assert_eq!(gateway.process().wait_exit().await, Exit::Code(0));
}

/// HTTP/2 is written behind the back of requests: what is over need not be out.
#[tokio::test]
async fn what_waits_for_a_slow_client_is_sent_before_the_end() {
    const REQUESTS: usize = 90;
    let backend = Backend::http().otherwise(|_| Reply::text("a".repeat(300_000))).start();
    let stack = open_to(service("echo").url(backend.url()), &[("GATEWAY_DRAIN_TIMEOUT_SECONDS", "600")]).await;
    let gateway = stack.gateway(0);
    let network = Network::to(&gateway.address().to_string()).await;
    let client = Http2::open_wide(network.address()).await;
    client.send(&Request::get("/")).await.expect_status(200);
    network.turn(Weather::Mute);
    let mut answers = Vec::new();
    for _ in 0..REQUESTS {
        answers.push(client.begin(&Request::get("/"), true).await.unwrap().0);
    }
    eventually("all requests to be over", async || {
        let count = gateway.metric("gatehouse_requests_total", &["route=\"all\""]).await;
        if count == Some(91.0) { Ok(()) } else { Err(format!("{count:?}")) }
    })
    .await;
    gateway.process().signal(Signal::TERM);
    let gone = timeout(Duration::from_secs(1), gateway.process().wait_exit()).await;
    assert!(gone.is_err(), "it went before its answers were out");
    network.turn(Weather::Fair);
    for mut answer in answers {
        assert_eq!(answer.whole().await.unwrap().expect_status(200).body.len(), 300_000);
    }
    assert_eq!(gateway.process().wait_exit().await, Exit::Code(0));
}

#[tokio::test]
async fn a_client_that_takes_nothing_is_not_waited_for_for_ever() {
    let backend = Backend::saying("hello");
    let stack = open_to(service("echo").url(backend.url()), &[("GATEWAY_DRAIN_TIMEOUT_SECONDS", "600")]).await;
    // It speaks HTTP/2 and answers nothing: no ping, no GOAWAY.
    let mut deaf = stack.gateway(0).connect().await;
    deaf.wire().write(PREFACE).await.unwrap();
    deaf.wire().write(&[0, 0, 0, 4, 0, 0, 0, 0, 0]).await.unwrap();
    assert!(!deaf.wire().read_some().await.unwrap().is_empty());
    assert_eq!(stack.gateway(0).terminate().await, Exit::Code(0));
}
