//! Who may call what: API keys, tokens, whitelists, roles. One gateway unless a fleet is the point; every refusal by its code.

use e2e::{Answer, Backend, Entity, Request, Stack, application, eventually, issuer, route, service};
use gateway_config::clock::{Clock, SystemClock};
use gateway_config::model::Timestamp;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::{Value, json};

use super::{echoing, echoing_with};

const JWT_SECRET: &str = "a-shared-secret-of-forty-characters-0123";
const ME: &str = "/.well-known/gateway/me";

/// Any path of the service `echo`, with credentials.
fn closed() -> Entity {
    route("all").pattern("/{*rest}").to_service("echo")
}

fn shop() -> Entity {
    application("shop").allowed(&["echo"]).endpoint("/orders/{*rest}", &["GET", "POST"])
}

fn with_key(request: Request, key: &str) -> Request {
    request.header("X-API-Key", key)
}

async fn expect(stack: &Stack, request: &Request, status: u16, code: Option<&str>) -> Answer {
    let answer = stack.gateway(0).send(request).await;
    assert_eq!((answer.status, answer.code()), (status, code), "{request:?}: {answer}");
    answer
}

/// A key of this application, served by every gateway.
async fn key(stack: &Stack, application: &str) -> (String, String) {
    let path = format!("/admin/access/applications/{application}/keys?wait=10s");
    let made = stack.admin().post(&path, &json!({"name": "test"})).await.expect_status(201).json();
    let text = |field: &str| made[field].as_str().unwrap_or_else(|| panic!("no {field} in {made}")).to_owned();
    (text("key"), text("id"))
}

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
async fn a_key_opens_what_its_application_may_use_and_nothing_else() {
    let backend = Backend::echo();
    let stack = echoing(&backend, &[closed()]).await;
    stack
        .put(&[service("other").url(backend.url()), route("other").pattern("/other").to_service("other"), shop()])
        .await;
    let (key, _) = key(&stack, "shop").await;
    let get = |path: &str| with_key(Request::get(path), &key);
    expect(&stack, &Request::get("/orders/1"), 401, Some("credentials_missing")).await;
    let answer = expect(&stack, &get("/orders/1"), 200, None).await;
    assert!(answer.text().to_lowercase().contains("x-gateway-application"), "{answer}");
    assert!(!answer.text().contains(&key), "the key is the gateway's, not the backend's: {answer}");
    expect(&stack, &get("/other"), 403, Some("service_not_allowed")).await;
    expect(&stack, &get("/secrets"), 403, Some("endpoint_not_allowed")).await;
    let delete = with_key(Request::new("DELETE", "/orders/1"), &key);
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
async fn a_revoked_key_is_refused_by_every_gateway_once_the_call_has_waited() {
    let backend = Backend::echo();
    let mut stack = echoing(&backend, &[closed(), shop()]).await;
    stack.add_gateway().await;
    let (key, id) = key(&stack, "shop").await;
    let mut connections = Vec::new();
    for gateway in stack.gateways() {
        let mut connection = gateway.connect().await;
        connection.send(&with_key(Request::get("/orders/1"), &key)).await.unwrap().expect_status(200);
        connections.push(connection);
    }
    let path = format!("/admin/access/applications/shop/keys/{id}?wait=10s");
    stack.admin().delete(&path).await.expect_status(204);
    for mut connection in connections {
        let answer = connection.send(&with_key(Request::get("/orders/1"), &key)).await.unwrap();
        assert_eq!((answer.status, answer.code()), (401, Some("credentials_invalid")), "{answer}");
        assert!(answer.header("www-authenticate").is_some(), "{answer}");
    }
}

#[tokio::test]
async fn a_rotated_key_lives_as_long_as_the_overlap() {
    let backend = Backend::echo();
    let stack = echoing(&backend, &[closed(), shop()]).await;
    let (old, id) = key(&stack, "shop").await;
    let path = |id: &str| format!("/admin/access/applications/shop/keys/{id}/rotate?wait=10s");
    let made = stack.admin().post(&path(&id), &json!({"overlapSeconds": 3600})).await.expect_status(201).json();
    let new = made["key"].as_str().unwrap().to_owned();
    for key in [&old, &new] {
        expect(&stack, &with_key(Request::get("/orders/1"), key), 200, None).await;
    }
    let id = made["id"].as_str().unwrap();
    stack.admin().post(&path(id), &json!({})).await.expect_status(201);
    expect(&stack, &with_key(Request::get("/orders/1"), &new), 401, Some("credentials_invalid")).await;
    expect(&stack, &with_key(Request::get("/orders/1"), &old), 200, None).await;
}

#[tokio::test]
async fn a_key_expires_and_says_so_only_to_whoever_has_it() {
    let backend = Backend::echo();
    let stack = echoing(&backend, &[closed(), shop()]).await;
    let soon = Timestamp::from_micros(SystemClock.now().micros() + 3_000_000).to_string();
    let path = "/admin/access/applications/shop/keys?wait=10s";
    let made = stack.admin().post(path, &json!({"name": "short", "expiresAt": soon})).await.expect_status(201).json();
    let key = made["key"].as_str().unwrap().to_owned();
    eventually("the key to expire", async || {
        let answer = stack.gateway(0).send(&with_key(Request::get("/orders/1"), &key)).await;
        if answer.code() == Some("key_expired") { Ok(()) } else { Err(answer.to_string()) }
    })
    .await;
    let mut wrong = key.clone();
    wrong.replace_range(20..21, if &key[20..21] == "a" { "b" } else { "a" });
    expect(&stack, &with_key(Request::get("/orders/1"), &wrong), 401, Some("credentials_invalid")).await;
}

#[tokio::test]
async fn what_is_no_good_key_is_refused_in_the_same_words() {
    let backend = Backend::echo();
    let stack =
        echoing(&backend, &[closed(), route("open").pattern("/open").to_service("echo").public(), shop()]).await;
    let (key, _) = key(&stack, "shop").await;
    let changed = |at: usize| {
        let mut other = key.clone();
        other.replace_range(at..=at, if &key[at..=at] == "x" { "y" } else { "x" });
        other
    };
    let large = "k".repeat(8192);
    let unknown = format!("gk_{}_{}", "a".repeat(12), "b".repeat(43));
    let mut bodies = Vec::new();
    for bad in [
        changed(4),
        changed(20),
        changed(key.len() - 1),
        key[..key.len() - 1].to_owned(),
        large,
        unknown,
        "x".to_owned(),
    ] {
        for path in ["/orders/1", "/open"] {
            let answer = expect(&stack, &with_key(Request::get(path), &bad), 401, Some("credentials_invalid")).await;
            bodies.push(answer.json()["message"].clone());
        }
    }
    let doubled = with_key(with_key(Request::get("/orders/1"), &key), &key);
    expect(&stack, &doubled, 401, Some("credentials_invalid")).await;
    bodies.dedup();
    assert_eq!(bodies.len(), 1, "{bodies:?}");
    assert_eq!(backend.count(), 0);
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
    let (key, _) = key(&stack, "shop").await;
    expect(&stack, &with_key(Request::get("/admin"), &key), 401, Some("credentials_missing")).await;
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
    let (ours, _) = key(&stack, "shop").await;
    let (theirs, _) = key(&stack, "other").await;
    let good = || bearer("/orders/1", json!({"sub": "ann", "azp": "web"}));
    expect(&stack, &with_key(good(), &ours), 200, None).await;
    expect(&stack, &with_key(good(), &theirs), 401, Some("credentials_invalid")).await;
    expect(&stack, &with_key(good(), "gk_wrong"), 401, Some("credentials_invalid")).await;
    let bad = bearer("/orders/1", json!({"azp": "web", "aud": "other"}));
    expect(&stack, &with_key(bad, &ours), 401, Some("credentials_invalid")).await;
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
        expect(&stack, &with_key(request, "gk_wrong"), 401, Some("credentials_invalid")).await;
    }
    assert_eq!(backend.count(), 0);
}

