//! Malformed bodies: refused with 422 and the place of every problem, and nothing written.

use e2e::{Request, Stack, route, service};
use serde_json::{Value, json};

fn problem_paths(answer: &Value) -> Vec<&str> {
    answer["problems"].as_array().into_iter().flatten().filter_map(|problem| problem["path"].as_str()).collect()
}

#[tokio::test]
async fn an_unknown_field_is_named() {
    let stack = Stack::start().await;
    for (path, value, field) in [
        ("/admin/routing/services/a", service("a").set("defaultURL", "http://127.0.0.1:9").json(), "defaultURL"),
        ("/admin/routing/services/a", service("a").set("timeouts", json!({"readS": 5})).json(), "readS"),
        (
            "/admin/routing/services/a",
            service("a").set("versions", json!([{"version": "v1", "wight": 5}])).json(),
            "wight",
        ),
        ("/admin/routing/routes/a", route("a").set("paths", "/x").json(), "paths"),
    ] {
        let answer = stack.admin().put(path, &value).await.expect_status(422);
        let body = answer.json();
        assert!(
            problem_paths(&body).iter().any(|path| path.contains(field))
                || body["problems"].to_string().contains(field),
            "{field}: {body}"
        );
    }
    assert_eq!(stack.database().number("SELECT generation FROM config_head").await, 0);
}

#[tokio::test]
async fn a_value_of_the_wrong_kind_is_named_by_its_path() {
    let stack = Stack::start().await;
    for (path, value, place) in [
        ("/admin/routing/services/a", service("a").set("isActive", "yes").json(), "isActive"),
        (
            "/admin/routing/services/a",
            service("a").set("versions", json!([{"version": "v1", "weight": -1}])).json(),
            "weight",
        ),
        ("/admin/routing/services/a", service("a").set("stickyOn", "moon").json(), "stickyOn"),
        ("/admin/routing/services/a", service("a").set("protocol", "http9").json(), "protocol"),
        ("/admin/routing/routes/a", route("a").pattern("/x").set("target", json!({"service": 7})).json(), "target"),
        ("/admin/routing/routes/a", route("a").pattern("/x").set("methods", "GET").json(), "methods"),
        (
            "/admin/routing/routes/a",
            route("a").pattern("/x").set("access", json!({"anyOf": ["password"]})).json(),
            "access",
        ),
    ] {
        let answer = stack.admin().put(path, &value).await.expect_status(422);
        let body = answer.json();
        assert!(problem_paths(&body).iter().any(|path| path.contains(place)), "{place}: {body}");
    }
    assert_eq!(stack.database().number("SELECT generation FROM config_head").await, 0);
}

#[tokio::test]
async fn all_problems_come_at_once() {
    let stack = Stack::start().await;
    let bad = service("a").url("nonsense").set("fallbackUrl", "ftp://x").version("v1", "http://", 5000);
    let body = stack.admin().put(&bad.path(), &bad.json()).await.expect_status(422).json();
    let paths = problem_paths(&body);
    for place in ["defaultUrl", "fallbackUrl", "weight"] {
        assert!(paths.iter().any(|path| path.contains(place)), "{place}: {body}");
    }
    let problems = body["problems"].as_array().unwrap();
    assert!(problems.iter().all(|problem| problem["message"].as_str().is_some_and(|text| text.len() > 5)), "{body}");
}

#[tokio::test]
async fn what_is_not_json_is_refused_without_a_5xx() {
    let stack = Stack::start().await;
    let path = "/admin/routing/services/a";
    for body in ["", "{", "[]", "null", "7", "\"x\"", "{\"a\":}", "\u{0}", "{\"serviceName\":\"a\"}}"] {
        for method in ["PUT", "PATCH", "POST"] {
            let target = if method == "POST" { "/admin/routing/services" } else { path };
            let request = Request::new(method, target).header("Content-Type", "application/json").body(body);
            let answer = stack.admin().send(&request).await;
            assert!((400..500).contains(&answer.status), "{method} {body:?}: {answer}");
        }
    }
    let unsaid = Request::new("PUT", path).body(service("a").json().to_string());
    let answer = stack.admin().send(&unsaid).await;
    assert!(answer.status < 300 || answer.status == 415, "{answer}");
}

#[tokio::test]
async fn a_body_beyond_the_limit_is_413() {
    let stack = Stack::start().await;
    let value = service("a").set("description", "x".repeat(20 << 20));
    let request =
        Request::new("PUT", &value.path()).header("Content-Type", "application/json").body(value.json().to_string());
    match stack.admin().try_send(&request).await {
        Ok(answer) => assert_eq!(answer.status, 413, "{}", answer.status),
        // Refused by its declared length and closed before all was sent.
        Err(e2e::Failure::Send { .. } | e2e::Failure::NoAnswer { .. }) => {}
        Err(failure) => panic!("{failure}"),
    }
    stack.admin().get("/admin/routing/services").await.expect_status(200);
}

#[tokio::test]
async fn names_that_cannot_be_are_refused() {
    let stack = Stack::start().await;
    for name in ["UPPER", "under_score", "a%2Fb", "%00", "-%20-", &"x".repeat(64)] {
        let answer = stack.admin().put(&format!("/admin/routing/services/{name}"), &json!({})).await;
        assert!((400..500).contains(&answer.status), "{name}: {answer}");
    }
    assert_eq!(stack.database().number("SELECT generation FROM config_head").await, 0);
}
