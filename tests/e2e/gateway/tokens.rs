//! Tokens of an issuer with a shared secret, and the secret itself. A real provider's tokens are in `openid`.

use e2e::{Backend, Entity, Request, Stack, application, eventually, issuer, route};
use gateway_config::clock::{Clock, SystemClock};
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::{Value, json};

use super::{closed, echoing_with, expect, shop};

const JWT_SECRET: &str = "a-shared-secret-of-forty-characters-0123";

fn corp() -> Entity {
    issuer("corp")
        .set("issuer", "https://id.example")
        .set("algorithms", json!(["HS256"]))
        .set("secret", "env:GATEWAY_SECRET_CORP")
        .set("audiences", json!(["gatehouse"]))
}

fn token(claims: Value) -> String {
    let now = SystemClock.now().micros() / 1_000_000;
    let mut all = json!({"iss": "https://id.example", "aud": "gatehouse", "exp": now + 600});
    let Value::Object(claims) = claims else { panic!("claims are an object: {claims}") };
    all.as_object_mut().unwrap().extend(claims);
    encode(&Header::new(Algorithm::HS256), &all, &EncodingKey::from_secret(JWT_SECRET.as_bytes())).unwrap()
}

fn bearer(path: &str, claims: Value) -> Request {
    Request::get(path).header("Authorization", &format!("Bearer {}", token(claims)))
}

async fn with_issuer(backend: &Backend, routes: &[Entity]) -> Stack {
    let stack = echoing_with(backend, routes, &[("GATEWAY_SECRET_CORP", JWT_SECRET)]).await;
    stack.put(&[corp()]).await;
    stack
}

#[tokio::test]
async fn a_token_opens_by_roles_and_scopes_and_by_the_application_of_its_client() {
    let backend = Backend::echo();
    let guarded =
        |name: &str, access: Value| route(name).pattern(&format!("/{name}")).to_service("echo").set("access", access);
    let stack = with_issuer(
        &backend,
        &[
            closed(),
            guarded("admin", json!({"anyOf": ["jwt"], "applicationRequired": false, "roles": ["admin", "root"]})),
            guarded("read", json!({"anyOf": ["jwt"], "applicationRequired": false, "scopes": ["read", "list"]})),
        ],
    )
    .await;
    let bound = json!([{"issuer": "corp", "clientId": "web"}]);
    stack.put(&[shop().set("jwtClients", bound)]).await;

    expect(&stack, &bearer("/admin", json!({"sub": "ann", "roles": ["root"]})), 200, None).await;
    expect(&stack, &bearer("/admin", json!({"sub": "ann", "roles": ["user"]})), 403, Some("role_missing")).await;
    expect(&stack, &bearer("/read", json!({"sub": "ann", "scope": "list read"})), 200, None).await;
    expect(&stack, &bearer("/read", json!({"sub": "ann", "scope": "read"})), 403, Some("scope_missing")).await;
    // No application is behind it, and this route needs one.
    expect(&stack, &bearer("/orders/1", json!({"sub": "ann"})), 403, Some("service_not_allowed")).await;
    expect(&stack, &bearer("/orders/1", json!({"sub": "ann", "azp": "other"})), 403, Some("service_not_allowed")).await;
    let answer = expect(&stack, &bearer("/orders/1", json!({"sub": "ann", "azp": "web"})), 200, None).await;
    let echo = answer.text().to_lowercase();
    assert!(echo.contains("x-gateway-subject") && echo.contains("\"shop\""), "{answer}");
    expect(&stack, &bearer("/else", json!({"sub": "ann", "azp": "web"})), 403, Some("endpoint_not_allowed")).await;
    // A key is no token.
    let key = stack.key_of("shop").await;
    expect(&stack, &Request::get("/admin").api_key(&key), 401, Some("credentials_missing")).await;
}

