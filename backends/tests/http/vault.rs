//! The service that refuses whoever comes around the gateway.

use std::sync::{Arc, Mutex};

use axum::{Json, Router, http::StatusCode, routing::get};
use backends::services::Name::Vault;
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use ring::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair},
};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpListener;

use crate::stage::{Stage, answer, folder, refusal};

/// A signing key of the gateway's, or of somebody else's.
struct Key {
    kid: String,
    private: EncodingKey,
    public: Value,
}

impl Key {
    fn new(kid: &str) -> Self {
        let document = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new()).unwrap();
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, document.as_ref(), &SystemRandom::new())
            .unwrap();
        let [x, y] = [1..33, 33..65].map(|part| URL_SAFE_NO_PAD.encode(&pair.public_key().as_ref()[part]));
        let public = json!({"kty": "EC", "crv": "P-256", "use": "sig", "alg": "ES256", "kid": kid, "x": x, "y": y});
        Self { kid: kid.to_owned(), private: EncodingKey::from_ec_der(document.as_ref()), public }
    }

    fn sign(&self, claims: &Value) -> String {
        let header = Header { kid: Some(self.kid.clone()), ..Header::new(Algorithm::ES256) };
        encode(&header, claims, &self.private).unwrap()
    }
}

/// A gateway of which only its public keys are there, and vault behind it.
struct Scene {
    stage: Stage,
    /// What the gateway publishes, if it answers at all.
    published: Arc<Mutex<Option<Value>>>,
    fetches: Arc<Mutex<u32>>,
    _folder: TempDir,
}

