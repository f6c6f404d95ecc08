//! Bearer tokens of a real OpenID provider, through a real gateway: JWTs by the keys that it publishes, opaque ones by introspection,
//! and what becomes of them when it is away.

use std::fs;

use e2e::{Answer, Backend, Entity, OpenId, Request, Stack, application, eventually, issuer, route, service};
use serde_json::{Value, json};
use tempfile::TempDir;

const CLIENT_SECRET: &str = "file:openid-client";

/// A gateway in front of an echo, with one route that takes tokens only, and the folder of its secrets.
async fn stack_with(backend: &Backend, issuers: &[Entity]) -> (Stack, TempDir) {
    let secrets = TempDir::with_prefix("gatehouse-secrets-").unwrap();
    fs::write(secrets.path().join("openid-client"), OpenId::gateway_secret() + "\n").unwrap();
    let folder = secrets.path().display().to_string();
    let stack = Stack::builder().setting("GATEWAY_SECRETS_DIR", &folder).start().await;
    stack.put(issuers).await;
    stack.put(&[service("echo").url(backend.url()), orders(&json!({"scopes": ["orders:read"]}))]).await;
    (stack, secrets)
}

/// The route with these conditions beside a token.
fn orders(conditions: &Value) -> Entity {
    let mut access = json!({"anyOf": ["jwt"], "applicationRequired": false});
    access.as_object_mut().unwrap().extend(conditions.as_object().unwrap().clone());
    route("orders").pattern("/orders").to_service("echo").set("access", access)
}

/// The application that the provider's client `shop` is bound to.
fn shop() -> Entity {
    let shop = application("shop").allowed(&["echo"]).endpoint("/orders", &["GET"]);
    shop.set("jwtClients", json!([{"issuer": "provider", "clientId": "shop"}]))
}

async fn call(stack: &Stack, token: &str) -> Answer {
    let request = Request::get("/orders").header("Authorization", &format!("Bearer {token}"));
    stack.gateway(0).send(&request).await
}

async fn refused(stack: &Stack, token: &str, status: u16, code: &str) {
    let answer = call(stack, token).await.expect_status(status);
    assert_eq!(answer.code(), Some(code), "{answer}");
    assert_eq!(answer.header("www-authenticate").is_some(), status == 401, "{answer}");
}

/// Until the gateway has what it needs from the provider: keys are fetched, and secrets read, in the background.
async fn accepted(stack: &Stack, token: &str) -> Answer {
    eventually("the token to be accepted", async || call(stack, token).await.with_status(200)).await
}

#[tokio::test]
async fn a_jwt_of_every_kind_that_the_provider_signs_opens_the_route_and_says_who_calls() {
    let (provider, backend) = (OpenId::start().await, Backend::echo());
    let (stack, _secrets) = stack_with(&backend, &[provider.by_keys()]).await;
    for algorithm in ["RS256", "PS256", "ES256", "EdDSA"] {
        let token = provider.token(algorithm).await;
        accepted(&stack, &token).await;
        call(&stack, &token).await.expect_status(200);
        let seen = backend.requests().pop().unwrap();
        assert_eq!(seen.header("x-gateway-subject"), Some("shop"), "{algorithm}");
        assert_eq!(seen.header("x-gateway-roles"), Some("staff,shop"), "{algorithm}");

        let (message, signature) = token.rsplit_once('.').unwrap();
        let swapped = provider.token(algorithm).await;
        let (other_message, other_signature) = swapped.rsplit_once('.').unwrap();
        refused(&stack, &format!("{message}.{other_signature}"), 401, "credentials_invalid").await;
        refused(&stack, &format!("{other_message}.{signature}"), 401, "credentials_invalid").await;
        refused(&stack, message, 401, "credentials_invalid").await;
    }
    let request = Request::get("/orders");
    let answer = stack.gateway(0).send(&request).await.expect_status(401);
    assert_eq!(answer.code(), Some("credentials_missing"), "{answer}");
    // The provider signs with RS384, too; the issuer does not allow it.
    refused(&stack, &provider.token("RS384").await, 401, "credentials_invalid").await;
}

#[tokio::test]
async fn scopes_and_roles_of_a_token_decide_and_its_client_binds_it_to_an_application() {
    let (provider, backend) = (OpenId::start().await, Backend::echo());
    let (stack, _secrets) = stack_with(&backend, &[provider.by_keys()]).await;
    let token = provider.token("ES256").await;
    accepted(&stack, &token).await;
    for (conditions, status, code) in [
        (json!({"scopes": ["orders:write"]}), 403, "scope_missing"),
        (json!({"roles": ["admin"]}), 403, "role_missing"),
        (json!({"applicationRequired": true}), 403, "service_not_allowed"),
    ] {
        stack.put(&[orders(&conditions)]).await;
        refused(&stack, &token, status, code).await;
    }
    stack.put(&[shop()]).await;
    call(&stack, &token).await.expect_status(200);
    assert_eq!(backend.requests().pop().unwrap().header("x-gateway-application"), Some("shop"));
}

