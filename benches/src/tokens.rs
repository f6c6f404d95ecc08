//! Tokens by the thousand, signed before anything is measured.

use anyhow::{Context, anyhow};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use gateway_config::clock::{Clock, SystemClock};
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair, RSA_PKCS1_SHA256, RsaKeyPair};
use ring::{hmac, rsa};
use serde_json::{Value, json};

use crate::stack::{SECRET, SECRET_VARIABLE};

/// Made for the benches and used nowhere else: ring makes no RSA keys.
const RSA: &str = include_str!("../keys/rsa.pem");
const RSA_PUBLIC: &str = include_str!("../keys/rsa.pub.pem");
/// What stands before the point of a P-256 key in its DER form (RFC 5480).
const P256_HEAD: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce,
    0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];

/// What the gateway gives to remembered tokens, and what one takes there beside its text.
const MEMORY_BYTES: usize = 64 << 20;
const ENTRY_BYTES: usize = 500;

const ISS: &str = "https://id.benches.test/";
pub const CLIENT: &str = "benches-web";
pub const ISSUER: &str = "benches";
/// Who holds them: the gateway signs once a minute for each caller what backends are told, and that is not what is measured.
const SUBJECTS: usize = 100;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signing {
    Hs256,
    Rs256,
    Es256,
}

#[derive(Debug)]
pub struct Signer {
    key: Key,
    random: SystemRandom,
    expires: i64,
}

#[derive(Debug)]
enum Key {
    Secret(hmac::Key),
    Rsa(Box<rsa::KeyPair>),
    P256(Box<EcdsaKeyPair>),
}

impl Signer {
    pub fn new(signing: Signing) -> anyhow::Result<Self> {
        let random = SystemRandom::new();
        let key = match signing {
            Signing::Hs256 => Key::Secret(hmac::Key::new(hmac::HMAC_SHA256, SECRET.as_bytes())),
            Signing::Rs256 => {
                let lines: String = RSA.lines().filter(|line| !line.starts_with("-----")).collect();
                Key::Rsa(Box::new(RsaKeyPair::from_pkcs8(&STANDARD.decode(lines)?).map_err(|why| anyhow!("{why}"))?))
            }
            Signing::Es256 => {
                let made = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random);
                let made = made.ok().context("could not make a P-256 key")?;
                let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, made.as_ref(), &random);
                Key::P256(Box::new(key.map_err(|why| anyhow!("{why}"))?))
            }
        };
        Ok(Self { key, random, expires: SystemClock.now().micros() / 1_000_000 + 24 * 60 * 60 })
    }

    /// As the admin API takes it.
    #[must_use]
    pub fn issuer(&self) -> Value {
        let mut issuer = json!({"issuer": ISS, "audiences": ["benches"], "algorithms": [self.algorithm()]});
        match &self.key {
            Key::Secret(_) => issuer["secret"] = json!(format!("env:{SECRET_VARIABLE}")),
            Key::Rsa(_) => issuer["publicKeyPem"] = json!(RSA_PUBLIC),
            Key::P256(key) => {
                let der = STANDARD.encode([&P256_HEAD, key.public_key().as_ref()].concat());
                issuer["publicKeyPem"] =
                    json!(format!("-----BEGIN PUBLIC KEY-----\n{der}\n-----END PUBLIC KEY-----\n"));
            }
        }
        issuer
    }

    fn algorithm(&self) -> &'static str {
        match self.key {
            Key::Secret(_) => "HS256",
            Key::Rsa(_) => "RS256",
            Key::P256(_) => "ES256",
        }
    }

    /// No two numbers have the same.
    pub fn token(&self, number: usize) -> anyhow::Result<String> {
        let header = json!({"alg": self.algorithm(), "typ": "JWT", "kid": "benches-2026"});
        let claims = json!({
            "iss": ISS, "aud": "benches", "azp": CLIENT, "sub": format!("user-{}", number % SUBJECTS),
            "exp": self.expires, "iat": self.expires - 24 * 60 * 60, "jti": format!("{number:032x}"),
            "scope": "openid profile orders:read", "roles": ["customer"],
        });
        let encode = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        let message = format!("{}.{}", encode(header.to_string().as_bytes()), encode(claims.to_string().as_bytes()));
        let signature = match &self.key {
            Key::Secret(key) => hmac::sign(key, message.as_bytes()).as_ref().to_vec(),
            Key::Rsa(key) => {
                let mut signature = vec![0; key.public().modulus_len()];
                let signed = key.sign(&RSA_PKCS1_SHA256, &self.random, message.as_bytes(), &mut signature);
                signed.ok().context("could not sign")?;
                signature
            }
            Key::P256(key) => {
                key.sign(&self.random, message.as_bytes()).ok().context("could not sign")?.as_ref().to_vec()
            }
        };
        Ok(format!("{message}.{}", encode(&signature)))
    }

    /// So many that each is new to the gateway in each of `requests` requests that are made with them in turn: as many as there are
    /// requests, or else a quarter more than the gateway could remember, for what it remembers are the last ones.
    pub fn pool(&self, requests: usize) -> anyhow::Result<Vec<String>> {
        let length = self.token(0)?.len();
        let forgotten = MEMORY_BYTES / (length + ENTRY_BYTES) * 5 / 4;
        let count = requests.min(forgotten);
        println!(
            "{}: signing {count} tokens of {length} bytes; the gateway remembers {} at the most",
            self.algorithm(),
            MEMORY_BYTES / (length + ENTRY_BYTES)
        );
        (0..count).map(|number| self.token(number)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_differ_and_have_three_parts_whatever_signs_them() {
        for signing in [Signing::Hs256, Signing::Rs256, Signing::Es256] {
            let signer = Signer::new(signing).unwrap();
            let pool = signer.pool(3).unwrap();
            assert_eq!((pool.len(), pool[0].split('.').count()), (3, 3));
            assert!(pool[0] != pool[1] && pool[1] != pool[2]);
        }
    }
}