impl Scene {
    async fn with(keys: &[&Key]) -> Self {
        let (published, fetches) = (Arc::new(Mutex::new(None)), Arc::new(Mutex::new(0)));
        let (theirs, counted) = (published.clone(), fetches.clone());
        let serve = async move || {
            *counted.lock().unwrap() += 1;
            let keys: Option<Value> = theirs.lock().unwrap().clone();
            keys.map(Json).ok_or(StatusCode::SERVICE_UNAVAILABLE)
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/.well-known/gateway/jwks.json", listener.local_addr().unwrap());
        let routes = Router::new().route("/.well-known/gateway/jwks.json", get(serve));
        tokio::spawn(axum::serve(listener, routes).into_future());
        let folder = folder();
        let stage = Stage::behind(&url, &[Vault], folder.path()).await;
        let scene = Self { stage, published, fetches, _folder: folder };
        scene.publish(keys);
        scene
    }

    fn publish(&self, keys: &[&Key]) {
        let keys: Vec<&Value> = keys.iter().map(|key| &key.public).collect();
        *self.published.lock().unwrap() = Some(json!({"keys": keys}));
    }

    fn fall_silent(&self) {
        *self.published.lock().unwrap() = None;
    }

    fn fetches(&self) -> u32 {
        *self.fetches.lock().unwrap()
    }

    /// Claims as a gateway makes them now.
    fn claims(&self) -> Value {
        let now = self.stage.clock.now_ms() / 1000;
        json!({
            "iss": "gatehouse", "aud": "vault", "iat": now, "exp": now + 120, "sub": "ann", "application": "shop",
            "roles": ["editor"], "scopes": ["vault:read"], "anonymous": false
        })
    }

    fn ask(&self, token: &str) -> reqwest::RequestBuilder {
        self.stage.get(Vault, "/vault").header("x-gateway-identity", token)
    }

    async fn is_let_in(&self, token: &str) -> bool {
        let (status, body) = answer(self.ask(token)).await;
        assert!(status == 200 || status == 401, "{body}");
        status == 200
    }
}

#[tokio::test]
async fn whoever_comes_through_the_gateway_is_shown_what_it_says_of_them() {
    let key = Key::new("one");
    let scene = Scene::with(&[&key]).await;
    let (status, body) = answer(scene.ask(&key.sign(&scene.claims()))).await;
    assert_eq!(status, 200, "{body}");
    let expected = json!({
        "subject": "ann", "issuer": null, "application": "shop", "roles": ["editor"], "scopes": ["vault:read"],
        "anonymous": false
    });
    assert_eq!(body["caller"], expected);
}

#[tokio::test]
async fn whoever_comes_around_the_gateway_is_refused() {
    let (key, stranger) = (Key::new("one"), Key::new("one"));
    let scene = Scene::with(&[&key]).await;
    let good = scene.claims();
    let with = |field: &str, value: Value| {
        let mut claims = good.clone();
        claims[field] = value;
        key.sign(&claims)
    };
    let now = good["iat"].as_i64().unwrap();
    let token = key.sign(&good);
    let signature_at = token.rfind('.').unwrap() + 1;
    let none = URL_SAFE_NO_PAD.encode(r#"{"alg":"none","kid":"one"}"#);
    let symmetric = Header { kid: Some("one".to_owned()), ..Header::new(Algorithm::HS256) };
    let secret = EncodingKey::from_secret(key.public.to_string().as_bytes());
    for (forged, what) in [
        (stranger.sign(&good), "signed by somebody else under the same key id"),
        (with("aud", json!("orders")), "for another service"),
        (with("iss", json!("somebody")), "of another issuer"),
        (with("exp", json!(now - 60)), "expired"),
        (with("exp", Value::Null), "without an end"),
        (with("iat", json!(now + 60)), "from the future"),
        (token[..signature_at].to_owned(), "without a signature"),
        (format!("{none}.{}.", token.split('.').nth(1).unwrap()), "that needs no signature"),
        (encode(&symmetric, &good, &secret).unwrap(), "signed with the public key as a secret"),
        (encode(&Header::new(Algorithm::ES256), &good, &key.private).unwrap(), "that names no key"),
        ("ann".to_owned(), "that is none"),
    ] {
        let message = refusal(scene.ask(&forged), 401).await;
        assert!(message.starts_with("only what comes through the gateway is answered here: "), "{what}: {message}");
    }
    let bare = scene.stage.get(Vault, "/vault");
    let challenge = bare.try_clone().unwrap().send().await.unwrap().headers()["www-authenticate"].clone();
    assert_eq!(challenge, "Gateway");
    refusal(bare.header("x-gateway-subject", "ann").header("x-gateway-roles", "admin"), 401).await;
    refusal(scene.ask(&token).header("x-gateway-identity", &token), 401).await;
    assert!(scene.is_let_in(&token).await);
}

#[tokio::test]
async fn a_token_is_good_until_it_expires() {
    let key = Key::new("one");
    let scene = Scene::with(&[&key]).await;
    let token = key.sign(&scene.claims());
    scene.stage.clock.advance(std::time::Duration::from_secs(100));
    assert!(scene.is_let_in(&token).await);
    scene.stage.clock.advance(std::time::Duration::from_secs(26));
    assert!(!scene.is_let_in(&token).await);
}

#[tokio::test]
async fn keys_are_fetched_once_and_again_for_a_new_one_but_not_for_every_guess() {
    let (old, new) = (Key::new("old"), Key::new("new"));
    let scene = Scene::with(&[&old]).await;
    for _ in 0..5 {
        assert!(scene.is_let_in(&old.sign(&scene.claims())).await);
    }
    assert_eq!(scene.fetches(), 1);

    scene.publish(&[&old, &new]);
    scene.stage.clock.advance(std::time::Duration::from_secs(10));
    assert!(scene.is_let_in(&new.sign(&scene.claims())).await);
    assert_eq!(scene.fetches(), 2);
    for guess in 0..3 {
        assert!(!scene.is_let_in(&Key::new(&format!("guess-{guess}")).sign(&scene.claims())).await);
    }
    assert_eq!(scene.fetches(), 2, "not again so soon");
    scene.stage.clock.advance(std::time::Duration::from_secs(10));
    assert!(!scene.is_let_in(&Key::new("guess").sign(&scene.claims())).await);
    assert_eq!(scene.fetches(), 3);
}

#[tokio::test]
async fn known_keys_serve_while_the_gateway_is_silent_and_withdrawn_ones_are_forgotten() {
    let (one, two) = (Key::new("one"), Key::new("two"));
    let scene = Scene::with(&[&one]).await;
    scene.fall_silent();
    refusal(scene.ask(&one.sign(&scene.claims())), 503).await;
    scene.publish(&[&one]);
    scene.stage.clock.advance(std::time::Duration::from_secs(10));
    assert!(scene.is_let_in(&one.sign(&scene.claims())).await);

    scene.fall_silent();
    scene.stage.clock.advance(std::time::Duration::from_secs(301));
    assert!(scene.is_let_in(&one.sign(&scene.claims())).await);
    scene.publish(&[&two]);
    scene.stage.clock.advance(std::time::Duration::from_secs(10));
    assert!(!scene.is_let_in(&one.sign(&scene.claims())).await);
    assert!(scene.is_let_in(&two.sign(&scene.claims())).await);
}