#[tokio::test]
async fn a_caller_asks_who_it_is_and_changes_its_key() {
    let backend = Backend::echo();
    let stack = echoing(&backend, &[closed()]).await;
    let limits = json!([{"requests": 10, "perSeconds": 3600}]);
    stack.put(&[shop().set("limits", limits)]).await;
    let (old, _) = key(&stack, "shop").await;
    expect(&stack, &Request::get(ME), 401, Some("credentials_missing")).await;
    expect(&stack, &with_key(Request::get("/orders/1"), &old), 200, None).await;
    let me = expect(&stack, &with_key(Request::get(ME), &old), 200, None).await.json();
    assert_eq!((&me["application"], &me["key"]["name"]), (&json!("shop"), &json!("test")), "{me}");
    assert_eq!(me["endpoints"][0]["endpointPath"], "/orders/{*rest}", "{me}");
    assert_eq!((&me["limits"][0]["requests"], &me["limits"][0]["remaining"]), (&json!(10), &json!(9)), "{me}");
    assert!(!me.to_string().contains("argon2"), "{me}");

    let rotate = |body: &str| with_key(Request::post(&format!("{ME}/rotate"), body.to_owned()), &old);
    expect(&stack, &with_key(Request::get(&format!("{ME}/rotate")), &old), 405, Some("method_not_allowed")).await;
    expect(&stack, &rotate("{\"overlap\": 1}"), 400, Some("bad_request")).await;
    let answer = expect(&stack, &rotate("{\"overlapSeconds\": 0}"), 201, None).await;
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    let new = answer.json()["key"].as_str().unwrap().to_owned();
    // From the answer on, not a moment later.
    expect(&stack, &with_key(Request::get("/orders/1"), &new), 200, None).await;
    expect(&stack, &with_key(Request::get("/orders/1"), &old), 401, Some("credentials_invalid")).await;
}

#[tokio::test]
async fn a_key_that_is_used_from_elsewhere_can_not_be_changed_for_a_new_one() {
    let backend = Backend::echo();
    let stack = echoing(&backend, &[closed()]).await;
    stack.put(&[shop()]).await;
    let (key, _) = key(&stack, "shop").await;
    stack.put(&[shop().set("ipAllow", json!(["10.0.0.0/8"]))]).await;
    expect(&stack, &with_key(Request::get("/orders/1"), &key), 403, Some("ip_denied")).await;
    expect(&stack, &with_key(Request::get(ME), &key), 403, Some("ip_denied")).await;
    let rotate = with_key(Request::post(&format!("{ME}/rotate"), ""), &key);
    expect(&stack, &rotate, 403, Some("ip_denied")).await;
    stack.put(&[shop().set("isActive", false)]).await;
    expect(&stack, &rotate, 403, Some("application_inactive")).await;
}

#[tokio::test]
async fn no_secret_reaches_a_log_a_metric_an_export_or_a_file() {
    let backend = Backend::echo();
    let stack = with_issuer(&backend, &[closed(), shop()]).await;
    let (key, _) = key(&stack, "shop").await;
    let token = token(json!({"sub": "ann", "azp": "web"}));
    for request in [
        with_key(Request::get("/orders/1"), &key),
        with_key(Request::get("/elsewhere"), &key),
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
