//! The gateway's own endpoints: who a caller is, and a new key for an old one.

use e2e::{Backend, Request};
use serde_json::json;

use super::{closed, echoing, expect, shop};

const ME: &str = "/.well-known/gateway/me";

#[tokio::test]
async fn a_caller_asks_who_it_is_and_changes_its_key() {
    let backend = Backend::echo();
    let stack = echoing(&backend, &[closed()]).await;
    let limits = json!([{"requests": 10, "perSeconds": 3600}]);
    stack.put(&[shop().set("limits", limits)]).await;
    let old = stack.key_of("shop").await;
    expect(&stack, &Request::get(ME), 401, Some("credentials_missing")).await;
    expect(&stack, &Request::get("/orders/1").api_key(&old), 200, None).await;
    let me = expect(&stack, &Request::get(ME).api_key(&old), 200, None).await.json();
    assert_eq!((&me["application"], &me["key"]["name"]), (&json!("shop"), &json!("test")), "{me}");
    assert_eq!(me["endpoints"][0]["endpointPath"], "/orders/{*rest}", "{me}");
    assert_eq!((&me["limits"][0]["requests"], &me["limits"][0]["remaining"]), (&json!(10), &json!(9)), "{me}");
    assert!(!me.to_string().contains("argon2"), "{me}");

    let rotate = |body: &str| Request::post(&format!("{ME}/rotate"), body.to_owned()).api_key(&old);
    expect(&stack, &Request::get(&format!("{ME}/rotate")).api_key(&old), 405, Some("method_not_allowed")).await;
    expect(&stack, &rotate("{\"overlap\": 1}"), 400, Some("bad_request")).await;
    let answer = expect(&stack, &rotate("{\"overlapSeconds\": 0}"), 201, None).await;
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    let new = answer.json()["key"].as_str().unwrap().to_owned();
    // From the answer on, not a moment later.
    expect(&stack, &Request::get("/orders/1").api_key(&new), 200, None).await;
    expect(&stack, &Request::get("/orders/1").api_key(&old), 401, Some("credentials_invalid")).await;
}

#[tokio::test]
async fn a_key_that_is_used_from_elsewhere_can_not_be_changed_for_a_new_one() {
    let backend = Backend::echo();
    let stack = echoing(&backend, &[closed()]).await;
    stack.put(&[shop()]).await;
    let key = stack.key_of("shop").await;
    stack.put(&[shop().set("ipAllow", json!(["10.0.0.0/8"]))]).await;
    expect(&stack, &Request::get("/orders/1").api_key(&key), 403, Some("ip_denied")).await;
    expect(&stack, &Request::get(ME).api_key(&key), 403, Some("ip_denied")).await;
    let rotate = Request::post(&format!("{ME}/rotate"), "").api_key(&key);
    expect(&stack, &rotate, 403, Some("ip_denied")).await;
    stack.put(&[shop().set("isActive", false)]).await;
    expect(&stack, &rotate, 403, Some("application_inactive")).await;
}