#[tokio::test]
async fn an_opaque_token_is_introspected_and_a_revoked_one_is_refused() {
    let (provider, backend) = (OpenId::start().await, Backend::echo());
    let (stack, _secrets) = stack_with(&backend, &[provider.by_introspection(CLIENT_SECRET)]).await;
    let (token, revoked) = (provider.token("opaque").await, provider.token("opaque").await);
    stack.put(&[shop()]).await;
    accepted(&stack, &token).await;
    // This provider names no subject in what it says of a client's own token.
    let seen = backend.requests().pop().unwrap();
    assert_eq!((seen.header("x-gateway-application"), seen.header("x-gateway-subject")), (Some("shop"), None));
    provider.revoke(&revoked).await;
    refused(&stack, &revoked, 401, "credentials_invalid").await;
    refused(&stack, "invented", 401, "credentials_invalid").await;
    // The issuer has no keys, so its JWTs are for it to judge, and this provider does not introspect them.
    refused(&stack, &provider.token("RS256").await, 401, "credentials_invalid").await;
}

#[tokio::test]
async fn a_token_that_outlived_its_time_is_told_to_have_expired() {
    let (provider, backend) = (OpenId::start().await, Backend::echo());
    let (stack, _secrets) = stack_with(&backend, &[provider.by_keys()]).await;
    accepted(&stack, &provider.token("ES256").await).await;
    let short = provider.token("ES256?ttl=2").await;
    eventually("the token to expire", async || match call(&stack, &short).await {
        answer if answer.code() == Some("token_expired") => Ok(answer.expect_status(401)),
        answer => Err(answer.to_string()),
    })
    .await;
}

#[tokio::test]
async fn keys_and_verdicts_outlive_the_provider_and_what_needs_it_fails_closed() {
    let (provider, backend) = (OpenId::start().await, Backend::echo());
    let asked = provider.by_introspection(CLIENT_SECRET).json();
    let mut keyed = provider.by_keys();
    for field in ["introspectionUrl", "clientId", "clientSecret"] {
        keyed = keyed.set(field, asked[field].clone());
    }
    let (stack, _secrets) = stack_with(&backend, &[keyed]).await;
    let known = provider.token("RS256").await;
    let known_opaque = provider.token("opaque").await;
    accepted(&stack, &known).await;
    accepted(&stack, &known_opaque).await;
    let (unseen, unseen_opaque) = (provider.token("ES256").await, provider.token("opaque").await);
    provider.kill().await;
    for token in [&known, &known_opaque, &unseen] {
        call(&stack, token).await.expect_status(200);
    }
    refused(&stack, &unseen_opaque, 401, "credentials_invalid").await;
    eventually("the issuer to be shown as silent", async || {
        let ready = stack.gateway(0).ops("/readyz").await.expect_status(200).text();
        if ready.contains("does not answer introspection") { Ok(()) } else { Err(ready) }
    })
    .await;
}

#[tokio::test]
async fn a_secret_that_is_rotated_or_taken_away_counts_without_a_restart() {
    let (provider, backend) = (OpenId::start().await, Backend::echo());
    let (stack, secrets) = stack_with(&backend, &[provider.by_introspection(CLIENT_SECRET)]).await;
    let file = secrets.path().join("openid-client");
    accepted(&stack, &provider.token("opaque").await).await;
    fs::write(&file, "not the secret").unwrap();
    eventually("the wrong secret to be used", async || {
        let answer = call(&stack, &provider.token("opaque").await).await;
        answer.with_status(401)
    })
    .await;
    fs::remove_file(&file).unwrap();
    eventually("the missing secret to be shown", async || {
        let ready = stack.gateway(0).ops("/readyz").await.expect_status(200).text();
        if ready.contains(CLIENT_SECRET) { Ok(()) } else { Err(ready) }
    })
    .await;
    refused(&stack, &provider.token("opaque").await, 401, "credentials_invalid").await;
    fs::write(&file, OpenId::gateway_secret()).unwrap();
    eventually("the secret to be back", async || call(&stack, &provider.token("opaque").await).await.with_status(200))
        .await;
}

#[tokio::test]
async fn the_gateway_fetches_nothing_from_its_own_ports_or_from_link_local_addresses() {
    let backend = Backend::echo();
    let (stack, _secrets) = stack_with(&backend, &[]).await;
    let ours = stack.gateway(0).ops_address();
    for (at, url) in [format!("http://{ours}/status"), "http://169.254.169.254/latest".to_owned()].iter().enumerate() {
        let name = format!("issuer-{at}");
        let issuer = issuer(&name).set("issuer", name.as_str()).set("algorithms", json!(["RS256"]));
        stack.put(&[issuer.set("jwksUrl", url.as_str())]).await;
        eventually("the refusal to be shown", async || {
            let ready = stack.gateway(0).ops("/readyz").await.expect_status(200).text();
            if ready.contains(&name) && ready.contains("will not fetch") { Ok(()) } else { Err(ready) }
        })
        .await;
    }
}
