//! What callers may reach once they are known, and that nothing slips by; every refusal by its code.

use e2e::{Backend, Request, route, service};
use serde_json::json;

use super::{closed, echoing, expect, shop};

#[tokio::test]
async fn a_key_opens_what_its_application_may_use_and_nothing_else() {
    let backend = Backend::echo();
    let stack = echoing(&backend, &[closed()]).await;
    stack
        .put(&[service("other").url(backend.url()), route("other").pattern("/other").to_service("other"), shop()])
        .await;
    let key = stack.key_of("shop").await;
    let get = |path: &str| Request::get(path).api_key(&key);
    expect(&stack, &Request::get("/orders/1"), 401, Some("credentials_missing")).await;
    let answer = expect(&stack, &get("/orders/1"), 200, None).await;
    assert!(answer.text().to_lowercase().contains("x-gateway-application"), "{answer}");
    assert!(!answer.text().contains(&key), "the key is the gateway's, not the backend's: {answer}");
    expect(&stack, &get("/other"), 403, Some("service_not_allowed")).await;
    expect(&stack, &get("/secrets"), 403, Some("endpoint_not_allowed")).await;
    let delete = Request::new("DELETE", "/orders/1").api_key(&key);
    expect(&stack, &delete, 403, Some("endpoint_not_allowed")).await;
    // What is authorised is what is forwarded.
    expect(&stack, &get("/orders/../secrets"), 403, Some("endpoint_not_allowed")).await;
    stack
        .admin()
        .patch("/admin/access/applications/shop?wait=10s", &json!({"isActive": false}))
        .await
        .expect_status(200);
    expect(&stack, &get("/orders/1"), 403, Some("application_inactive")).await;
}

#[tokio::test]
async fn no_wish_to_upgrade_slips_by() {
    let backend = Backend::echo();
    let stack = echoing(&backend, &[closed(), shop()]).await;
    for upgrade in ["x", "websocket", "h2c"] {
        let request = Request::get("/orders/1")
            .header("Connection", "Upgrade")
            .header("Upgrade", upgrade)
            .header("Sec-WebSocket-Version", "13")
            .header("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==");
        expect(&stack, &request, 401, Some("credentials_missing")).await;
        expect(&stack, &request.api_key("gk_wrong"), 401, Some("credentials_invalid")).await;
    }
    assert_eq!(backend.count(), 0);
}
