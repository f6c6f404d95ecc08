//! The signatures themselves. Those with public keys are verified by ring, which takes a fifth to an eighth of the time that
//! jsonwebtoken's own implementations in Rust do: whoever sends forged tokens makes us do this for each of them.

use gateway_config::model::JwtAlgorithm;
use jsonwebtoken::crypto::rust_crypto::DEFAULT_PROVIDER;
use jsonwebtoken::{Algorithm, DecodingKey, DecodingKeyKind};
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ED25519, RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_2048_8192_SHA384,
    RSA_PKCS1_2048_8192_SHA512, RSA_PSS_2048_8192_SHA256, RsaParameters, RsaPublicKeyComponents, UnparsedPublicKey,
    VerificationAlgorithm,
};

/// Whether the holder of `key` signed `message` so.
pub(super) fn verify(algorithm: JwtAlgorithm, key: &DecodingKey, message: &[u8], signature: &[u8]) -> bool {
    match algorithm {
        JwtAlgorithm::HS256 | JwtAlgorithm::HS384 | JwtAlgorithm::HS512 => {
            by_library(algorithm, key, message, signature)
        }
        JwtAlgorithm::RS256 => by_modulus(&RSA_PKCS1_2048_8192_SHA256, key, message, signature),
        JwtAlgorithm::RS384 => by_modulus(&RSA_PKCS1_2048_8192_SHA384, key, message, signature),
        JwtAlgorithm::RS512 => by_modulus(&RSA_PKCS1_2048_8192_SHA512, key, message, signature),
        JwtAlgorithm::PS256 => by_modulus(&RSA_PSS_2048_8192_SHA256, key, message, signature),
        JwtAlgorithm::ES256 => by_point(&ECDSA_P256_SHA256_FIXED, key, message, signature),
        JwtAlgorithm::ES384 => by_point(&ECDSA_P384_SHA384_FIXED, key, message, signature),
        JwtAlgorithm::EdDSA => by_point(&ED25519, key, message, signature),
    }
}

pub(super) fn by_library(algorithm: JwtAlgorithm, key: &DecodingKey, message: &[u8], signature: &[u8]) -> bool {
    let verifier = (DEFAULT_PROVIDER.verifier_factory)(&to_library(algorithm), key);
    verifier.is_ok_and(|verifier| verifier.verify(message, &signature.to_vec()).is_ok())
}

fn by_modulus(parameters: &RsaParameters, key: &DecodingKey, message: &[u8], signature: &[u8]) -> bool {
    match key.kind() {
        DecodingKeyKind::RsaModulusExponent { n, e } => {
            RsaPublicKeyComponents { n, e }.verify(parameters, message, signature).is_ok()
        }
        DecodingKeyKind::SecretOrDer(_) => false,
    }
}

fn by_point(
    algorithm: &'static dyn VerificationAlgorithm,
    key: &DecodingKey,
    message: &[u8],
    signature: &[u8],
) -> bool {
    match key.kind() {
        DecodingKeyKind::SecretOrDer(point) => {
            UnparsedPublicKey::new(algorithm, point).verify(message, signature).is_ok()
        }
        DecodingKeyKind::RsaModulusExponent { .. } => false,
    }
}

fn to_library(algorithm: JwtAlgorithm) -> Algorithm {
    match algorithm {
        JwtAlgorithm::HS256 => Algorithm::HS256,
        JwtAlgorithm::HS384 => Algorithm::HS384,
        JwtAlgorithm::HS512 => Algorithm::HS512,
        JwtAlgorithm::RS256 => Algorithm::RS256,
        JwtAlgorithm::RS384 => Algorithm::RS384,
        JwtAlgorithm::RS512 => Algorithm::RS512,
        JwtAlgorithm::PS256 => Algorithm::PS256,
        JwtAlgorithm::ES256 => Algorithm::ES256,
        JwtAlgorithm::ES384 => Algorithm::ES384,
        JwtAlgorithm::EdDSA => Algorithm::EdDSA,
    }
}
