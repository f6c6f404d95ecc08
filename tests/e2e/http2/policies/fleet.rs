//! A gateway with a route for each policy before each kind of backend, and callers of every kind.

use std::sync::{Arc, Mutex};

use e2e::wire::{Framing, Headers};
use e2e::{
    Authority, Backend, Entity, Gate, Request, Stack, TlsClient, application, eventually, issuer, route, service,
};
use gateway_config::clock::{Clock, SystemClock};
use gateway_config::model::Timestamp;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::transport::{HOST, Transport};

const SECRET: &str = "a-shared-secret-of-forty-characters-0123";
const KINDS: [&str; 3] = ["http", "sockets", "grpc"];

type Handshakes = Arc<Mutex<Vec<Headers>>>;

pub(super) struct Keys {
    pub(super) good: String,
    pub(super) mistyped: String,
    pub(super) revoked: String,
    pub(super) expired: String,
    pub(super) inactive: String,
    pub(super) stranger: String,
    pub(super) narrow: String,
}

pub(super) struct Tokens {
    pub(super) good: String,
    pub(super) forged: String,
    pub(super) unsigned: String,
    pub(super) expired: String,
}

pub(super) struct Fleet {
    stack: Stack,
    tls: TlsClient,
    _secrets: TempDir,
    http: Backend,
    grpc: Backend,
    _sockets: Backend,
    handshakes: Handshakes,
    pub(super) keys: Keys,
    pub(super) tokens: Tokens,
}

impl Fleet {
    pub(super) async fn start() -> Self {
        let (http, grpc) = (Backend::echo(), Backend::grpc(&Gate::default()));
        let handshakes = Handshakes::default();
        let sockets = sockets(&handshakes);
        let secrets = TempDir::with_prefix("gatehouse-secrets-").unwrap();
        let stack = Stack::builder()
            .setting("GATEWAY_SECRET_CORP", SECRET)
            .setting("GATEWAY_SECRETS_DIR", &secrets.path().display().to_string())
            .start()
            .await;
        let (authority, host) = (Authority::new(), [HOST]);
        let issued = authority.issue(&host);
        std::fs::write(secrets.path().join("gateway.key"), &issued.key).unwrap();
        stack.put(&[issued.entity("gateway", &host, "file:gateway.key")]).await;
        let tls = authority.client();
        configure(&stack, &[("http", http.url()), ("sockets", sockets.url()), ("grpc", grpc.url())]).await;
        let (keys, tokens) = (keys(&stack).await, tokens());
        let fleet = Self { stack, tls, _secrets: secrets, http, grpc, _sockets: sockets, handshakes, keys, tokens };
        fleet.use_up_limits().await;
        fleet
    }

    /// One request an hour: it is over.
    async fn use_up_limits(&self) {
        for kind in KINDS {
            let answer = self.stack.gateway(0).get(&format!("/{kind}/limited?id=1%27%20OR%20%271%27%3D%271")).await;
            assert_eq!(answer.code(), Some("unsafe_input"), "counted, and kept from the backend: {answer}");
        }
    }

    pub(super) async fn ask(&self, transport: Transport, request: &Request) -> (u16, Option<String>) {
        transport.ask(self.stack.gateway(0), &self.tls, request).await
    }

    /// The requests that backends saw.
    pub(super) fn arrived(&self) -> Vec<String> {
        let requests = self.http.requests().into_iter().chain(self.grpc.requests()).map(|it| it.target);
        let handshakes = self.handshakes.lock().unwrap();
        requests.chain(handshakes.iter().map(|_| "a handshake".to_owned())).collect()
    }

    /// The headers of the last of them.
    pub(super) fn last_seen(&self, transport: Transport) -> Vec<(String, String)> {
        let last = match transport.service() {
            "http" => self.http.requests().pop().map(|request| request.headers),
            "grpc" => self.grpc.requests().pop().map(|request| request.headers),
            _ => self.handshakes.lock().unwrap().last().cloned(),
        };
        last.expect("a request has arrived").0
    }
}

/// Takes every handshake, and says nothing then.
fn sockets(handshakes: &Handshakes) -> Backend {
    let handshakes = handshakes.clone();
    Backend::raw(move |mut wire| {
        let handshakes = handshakes.clone();
        async move {
            let Ok(Some(head)) = wire.read_head().await else { return };
            // With all that belongs to it: what breaks off is none.
            let Ok(_) = wire.read_body(Framing::of_request(&head).unwrap()).await else { return };
            handshakes.lock().unwrap().push(head.headers);
            let accepted = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
            let _ = wire.write(accepted).await;
            while wire.read_some().await.is_ok_and(|bytes| !bytes.is_empty()) {}
        }
    })
}

