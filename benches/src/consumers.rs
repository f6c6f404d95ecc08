//! Applications with keys, as many as one likes. Every key is a real one, hashed as cheaply as argon2 goes, so that each of them can
//! be called with.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::{Context, anyhow, bail};
use gateway_config::api_key::{Argon2Settings, ChecksumKey, KEY_LENGTH, PREFIX_LENGTH, generate, hash, parse};
use gateway_config::clock::{Clock, SystemClock, new_id};
use gateway_config::master_key::MasterKey;
use gateway_config::model::{
    ApiKey, Application, Configuration, EntityChange, Id, Item, Kind, Limit, LimitBy, OnStoreError, WhitelistEntry,
};
use gateway_config::store::{NewGeneration, Store};
use serde_json::json;

use crate::stack::MASTER_KEY;

pub const KEYS_EACH: usize = 10;
/// Applications in one transaction.
const BATCH: usize = 500;
const CHEAPEST: Argon2Settings = Argon2Settings { argon2_memory_kib: 8, argon2_iterations: 1, argon2_parallelism: 1 };
const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// Applications and the texts of their keys, `KEYS_EACH` for each in the same order.
#[derive(Debug)]
pub struct Consumers {
    pub applications: Vec<Item>,
    pub keys: Vec<String>,
}

#[must_use]
pub fn application_name(number: usize) -> String {
    format!("consumer-{number}")
}

/// What keys of this fleet are checked by.
pub fn master_key() -> anyhow::Result<MasterKey> {
    MasterKey::of(MASTER_KEY).context("the benches' master key")
}

impl Consumers {
    /// Each may call everything by the last of its three entries, and has a limit that never refuses.
    pub fn new(applications: usize) -> anyhow::Result<Self> {
        let checksum = ChecksumKey::of(&master_key()?);
        let mut made = Self { applications: Vec::with_capacity(applications), keys: Vec::new() };
        for number in 0..applications {
            let paths = ["/area/{*rest}", "/orders/{id}", "/{size}"];
            let mut application = application(number, paths.iter().map(|path| (*path).to_owned()));
            for _ in 0..KEYS_EACH {
                let new = generate(&checksum);
                application.api_keys.push(ApiKey {
                    id: Id::new(new_id()),
                    name: "benches".to_owned(),
                    prefix: new.prefix.clone(),
                    api_key_hash: hash(new.text.expose().as_bytes(), &CHEAPEST)?,
                    created_at: SystemClock.now(),
                    updated_at: SystemClock.now(),
                    ..ApiKey::default()
                });
                made.keys.push(new.text.expose().to_owned());
            }
            made.applications.push(Item::Application(Arc::new(application)));
        }
        Ok(made)
    }

    /// The keys in an order that no prefetcher foresees, and neighbours in time are of different applications.
    pub fn spread(&self) -> impl Iterator<Item = &str> + Clone {
        let count = self.keys.len().max(1);
        (0..self.keys.len()).filter_map(move |number| self.keys.get(number * 7919 % count)).map(String::as_str)
    }

    /// With a route to `url` that asks for a key.
    pub fn configuration(&self, url: &str) -> anyhow::Result<Configuration> {
        let mut configuration = Configuration::default();
        for item in guarded(url)?.into_iter().chain(self.applications.iter().cloned()) {
            configuration.put(item);
        }
        Ok(configuration)
    }

    /// Writes the same.
    pub async fn write(&self, store: &dyn Store, origin: SocketAddr) -> anyhow::Result<()> {
        put(store, &guarded(&format!("http://{origin}"))?).await?;
        for batch in self.applications.chunks(BATCH) {
            put(store, batch).await?;
        }
        Ok(())
    }
}

/// A service at `url`, and a route to it for everything that asks for a key.
fn guarded(url: &str) -> anyhow::Result<[Item; 2]> {
    let service = json!({"id": new_id(), "serviceName": "origin", "defaultUrl": url});
    let route = json!({
        "id": new_id(), "name": "everything", "path": "/{*rest}", "target": {"service": "origin"},
        "limits": [never_refusing(LimitBy::Ip)],
    });
    let read = |kind, value| Item::from_json(kind, value).map_err(|problem| anyhow!("{problem}"));
    Ok([read(Kind::Service, service)?, read(Kind::Route, route)?])
}

