//! The answers that the gateway makes itself.

use e2e::{Backend, Request, route};

use super::echoing;

#[tokio::test]
async fn a_refusal_has_the_shape_that_clients_rely_on() {
    let backend = Backend::echo();
    let stack = echoing(&backend, &[]).await;
    let answer = stack.gateway(0).get("/nowhere/x?secret=1").await.expect_status(404);
    assert!(answer.header("content-type").is_some_and(|kind| kind.starts_with("application/json")), "{answer}");
    assert_eq!(answer.header("x-gateway-code"), Some("route_not_found"));
    let body = answer.json();
    assert_eq!((&body["statusCode"], &body["error"]), (&404.into(), &"Not Found".into()));
    assert_eq!((&body["code"], &body["path"]), (&"route_not_found".into(), &"/nowhere/x".into()));
    for field in ["message", "timestamp", "requestId"] {
        assert!(body[field].as_str().is_some_and(|text| !text.is_empty()), "{field}: {body}");
    }
    assert_eq!(answer.header("x-content-type-options"), Some("nosniff"), "{answer}");
}

#[tokio::test]
async fn a_client_that_asks_for_problem_json_gets_it() {
    let backend = Backend::echo();
    let stack = echoing(&backend, &[]).await;
    let request = Request::get("/nowhere").header("Accept", "application/problem+json");
    let answer = stack.gateway(0).send(&request).await.expect_status(404);
    assert_eq!(answer.header("content-type"), Some("application/problem+json"));
    let body = answer.json();
    assert_eq!((&body["status"], &body["code"]), (&404.into(), &"route_not_found".into()));
    assert!(body["title"].is_string(), "{body}");
}

#[tokio::test]
async fn the_request_id_of_a_sane_client_is_kept_and_another_replaced() {
    let backend = Backend::echo();
    let stack = echoing(&backend, &[]).await;
    let sane = Request::get("/").header("X-Request-Id", "order-7.A_b");
    assert_eq!(stack.gateway(0).send(&sane).await.json()["requestId"], "order-7.A_b");
    let long = "x".repeat(500);
    for insane in ["a b", "<script>", "\"", &long] {
        let answer = stack.gateway(0).send(&Request::get("/").header("X-Request-Id", insane)).await;
        let given = answer.json()["requestId"].as_str().unwrap_or_default().to_owned();
        assert!(!given.is_empty() && given != insane, "{insane}: {given}");
    }
}

#[tokio::test]
async fn a_refusal_leaves_the_connection_usable() {
    let backend = Backend::echo();
    let stack = echoing(&backend, &[route("x").pattern("/x").to_service("echo").public()]).await;
    let mut connection = stack.gateway(0).connect().await;
    for path in ["/nowhere", "/x", "/nowhere", "/x"] {
        let expected = if path == "/x" { 200 } else { 404 };
        connection.send(&Request::get(path)).await.expect("the connection is kept").expect_status(expected);
    }
}
