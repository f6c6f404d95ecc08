//! A change is tried on traffic that really came by, and nothing secret stays of that traffic.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use e2e::{Backend, Database, Entity, PostgresCluster, Request, Stack, application, eventually_within, route, service};
use serde_json::{Value, json};

/// Gateways write what they sampled every 5 seconds.
const WRITTEN: Duration = Duration::from_secs(40);

async fn fleet(backend: &Backend, settings: &[(&str, &str)], shop: Entity) -> (Stack, String) {
    let builder = settings.iter().fold(Stack::builder(), |builder, (name, value)| builder.setting(name, value));
    let stack = builder.start().await;
    let orders = route("orders").pattern("/orders/{id}").to_service("echo");
    stack.put(&[service("echo").url(backend.url()), orders, shop]).await;
    let key = stack.key_of("shop").await;
    (stack, key)
}

fn shop(path: &str) -> Entity {
    application("shop").allowed(&["echo"]).endpoint(path, &["GET"])
}

/// The samples, once there are as many as this of requests.
async fn samples(stack: &Stack, requests: u64) -> Vec<Value> {
    eventually_within(WRITTEN, "the samples to be written", async || {
        let listed = stack.admin().get("/admin/traffic?limit=500").await.with_status(200)?.json();
        let items = listed["items"].as_array().cloned().unwrap_or_default();
        let weight: u64 = items.iter().filter_map(|item| item["weight"].as_u64()).sum();
        if weight >= requests { Ok(items) } else { Err(format!("{weight} requests in {listed}")) }
    })
    .await
}

#[tokio::test]
async fn what_an_application_would_lose_is_told_before_it_does() {
    let backend = Backend::echo();
    let (stack, key) = fleet(&backend, &[], shop("/orders/{id}")).await;
    for number in 0..31 {
        let request = Request::get(&format!("/orders/{number}")).header("X-API-Key", &key);
        stack.gateway(0).send(&request).await.expect_status(200);
    }
    stack.gateway(0).get("/orders/1").await.expect_status(401);
    let items = samples(&stack, 32).await;
    assert!(items.iter().all(|item| item["request"]["path"] == "/orders/{id}"), "{items:?}");

    let value = shop("/other").json();
    let change = json!({"changes": [{"op": "put", "kind": "application", "name": "shop", "value": value}]});
    let told = stack.admin().post("/admin/preview", &change).await.expect_status(200).json();
    assert_eq!(told["changed"], 31, "{told}");
    assert_eq!((&told["sampled"], &told["undecided"]), (&json!(32), &json!(0)), "{told}");
    let groups = told["groups"].as_array().expect("groups");
    assert_eq!(groups.len(), 1, "{told}");
    let group = &groups[0];
    assert_eq!((&group["route"], &group["application"]), (&json!("orders"), &json!("shop")), "{told}");
    assert_eq!((&group["before"], &group["after"]), (&json!("200"), &json!("403 endpoint_not_allowed")), "{told}");
    let minutes = told["minutes"].as_f64().expect("minutes");
    let requests = group["perMinute"].as_f64().expect("perMinute") * minutes;
    assert!((requests - 31.0).abs() < 1.0, "{requests} of 31 requests in {told}");

    // Until it is made, nothing changed; then it is as foretold.
    let request = Request::get("/orders/1").header("X-API-Key", &key);
    stack.gateway(0).send(&request).await.expect_status(200);
    stack.put(&[shop("/other")]).await;
    let refused = stack.gateway(0).send(&request).await;
    assert_eq!((refused.status, refused.code()), (403, Some("endpoint_not_allowed")));
}

