//! Tokens against issuers of every kind: the good ones pass, and everything that RFC 8725 warns of does not.

mod forgery;
mod introspecting;
mod published;
mod remembering;
mod signer;
mod web;

use std::fs;

use gateway_config::model::{Configuration, Item, JwtAlgorithm, SecretRef};
use gateway_config::snapshot::compile;
use jsonwebtoken::DecodingKey;
use jsonwebtoken::crypto::rust_crypto::DEFAULT_PROVIDER;
use prometheus::Opts;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::*;
use crate::identity::secrets::SecretBytes;

const NOW: Timestamp = Timestamp::from_micros(1_800_000_000_000_000);
const ISS: &str = "https://id.test";

fn seconds_later(seconds: i64) -> Timestamp {
    Timestamp::from_micros(NOW.micros() + seconds * 1_000_000)
}

/// Tokens as one gateway has them, under issuers that a test can change.
struct World {
    tokens: Arc<Tokens>,
    secrets: Arc<Secrets>,
    directory: TempDir,
    snapshot: Snapshot,
    generation: u64,
}

impl World {
    async fn with(issuers: Vec<JwtIssuer>) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("jwt"), signer::SECRET).unwrap();
        let secrets = Arc::new(Secrets::new(Some(directory.path().to_owned())));
        secrets.keep(vec![secret_file()]).await;
        let counts = IntCounterVec::new(Opts::new("fetches", "Fetches."), &["what", "result"]).unwrap();
        let egress = Arc::new(Egress::new(vec![]));
        let tokens = Arc::new(Tokens::new(secrets.clone(), egress, counts, Pace::default()));
        let mut world = Self { tokens, secrets, directory, snapshot: Snapshot::empty(), generation: 0 };
        world.configure(issuers);
        world
    }

    fn configure(&mut self, issuers: Vec<JwtIssuer>) {
        let mut configuration = Configuration::default();
        for issuer in issuers {
            configuration.put(Item::Issuer(Arc::new(issuer)));
        }
        self.generation += 1;
        self.snapshot = compile(&configuration, self.generation).unwrap();
    }

    /// As a request does it.
    async fn judge_at(&self, presented: &str, now: Timestamp) -> Result<Arc<Token>, Code> {
        match self.tokens.at_once(&self.snapshot, presented, now) {
            Some(verdict) => verdict,
            None => self.tokens.verify(&self.snapshot, presented, now).await,
        }
    }

    async fn judge(&self, presented: &str) -> Result<Arc<Token>, Code> {
        self.judge_at(presented, NOW).await
    }

    /// Shows it until it is remembered.
    async fn learn(&self, presented: &str) -> Arc<Token> {
        self.judge(presented).await.unwrap();
        let verified = self.judge(presented).await.unwrap();
        assert!(self.remembers(presented));
        verified
    }

    fn recalled(&self, presented: &str, now: Timestamp) -> Option<Result<Arc<Token>, Code>> {
        self.tokens.remembered(&self.snapshot, self.tokens.hashing.of(presented), now)
    }

    fn remembers(&self, presented: &str) -> bool {
        self.recalled(presented, NOW).is_some()
    }
}

fn secret_file() -> SecretRef {
    SecretRef::File("jwt".to_owned())
}

fn issuer() -> JwtIssuer {
    JwtIssuer { name: "id".to_owned(), issuer: ISS.to_owned(), ..JwtIssuer::default() }
}

fn with_secret() -> JwtIssuer {
    let algorithms = vec![JwtAlgorithm::HS256, JwtAlgorithm::HS384, JwtAlgorithm::HS512];
    JwtIssuer { algorithms, secret: Some(secret_file()), ..issuer() }
}

fn with_pem(algorithm: JwtAlgorithm, pem: &str) -> JwtIssuer {
    JwtIssuer { algorithms: vec![algorithm], public_key_pem: Some(pem.to_owned()), ..issuer() }
}

fn with_jwks(algorithms: &[JwtAlgorithm], url: &str) -> JwtIssuer {
    JwtIssuer { algorithms: algorithms.to_vec(), jwks_url: Some(url.to_owned()), ..issuer() }
}

