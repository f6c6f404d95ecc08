//! What backends are told of the caller, signed with keys that the whole fleet shares: an ES256 JWT for each caller and service,
//! used again for a minute. A background task keeps the keys in step with the store, and makes the next one in time.

mod cache;
mod claims;
mod disk;
mod keeper;
mod key;
mod keyring;
#[cfg(test)]
mod tests;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use gateway_config::master_key::MasterKey;
use gateway_config::model::Timestamp;
use gateway_config::snapshot::Caller;
use http::HeaderValue;
use tokio::sync::watch;

use cache::Cache;
use claims::Claims;
use disk::Disk;
use keyring::Keyring;

/// How long others may keep the public keys: much shorter than a new key is published before it signs.
pub(crate) const JWKS_CACHE_CONTROL: &str = "public, max-age=60";

#[derive(Debug)]
pub(crate) struct Signer {
    master: MasterKey,
    keyring: ArcSwap<Keyring>,
    cache: Cache,
    disk: Disk,
    rotate_micros: i64,
    trouble: watch::Sender<Option<String>>,
}

impl Signer {
    /// Begins with the keys that were kept on disk, so that a gateway signs while the database is away.
    pub(crate) fn open(master: MasterKey, data_dir: &Path, rotate_every: Duration, now: Timestamp) -> Self {
        let disk = Disk::in_dir(data_dir);
        let rows = disk.read().unwrap_or_else(|error| {
            tracing::warn!(%error, "could not read the signing keys kept on disk; waiting for the database");
            Vec::new()
        });
        let keyring = Keyring::open(&master, &rows, now);
        Self {
            trouble: watch::Sender::new(keyring.trouble.clone()),
            keyring: ArcSwap::from_pointee(keyring),
            master,
            cache: Cache::new(),
            disk,
            rotate_micros: i64::try_from(rotate_every.as_micros()).unwrap_or(i64::MAX),
        }
    }

    /// What tells `service` of `caller`; `None` while there is no key. Anonymous callers get one, too: it says that the request came
    /// through the gateway. One whose bad credentials a route ignores is nobody.
    pub(crate) fn identity_header(&self, service: &str, caller: &Caller, now: Timestamp) -> Option<HeaderValue> {
        let caller = caller.verified();
        if let Some(token) = self.cache.get(service, caller, now) {
            return Some(token);
        }
        let token = self.keyring.load().current(now)?.sign(&Claims::new(service, caller, now))?;
        self.cache.insert(service, caller, now, token.clone());
        Some(token)
    }

    /// The public keys, for `/.well-known/gateway/jwks.json`.
    pub(crate) fn jwks(&self) -> Bytes {
        self.keyring.load().jwks.clone()
    }

    /// What is not well with the keys, and every change of it.
    pub(crate) fn trouble(&self) -> watch::Receiver<Option<String>> {
        self.trouble.subscribe()
    }

    fn take(&self, new: Keyring) {
        let new = Arc::new(new);
        let old = self.keyring.swap(new.clone());
        if !new.holds_all_of(&old) {
            // Of a key that was taken away nothing must be left.
            self.cache.clear();
        }
        self.tell(new.trouble.clone());
    }

    /// Says it once.
    fn tell(&self, trouble: Option<String>) {
        self.trouble.send_if_modified(|told| {
            if *told == trouble {
                return false;
            }
            match &trouble {
                Some(trouble) => tracing::error!("{trouble}"),
                None => tracing::info!("all signing keys are usable again"),
            }
            *told = trouble;
            true
        });
    }
}