#[tokio::test]
async fn forged_and_expired_tokens_are_refused() {
    let backend = Backend::echo();
    let stack = with_issuer(&backend, &[closed()]).await;
    let bound = json!([{"issuer": "corp", "clientId": "web"}]);
    stack.put(&[shop().set("jwtClients", bound)]).await;
    let claims = || json!({"sub": "ann", "azp": "web"});
    expect(&stack, &bearer("/orders/1", claims()), 200, None).await;
    expect(&stack, &bearer("/orders/1", json!({"azp": "web", "exp": 1000})), 401, Some("token_expired")).await;
    for bad in [
        json!({"azp": "web", "iss": "https://evil.example"}),
        json!({"azp": "web", "aud": "other"}),
        json!({"azp": "web", "exp": "soon"}),
        json!({"azp": "web", "nbf": 9_999_999_999_u64}),
    ] {
        expect(&stack, &bearer("/orders/1", bad), 401, Some("credentials_invalid")).await;
    }
    let good = token(claims());
    let (head, rest) = good.split_once('.').unwrap();
    let none = "eyJhbGciOiJub25lIn0";
    let unsigned = rest.rsplit_once('.').unwrap().0;
    let last = if good.ends_with('A') { 'B' } else { 'A' };
    for forged in [
        format!("{none}.{unsigned}."),
        format!("{none}.{rest}"),
        format!("{head}.{unsigned}"),
        format!("{head}.{unsigned}."),
        format!("{}{last}", &good[..good.len() - 5]),
        format!("{good}.x"),
        "x".repeat(20_000),
    ] {
        let request = Request::get("/orders/1").header("Authorization", &format!("Bearer {forged}"));
        expect(&stack, &request, 401, Some("credentials_invalid")).await;
    }
    let twice = bearer("/orders/1", claims()).header("Authorization", &format!("Bearer {good}"));
    expect(&stack, &twice, 401, Some("credentials_invalid")).await;
    assert_eq!(backend.count(), 1);
}

#[tokio::test]
async fn a_key_and_a_token_must_both_be_good_and_of_one_application() {
    let backend = Backend::echo();
    let stack = with_issuer(&backend, &[closed()]).await;
    let bound = json!([{"issuer": "corp", "clientId": "web"}]);
    let other = application("other").allowed(&["echo"]).endpoint("/orders/{*rest}", &["GET"]);
    stack.put(&[shop().set("jwtClients", bound), other]).await;
    let ours = stack.key_of("shop").await;
    let theirs = stack.key_of("other").await;
    let good = || bearer("/orders/1", json!({"sub": "ann", "azp": "web"}));
    expect(&stack, &good().api_key(&ours), 200, None).await;
    expect(&stack, &good().api_key(&theirs), 401, Some("credentials_invalid")).await;
    expect(&stack, &good().api_key("gk_wrong"), 401, Some("credentials_invalid")).await;
    let bad = bearer("/orders/1", json!({"azp": "web", "aud": "other"}));
    expect(&stack, &bad.api_key(&ours), 401, Some("credentials_invalid")).await;
}

#[tokio::test]
async fn a_token_is_kept_from_backends_that_are_not_to_see_it() {
    let backend = Backend::echo();
    let access = json!({"anyOf": ["jwt"], "applicationRequired": false, "stripAuthorization": true});
    let stripped = route("stripped").pattern("/stripped").to_service("echo").set("access", access.clone());
    let mut kept_access = access;
    kept_access["stripAuthorization"] = json!(false);
    let kept = route("kept").pattern("/kept").to_service("echo").set("access", kept_access);
    let stack = with_issuer(&backend, &[stripped, kept]).await;
    let answer = expect(&stack, &bearer("/kept", json!({"sub": "ann"})), 200, None).await;
    assert!(answer.text().contains("Bearer "), "{answer}");
    let answer = expect(&stack, &bearer("/stripped", json!({"sub": "ann"})), 200, None).await;
    assert!(!answer.text().contains("Bearer "), "{answer}");
}

