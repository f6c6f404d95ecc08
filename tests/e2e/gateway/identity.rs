//! What a backend is told of its caller, and that it can believe it: the demo backend `vault` refuses whoever comes around the
//! gateway.

use std::net::SocketAddr;
use std::sync::Arc;

use e2e::{Backend, Database, Entity, Gateway, PostgresCluster, Process, Request, Stack, eventually, route, service};
use serde_json::{Value, json};
use tempfile::TempDir;

const JWKS: &str = "/.well-known/gateway/jwks.json";
/// HS256 under [`SECRET`], good until 2100: of `https://idp.example` for `gatehouse`, subject `Änne, 100%`, roles `editor` and `a,b`,
/// scope `vault:read`.
const TOKEN: &str = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.\
    eyJpc3MiOiJodHRwczovL2lkcC5leGFtcGxlIiwiYXVkIjoiZ2F0ZWhvdXNlIiwic3ViIjoiw4RubmUsIDEwMCUiLCJyb2xlcyI6\
    WyJlZGl0b3IiLCJhLGIiXSwic2NvcGUiOiJ2YXVsdDpyZWFkIiwiZXhwIjo0MTAyNDQ0ODAwfQ.\
    nMsh13RLrlYQHd8w2_kLAuK6n9VwwB7vSnJCkNn6FBg";
const SECRET: &str = "a secret of 32 characters or more";

/// The demo backend, which asks a gateway for its keys.
struct Vault {
    address: SocketAddr,
    _process: Process,
    _data: TempDir,
}

impl Vault {
    async fn start(gateway: &Gateway) -> Self {
        let data = TempDir::with_prefix("gatehouse-vault-").unwrap();
        let folder = data.path().display().to_string();
        let arguments = ["backends", "run", "vault", "--listen", "vault=127.0.0.1:0", "--data-dir", &folder];
        let arguments: Vec<String> = arguments.iter().map(|&word| word.to_owned()).collect();
        let process = Process::stack("vault", &arguments, &[("GATEWAY_JWKS_URL", gateway.url(JWKS))]);
        let address = process.wait_listening().await["vault"];
        Self { address, _process: process, _data: data }
    }

    fn entities(&self) -> [Entity; 2] {
        let vault = service("vault").url(format!("http://{}", self.address));
        [vault, route("vault").pattern("/vault").to_service("vault").public()]
    }
}

/// An application that may do everything, and a key of it.
async fn shop_key(stack: &Stack) -> String {
    let everything = json!({
        "name": "shop", "allowedServices": ["*"], "allowedVersions": ["*"],
        "whitelist": [{"endpointPath": "/{*rest}", "allowedMethods": ["*"], "allowedVersions": ["*"]}]
    });
    let shop = "/admin/access/applications/shop";
    stack.admin().put(shop, &everything).await.expect_status(201);
    stack.key_of("shop").await
}

/// The keys that a gateway publishes, once it has one.
async fn published(gateway: &Gateway) -> Vec<Value> {
    eventually("a signing key", async || {
        let keys = gateway.get(JWKS).await.expect_status(200).json()["keys"].as_array().cloned().unwrap_or_default();
        if keys.is_empty() { Err("none yet") } else { Ok(keys) }
    })
    .await
}

#[tokio::test]
async fn a_backend_lets_in_who_comes_through_the_gateway_and_refuses_who_comes_around_it() {
    let stack = Stack::start().await;
    let gateway = stack.gateway(0);
    published(gateway).await;
    let vault = Vault::start(gateway).await;
    stack.put(&vault.entities()).await;

    let forged = Request::get("/vault").header("X-Gateway-Identity", "forged").header("X-Gateway-Subject", "root");
    let answer = gateway.send(&forged).await.expect_status(200).json();
    assert_eq!((&answer["caller"]["anonymous"], &answer["caller"]["subject"]), (&json!(true), &Value::Null));

    for around in [Request::get("/vault"), forged] {
        let answer = around.send(vault.address).await.unwrap().expect_status(401).json();
        assert!(answer["message"].as_str().unwrap().contains("only what comes through the gateway"), "{answer}");
    }
}

#[tokio::test]
async fn a_request_for_an_upgrade_is_told_of_like_any_other() {
    let stack = Stack::start().await;
    let gateway = stack.gateway(0);
    published(gateway).await;
    let vault = Vault::start(gateway).await;
    stack.put(&vault.entities()).await;
    for upgrade in ["x", "websocket", "h2c"] {
        let request = Request::get("/vault").header("Connection", "Upgrade").header("Upgrade", upgrade);
        gateway.send(&request).await.expect_status(200);
    }
}

#[tokio::test]
async fn a_token_for_one_backend_opens_no_other() {
    let stack = Stack::start().await;
    let gateway = stack.gateway(0);
    published(gateway).await;
    let (vault, curious) = (Vault::start(gateway).await, Backend::echo());
    stack.put(&[service("curious").url(curious.url())]).await;
    stack.put(&[route("curious").pattern("/curious").to_service("curious").public()]).await;
    gateway.get("/curious").await.expect_status(200);
    let token = curious.only_request().header("x-gateway-identity").unwrap().to_owned();
    Request::get("/vault").header("X-Gateway-Identity", &token).send(vault.address).await.unwrap().expect_status(401);
}

