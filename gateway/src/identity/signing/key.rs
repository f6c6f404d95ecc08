//! One signing key: ES256 (P-256 with SHA-256). Its id is the thumbprint of its public half, so that no row can lend a key another's
//! name.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use gateway_config::master_key::MasterKey;
use gateway_config::model::Timestamp;
use gateway_config::store::SigningKeyRow;
use http::HeaderValue;
use ring::digest::{SHA256, digest};
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use serde::{Deserialize, Serialize};
use serde_json::json;
use thiserror::Error;

use super::claims::Claims;

/// Under which the private half is sealed.
const PURPOSE: &str = "signing keys";
/// Base64 of a signature of 64 bytes, and the dot before it.
const SIGNATURE_LENGTH: usize = 87;

/// Why a row's key is not used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub(super) enum Unusable {
    #[error("it was sealed under another master key, or was altered")]
    Sealed,
    #[error("what was sealed is no P-256 key")]
    Foreign,
    #[error("its private half belongs to another id or public half")]
    Mixed,
}

/// The public half as others read it (RFC 7517, RFC 7518 §6.2).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Jwk {
    kty: String,
    crv: String,
    x: String,
    y: String,
    #[serde(rename = "use")]
    purpose: String,
    alg: String,
    pub(super) kid: String,
}

pub(super) struct SigningKey {
    pub(super) jwk: Jwk,
    pub(super) active_from: Timestamp,
    pair: EcdsaKeyPair,
    /// The head of every token that it signs, encoded, with the dot.
    head: Box<str>,
}

impl SigningKey {
    /// Makes a key for `slot`; `None` when the system has no randomness to give.
    pub(super) fn generate(
        master: &MasterKey,
        slot: i64,
        created_at: Timestamp,
        active_from: Timestamp,
    ) -> Option<SigningKeyRow> {
        let document = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new()).ok()?;
        let jwk = Jwk::of(&pair(document.as_ref())?)?;
        Some(SigningKeyRow {
            slot,
            public_jwk: serde_json::to_string(&jwk).ok()?,
            sealed_private_key: master.seal(PURPOSE, document.as_ref()),
            created_at,
            active_from,
            retired_at: None,
            kid: jwk.kid,
        })
    }

    /// Only what opens under the master key is used: whoever can write to the database alone can't make tokens that pass.
    pub(super) fn open(master: &MasterKey, row: &SigningKeyRow) -> Result<Self, Unusable> {
        let document = master.open(PURPOSE, &row.sealed_private_key).map_err(|_| Unusable::Sealed)?;
        let pair = pair(&document).ok_or(Unusable::Foreign)?;
        let jwk = Jwk::of(&pair).ok_or(Unusable::Foreign)?;
        if jwk.kid != row.kid || serde_json::from_str::<Jwk>(&row.public_jwk).ok().as_ref() != Some(&jwk) {
            return Err(Unusable::Mixed);
        }
        let head = json!({"alg": "ES256", "typ": "JWT", "kid": jwk.kid}).to_string();
        let head = format!("{}.", URL_SAFE_NO_PAD.encode(head)).into();
        Ok(Self { jwk, active_from: row.active_from, pair, head })
    }

    /// The signed claims as a header's value. Some tens of microseconds.
    pub(super) fn sign(&self, claims: &Claims<'_>) -> Option<HeaderValue> {
        let claims = serde_json::to_vec(claims).ok()?;
        let mut token = String::with_capacity(self.head.len() + claims.len() / 3 * 4 + 4 + SIGNATURE_LENGTH);
        token.push_str(&self.head);
        URL_SAFE_NO_PAD.encode_string(claims, &mut token);
        let signature = self.pair.sign(&SystemRandom::new(), token.as_bytes()).ok()?;
        token.push('.');
        URL_SAFE_NO_PAD.encode_string(signature, &mut token);
        let mut value = HeaderValue::from_maybe_shared(Bytes::from(token)).ok()?;
        value.set_sensitive(true);
        Some(value)
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningKey").field("kid", &self.jwk.kid).finish_non_exhaustive()
    }
}

fn pair(document: &[u8]) -> Option<EcdsaKeyPair> {
    EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, document, &SystemRandom::new()).ok()
}

impl Jwk {
    fn of(pair: &EcdsaKeyPair) -> Option<Self> {
        // An uncompressed point: 4, then both coordinates (SEC 1 §2.3.3).
        let coordinates = pair.public_key().as_ref().strip_prefix(&[4])?;
        let (x, y) = coordinates.split_at_checked(32)?;
        let (x, y) = (URL_SAFE_NO_PAD.encode(x), URL_SAFE_NO_PAD.encode(y));
        // The thumbprint of RFC 7638: these members, in this order, without spaces.
        let members = format!(r#"{{"crv":"P-256","kty":"EC","x":"{x}","y":"{y}"}}"#);
        let kid = URL_SAFE_NO_PAD.encode(digest(&SHA256, members.as_bytes()));
        let [kty, crv, purpose, alg] = ["EC", "P-256", "sig", "ES256"].map(str::to_owned);
        Some(Self { kty, crv, x, y, purpose, alg, kid })
    }
}