#[tokio::test]
async fn no_secret_reaches_a_log_a_metric_an_export_or_a_file() {
    let backend = Backend::echo();
    let stack = with_issuer(&backend, &[closed(), shop()]).await;
    let key = stack.key_of("shop").await;
    let token = token(json!({"sub": "ann", "azp": "web"}));
    for request in [
        Request::get("/orders/1").api_key(&key),
        Request::get("/elsewhere").api_key(&key),
        Request::get("/orders/1").header("Authorization", &format!("Bearer {token}")),
    ] {
        stack.gateway(0).send(&request).await;
    }
    let secret = &key[16..];
    let mut places = vec![
        ("metrics", stack.gateway(0).ops("/metrics").await.text()),
        ("status", stack.gateway(0).ops("/status").await.text()),
        ("export", stack.admin().get("/admin/config/export").await.expect_status(200).text()),
        ("application", stack.admin().get("/admin/access/applications/shop").await.expect_status(200).text()),
        ("keys", stack.admin().get("/admin/access/applications/shop/keys").await.expect_status(200).text()),
        ("gateway's log", format!("{:?}", stack.gateway(0).process().lines())),
        ("admin API's log", format!("{:?}", stack.admin().process().lines())),
    ];
    for entry in std::fs::read_dir(stack.gateway(0).data()).unwrap().map(Result::unwrap) {
        let bytes = std::fs::read(entry.path()).unwrap_or_default();
        places.push(("file", String::from_utf8_lossy(&bytes).into_owned()));
    }
    for (place, text) in places {
        for canary in [secret, JWT_SECRET, &token] {
            assert!(!text.contains(canary), "{canary} stands in {place}: {text}");
        }
        assert!(place == "file" || !text.contains("$argon2"), "a hash stands in {place}");
    }
}

#[tokio::test]
async fn a_secret_that_can_not_be_read_fails_closed_is_shown_and_is_read_again() {
    let backend = Backend::echo();
    let secrets = tempfile::TempDir::with_prefix("gatehouse-secrets-").unwrap();
    let folder = secrets.path().display().to_string();
    let access = json!({"anyOf": ["jwt"], "applicationRequired": false});
    let stack = echoing_with(&backend, &[closed().set("access", access)], &[("GATEWAY_SECRETS_DIR", &folder)]).await;
    stack.put(&[corp().set("secret", "file:corp")]).await;
    let ask = async || stack.gateway(0).send(&bearer("/", json!({"sub": "ann"}))).await;
    assert_eq!(ask().await.code(), Some("credentials_invalid"));
    let shown = async || {
        let nodes = stack.admin().get("/admin/nodes").await.expect_status(200);
        if nodes.text().contains("file:corp") { Ok(()) } else { Err(nodes.to_string()) }
    };
    eventually("the missing secret to be shown", shown).await;
    let works = async || {
        let answer = ask().await;
        if answer.status == 200 { Ok(()) } else { Err(answer.to_string()) }
    };
    std::fs::write(secrets.path().join("corp"), format!("{JWT_SECRET}\n")).unwrap();
    eventually("the secret to be read", works).await;
    // Another secret: tokens of the old one are worth nothing any more.
    std::fs::write(secrets.path().join("corp"), "another-secret-of-forty-characters-01234").unwrap();
    let refused = async || match ask().await.code() {
        Some("credentials_invalid") => Ok(()),
        other => Err(format!("{other:?}")),
    };
    eventually("the old secret to count no more", refused).await;
    // A link out of the folder leads nowhere.
    std::fs::remove_file(secrets.path().join("corp")).unwrap();
    let outside = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(outside.path(), JWT_SECRET).unwrap();
    std::os::unix::fs::symlink(outside.path(), secrets.path().join("corp")).unwrap();
    eventually("the link to be refused and shown", shown).await;
    assert_eq!(ask().await.code(), Some("credentials_invalid"));
}
