//! Signs tokens with ring, so that what verifies them is another implementation.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use gateway_config::model::JwtAlgorithm;
use ring::hmac;
use ring::rand::SystemRandom;
use ring::rsa::{KeyPair as RsaKeyPair, PublicKeyComponents};
use ring::signature::{
    ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair,
    EcdsaSigningAlgorithm, Ed25519KeyPair, KeyPair, RSA_PKCS1_SHA256, RSA_PKCS1_SHA384, RSA_PKCS1_SHA512,
    RSA_PSS_SHA256,
};
use serde_json::{Value, json};

pub(super) const SECRET: &str = "a secret that is long enough, even for the sixty-four bytes of HS512";

pub(super) const RSA: &str = include_str!("keys/rsa.pem");
pub(super) const RSA_PUBLIC: &str = include_str!("keys/rsa.pub.pem");
pub(super) const RSA_OTHER: &str = include_str!("keys/rsa_other.pem");
pub(super) const RSA_WEAK: &str = include_str!("keys/rsa_weak.pem");
pub(super) const RSA_WEAK_PUBLIC: &str = include_str!("keys/rsa_weak.pub.pem");
pub(super) const P256: &str = include_str!("keys/p256.pem");
pub(super) const P256_PUBLIC: &str = include_str!("keys/p256.pub.pem");
pub(super) const P384: &str = include_str!("keys/p384.pem");
pub(super) const P384_PUBLIC: &str = include_str!("keys/p384.pub.pem");
pub(super) const ED25519: &str = include_str!("keys/ed25519.pem");
pub(super) const ED25519_PUBLIC: &str = include_str!("keys/ed25519.pub.pem");

/// The bytes between the lines of a PEM file.
fn der(pem: &str) -> Vec<u8> {
    let lines: String = pem.lines().filter(|line| !line.starts_with("-----")).collect();
    STANDARD.decode(lines).unwrap()
}

pub(super) fn encode(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// What is signed: header and claims.
pub(super) fn message(header: &Value, claims: &Value) -> String {
    format!("{}.{}", encode(header.to_string()), encode(claims.to_string()))
}

pub(super) fn hmac(algorithm: JwtAlgorithm, secret: &[u8], message: &str) -> Vec<u8> {
    let algorithm = match algorithm {
        JwtAlgorithm::HS384 => hmac::HMAC_SHA384,
        JwtAlgorithm::HS512 => hmac::HMAC_SHA512,
        _ => hmac::HMAC_SHA256,
    };
    hmac::sign(&hmac::Key::new(algorithm, secret), message.as_bytes()).as_ref().to_vec()
}

pub(super) fn rsa(algorithm: JwtAlgorithm, key: &str, message: &str) -> Vec<u8> {
    let key = RsaKeyPair::from_pkcs8(&der(key)).unwrap();
    let padding: &dyn ring::signature::RsaEncoding = match algorithm {
        JwtAlgorithm::RS384 => &RSA_PKCS1_SHA384,
        JwtAlgorithm::RS512 => &RSA_PKCS1_SHA512,
        JwtAlgorithm::PS256 => &RSA_PSS_SHA256,
        _ => &RSA_PKCS1_SHA256,
    };
    let mut signature = vec![0; key.public().modulus_len()];
    key.sign(padding, &SystemRandom::new(), message.as_bytes(), &mut signature).unwrap();
    signature
}

fn ec(algorithm: &'static EcdsaSigningAlgorithm, key: &str, message: &str) -> Vec<u8> {
    let random = SystemRandom::new();
    let key = EcdsaKeyPair::from_pkcs8(algorithm, &der(key), &random).unwrap();
    key.sign(&random, message.as_bytes()).unwrap().as_ref().to_vec()
}

pub(super) fn es256(key: &str, message: &str) -> Vec<u8> {
    ec(&ECDSA_P256_SHA256_FIXED_SIGNING, key, message)
}

/// The form in which TLS has ECDSA signatures, and JWS has not.
pub(super) fn es256_as_der(key: &str, message: &str) -> Vec<u8> {
    ec(&ECDSA_P256_SHA256_ASN1_SIGNING, key, message)
}

pub(super) fn signature(algorithm: JwtAlgorithm, message: &str) -> Vec<u8> {
    match algorithm {
        JwtAlgorithm::HS256 | JwtAlgorithm::HS384 | JwtAlgorithm::HS512 => hmac(algorithm, SECRET.as_bytes(), message),
        JwtAlgorithm::RS256 | JwtAlgorithm::RS384 | JwtAlgorithm::RS512 | JwtAlgorithm::PS256 => {
            rsa(algorithm, RSA, message)
        }
        JwtAlgorithm::ES256 => es256(P256, message),
        JwtAlgorithm::ES384 => ec(&ECDSA_P384_SHA384_FIXED_SIGNING, P384, message),
        JwtAlgorithm::EdDSA => {
            let key = Ed25519KeyPair::from_pkcs8_maybe_unchecked(&der(ED25519)).unwrap();
            key.sign(message.as_bytes()).as_ref().to_vec()
        }
    }
}

pub(super) fn name(algorithm: JwtAlgorithm) -> String {
    serde_json::to_value(algorithm).unwrap().as_str().unwrap().to_owned()
}

/// A token with this header and these claims, signed by the key of our own that the algorithm is for.
pub(super) fn sign_with(algorithm: JwtAlgorithm, header: &Value, claims: &Value) -> String {
    let message = message(header, claims);
    let signature = encode(signature(algorithm, &message));
    format!("{message}.{signature}")
}

pub(super) fn sign(algorithm: JwtAlgorithm, kid: &str, claims: &Value) -> String {
    sign_with(algorithm, &json!({"alg": name(algorithm), "kid": kid}), claims)
}

pub(super) fn public_pem(algorithm: JwtAlgorithm) -> &'static str {
    match algorithm {
        JwtAlgorithm::ES256 => P256_PUBLIC,
        JwtAlgorithm::ES384 => P384_PUBLIC,
        JwtAlgorithm::EdDSA => ED25519_PUBLIC,
        _ => RSA_PUBLIC,
    }
}

pub(super) fn rsa_jwk(key: &str, kid: &str) -> Value {
    let key = RsaKeyPair::from_pkcs8(&der(key)).unwrap();
    let parts = PublicKeyComponents::<Vec<u8>>::from(key.public());
    json!({"kty": "RSA", "kid": kid, "n": encode(parts.n), "e": encode(parts.e)})
}

pub(super) fn p256_jwk(kid: &str) -> Value {
    let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &der(P256), &SystemRandom::new()).unwrap();
    let point = key.public_key().as_ref();
    json!({"kty": "EC", "crv": "P-256", "kid": kid, "x": encode(&point[1..33]), "y": encode(&point[33..])})
}

pub(super) fn ed25519_jwk(kid: &str) -> Value {
    let key = Ed25519KeyPair::from_pkcs8_maybe_unchecked(&der(ED25519)).unwrap();
    json!({"kty": "OKP", "crv": "Ed25519", "kid": kid, "x": encode(key.public_key())})
}
