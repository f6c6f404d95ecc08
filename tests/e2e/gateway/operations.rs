//! The ops port: what an orchestrator and a scraper read.

use e2e::{Backend, Connection, Database, Gateway, eventually, route};

use super::echoing;

#[tokio::test]
async fn a_gateway_tells_what_it_serves() {
    let backend = Backend::echo();
    let stack = echoing(&backend, &[route("all").pattern("/{*rest}").to_service("echo").public()]).await;
    let gateway = stack.gateway(0);
    gateway.ops("/livez").await.expect_status(200);
    gateway.ops("/readyz").await.expect_status(200);
    let status = gateway.ops("/status").await.expect_status(200).json();
    assert_eq!((&status["generation"], &status["snapshotSource"]), (&2.into(), &"database".into()), "{status}");
    for field in ["nodeId", "digest", "since"] {
        assert!(status[field].is_string(), "{field}: {status}");
    }
    assert!(status["degraded"].as_array().is_some_and(Vec::is_empty), "{status}");
}

#[tokio::test]
async fn requests_are_counted_by_route_and_status() {
    let backend = Backend::echo();
    let stack = echoing(&backend, &[route("all").pattern("/a").to_service("echo").public()]).await;
    for path in ["/a", "/a", "/nowhere"] {
        stack.gateway(0).get(path).await;
    }
    let gateway = stack.gateway(0);
    for (name, labels, expected) in [
        ("gatehouse_requests_total", &["route=\"all\"", "status=\"2xx\""][..], 2.0),
        ("gatehouse_request_duration_seconds_count", &["route=\"all\""], 2.0),
        ("gatehouse_refusals_total", &["code=\"route_not_found\""], 1.0),
        ("gatehouse_config_generation", &[], 2.0),
    ] {
        // Counted when the answer is out, which the client may see first.
        eventually(name, async || {
            let found = gateway.metric(name, labels).await;
            if found == Some(expected) { Ok(()) } else { Err(format!("{found:?}")) }
        })
        .await;
    }
}

#[tokio::test]
async fn a_tls_handshake_without_a_certificate_fails_cleanly() {
    let backend = Backend::echo();
    let stack = echoing(&backend, &[route("all").pattern("/{*rest}").to_service("echo").public()]).await;
    let gateway = stack.gateway(0);
    // A ClientHello of TLS 1.2 without a server name, with one kind of signature.
    let signatures = [0, 8, 0, 13, 0, 4, 0, 2, 4, 3];
    let body = [&[3, 3][..], &[7; 32], &[0, 0, 2, 0xc0, 0x2f, 1, 0], &signatures].concat();
    let length = |bytes: &[u8]| u8::try_from(bytes.len()).unwrap();
    let handshake = [&[1, 0, 0, length(&body)][..], &body].concat();
    let hello = [&[22, 3, 1, 0, length(&handshake)][..], &handshake].concat();
    let mut connection = Connection::open(gateway.tls_address()).await.unwrap();
    connection.wire().write(&hello).await.unwrap();
    let said = tokio::time::timeout(super::DEADLINE, connection.wire().read_to_end()).await;
    let said = said.expect("the connection is closed").unwrap();
    // unrecognized_name, fatal.
    assert_eq!(&said[..], [21, 3, 3, 0, 2, 2, 112]);
    gateway.get("/").await.expect_status(200);
}

#[tokio::test]
async fn the_ops_port_has_nothing_else_and_the_traffic_port_none_of_it() {
    let backend = Backend::echo();
    let stack = echoing(&backend, &[]).await;
    stack.gateway(0).ops("/").await.expect_status(404);
    stack.gateway(0).ops("/admin/routing/services").await.expect_status(404);
    for path in ["/livez", "/readyz", "/status", "/metrics"] {
        stack.gateway(0).get(path).await.expect_status(404);
    }
}

#[tokio::test]
async fn a_gateway_without_a_configuration_lives_and_is_not_ready() {
    // Nobody made the tables: gateways never migrate.
    let database = Database::sqlite();
    let mut gateway = Gateway::new(0, &database, &[]);
    gateway.start_again().await;
    gateway.ops("/livez").await.expect_status(200);
    gateway.ops("/readyz").await.expect_status(503);
    eventually("a refusal of traffic", async || match gateway.try_send(&e2e::Request::get("/")).await {
        Ok(answer) => answer.with_status(503).map(|_| ()),
        Err(failure) => Err(failure.to_string()),
    })
    .await;
}