#[tokio::test]
async fn nothing_secret_is_kept_of_traffic() {
    let backend = Backend::echo();
    let (stack, key) = fleet(&backend, &[], shop("/orders/{id}")).await;
    let secrets = ["CANARY-SEGMENT", "CANARY-QUERY", "CANARY-COOKIE", "CANARY-TOKEN", "CANARY-HEADER", "CANARY-BODY"];
    let [segment, query, cookie, token, header, body] = secrets;
    let request = Request::new("GET", &format!("/orders/{segment}?page=2&token={query}&{query}"))
        .header("X-API-Key", &key)
        .header("Cookie", &format!("session={cookie}"))
        .header("Proxy-Authorization", &format!("Basic {token}"))
        .header("X-Other", header)
        .body(body);
    stack.gateway(0).send(&request).await.expect_status(200);
    let refused = request.clone().header("Authorization", &format!("Bearer {token}"));
    stack.gateway(0).send(&refused).await.expect_status(401);
    let unknown = Request::get(&format!("/nowhere/{segment}?{query}")).header("X-API-Key", &key);
    stack.gateway(0).send(&unknown).await.expect_status(404);
    stack.gateway(0).get(&format!("/orders/%2f{segment}")).await.expect_status(400);

    let items = samples(&stack, 4).await;
    let kept = Value::from(items.clone()).to_string();
    for secret in secrets.into_iter().chain([key.as_str(), &key[3..15]]) {
        assert!(!kept.contains(secret), "{secret} is in {kept}");
    }
    let paths: BTreeSet<&str> = items.iter().filter_map(|item| item["request"]["path"].as_str()).collect();
    assert_eq!(paths, BTreeSet::from(["/orders/{id}", "/nowhere/{}", ""]));
    let callers: BTreeSet<&str> = items.iter().filter_map(|item| item["caller"]["kind"].as_str()).collect();
    assert_eq!(callers, BTreeSet::from(["verified", "rejected", "unverified", "anonymous"]));
    let first = items.iter().find(|item| item["outcome"]["status"] == 200).expect("one was answered");
    assert_eq!(first["request"]["query"], json!({"page": null, "token": null, "?": null}), "{first}");
    // What stands in the table is what is shown.
    let everything = "SELECT CAST(sample AS TEXT) FROM gateway_traffic_sample";
    let rows = stack.database().runtime_texts(everything).await.concat();
    assert!(rows.contains("/orders/{id}"), "{rows}");
    for secret in secrets.into_iter().chain([key.as_str()]) {
        assert!(!rows.contains(secret), "{secret} is in {rows}");
    }
}

#[tokio::test]
async fn what_settings_allow_is_kept_and_no_sampling_keeps_nothing() {
    let backend = Backend::echo();
    let allowed = [("GATEWAY_SAMPLE_CAPTURES", "id"), ("GATEWAY_SAMPLE_QUERY", "page,size")];
    let (stack, key) = fleet(&backend, &allowed, shop("/orders/{id}")).await;
    let request = Request::get("/orders/7?page=2&token=x").header("X-API-Key", &key);
    stack.gateway(0).send(&request).await.expect_status(200);
    let items = samples(&stack, 1).await;
    assert_eq!(items[0]["request"]["path"], "/orders/7");
    assert_eq!(items[0]["request"]["query"], json!({"page": ["2"], "token": null}));

    let (quiet, key) = fleet(&backend, &[("GATEWAY_NO_SAMPLING", "true")], shop("/orders/{id}")).await;
    let request = Request::get("/orders/7").header("X-API-Key", &key);
    quiet.gateway(0).send(&request).await.expect_status(200);
    // The uses of routes are written by the same task, after the samples.
    eventually_within(WRITTEN, "the use of the route to be written", async || {
        let uses = "SELECT CAST(last_used_at AS TEXT) FROM gateway_route_usage";
        let rows = quiet.database().runtime_texts(uses).await;
        // One says since when anything is written.
        if rows.len() >= 2 { Ok(()) } else { Err(format!("{rows:?}")) }
    })
    .await;
    let samples = quiet.database().runtime_texts("SELECT CAST(sample AS TEXT) FROM gateway_traffic_sample").await;
    assert_eq!(samples, [""; 0]);
}

#[tokio::test]
async fn while_the_database_is_away_samples_are_dropped_and_counted_and_requests_go_on() {
    let backend = Backend::saying("hello");
    let cluster = Arc::new(PostgresCluster::start().await);
    let stack = Stack::builder().database(Database::on(&cluster).await).start().await;
    stack.put(&[service("echo").url(backend.url()), route("all").pattern("/all").to_service("echo").public()]).await;
    cluster.stop_hard().await;
    eventually_within(WRITTEN, "samples to be dropped", async || {
        stack.gateway(0).get("/all").await.with_status(200)?;
        let dropped = stack.gateway(0).metric("gatehouse_traffic_samples_dropped_total", &[]).await;
        if dropped.is_some_and(|dropped| dropped > 0.0) { Ok(()) } else { Err(format!("{dropped:?}")) }
    })
    .await;
    cluster.start_again().await;
    stack.gateway(0).get("/all").await.expect_status(200);
    samples(&stack, 1).await;
}
