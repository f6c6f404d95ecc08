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
