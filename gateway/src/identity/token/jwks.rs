//! The keys that an issuer publishes (RFC 7517): fetched, kept, and fetched again when a token names one that is not among them.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use gateway_config::model::{JwtAlgorithm, Timestamp};
use parking_lot::Mutex;
use serde_json::Value;

use super::fetch::{Fetched, Fetcher};
use super::key::Key;
use crate::flight::Flights;

/// An issuer that turns keys over has two or three.
const MAX_KEYS: usize = 100;

/// How often key sets are fetched.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    /// At the least between two fetches that tokens cause: anyone can invent key names.
    pub(crate) floor: Duration,
    /// The same while there are no keys at all.
    pub(crate) retry: Duration,
    /// In the background.
    pub(crate) refresh: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self { floor: Duration::from_secs(30), retry: Duration::from_secs(5), refresh: Duration::from_mins(10) }
    }
}

/// What a key set has for a token.
#[derive(Debug)]
pub(super) enum Pick {
    One(Arc<Key>),
    /// Not now; the next key set may have it.
    Missing,
    /// It is signed as the issuer never does, or several keys fit and it does not say which.
    Refused,
}

#[derive(Debug)]
pub(super) struct KeySet {
    keys: Vec<Arc<Key>>,
    is_loaded: bool,
}

impl KeySet {
    fn pick(&self, algorithm: JwtAlgorithm, kid: Option<&str>) -> Pick {
        let mut fitting = self.keys.iter().filter(|key| key.fits(algorithm) && (kid.is_none() || key.id() == kid));
        match (fitting.next(), fitting.next()) {
            (Some(key), None) => Pick::One(key.clone()),
            (None, _) => Pick::Missing,
            (Some(_), Some(_)) => Pick::Refused,
        }
    }

    /// Those of `published` that can be used. A key that stands in both sets stays the same one.
    fn after(&self, published: &[Value]) -> Self {
        let mut keys: Vec<Arc<Key>> = Vec::new();
        for new in published.iter().filter_map(Key::of_jwk).take(MAX_KEYS) {
            if keys.iter().any(|key| key.is_same(&new)) {
                continue;
            }
            let known = self.keys.iter().find(|key| key.is_same(&new)).cloned();
            keys.push(known.unwrap_or_else(|| Arc::new(new)));
        }
        Self { keys, is_loaded: true }
    }
}

/// One issuer's key set.
#[derive(Debug)]
pub(super) struct Source {
    issuer: Arc<str>,
    pub(super) url: String,
    keys: ArcSwap<KeySet>,
    tried: Mutex<Option<Timestamp>>,
    failure: Mutex<Option<String>>,
    flights: Flights<(), ()>,
}

impl Source {
    pub(super) fn new(issuer: Arc<str>, url: String) -> Self {
        Self {
            issuer,
            url,
            keys: ArcSwap::from_pointee(KeySet { keys: Vec::new(), is_loaded: false }),
            tried: Mutex::default(),
            failure: Mutex::default(),
            flights: Flights::default(),
        }
    }

    pub(super) fn pick(&self, algorithm: JwtAlgorithm, kid: Option<&str>) -> Pick {
        self.keys.load().pick(algorithm, kid)
    }

    /// Why the last fetch failed.
    pub(super) fn failure(&self) -> Option<String> {
        self.failure.lock().clone()
    }

    /// The key set again, because a token names a key that is not in it.
    pub(super) async fn refresh(self: &Arc<Self>, fetcher: &Arc<Fetcher>, now: Timestamp, pace: Pace) {
        let floor = if self.keys.load().is_loaded { pace.floor } else { pace.retry.min(pace.floor) };
        self.fetch_if_older(floor, fetcher, now).await;
    }

    /// The key set again, because it is time.
    pub(super) async fn keep_fresh(self: &Arc<Self>, fetcher: &Arc<Fetcher>, now: Timestamp, pace: Pace) {
        let is_well = self.keys.load().is_loaded && self.failure.lock().is_none();
        self.fetch_if_older(if is_well { pace.refresh } else { pace.retry }, fetcher, now).await;
    }

    async fn fetch_if_older(self: &Arc<Self>, age: Duration, fetcher: &Arc<Fetcher>, now: Timestamp) {
        let start = || {
            let mut tried = self.tried.lock();
            let age_millis = i64::try_from(age.as_millis()).unwrap_or(i64::MAX);
            // A clock that was put back must not stop the fetching.
            let is_young = |last: Timestamp| (0..age_millis).contains(&now.millis_since(last));
            if tried.is_some_and(is_young) {
                return None;
            }
            *tried = Some(now);
            let (source, fetcher) = (self.clone(), fetcher.clone());
            Some(async move { source.fetch(&fetcher).await })
        };
        self.flights.join((), start).await;
    }

    async fn fetch(&self, fetcher: &Fetcher) {
        let outcome = match fetcher.get(Fetched::KeySet, &self.url).await {
            Ok(body) => self.take_over(&body),
            Err(error) => Err(error.to_string()),
        };
        let mut failure = self.failure.lock();
        if let Err(why) = &outcome
            && failure.is_none()
        {
            let name = &*self.issuer;
            tracing::warn!(issuer.name = name, why, "could not load the key set of issuer \"{name}\": {why}");
        }
        *failure = outcome.err();
    }

    /// What is no key set leaves the old one as it is.
    fn take_over(&self, body: &[u8]) -> Result<(), String> {
        let document: Value = serde_json::from_slice(body).map_err(|_| "the answer is not JSON")?;
        let published = document.get("keys").and_then(Value::as_array).ok_or("the answer has no list \"keys\"")?;
        let before = self.keys.load_full();
        let after = before.after(published);
        let gone: Vec<_> = before.keys.iter().filter(|key| !after.keys.iter().any(|it| Arc::ptr_eq(it, key))).collect();
        let is_empty = after.keys.is_empty();
        self.keys.store(Arc::new(after));
        for key in gone {
            key.withdraw();
        }
        if is_empty { Err("the key set holds no key that can be used".to_owned()) } else { Ok(()) }
    }
}