async fn configure(stack: &Stack, backends: &[(&str, String)]) {
    let mut entities = vec![
        issuer("corp")
            .set("issuer", "https://id.example")
            .set("algorithms", json!(["HS256"]))
            .set("secret", "env:GATEWAY_SECRET_CORP")
            .set("audiences", json!(["gatehouse"])),
        service("away").url("http://127.0.0.1:9").set("isActive", false),
        service("resting")
            .url("http://127.0.0.1:9")
            .set("maintenance", json!({"statusCode": 503, "message": "back soon"})),
    ];
    for (kind, url) in backends {
        let protocol = if *kind == "grpc" { "h2c" } else { "http1" };
        entities.push(service(kind).url(url.clone()).set("protocol", protocol));
        entities.push(service(&format!("{kind}-versions")).set("protocol", protocol).version("v1", url.clone(), 1));
        entities.extend(routes(kind));
    }
    let all = ["http", "sockets", "grpc", "http-versions", "sockets-versions", "grpc-versions", "away", "resting"];
    let everywhere = |name: &str| application(name).allowed(&all).endpoint("/{*rest}", &["*"]);
    let bound = json!([{"issuer": "corp", "clientId": "web"}]);
    entities.extend([
        everywhere("shop").set("jwtClients", bound),
        everywhere("inactive"),
        application("stranger").allowed(&["away"]).endpoint("/{*rest}", &["*"]),
        application("narrow").allowed(&all).endpoint("/http/open", &["*"]),
    ]);
    stack.put(&entities).await;
}

/// A route for each policy.
fn routes(kind: &str) -> Vec<Entity> {
    let to = |name: &str, service: &str| {
        route(&format!("{kind}-{name}")).pattern(&format!("/{kind}/{name}")).to_service(service)
    };
    let guarded = |access: Value| {
        let mut all = json!({"anyOf": ["jwt"], "applicationRequired": false});
        all.as_object_mut().unwrap().extend(access.as_object().cloned().unwrap_or_default());
        all
    };
    let limit = json!([{"requests": 1, "perSeconds": 3600, "by": "global"}]);
    vec![
        to("closed", kind),
        to("open", kind).public(),
        to("open-below", kind).pattern(&format!("/{kind}/open/{{*rest}}")).public(),
        to("role", kind).set("access", guarded(json!({"roles": ["root"]}))),
        to("scope", kind).set("access", guarded(json!({"scopes": ["all"]}))),
        to("address", kind).public().set("ipDeny", json!(["127.0.0.0/8"])),
        to("limited", kind).public().set("limits", limit).set("screening", "block"),
        to("small", kind).public().set("maxBodyBytes", 10),
        to("screened", kind).public().set("screening", "block"),
        to("delete", kind).method("DELETE"),
        to("away", "away"),
        to("resting", "resting"),
        to("versions", &format!("{kind}-versions")).pattern(&format!("/{kind}/versions/{{version}}")),
    ]
}

async fn keys(stack: &Stack) -> Keys {
    let good = stack.key_of("shop").await;
    let mut mistyped = good.clone();
    let last = mistyped.pop();
    mistyped.push(if last == Some('A') { 'B' } else { 'A' });
    let revoked = stack.issue_key("shop", json!({"name": "revoked"})).await;
    let path = format!("/admin/access/applications/shop/keys/{}?wait=10s", revoked["id"].as_str().unwrap());
    stack.admin().delete(&path).await.expect_status(204);
    let soon = Timestamp::from_micros(SystemClock.now().micros() + 1_500_000);
    let expired = stack.issue_key("shop", json!({"name": "expired", "expiresAt": soon})).await;
    let text = |key: &Value| key["key"].as_str().unwrap().to_owned();
    let (inactive, stranger, narrow) =
        (stack.key_of("inactive").await, stack.key_of("stranger").await, stack.key_of("narrow").await);
    let off = json!({"isActive": false});
    stack.admin().patch("/admin/access/applications/inactive?wait=10s", &off).await.expect_status(200);
    let expired = text(&expired);
    eventually("the key to run out", async || {
        let answer = stack.gateway(0).send(&Request::get("/nowhere").api_key(&expired)).await;
        let me = stack.gateway(0).send(&Request::get("/.well-known/gateway/me").api_key(&expired)).await;
        if me.code() == Some("key_expired") { Ok(()) } else { Err(format!("{answer} {me}")) }
    })
    .await;
    Keys { good, mistyped, revoked: text(&revoked), expired, inactive, stranger, narrow }
}

fn tokens() -> Tokens {
    let token = |secret: &str, more: Value| {
        let now = SystemClock.now().micros() / 1_000_000;
        let mut all =
            json!({"iss": "https://id.example", "aud": "gatehouse", "azp": "web", "sub": "ann", "exp": now + 600});
        all.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap_or_default());
        encode(&Header::new(Algorithm::HS256), &all, &EncodingKey::from_secret(secret.as_bytes())).unwrap()
    };
    let good = token(SECRET, json!({}));
    let claims = good.split('.').nth(1).unwrap();
    Tokens {
        // {"alg":"none"}
        unsigned: format!("eyJhbGciOiJub25lIn0.{claims}."),
        forged: token("another-secret-of-forty-characters-01234", json!({"roles": ["root"]})),
        expired: token(SECRET, json!({"exp": 1000})),
        good,
    }
}
