//! How long clients may keep a connection without asking for anything.

use e2e::{Backend, Request, route};

#[tokio::test]
async fn an_idle_connection_is_closed_after_its_time_and_serves_until_then() {
    let backend = Backend::echo();
    let routes = [route("echo").pattern("/{*rest}").to_service("echo").public()];
    let stack = super::echoing_with(&backend, &routes, &[("GATEWAY_KEEPALIVE_SECONDS", "1")]).await;
    let mut connection = stack.gateway(0).connect().await;
    for _ in 0..3 {
        connection.send(&Request::get("/x")).await.unwrap().expect_status(200);
    }
    let end = tokio::time::timeout(super::DEADLINE, connection.wire().read_some()).await;
    assert!(end.expect("the connection stays open").is_ok_and(|bytes| bytes.is_empty()));
}

#[tokio::test]
async fn a_client_that_trickles_its_head_is_cut_and_others_are_served_meanwhile() {
    let backend = Backend::echo();
    let routes = [route("echo").pattern("/{*rest}").to_service("echo").public()];
    let stack = super::echoing_with(&backend, &routes, &[("GATEWAY_HEADER_TIMEOUT_SECONDS", "1")]).await;
    let mut connection = stack.gateway(0).connect().await;
    let wire = connection.wire();
    wire.write(b"GET /x HTTP/1.1\r\nHost: a\r\nX-Slow: ").await.unwrap();
    let trickle = async {
        // A byte now and then, each of which would begin a timer of its own anew.
        while wire.write(b"a").await.is_ok() {
            stack.gateway(0).get("/y").await.expect_status(200);
            let read = tokio::time::timeout(std::time::Duration::from_millis(50), wire.read_some()).await;
            if read.is_ok_and(|read| read.map_or(true, |bytes| bytes.is_empty())) {
                break;
            }
        }
    };
    tokio::time::timeout(super::DEADLINE, trickle).await.expect("whoever trickles is cut");
    assert!(backend.requests().iter().all(|request| request.target == "/y"));
}
