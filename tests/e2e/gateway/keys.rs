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

async fn issue(stack: &Stack, body: Value) -> Value {
    stack.issue_key("shop", body).await
}

fn path(key: &Value) -> String {
    format!("{KEYS}/{}", key["id"].as_str().unwrap())
}

fn with(key: &Value) -> Request {
    Request::get("/echo/x").api_key(key["key"].as_str().unwrap())
}

async fn call(gateway: &Gateway, key: &Value) -> Answer {
    gateway.send(&with(key)).await
}

/// With another character at this place.
fn altered(key: &str, at: usize) -> String {
    let mut other = key.to_owned();
    other.replace_range(at..=at, if &key[at..=at] == "x" { "y" } else { "x" });
    other
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
    let mut connections = Vec::new();
    for gateway in stack.gateways() {
        let mut connection = gateway.connect().await;
        for _ in 0..3 {
            connection.send(&with(&key)).await.unwrap().expect_status(200);
        }
        connections.push(connection);
    }
    let received = backend.requests();
    assert!(received.iter().all(|it| it.header("x-api-key").is_none()), "the key is not passed on");
    assert!(received.iter().all(|it| it.header("x-gateway-application") == Some("shop")));

    stack.admin().delete(&format!("{}?wait=10s", path(&key))).await.expect_status(204);
    for gateway in stack.gateways() {
        refused(gateway, &with(&key), "credentials_invalid").await;
    }
    // Also on connections that were let in before.
    for mut connection in connections {
        let answer = connection.send(&with(&key)).await.unwrap().expect_status(401);
        assert_eq!(answer.code(), Some("credentials_invalid"), "{answer}");
    }
    assert_eq!(backend.requests().len(), 6);
}

#[tokio::test]
async fn whatever_is_no_good_key_is_refused_in_one_shape() {
    let backend = Backend::echo();
    let stack = with_shop(&backend, 1).await;
    stack.put(&[route("open").pattern("/open").to_service("echo").public()]).await;
    let gateway = stack.gateway(0);
    let key = issue(&stack, json!({"name": "a"})).await;
    let text = key["key"].as_str().unwrap();
    let unknown = format!("gk_{}_{}", "a".repeat(12), "b".repeat(43));
    let mut wrong = vec!["k".to_owned(), unknown, text[..50].to_owned(), "k".repeat(8192)];
    wrong.push(key["prefix"].as_str().unwrap().to_owned());
    wrong.extend([4, 20, text.len() - 1].map(|at| altered(text, at)));
    let mut messages = Vec::new();
    // A bad key is refused also where none is needed.
    for (wrong, path) in wrong.iter().flat_map(|wrong| [(wrong, "/echo/x"), (wrong, "/open")]) {
        let answer = gateway.send(&Request::get(path).api_key(wrong)).await.expect_status(401);
        assert_eq!(answer.code(), Some("credentials_invalid"), "{wrong}: {answer}");
        messages.push(answer.json()["message"].clone());
    }
    messages.dedup();
    assert_eq!(messages.len(), 1, "{messages:?}");
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
    call(gateway, &third).await.expect_status(200);
    refused(gateway, &with(&second), "credentials_invalid").await;
    let listed = stack.admin().get(KEYS).await.expect_status(200);
    assert_eq!(listed.json()["items"].as_array().unwrap().len(), 3);
    assert!(!listed.text().contains("argon2") && !listed.text().contains(third["key"].as_str().unwrap()));
}

#[tokio::test]
async fn an_expired_key_is_told_so_to_its_owner_alone() {
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
    // Only whoever has the secret is told.
    let wrong = Request::get("/echo/x").api_key(&altered(key["key"].as_str().unwrap(), 20));
    refused(stack.gateway(0), &wrong, "credentials_invalid").await;
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
