//! A key that verifies signatures: what it is good for is fixed when it is read, never by the token.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use gateway_config::model::JwtAlgorithm;
use jsonwebtoken::DecodingKey;
use jsonwebtoken::crypto::rust_crypto::DEFAULT_PROVIDER;
use serde_json::Value;

use super::compact;
use super::cryptography::Material;
use crate::identity::secrets::SecretBytes;

/// Shorter moduli can be factored (RFC 7518 §3.3), longer ones take ever longer to verify.
const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=8192;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Secret,
    Rsa,
    P256,
    P384,
    Ed25519,
}

pub(super) struct Key {
    id: Option<String>,
    kind: Kind,
    /// The only algorithm that it may be used with, where a key set says so.
    only: Option<JwtAlgorithm>,
    material: Material,
    /// Tells keys apart by all they are, so that one that stands in the next key set, too, is known again.
    digest: blake3::Hash,
    standing: Standing,
}

/// How a key learns that it no longer counts.
enum Standing {
    /// It is part of the issuer's configuration.
    Fixed,
    Secret(Arc<SecretBytes>),
    /// False once the issuer no longer publishes it.
    Published(AtomicBool),
}

impl Key {
    pub(super) fn of_secret(secret: Arc<SecretBytes>) -> Self {
        let material = Material::of_secret(secret.expose());
        let digest = blake3::hash(secret.expose());
        Self { id: None, kind: Kind::Secret, only: None, material, digest, standing: Standing::Secret(secret) }
    }

