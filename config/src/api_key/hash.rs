//! Keys at rest: argon2id, in the PHC format, which carries its own parameters.

use std::fmt;
use std::sync::Arc;

use argon2::password_hash::phc::PasswordHash;
use argon2::{Algorithm, Argon2, Params, PasswordHasher, PasswordVerifier, Version};
use clap::Args;
use thiserror::Error;
use tokio::sync::Semaphore;

use super::NewKey;

/// What one hash costs. The defaults are OWASP's minimum.
#[derive(Args, Clone, Copy, Debug, PartialEq, Eq)]
pub struct Argon2Settings {
    /// Memory that hashing one API key takes, in KiB; a stored hash keeps the parameters that it was made with
    #[arg(
        long,
        env = "GATEWAY_ARGON2_MEMORY_KIB",
        default_value_t = 19_456,
        value_parser = clap::value_parser!(u32).range(8..=i64::from(MOST_MEMORY_KIB))
    )]
    pub argon2_memory_kib: u32,
    /// Passes over that memory
    #[arg(
        long,
        env = "GATEWAY_ARGON2_ITERATIONS",
        default_value_t = 2,
        value_parser = clap::value_parser!(u32).range(1..=i64::from(MOST_ITERATIONS))
    )]
    pub argon2_iterations: u32,
    /// Lanes into which that memory is divided
    #[arg(
        long,
        env = "GATEWAY_ARGON2_PARALLELISM",
        default_value_t = 1,
        value_parser = clap::value_parser!(u32).range(1..=i64::from(MOST_LANES))
    )]
    pub argon2_parallelism: u32,
}

/// A row edited by hand must not take the memory of the whole machine.
const MOST_MEMORY_KIB: u32 = 1 << 20;
const MOST_ITERATIONS: u32 = 100;
const MOST_LANES: u32 = 64;

impl Default for Argon2Settings {
    fn default() -> Self {
        Self { argon2_memory_kib: 19_456, argon2_iterations: 2, argon2_parallelism: 1 }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum HashError {
    #[error("could not hash the key: {0}")]
    Hashing(String),
    #[error("the stored hash is no argon2id hash of bearable cost")]
    Stored,
}

/// Hashes a key with fresh salt. Takes tens of milliseconds: never on an async thread.
pub fn hash(key: &[u8], settings: &Argon2Settings) -> Result<String, HashError> {
    let Argon2Settings { argon2_memory_kib, argon2_iterations, argon2_parallelism } = *settings;
    let failed = |error: &dyn fmt::Display| HashError::Hashing(error.to_string());
    let parameters = Params::new(argon2_memory_kib, argon2_iterations, argon2_parallelism, None);
    let parameters = parameters.map_err(|error| failed(&error))?;
    let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, parameters);
    argon2.hash_password(key).map(|hash| hash.to_string()).map_err(|error| failed(&error))
}

/// Whether the stored hash is that of this key. Takes tens of milliseconds: never on an async thread.
pub fn verify(key: &[u8], stored: &str) -> Result<bool, HashError> {
    let stored = PasswordHash::new(stored).map_err(|_| HashError::Stored)?;
    let parameters = Params::try_from(&stored).map_err(|_| HashError::Stored)?;
    let is_bearable = parameters.m_cost() <= MOST_MEMORY_KIB
        && parameters.t_cost() <= MOST_ITERATIONS
        && parameters.p_cost() <= MOST_LANES
        && stored.algorithm.as_str() == "argon2id";
    if !is_bearable {
        return Err(HashError::Stored);
    }
    Ok(Argon2::default().verify_password(key, &stored).is_ok())
}

/// A hash that nothing has, as costly to verify as any: verified where none is stored, so that the time says nothing about that.
#[must_use]
pub fn nobodys(settings: &Argon2Settings) -> String {
    let Argon2Settings { argon2_memory_kib, argon2_iterations, argon2_parallelism } = *settings;
    let (salt, output) = ("A".repeat(22), "A".repeat(43));
    format!("$argon2id$v=19$m={argon2_memory_kib},t={argon2_iterations},p={argon2_parallelism}${salt}${output}")
}

/// The half of a new key that is stored.
#[derive(Clone)]
pub struct HashedKey {
    pub prefix: String,
    /// In the PHC format.
    pub hash: String,
}

impl fmt::Debug for HashedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HashedKey").field("prefix", &self.prefix).finish_non_exhaustive()
    }
}

/// Hashes on threads of its own, a few keys at a time.
#[derive(Clone, Debug)]
pub struct Hasher {
    settings: Argon2Settings,
    permits: Arc<Semaphore>,
}