/// Claims that every issuer here accepts.
fn claims() -> Value {
    json!({"iss": ISS, "sub": "u1", "exp": NOW.micros() / 1_000_000 + 300, "scope": "read write", "roles": ["staff"]})
}

fn invalid(verdict: &Result<Arc<Token>, Code>) -> bool {
    matches!(verdict, Err(Code::CredentialsInvalid))
}

const PUBLIC_KEY_ALGORITHMS: [JwtAlgorithm; 7] = [
    JwtAlgorithm::RS256,
    JwtAlgorithm::RS384,
    JwtAlgorithm::RS512,
    JwtAlgorithm::PS256,
    JwtAlgorithm::ES256,
    JwtAlgorithm::ES384,
    JwtAlgorithm::EdDSA,
];

#[tokio::test]
async fn a_good_token_of_every_algorithm_says_who_calls() {
    let secret = World::with(vec![with_secret()]).await;
    for algorithm in [JwtAlgorithm::HS256, JwtAlgorithm::HS384, JwtAlgorithm::HS512] {
        secret.judge(&signer::sign(algorithm, "any", &claims())).await.unwrap();
    }
    for algorithm in PUBLIC_KEY_ALGORITHMS {
        let world = World::with(vec![with_pem(algorithm, signer::public_pem(algorithm))]).await;
        let token = world.judge(&signer::sign(algorithm, "any", &claims())).await.unwrap();
        assert_eq!(&*token.issuer, "id", "{algorithm:?}");
        assert_eq!(token.subject.as_deref(), Some("u1"));
        assert_eq!(token.roles.iter().map(AsRef::as_ref).collect::<Vec<&str>>(), ["staff"]);
        assert_eq!(token.scopes.len(), 2);
        assert_eq!(token.expires_at, Some(seconds_later(300)));
        let other = PUBLIC_KEY_ALGORITHMS.into_iter().find(|it| *it != algorithm).unwrap();
        assert!(invalid(&world.judge(&signer::sign(other, "any", &claims())).await), "{other:?} for {algorithm:?}");
    }
}

fn both_keys(algorithm: JwtAlgorithm) -> (DecodingKey, Key) {
    if let JwtAlgorithm::HS256 | JwtAlgorithm::HS384 | JwtAlgorithm::HS512 = algorithm {
        let secret = Arc::new(SecretBytes::new(signer::SECRET.as_bytes().to_vec()));
        return (DecodingKey::from_secret(signer::SECRET.as_bytes()), Key::of_secret(secret));
    }
    let pem = signer::public_pem(algorithm);
    let key = match algorithm {
        JwtAlgorithm::ES256 | JwtAlgorithm::ES384 => DecodingKey::from_ec_pem(pem.as_bytes()),
        JwtAlgorithm::EdDSA => DecodingKey::from_ed_pem(pem.as_bytes()),
        _ => DecodingKey::from_rsa_pem(pem.as_bytes()),
    };
    (key.unwrap(), Key::of_pem(pem).unwrap())
}

fn by_library(algorithm: JwtAlgorithm, key: &DecodingKey, message: &[u8], signature: &[u8]) -> bool {
    let algorithm: jsonwebtoken::Algorithm = signer::name(algorithm).parse().unwrap();
    let verifier = (DEFAULT_PROVIDER.verifier_factory)(&algorithm, key).unwrap();
    verifier.verify(message, &signature.to_vec()).is_ok()
}

/// What is used was chosen for its speed; it must judge as the other one does.
#[test]
fn two_implementations_agree_on_what_is_a_signature() {
    let secret_algorithms = [JwtAlgorithm::HS256, JwtAlgorithm::HS384, JwtAlgorithm::HS512];
    for algorithm in PUBLIC_KEY_ALGORITHMS.into_iter().chain(secret_algorithms) {
        let (key, ours) = both_keys(algorithm);
        let message = signer::message(&json!({"alg": signer::name(algorithm)}), &claims());
        let good = signer::signature(algorithm, &message);
        let bit_flipped = |at: usize| {
            let mut bad = good.clone();
            bad[at] ^= 1;
            bad
        };
        let cut = good[..good.len() - 1].to_vec();
        for signature in [good.clone(), bit_flipped(0), bit_flipped(good.len() - 1), cut, vec![0; good.len()]] {
            let theirs = by_library(algorithm, &key, message.as_bytes(), &signature);
            assert_eq!(ours.verify(algorithm, &message, &signature), theirs, "{algorithm:?}");
            assert_eq!(theirs, signature == good, "{algorithm:?}");
        }
    }
}