    /// Of a PEM public key. The error is for the operator.
    pub(super) fn of_pem(pem: &str) -> Result<Self, &'static str> {
        if !pem.contains("-----BEGIN PUBLIC KEY-----") && !pem.contains("-----BEGIN RSA PUBLIC KEY-----") {
            return Err("publicKeyPem holds no public key in PEM");
        }
        if let Ok(der) = DecodingKey::from_rsa_pem(pem.as_bytes()) {
            let components =
                der.try_get_as_bytes().and_then(DEFAULT_PROVIDER.key_utils.rsa_pub_components_from_public_key);
            let (n, e) = components.map_err(|_| "publicKeyPem holds an RSA key that can't be read")?;
            return Self::rsa(&n, &e, Standing::Fixed);
        }
        if let Ok(point) = DecodingKey::from_ec_pem(pem.as_bytes()) {
            let point = point.try_get_as_bytes().map_err(|_| "publicKeyPem holds an EC key that can't be read")?;
            return Self::point(point, Standing::Fixed);
        }
        match DecodingKey::from_ed_pem(pem.as_bytes()) {
            Ok(key) => Self::ed25519(key.try_get_as_bytes().unwrap_or_default(), Standing::Fixed),
            Err(_) => Err("publicKeyPem holds no RSA, P-256, P-384 or Ed25519 key"),
        }
    }

    /// Of an element of a key set (RFC 7517). None: it is of a kind, or for a use, that is not ours.
    pub(super) fn of_jwk(jwk: &Value) -> Option<Self> {
        let text = |name: &str| jwk.get(name).and_then(Value::as_str);
        if text("use").is_some_and(|it| it != "sig") {
            return None;
        }
        if let Some(operations) = jwk.get("key_ops") {
            operations.as_array()?.iter().find(|it| *it == "verify")?;
        }
        let bytes = |name: &str| URL_SAFE_NO_PAD.decode(text(name)?).ok();
        let standing = Standing::Published(AtomicBool::new(true));
        let key = match (text("kty")?, text("crv")) {
            ("RSA", _) => Self::rsa(&bytes("n")?, &bytes("e")?, standing),
            ("EC", Some("P-256" | "P-384")) => Self::coordinates(&bytes("x")?, &bytes("y")?, text("crv"), standing),
            ("OKP", Some("Ed25519")) => Self::ed25519(&bytes("x")?, standing),
            // A secret in a key set is no secret: `oct` never verifies anything.
            _ => return None,
        };
        let only = match text("alg") {
            Some(name) => Some(compact::algorithm(name)?),
            None => None,
        };
        let mut key = key.ok()?;
        key.id = text("kid").map(str::to_owned);
        key.only = only;
        Some(key)
    }

    fn rsa(n: &[u8], e: &[u8], standing: Standing) -> Result<Self, &'static str> {
        let (n, e) = (without_leading_zeros(n), without_leading_zeros(e));
        let unused = n.first().map_or(0, |first| first.leading_zeros() as usize);
        if !RSA_BITS.contains(&(n.len().saturating_mul(8).saturating_sub(unused))) {
            return Err("the RSA key has fewer than 2048 or more than 8192 bits");
        }
        let material = DecodingKey::from_rsa_raw_components(n, e);
        Ok(Self::public(Kind::Rsa, material, &[n, e], standing))
    }

    fn coordinates(x: &[u8], y: &[u8], curve: Option<&str>, standing: Standing) -> Result<Self, &'static str> {
        let wanted = if curve == Some("P-256") { 32 } else { 48 };
        if x.len() != wanted || y.len() != wanted {
            return Err("the EC key's coordinates have another size than its curve");
        }
        Self::point(&[&[4], x, y].concat(), standing)
    }

    /// An uncompressed point: its length tells the curve.
    fn point(point: &[u8], standing: Standing) -> Result<Self, &'static str> {
        let kind = match (point.len(), point.first()) {
            (65, Some(4)) => Kind::P256,
            (97, Some(4)) => Kind::P384,
            _ => return Err("the EC key is no uncompressed point of P-256 or P-384"),
        };
        Ok(Self::public(kind, DecodingKey::from_ec_der(point), &[point], standing))
    }

    fn ed25519(x: &[u8], standing: Standing) -> Result<Self, &'static str> {
        if x.len() != 32 {
            return Err("the Ed25519 key does not have 32 bytes");
        }
        Ok(Self::public(Kind::Ed25519, DecodingKey::from_ed_der(x), &[x], standing))
    }

    fn public(kind: Kind, material: DecodingKey, parts: &[&[u8]], standing: Standing) -> Self {
        let mut hasher = blake3::Hasher::new();
        for part in parts {
            hasher.update(&part.len().to_le_bytes()).update(part);
        }
        let material = Material::Public(material);
        Self { id: None, kind, only: None, material, digest: hasher.finalize(), standing }
    }

    pub(super) fn id(&self) -> Option<&str> {
        self.id.as_deref()
    }

    /// Whether signatures of this algorithm can be by this key.
    pub(super) fn fits(&self, algorithm: JwtAlgorithm) -> bool {
        let kind = match algorithm {
            JwtAlgorithm::HS256 | JwtAlgorithm::HS384 | JwtAlgorithm::HS512 => Kind::Secret,
            JwtAlgorithm::RS256 | JwtAlgorithm::RS384 | JwtAlgorithm::RS512 | JwtAlgorithm::PS256 => Kind::Rsa,
            JwtAlgorithm::ES256 => Kind::P256,
            JwtAlgorithm::ES384 => Kind::P384,
            JwtAlgorithm::EdDSA => Kind::Ed25519,
        };
        self.kind == kind && self.only.is_none_or(|only| only == algorithm)
    }

    pub(super) fn verify(&self, algorithm: JwtAlgorithm, message: &str, signature: &[u8]) -> bool {
        self.fits(algorithm) && self.material.verify(algorithm, message.as_bytes(), signature)
    }

    /// Whether what it verified still counts.
    pub(super) fn stands(&self) -> bool {
        match &self.standing {
            Standing::Fixed => true,
            Standing::Secret(secret) => secret.is_current(),
            Standing::Published(is_published) => is_published.load(Ordering::Acquire),
        }
    }

    pub(super) fn withdraw(&self) {
        if let Standing::Published(is_published) = &self.standing {
            is_published.store(false, Ordering::Release);
        }
    }

    pub(super) fn is_same(&self, other: &Self) -> bool {
        self.digest == other.digest && self.kind == other.kind && self.id == other.id && self.only == other.only
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Key").field("id", &self.id).field("kind", &self.kind).finish_non_exhaustive()
    }
}

/// Whether signatures of this algorithm are made and verified with one secret.
pub(super) fn is_by_secret(algorithm: JwtAlgorithm) -> bool {
    matches!(algorithm, JwtAlgorithm::HS256 | JwtAlgorithm::HS384 | JwtAlgorithm::HS512)
}

fn without_leading_zeros(number: &[u8]) -> &[u8] {
    let first = number.iter().position(|byte| *byte != 0).unwrap_or(number.len());
    number.get(first..).unwrap_or_default()
}
