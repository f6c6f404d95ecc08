//! Limits: who is counted, what a client is told, and what survives. Windows are an hour long, so that no test depends on how
//! fast it runs.

use e2e::{Answer, Backend, Entity, Request, route};
use serde_json::{Value, json};

use super::{echoing, echoing_with};

fn hourly(requests: u32, by: &str) -> Value {
    json!({"requests": requests, "perSeconds": 3600, "by": by})
}

fn limited(name: &str, limits: Value) -> Entity {
    route(name).pattern(&format!("/{name}")).to_service("echo").public().set("limits", limits)
}

#[tokio::test]
async fn a_limit_admits_what_it_says_and_tells_how_it_stands() {
    let backend = Backend::echo();
    let stack = echoing(&backend, &[limited("a", json!([hourly(3, "ip")]))]).await;
    for left in ["2", "1", "0"] {
        let answer = stack.gateway(0).get("/a").await.expect_status(200);
        assert_eq!(answer.header("x-ratelimit-limit"), Some("3"), "{answer}");
        assert_eq!(answer.header("x-ratelimit-remaining"), Some(left), "{answer}");
        assert_eq!(answer.header("ratelimit-policy"), Some("\"a-1\";q=3;w=3600"), "{answer}");
        let standing = format!("\"a-1\";r={left};t=");
        assert!(answer.header("ratelimit").is_some_and(|it| it.starts_with(&standing)), "{answer}");
    }
    let answer = stack.gateway(0).get("/a").await.expect_status(429);
    assert_eq!(answer.code(), Some("rate_limited"));
    let seconds = answer.header("retry-after").and_then(|it| it.parse::<u32>().ok());
    assert!(seconds.is_some_and(|seconds| (1..=1200).contains(&seconds)), "{answer}");
    assert_eq!(backend.count(), 3);
}

#[tokio::test]
async fn what_was_counted_survives_changes() {
    let backend = Backend::echo();
    let stack = echoing(&backend, &[limited("a", json!([hourly(1, "ip")]))]).await;
    stack.gateway(0).get("/a").await.expect_status(200);
    stack.put(&[route("b").pattern("/b").to_service("echo").public()]).await;
    stack.gateway(0).get("/a").await.expect_status(429);
    // Also one of the limit itself: two an hour leave one more, not two.
    stack.put(&[limited("a", json!([hourly(2, "ip")]))]).await;
    stack.gateway(0).get("/a").await.expect_status(200);
    stack.gateway(0).get("/a").await.expect_status(429);
}

#[tokio::test]
async fn a_request_is_counted_by_all_its_limits_or_by_none() {
    let backend = Backend::echo();
    let stack = echoing(&backend, &[limited("a", json!([hourly(1, "ip"), hourly(5, "global")]))]).await;
    let remaining = |answer: &Answer| {
        let standings = answer.header("ratelimit").unwrap_or_default().to_owned();
        standings.split(", ").find_map(|it| it.strip_prefix("\"a-2\";r=").map(|rest| rest[..1].to_owned())).unwrap()
    };
    let first = stack.gateway(0).get("/a").await.expect_status(200);
    assert_eq!(remaining(&first), "4");
    for _ in 0..3 {
        let refused = stack.gateway(0).get("/a").await.expect_status(429);
        assert_eq!(remaining(&refused), "4", "{refused}");
    }
}

#[tokio::test]
async fn the_fleets_limits_count_also_what_leads_nowhere() {
    let backend = Backend::echo();
    let stack = echoing(&backend, &[]).await;
    let limits = json!({"limits": [hourly(2, "ip")]});
    stack.admin().patch("/admin/edge/defaults?wait=10s", &limits).await.expect_status(200);
    for status in [404, 404, 429] {
        stack.gateway(0).get("/nowhere").await.expect_status(status);
    }
}

#[tokio::test]
async fn a_client_behind_a_trusted_proxy_is_counted_by_its_own_address_and_ipv6_by_its_network() {
    let backend = Backend::echo();
    let routes = [limited("a", json!([hourly(1, "ip")]))];
    let stack = echoing_with(&backend, &routes, &[("GATEWAY_TRUSTED_PROXIES", "127.0.0.1/32")]).await;
    let from = |address: &str| Request::get("/a").header("X-Forwarded-For", address);
    for (address, status) in [
        ("1.1.1.1", 200),
        ("1.1.1.2", 200),
        ("1.1.1.1", 429),
        ("2001:db8:0:1::1", 200),
        ("2001:db8:0:1:ffff::2", 429),
        ("2001:db8:0:2::1", 200),
    ] {
        let answer = stack.gateway(0).send(&from(address)).await;
        assert_eq!(answer.status, status, "{address}: {answer}");
    }
}

#[tokio::test]
async fn a_shared_limit_holds_over_two_gateways() {
    let redis = std::env::var("GATEHOUSE_TEST_REDIS").expect("tests/with-servers starts a Redis");
    let backend = Backend::echo();
    // Counters in Redis go by the route's name: this one is nobody else's.
    let name = format!("shared-{}", std::process::id());
    let limit = json!({"requests": 10, "perSeconds": 3600, "by": "ip", "shared": true, "onStoreError": "deny"});
    // Patient: on a busy machine a decision without the store would be one too many.
    let settings = [("REDIS_URL", redis.as_str()), ("GATEWAY_LIMITS_STORE_DEADLINE_MS", "5000")];
    let mut stack = echoing_with(&backend, &[limited(&name, json!([limit]))], &settings).await;
    stack.add_gateway().await;
    for gateway in stack.gateways() {
        let up = async || match gateway.metric("gatehouse_limits_store_up", &[]).await {
            Some(1.0) => Ok(()),
            other => Err(format!("{other:?}")),
        };
        e2e::eventually("Redis to be up", up).await;
    }
    let mut admitted = 0;
    for request in 0..30 {
        let answer = stack.gateway(request % 2).get(&format!("/{name}")).await;
        assert!(matches!(answer.status, 200 | 429), "{answer}");
        admitted += usize::from(answer.status == 200);
    }
    assert_eq!(admitted, 10);
}

#[tokio::test]
async fn without_their_store_shared_limits_do_as_they_say() {
    let backend = Backend::echo();
    let limit =
        |choice: &str| json!([{"requests": 1, "perSeconds": 3600, "by": "ip", "shared": true, "onStoreError": choice}]);
    let routes = [limited("local", limit("local")), limited("allow", limit("allow")), limited("deny", limit("deny"))];
    let stack = echoing(&backend, &routes).await;
    for (path, first, second) in [("/local", 200, 429), ("/allow", 200, 200), ("/deny", 429, 429)] {
        stack.gateway(0).get(path).await.expect_status(first);
        stack.gateway(0).get(path).await.expect_status(second);
    }
}
