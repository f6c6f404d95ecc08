//! Questions that change nothing: explain, validate, and the description of the API.

use e2e::{Backend, Request, Stack, route, service};
use serde_json::json;

async fn shop(backend: &Backend) -> Stack {
    let stack = Stack::start().await;
    stack
        .put(&[
            service("shop").version("v1", backend.url(), 100),
            route("open").pattern("/open/{*rest}").to_service("shop").public().rewrite("/in/{rest}"),
            route("closed").pattern("/closed").method("GET").to_service("shop"),
        ])
        .await;
    stack
}

#[tokio::test]
async fn explain_foretells_what_the_gateway_does() {
    let backend = Backend::echo();
    let stack = shop(&backend).await;
    for (method, path) in [
        ("GET", "/open/x"),
        ("GET", "/closed"),
        ("POST", "/closed"),
        ("GET", "/nowhere"),
        ("GET", "/a%2fb"),
        ("GET", "/open/../closed"),
        ("POST", "/open/"),
    ] {
        let told = stack
            .admin()
            .post("/admin/explain", &json!({"method": method, "path": path}))
            .await
            .expect_status(200)
            .json();
        let done = stack.gateway(0).send(&Request::new(method, path)).await;
        if done.status == 200 {
            assert_eq!(
                (&told["outcome"], &told["route"], &told["service"]),
                (&json!("forward"), &json!("open"), &json!("shop")),
                "{told}"
            );
            assert_eq!(told["version"], "v1", "{told}");
        } else {
            assert_eq!(
                (&told["outcome"], told["statusCode"].as_u64()),
                (&json!("refuse"), Some(done.status.into())),
                "{method} {path}: {told}"
            );
            assert_eq!(told["code"].as_str(), done.code(), "{method} {path}: {told}");
        }
        assert!(told["trail"].as_array().is_some_and(|trail| !trail.is_empty()), "{told}");
    }
}

#[tokio::test]
async fn explain_can_be_asked_under_changes_that_were_not_made() {
    let backend = Backend::echo();
    let stack = shop(&backend).await;
    let question = json!({
        "method": "GET",
        "path": "/new",
        "changes": [{"op": "put", "kind": "route", "name": "new", "value": route("new").pattern("/new").to_service("shop").public().json()}],
    });
    let told = stack.admin().post("/admin/explain", &question).await.expect_status(200).json();
    assert_eq!((&told["outcome"], &told["route"]), (&json!("forward"), &json!("new")), "{told}");
    stack.gateway(0).get("/new").await.expect_status(404);
}

#[tokio::test]
async fn validate_lists_problems_and_writes_nothing() {
    let backend = Backend::echo();
    let stack = shop(&backend).await;
    let before = stack.database().number("SELECT generation FROM config_head").await;
    let good = json!({"services": [{"serviceName": "a", "defaultUrl": "http://127.0.0.1:9"}], "routes": []});
    stack.admin().post("/admin/config/validate", &good).await.expect_status(200);
    let bad = json!({
        "services": [{"serviceName": "a", "defaultUrl": "nonsense"}],
        "routes": [{"name": "r", "path": "/r", "target": {"service": "ghost"}}],
    });
    let answer = stack.admin().post("/admin/config/validate", &bad).await.expect_status(422).json();
    let problems = answer["problems"].to_string();
    assert!(problems.contains("routes/r/target") && problems.contains("services/a/defaultUrl"), "{answer}");
    assert_eq!(stack.database().number("SELECT generation FROM config_head").await, before);
}

#[tokio::test]
async fn every_operation_is_in_the_description_of_the_api() {
    let stack = Stack::builder().gateways(0).start().await;
    let api = stack.admin().get("/openapi.json").await.expect_status(200).json();
    assert!(api["openapi"].as_str().is_some_and(|version| version.starts_with("3.")), "{}", api["openapi"]);
    let paths = api["paths"].as_object().expect("paths");
    for path in [
        "/admin/routing/services",
        "/admin/routing/services/{serviceName}",
        "/admin/routing/routes/{name}",
        "/admin/nodes",
        "/admin/explain",
        "/admin/config/validate",
    ] {
        assert!(paths.contains_key(path), "{path} of {:?}", paths.keys().collect::<Vec<_>>());
    }
}
