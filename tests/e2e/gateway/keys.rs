//! API keys from their making to their end, through a real admin API and real gateways.

use e2e::{Answer, Backend, Gateway, Request, Stack, application, eventually, route, service};
use gateway_config::clock::{Clock, SystemClock};
use gateway_config::model::Timestamp;
use serde_json::{Value, json};

const KEYS: &str = "/admin/access/applications/shop/keys";
const ROTATE: &str = "/.well-known/gateway/me/rotate";

/// A service `echo` that the application `shop` may call at `/echo/…`.
async fn with_shop(backend: &Backend, gateways: usize) -> Stack {
    let stack = Stack::builder().gateways(gateways).start().await;
    stack
        .put(&[
            service("echo").url(backend.url()),
            route("echo").pattern("/echo/{*rest}").to_service("echo"),
            application("shop").allowed(&["echo"]).endpoint("/echo/{*rest}", &["GET"]),
        ])
        .await;
    stack
}

/// The new key, served by every gateway.
async fn issue(stack: &Stack, body: Value) -> Value {
    stack.admin().post(&format!("{KEYS}?wait=10s"), &body).await.expect_status(201).json()
}

fn path(key: &Value) -> String {
    format!("{KEYS}/{}", key["id"].as_str().unwrap())
}

fn with(key: &Value) -> Request {
    Request::get("/echo/x").header("x-api-key", key["key"].as_str().unwrap())
}

async fn call(gateway: &Gateway, key: &Value) -> Answer {
    gateway.send(&with(key)).await
}

async fn refused(gateway: &Gateway, request: &Request, code: &str) {
    let answer = gateway.send(request).await.expect_status(401);
    assert_eq!(answer.code(), Some(code), "{}", answer.text());
    assert!(answer.header("www-authenticate").is_some());
}

#[tokio::test]
async fn a_key_lets_its_owner_in_until_it_is_revoked_at_every_gateway() {
    let backend = Backend::echo();
    let stack = with_shop(&backend, 2).await;
    let key = issue(&stack, json!({"name": "the till"})).await;
    for gateway in stack.gateways() {
        for _ in 0..3 {
            call(gateway, &key).await.expect_status(200);
        }
    }
    let received = backend.requests();
    assert!(received.iter().all(|it| it.header("x-api-key").is_none()), "the key is not passed on");
    assert!(received.iter().all(|it| it.header("x-gateway-application") == Some("shop")));

    stack.admin().delete(&format!("{}?wait=10s", path(&key))).await.expect_status(204);
    for gateway in stack.gateways() {
        refused(gateway, &with(&key), "credentials_invalid").await;
    }
    assert_eq!(backend.requests().len(), 6);
}

#[tokio::test]
async fn whatever_is_no_good_key_is_refused_in_one_shape() {
    let backend = Backend::echo();
    let stack = with_shop(&backend, 1).await;
    let gateway = stack.gateway(0);
    let key = issue(&stack, json!({"name": "a"})).await;
    let text = key["key"].as_str().unwrap();
    let last = if text.ends_with('x') { "y" } else { "x" };
    let altered = format!("{}{last}", &text[..text.len() - 1]);
    let (truncated, long) = (&text[..50], "k".repeat(8000));
    for wrong in ["k", "gk_000000000000_", altered.as_str(), truncated, long.as_str(), key["prefix"].as_str().unwrap()]
    {
        refused(gateway, &Request::get("/echo/x").header("x-api-key", wrong), "credentials_invalid").await;
    }
    let doubled = Request::get("/echo/x").header("x-api-key", text).header("X-Api-Key", text);
    refused(gateway, &doubled, "credentials_invalid").await;
    refused(gateway, &Request::get("/echo/x"), "credentials_missing").await;
    assert_eq!(backend.count(), 0);
    call(gateway, &key).await.expect_status(200);
}

#[tokio::test]
async fn a_rotated_key_is_good_for_its_overlap_and_its_owner_can_rotate_it_too() {
    let backend = Backend::echo();
    let stack = with_shop(&backend, 1).await;
    let gateway = stack.gateway(0);
    let first = issue(&stack, json!({"name": "a"})).await;
    let rotate = format!("{}/rotate?wait=10s", path(&first));
    let second = stack.admin().post(&rotate, &json!({"overlapSeconds": 600})).await.expect_status(201).json();
    for key in [&first, &second] {
        call(gateway, key).await.expect_status(200);
    }

    let ask = Request::post(ROTATE, r#"{"overlapSeconds": 0}"#)
        .header("content-type", "application/json")
        .header("x-api-key", second["key"].as_str().unwrap());
    let third = gateway.send(&ask).await.expect_status(201).json();
    assert_eq!(third["replaced"]["isActive"], false);
    eventually("the new key at the gateway", async || call(gateway, &third).await.with_status(200)).await;
    refused(gateway, &with(&second), "credentials_invalid").await;
    let listed = stack.admin().get(KEYS).await.expect_status(200);
    assert_eq!(listed.json()["items"].as_array().unwrap().len(), 3);
    assert!(!listed.text().contains("argon2") && !listed.text().contains(third["key"].as_str().unwrap()));
}

#[tokio::test]
async fn an_expired_key_is_told_so() {
    let backend = Backend::echo();
    let stack = with_shop(&backend, 1).await;
    let soon = Timestamp::from_micros(SystemClock.now().micros() + 3_000_000);
    let key = issue(&stack, json!({"name": "a", "expiresAt": soon})).await;
    eventually("the end of the key", async || {
        let answer = call(stack.gateway(0), &key).await;
        if answer.code() == Some("key_expired") { Ok(()) } else { Err(answer.text()) }
    })
    .await;
    refused(stack.gateway(0), &with(&key), "key_expired").await;
}

#[tokio::test]
async fn a_gateway_that_restarts_knows_its_keys_and_their_last_use_is_shown() {
    let backend = Backend::echo();
    let mut stack = with_shop(&backend, 1).await;
    let key = issue(&stack, json!({"name": "a"})).await;
    assert_eq!(stack.admin().get(&path(&key)).await.json()["lastUsedAt"], Value::Null);
    call(stack.gateway(0), &key).await.expect_status(200);
    stack.gateway_mut(0).restart().await;
    let file = stack.gateway(0).data().join("verified-keys");
    let bytes = std::fs::read(&file).unwrap();
    assert!(!bytes.windows(15).any(|window| window == key["prefix"].as_str().unwrap().as_bytes()), "it is sealed");
    call(stack.gateway(0), &key).await.expect_status(200);
    eventually("the last use", async || {
        let used = stack.admin().get(&path(&key)).await.json()["lastUsedAt"].clone();
        if used.is_string() { Ok(()) } else { Err("not yet") }
    })
    .await;
}