#[tokio::test]
async fn only_who_holds_a_good_signature_is_told_that_the_token_has_expired() {
    let world = World::with(vec![with_secret()]).await;
    let mut old = claims();
    old["exp"] = json!(NOW.micros() / 1_000_000 - 1);
    let token = signer::sign(JwtAlgorithm::HS256, "any", &old);
    assert_eq!(world.judge(&token).await, Err(Code::TokenExpired));
    assert_eq!(world.judge(&token).await, Err(Code::TokenExpired), "remembered");
    let forged = format!("{}{}", &token[..token.len() - 4], "AAAA");
    assert!(invalid(&world.judge(&forged).await));
    old["nbf"] = json!(NOW.micros() / 1_000_000 + 5);
    assert!(invalid(&world.judge(&signer::sign(JwtAlgorithm::HS256, "any", &old)).await));
}

#[tokio::test]
async fn each_issuer_vouches_for_its_own_tokens_only() {
    let other = JwtIssuer { name: "other".to_owned(), issuer: "https://other.test".to_owned(), ..with_secret() };
    let rsa = with_pem(JwtAlgorithm::RS256, signer::RSA_PUBLIC);
    let world = World::with(vec![rsa, other]).await;
    let mut theirs = claims();
    theirs["iss"] = json!("https://other.test");
    assert_eq!(&*world.judge(&signer::sign(JwtAlgorithm::HS256, "a", &theirs)).await.unwrap().issuer, "other");
    assert!(invalid(&world.judge(&signer::sign(JwtAlgorithm::HS256, "a", &claims())).await));
    for iss in [json!("https://nobody.test"), json!("https://id.test/"), json!("id"), json!(null), json!([ISS])] {
        theirs["iss"] = iss.clone();
        assert!(invalid(&world.judge(&signer::sign(JwtAlgorithm::RS256, "a", &theirs)).await), "{iss}");
    }
    let none = World::with(vec![]).await;
    assert!(invalid(&none.judge(&signer::sign(JwtAlgorithm::RS256, "a", &claims())).await));
    assert!(invalid(&none.judge("opaque").await));
}

#[tokio::test]
async fn the_first_token_of_a_new_issuer_waits_for_its_secret() {
    let world = World::with(vec![with_secret()]).await;
    world.secrets.keep(vec![]).await;
    world.judge(&signer::sign(JwtAlgorithm::HS256, "a", &claims())).await.unwrap();
}

#[tokio::test]
async fn a_secret_that_is_away_or_a_key_that_cannot_be_used_refuses_and_is_named() {
    let world = World::with(vec![with_secret()]).await;
    fs::remove_file(world.directory.path().join("jwt")).unwrap();
    world.secrets.keep(vec![]).await;
    world.secrets.keep(vec![secret_file()]).await;
    assert!(invalid(&world.judge(&signer::sign(JwtAlgorithm::HS256, "a", &claims())).await));
    assert_eq!(world.secrets.unresolved().len(), 1);

    for pem in ["-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----", signer::RSA_WEAK_PUBLIC] {
        let world = World::with(vec![with_pem(JwtAlgorithm::RS256, pem)]).await;
        assert!(invalid(&world.judge(&signer::sign(JwtAlgorithm::RS256, "a", &claims())).await), "{pem}");
        assert!(world.tokens.troubles()[0].starts_with("issuer \"id\": publicKeyPem") || pem.contains("MIGf"), "{pem}");
        assert_eq!(world.tokens.troubles().len(), 1);
    }
}