impl Hasher {
    /// `at_once`: at most so many hashes in parallel; the others wait in order.
    #[must_use]
    pub fn new(settings: Argon2Settings, at_once: usize) -> Self {
        Self { settings, permits: Arc::new(Semaphore::new(at_once.clamp(1, Semaphore::MAX_PERMITS))) }
    }

    pub async fn hash(&self, key: &NewKey) -> Result<HashedKey, HashError> {
        let ended = |error: &dyn fmt::Display| HashError::Hashing(error.to_string());
        let permit = Arc::clone(&self.permits).acquire_owned().await.map_err(|error| ended(&error))?;
        let (key, settings) = (key.clone(), self.settings);
        let hashing = move || {
            let hashed = hash(key.text.expose().as_bytes(), &settings);
            drop(permit);
            hashed.map(|hash| HashedKey { prefix: key.prefix, hash })
        };
        tokio::task::spawn_blocking(hashing).await.map_err(|error| ended(&error))?
    }

    /// Whether the stored hash is that of this key.
    pub async fn verify(&self, key: &[u8], stored: &str) -> Result<bool, HashError> {
        let ended = |error: &dyn fmt::Display| HashError::Hashing(error.to_string());
        let permit = Arc::clone(&self.permits).acquire_owned().await.map_err(|error| ended(&error))?;
        let (key, stored): (Box<[u8]>, Box<str>) = (key.into(), stored.into());
        let verifying = move || {
            let verified = verify(&key, &stored);
            drop(permit);
            verified
        };
        tokio::task::spawn_blocking(verifying).await.map_err(|error| ended(&error))?
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    const CHEAP: Argon2Settings = Argon2Settings { argon2_memory_kib: 8, argon2_iterations: 1, argon2_parallelism: 1 };

    #[derive(Parser)]
    struct Flags {
        #[command(flatten)]
        argon2: Argon2Settings,
    }

    #[test]
    fn the_default_is_owasps_minimum_and_stands_in_the_hash() {
        let settings = Flags::parse_from(["x"]).argon2;
        assert_eq!(settings, Argon2Settings::default());
        let hashed = hash(b"key", &settings).unwrap();
        assert!(hashed.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{hashed}");
        assert!(verify(b"key", &hashed).unwrap());
    }

    #[test]
    fn only_the_same_key_verifies_and_every_hash_has_its_own_salt() {
        let hashed = hash(b"key", &CHEAP).unwrap();
        assert_eq!((verify(b"key", &hashed), verify(b"kez", &hashed)), (Ok(true), Ok(false)));
        assert_ne!(hash(b"key", &CHEAP).unwrap(), hashed);
    }

    #[test]
    fn nobodys_hash_looks_like_any_and_is_verified_like_any() {
        let (nobodys, hashed) = (nobodys(&CHEAP), hash(b"key", &CHEAP).unwrap());
        let shape = |hash: &str| hash.split('$').map(str::len).collect::<Vec<_>>();
        assert_eq!(shape(&nobodys), shape(&hashed));
        assert_eq!(nobodys.split('$').nth(3), hashed.split('$').nth(3), "the cost");
        assert_eq!((verify(b"key", &nobodys), verify(b"", &nobodys)), (Ok(false), Ok(false)));
    }

    #[test]
    fn a_stored_hash_that_costs_too_much_is_not_tried() {
        for stored in [
            "",
            "secret",
            "$argon2id$v=19$m=4000000000,t=2,p=1$c29tZXNhbHQ$RdescudvJCsgt3ub+b4dWRWJTmaaJObG",
            "$argon2id$v=19$m=64,t=4000000,p=1$c29tZXNhbHQ$RdescudvJCsgt3ub+b4dWRWJTmaaJObG",
            "$argon2d$v=19$m=64,t=1,p=1$c29tZXNhbHQ$RdescudvJCsgt3ub+b4dWRWJTmaaJObG",
        ] {
            assert_eq!(verify(b"key", stored), Err(HashError::Stored), "{stored}");
        }
    }

    #[tokio::test]
    async fn the_hasher_makes_hashes_that_verify() {
        let key = crate::api_key::generate(&crate::api_key::ChecksumKey::of(
            &crate::master_key::MasterKey::of("a text of more than 32 characters, I think").unwrap(),
        ));
        let lane = Hasher::new(CHEAP, 1);
        let hashed = lane.hash(&key).await.unwrap();
        assert_eq!(hashed.prefix, key.prefix);
        assert_eq!(lane.verify(key.text.expose().as_bytes(), &hashed.hash).await, Ok(true));
        assert_eq!(lane.verify(b"another", &hashed.hash).await, Ok(false));
        assert!(verify(key.text.expose().as_bytes(), &hashed.hash).unwrap());
        assert!(!format!("{hashed:?}").contains("argon2id"));
    }
}