#[tokio::test]
async fn a_backend_is_told_what_the_callers_token_says() {
    let (stack, echo) = (Stack::builder().setting("GATEWAY_SECRET_IDP", SECRET).start().await, Backend::echo());
    let gateway = stack.gateway(0);
    published(gateway).await;
    let vault = Vault::start(gateway).await;
    let issuer = json!({
        "name": "idp", "issuer": "https://idp.example", "audiences": ["gatehouse"], "algorithms": ["HS256"],
        "secret": "env:GATEWAY_SECRET_IDP"
    });
    stack.admin().put("/admin/access/issuers/idp", &issuer).await.expect_status(201);
    let [service_vault, route_vault] = vault.entities();
    let access = json!({"anyOf": ["jwt"], "applicationRequired": false});
    let echoing = route("echo").pattern("/echo").to_service("echo").set("access", access.clone());
    stack.put(&[service_vault, route_vault.set("access", access), service("echo").url(echo.url()), echoing]).await;

    let authorization = format!("Bearer {TOKEN}");
    let request = Request::get("/vault").header("Authorization", &authorization);
    let expected = json!({
        "subject": "Änne, 100%", "issuer": "idp", "application": null, "roles": ["editor", "a,b"],
        "scopes": ["vault:read"], "anonymous": false
    });
    assert_eq!(gateway.send(&request).await.expect_status(200).json()["caller"], expected);

    gateway.send(&Request::get("/echo").header("Authorization", &authorization)).await.expect_status(200);
    let seen = echo.only_request();
    assert_eq!(seen.header("x-gateway-subject"), Some("%C3%84nne%2C 100%25"));
    assert_eq!(seen.header("x-gateway-roles"), Some("editor,a%2Cb"), "two roles, not three");
    assert_eq!(seen.header("x-gateway-application"), None);
}

#[tokio::test]
async fn a_backend_is_told_whose_key_was_presented_and_never_the_key() {
    let (stack, echo) = (Stack::start().await, Backend::echo());
    let gateway = stack.gateway(0);
    published(gateway).await;
    let vault = Vault::start(gateway).await;
    let [service_vault, route_vault] = vault.entities();
    let access = json!({"anyOf": ["api_key"]});
    let echoing = route("echo").pattern("/echo").to_service("echo").set("access", access.clone());
    stack.put(&[service_vault, route_vault.set("access", access), service("echo").url(echo.url()), echoing]).await;
    let key = shop_key(&stack).await;

    let request = Request::get("/vault").header("X-API-Key", &key);
    let expected = json!({
        "subject": null, "issuer": null, "application": "shop", "roles": [], "scopes": [], "anonymous": false
    });
    assert_eq!(gateway.send(&request).await.expect_status(200).json()["caller"], expected);
    request.send(vault.address).await.unwrap().expect_status(401);

    let request = Request::get("/echo").header("X-API-Key", &key).header("X-Gateway-Roles", "admin");
    gateway.send(&request).await.expect_status(200);
    let seen = echo.only_request();
    assert_eq!(seen.header("x-gateway-application"), Some("shop"));
    for absent in ["x-api-key", "x-gateway-roles", "x-gateway-subject"] {
        assert_eq!(seen.header(absent), None, "{absent}");
    }
}

#[tokio::test]
async fn all_gateways_of_a_fleet_sign_with_the_same_keys() {
    let stack = Stack::builder().gateways(3).start().await;
    let keys = published(stack.gateway(0)).await;
    assert_eq!(keys.len(), 1);
    for gateway in stack.gateways() {
        assert_eq!(published(gateway).await, keys);
    }
    let vault = Vault::start(stack.gateway(2)).await;
    stack.put(&vault.entities()).await;
    for gateway in stack.gateways() {
        gateway.get("/vault").await.expect_status(200);
    }
    let answer = stack.gateway(0).get(JWKS).await;
    assert_eq!(answer.header("cache-control"), Some("public, max-age=60"));
    assert!(!answer.text().contains("\"d\""), "only the public halves: {answer}");
}

#[tokio::test]
async fn a_gateway_started_without_its_database_signs_with_the_keys_on_its_disk() {
    let cluster = Arc::new(PostgresCluster::start().await);
    let mut stack = Stack::builder().database(Database::on(&cluster).await).start().await;
    let gateway = stack.gateway(0);
    let keys = published(gateway).await;
    let vault = Vault::start(gateway).await;
    stack.put(&vault.entities()).await;
    for file in ["signing_keys.json", "snapshot.json"] {
        let file = gateway.data().join(file);
        eventually("the file to be there", async || std::fs::metadata(&file).map(drop)).await;
    }
    gateway.terminate().await;
    cluster.stop_hard().await;
    stack.gateway_mut(0).start_again().await;
    let gateway = stack.gateway(0);
    eventually("an answer of the vault", async || {
        gateway.try_send(&Request::get("/vault")).await.map_err(|failure| failure.to_string())?.with_status(200)
    })
    .await;
    assert_eq!(published(gateway).await, keys);
}

#[tokio::test]
async fn a_gateway_with_another_master_key_says_so_and_leaves_the_fleets_keys_alone() {
    let stack = Stack::start().await;
    let keys = published(stack.gateway(0)).await;
    let other = [("GATEWAY_MASTER_KEY".to_owned(), "another-master-key-0123456789abcdef01".to_owned())];
    let mut stranger = Gateway::new(1, stack.database(), &other);
    stranger.start_again().await;
    stranger.wait_ready().await;
    eventually("the status to name the signing keys", async || {
        let status = stranger.ops("/status").await.json();
        if status["degraded"].to_string().contains("signing_keys") { Ok(()) } else { Err(status) }
    })
    .await;
    assert!(!published(&stranger).await.contains(&keys[0]), "a key that it can't open is not its own");
    assert_eq!(published(stack.gateway(0)).await, keys);
}