/// Without keys.
pub fn application(number: usize, paths: impl IntoIterator<Item = String>) -> Application {
    let entry = |path| WhitelistEntry {
        id: Id::new(new_id()),
        endpoint_path: path,
        allowed_methods: vec!["GET".to_owned(), "POST".to_owned()],
        allowed_versions: vec!["*".to_owned()],
        ..WhitelistEntry::default()
    };
    Application {
        id: Id::new(new_id()),
        name: application_name(number),
        allowed_services: vec!["*".to_owned()],
        allowed_versions: vec!["*".to_owned()],
        limits: vec![never_refusing(LimitBy::Application)],
        whitelist: paths.into_iter().map(entry).collect(),
        ..Application::default()
    }
}

#[must_use]
pub fn never_refusing(by: LimitBy) -> Limit {
    let requests = 1_000_000_000;
    Limit { requests, per_seconds: 1, burst: None, by, shared: false, on_store_error: OnStoreError::Local }
}

/// A generation written past the door that all others take: through it, keys come in one by one.
async fn put(store: &dyn Store, items: &[Item]) -> anyhow::Result<()> {
    let mut transaction = store.begin().await?;
    let mut configuration: Configuration = transaction.load().await?.configuration;
    let mut changes = Vec::with_capacity(items.len());
    transaction.put_all(&items.iter().collect::<Vec<&Item>>()).await?;
    for item in items {
        configuration.put(item.clone());
        let (kind, name) = (item.kind(), item.name().to_owned());
        changes.push(EntityChange { kind, name, before: None, after: Some(item.to_public_json()) });
    }
    let generation = NewGeneration {
        number: transaction.head().generation + 1,
        digest: configuration.digest(),
        created_at: SystemClock.now(),
        actor: "benches".to_owned(),
        summary: format!("{} entities", items.len()),
        changes,
    };
    transaction.commit(&generation).await.context("could not write the applications")
}

/// Keys that look like this fleet's and are not: what an attacker sends who has somehow got hold of what makes checksums.
#[derive(Debug)]
pub struct Forger {
    checksum: ChecksumKey,
    derived: [u8; 32],
}

impl Forger {
    pub fn new() -> anyhow::Result<Self> {
        let master = master_key()?;
        Ok(Self { checksum: ChecksumKey::of(&master), derived: master.derive("checksums of API keys") })
    }

    /// Of no application.
    #[must_use]
    pub fn unknown(&self) -> String {
        generate(&self.checksum).text.expose().to_owned()
    }

    /// The beginning of a good key, another secret, and the right checksum for the two.
    pub fn wrong_secret(&self, good: &str) -> anyhow::Result<String> {
        let prefix = prefix(good)?;
        let other = self.unknown();
        let body_length = KEY_LENGTH - 6;
        let body = format!("{prefix}{}", other.get(PREFIX_LENGTH..body_length).unwrap_or_default());
        let hash = blake3::keyed_hash(&self.derived, body.as_bytes());
        let mut rest = hash.as_bytes().first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes));
        let mut forged = body;
        for _ in 0..6 {
            let letter = usize::try_from(rest % 62).ok().and_then(|digit| ALPHABET.get(digit)).copied();
            forged.push(char::from(letter.unwrap_or(b'0')));
            rest /= 62;
        }
        if parse(&self.checksum, forged.as_bytes()).is_none() {
            bail!("checksums are made in another way by now");
        }
        Ok(forged)
    }
}

/// The prefix that a key's text begins with.
pub fn prefix(key: &str) -> anyhow::Result<&str> {
    key.get(..PREFIX_LENGTH).context("too short for a key")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn a_forged_key_has_the_prefix_and_the_checksum_of_a_good_one() {
        let made = Consumers::new(1).unwrap();
        let good = &made.keys[0];
        let forged = Forger::new().unwrap().wrong_secret(good).unwrap();
        assert_eq!(prefix(&forged).unwrap(), prefix(good).unwrap());
        assert_ne!(&forged, good);
    }

    #[test]
    fn every_key_is_spread_once() {
        let made = Consumers::new(3).unwrap();
        assert_eq!(made.spread().collect::<BTreeSet<_>>().len(), 3 * KEYS_EACH);
    }
}
