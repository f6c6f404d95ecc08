//! The ops port: what an orchestrator and a scraper read.

use e2e::{Backend, Database, Gateway, eventually, route};

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
    let text = stack.gateway(0).ops("/metrics").await.expect_status(200).text();
    assert!(text.lines().any(|line| line.contains("route=\"all\"") && line.ends_with(" 2")), "{text}");
    assert!(text.contains("route_not_found"), "{text}");
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
