//! What is kept of an issuer to verify its tokens: where its keys are, read once and not for each token.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use gateway_config::model::{JwtAlgorithm, JwtIssuer, SecretRef, Timestamp};
use parking_lot::Mutex;

use super::claims::Mapping;
use super::jwks::{Pick, Source};
use super::key::Key;
use crate::identity::secrets::Secrets;

#[derive(Debug)]
pub(super) struct Verifier {
    pub(super) issuer: Arc<JwtIssuer>,
    pub(super) name: Arc<str>,
    pub(super) mapping: Mapping,
    keys: Keys,
    /// When introspection failed last, in microseconds, and whether it is said already.
    failed_at: AtomicI64,
}

#[derive(Debug)]
enum Keys {
    /// Its tokens are introspected.
    None,
    Secret {
        reference: SecretRef,
        /// Of the secret as it was last seen.
        last: Mutex<Option<Arc<Key>>>,
    },
    Fixed(Result<Arc<Key>, &'static str>),
    Published(Arc<Source>),
}

const NEVER: i64 = i64::MIN;

impl Verifier {
    /// `source` gives the key set of this issuer at this URL: it survives changes of all else.
    pub(super) fn new(issuer: &Arc<JwtIssuer>, source: impl FnOnce(&Arc<str>, &str) -> Arc<Source>) -> Self {
        let name: Arc<str> = Arc::from(&*issuer.name);
        let keys = if let Some(reference) = &issuer.secret {
            Keys::Secret { reference: reference.clone(), last: Mutex::default() }
        } else if let Some(pem) = &issuer.public_key_pem {
            let key = Key::of_pem(pem).map(Arc::new);
            if let Err(why) = &key {
                tracing::warn!(issuer.name = &*name, why, "the key of issuer \"{name}\" can't be used: {why}");
            }
            Keys::Fixed(key)
        } else if let Some(url) = &issuer.jwks_url {
            Keys::Published(source(&name, url))
        } else {
            Keys::None
        };
        let mapping = Mapping::of(&issuer.claims);
        Self { issuer: issuer.clone(), name, mapping, keys, failed_at: AtomicI64::new(NEVER) }
    }

    pub(super) fn is_of(&self, issuer: &Arc<JwtIssuer>) -> bool {
        Arc::ptr_eq(&self.issuer, issuer) || self.issuer == *issuer
    }

    pub(super) fn has_keys(&self) -> bool {
        !matches!(self.keys, Keys::None)
    }

    pub(super) fn source(&self) -> Option<&Arc<Source>> {
        match &self.keys {
            Keys::Published(source) => Some(source),
            Keys::None | Keys::Secret { .. } | Keys::Fixed(_) => None,
        }
    }

    /// The key for a token that says this of itself. Which algorithms count is the issuer's word, not the token's.
    pub(super) fn key(&self, algorithm: JwtAlgorithm, kid: Option<&str>, secrets: &Secrets) -> Pick {
        if !self.issuer.algorithms.contains(&algorithm) {
            return Pick::Refused;
        }
        let key = match &self.keys {
            Keys::None => None,
            Keys::Secret { reference, last } => self.secret_key(reference, last, secrets),
            Keys::Fixed(key) => key.as_ref().ok().cloned(),
            Keys::Published(source) => return source.pick(algorithm, kid),
        };
        match key {
            Some(key) if key.fits(algorithm) => Pick::One(key),
            // There is no other place to look.
            _ => Pick::Refused,
        }
    }

    fn secret_key(&self, reference: &SecretRef, last: &Mutex<Option<Arc<Key>>>, secrets: &Secrets) -> Option<Arc<Key>> {
        let mut last = last.lock();
        if let Some(key) = &*last
            && key.stands()
        {
            return Some(key.clone());
        }
        let secret = secrets.resolve(reference)?;
        if secret.expose().is_empty() {
            return None;
        }
        let needed = self.issuer.algorithms.iter().map(|it| hash_bytes(*it)).max().unwrap_or_default();
        if secret.expose().len() < needed {
            let name = &*self.name;
            tracing::warn!(
                issuer.name = name,
                %reference,
                "the secret {reference} of issuer \"{name}\" is shorter than its algorithm's hash (RFC 7518 §3.2)"
            );
        }
        let key = Arc::new(Key::of_secret(secret));
        *last = Some(key.clone());
        Some(key)
    }

    /// Whether introspection failed so recently that it is not tried again yet.
    pub(super) fn failed_since(&self, earliest: Timestamp) -> bool {
        self.failed_at.load(Ordering::Relaxed) > earliest.micros()
    }

    /// Says once that introspection began to fail, and once that it is back.
    pub(super) fn note_introspection(&self, outcome: Result<(), &str>, now: Timestamp) {
        let at = if outcome.is_ok() { NEVER } else { now.micros() };
        let was_failing = self.failed_at.swap(at, Ordering::Relaxed) != NEVER;
        let name = &*self.name;
        match outcome {
            Ok(()) if was_failing => {
                tracing::info!(issuer.name = name, "issuer \"{name}\" answers introspection again");
            }
            Err(why) if !was_failing => tracing::warn!(
                issuer.name = name,
                why,
                "could not introspect a token at issuer \"{name}\": {why}; such tokens are refused"
            ),
            _ => {}
        }
    }

    /// Why tokens of this issuer are refused though they may be good.
    pub(super) fn trouble(&self) -> Option<String> {
        let name = &*self.name;
        let keys = match &self.keys {
            Keys::Fixed(Err(why)) => Some((*why).to_owned()),
            Keys::Published(source) => source.failure().map(|why| format!("could not load its key set: {why}")),
            _ => None,
        };
        let is_silent = self.failed_at.load(Ordering::Relaxed) != NEVER;
        let why = keys.or_else(|| is_silent.then(|| "it does not answer introspection".to_owned()))?;
        Some(format!("issuer \"{name}\": {why}"))
    }
}

/// RFC 7518 §3.2: a key has at least the size of the hash.
fn hash_bytes(algorithm: JwtAlgorithm) -> usize {
    match algorithm {
        JwtAlgorithm::HS384 => 48,
        JwtAlgorithm::HS512 => 64,
        _ => 32,
    }
}
