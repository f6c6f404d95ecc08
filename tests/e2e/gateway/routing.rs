//! Which route takes a request, and what is answered when none does.

use e2e::{Backend, Request, Stack, route, service};
use serde_json::json;

/// One service and backend for each name; the backend says the name.
async fn named<const N: usize>(names: [&'static str; N]) -> (Stack, [Backend; N]) {
    let backends = names.map(Backend::saying);
    let stack = Stack::start().await;
    for (name, backend) in names.iter().zip(&backends) {
        stack.put(&[service(name).url(backend.url())]).await;
    }
    (stack, backends)
}

#[tokio::test]
async fn a_static_segment_goes_before_a_name_before_the_rest() {
    let (stack, _backends) = named(["static", "named", "rest"]).await;
    stack
        .put(&[
            route("static").pattern("/users/me").to_service("static").public(),
            route("named").pattern("/users/{id}").to_service("named").public(),
            route("rest").pattern("/users/{*rest}").to_service("rest").public(),
        ])
        .await;
    for (path, expected) in
        [("/users/me", "static"), ("/users/7", "named"), ("/users/7/x", "rest"), ("/users/", "rest")]
    {
        assert_eq!(stack.gateway(0).get(path).await.expect_status(200).text(), expected, "{path}");
    }
}

#[tokio::test]
async fn a_route_that_fails_on_method_header_or_query_is_passed_over() {
    let (stack, _backends) = named(["post", "beta", "search", "plain"]).await;
    stack
        .put(&[
            route("post").pattern("/x").method("POST").to_service("post").public(),
            route("beta")
                .pattern("/x")
                .set("headers", json!({"x-stage": "~^(beta|test)$"}))
                .to_service("beta")
                .public(),
            route("search").pattern("/x").set("query", json!({"mode": "search"})).to_service("search").public(),
            route("plain").pattern("/{*rest}").to_service("plain").public(),
        ])
        .await;
    for (request, expected) in [
        (Request::post("/x", ""), "post"),
        (Request::get("/x").header("X-Stage", "beta"), "beta"),
        (Request::get("/x?mode=search"), "search"),
        (Request::get("/x").header("X-Stage", "live"), "plain"),
        (Request::get("/x?mode=searching"), "plain"),
    ] {
        assert_eq!(stack.gateway(0).send(&request).await.expect_status(200).text(), expected, "{request:?}");
    }
}

#[tokio::test]
async fn priority_decides_between_routes_that_match_alike() {
    let (stack, _backends) = named(["low", "high"]).await;
    stack
        .put(&[
            route("low").pattern("/x").set("headers", json!({"a": "1"})).set("priority", 1).to_service("low").public(),
            route("high")
                .pattern("/x")
                .set("headers", json!({"b": "1"}))
                .set("priority", 2)
                .to_service("high")
                .public(),
        ])
        .await;
    let both = Request::get("/x").header("a", "1").header("b", "1");
    assert_eq!(stack.gateway(0).send(&both).await.expect_status(200).text(), "high");
}

#[tokio::test]
async fn no_path_is_404_and_a_path_without_the_method_405_with_what_it_allows() {
    let (stack, _backends) = named(["one"]).await;
    let x = route("x").pattern("/x").method("GET").method("PUT").to_service("one").public();
    stack.put(&[x]).await;
    let missing = stack.gateway(0).get("/y").await;
    assert_eq!((missing.status, missing.code()), (404, Some("route_not_found")));
    let refused = stack.gateway(0).send(&Request::new("DELETE", "/x")).await;
    assert_eq!((refused.status, refused.code()), (405, Some("method_not_allowed")));
    for method in ["GET", "PUT"] {
        assert!(refused.headers.has_word("allow", method), "{refused}");
    }
}

#[tokio::test]
async fn an_inactive_route_does_not_exist() {
    let (stack, _backends) = named(["one"]).await;
    stack.put(&[route("x").pattern("/x").to_service("one").public().set("isActive", false)]).await;
    assert_eq!(stack.gateway(0).get("/x").await.code(), Some("route_not_found"));
}

#[tokio::test]
async fn an_inactive_service_and_one_under_maintenance_say_so() {
    let backend = Backend::saying("up");
    let stack = Stack::start().await;
    stack
        .put(&[
            service("off").url(backend.url()).set("isActive", false),
            route("off").pattern("/off").to_service("off").public(),
            service("mended").url(backend.url()).set("maintenance", json!({"retryAfterSeconds": 17})),
            route("mended").pattern("/mended").to_service("mended").public(),
        ])
        .await;
    let off = stack.gateway(0).get("/off").await;
    assert_eq!((off.status, off.code()), (503, Some("service_inactive")));
    let mended = stack.gateway(0).get("/mended").await;
    assert_eq!((mended.status, mended.code()), (503, Some("maintenance")));
    assert_eq!(mended.header("retry-after"), Some("17"));
    assert_eq!(backend.count(), 0);
}

#[tokio::test]
async fn a_route_that_is_not_public_lets_no_anonymous_in_however_it_asks() {
    let (stack, backends) = named(["one"]).await;
    stack.put(&[route("x").pattern("/x").to_service("one")]).await;
    for request in [
        Request::get("/x"),
        Request::get("/x").header("Connection", "Upgrade").header("Upgrade", "websocket"),
        Request::get("/x").header("Connection", "Upgrade").header("Upgrade", "x"),
        Request::post("/x", "body"),
    ] {
        let answer = stack.gateway(0).send(&request).await;
        assert_eq!((answer.status, answer.code()), (401, Some("credentials_missing")), "{request:?}");
        assert!(answer.header("www-authenticate").is_some(), "{answer}");
    }
    assert_eq!(backends[0].count(), 0);
}
