//! Signed tokens, used again: a signature costs more than the rest of a request. Sharded, so that threads seldom meet, and bounded
//! by the memory that it holds.

use std::fmt;
use std::hash::{BuildHasher, Hasher};

use foldhash::fast::RandomState;
use gateway_config::model::Timestamp;
use gateway_config::snapshot::Verified;
use hashbrown::HashTable;
use http::HeaderValue;
use parking_lot::RwLock;

use super::claims::{self, Who};

/// Half of what a token is good for: what is left is for the way to the backend and for clocks that disagree.
const REUSED_MICROS: i64 = 60 * 1_000_000;
/// The time is taken by each request before it gets here, so that a later one may bring an earlier time.
const EARLIER_MICROS: i64 = 5 * 1_000_000;
const SHARDS: usize = 64;
/// 16 MiB in all, which is about 16,000 tokens.
const SHARD_BYTES: usize = 256 * 1024;

pub(super) struct Cache {
    shards: Box<[RwLock<Shard>]>,
    hasher: RandomState,
}

#[derive(Default)]
struct Shard {
    table: HashTable<Entry>,
    bytes: usize,
}

struct Entry {
    hash: u64,
    service: Box<str>,
    who: Who,
    signed_at: Timestamp,
    token: HeaderValue,
}

impl Cache {
    pub(super) fn new() -> Self {
        Self { shards: (0..SHARDS).map(|_| RwLock::default()).collect(), hasher: RandomState::default() }
    }

    pub(super) fn get(&self, service: &str, caller: Option<&Verified>, now: Timestamp) -> Option<HeaderValue> {
        let hash = self.hash(service, caller);
        let shard = self.shard(hash)?.read();
        let entry = shard.table.find(hash, |entry| entry.is(service, caller))?;
        entry.is_fresh(now).then(|| entry.token.clone())
    }

    pub(super) fn insert(&self, service: &str, caller: Option<&Verified>, now: Timestamp, token: HeaderValue) {
        let hash = self.hash(service, caller);
        let entry = Entry { hash, service: service.into(), who: Who::of(caller), signed_at: now, token };
        if let Some(shard) = self.shard(hash) {
            shard.write().insert(entry, caller, now);
        }
    }

    pub(super) fn clear(&self) {
        for shard in &self.shards {
            *shard.write() = Shard::default();
        }
    }

    fn hash(&self, service: &str, caller: Option<&Verified>) -> u64 {
        let mut state = self.hasher.build_hasher();
        claims::hash(service, caller, &mut state);
        state.finish()
    }

    /// By bits that the table does not choose its slots by.
    fn shard(&self, hash: u64) -> Option<&RwLock<Shard>> {
        self.shards.get(usize::try_from(hash >> 40).unwrap_or_default() % SHARDS)
    }
}

impl fmt::Debug for Cache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cache").finish_non_exhaustive()
    }
}

impl Shard {
    fn insert(&mut self, entry: Entry, caller: Option<&Verified>, now: Timestamp) {
        if let Ok(old) = self.table.find_entry(entry.hash, |other| other.is(&entry.service, caller)) {
            self.bytes = self.bytes.saturating_sub(old.remove().0.weight());
        }
        let weight = entry.weight();
        if self.bytes + weight > SHARD_BYTES {
            self.table.retain(|other| other.is_fresh(now));
            self.bytes = self.table.iter().map(Entry::weight).sum();
        }
        // All of them in use: to sign some again is cheaper than to remember in which order they came.
        if self.bytes + weight > SHARD_BYTES {
            self.table.clear();
            self.bytes = 0;
        }
        self.bytes += weight;
        self.table.insert_unique(entry.hash, entry, |other| other.hash);
    }
}

impl Entry {
    fn is(&self, service: &str, caller: Option<&Verified>) -> bool {
        *self.service == *service && self.who.is(caller)
    }

    fn is_fresh(&self, now: Timestamp) -> bool {
        let age = now.micros().saturating_sub(self.signed_at.micros());
        (-EARLIER_MICROS..REUSED_MICROS).contains(&age)
    }

    fn weight(&self) -> usize {
        size_of::<Self>() + self.service.len() + self.token.len() + self.who.weight()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(length: usize) -> HeaderValue {
        HeaderValue::try_from("t".repeat(length)).unwrap()
    }

    fn bytes(cache: &Cache) -> usize {
        cache.shards.iter().map(|shard| shard.read().bytes).sum()
    }

    #[test]
    fn a_token_is_used_again_for_a_minute_and_only_for_its_service() {
        let cache = Cache::new();
        let at = |seconds: i64| Timestamp::from_micros((1000 + seconds) * 1_000_000);
        cache.insert("orders", None, at(0), token(3));
        assert_eq!(cache.get("orders", None, at(0)), Some(token(3)));
        assert_eq!(cache.get("orders", None, at(59)), Some(token(3)));
        assert_eq!(cache.get("orders", None, at(-1)), Some(token(3)), "of a request that took its time earlier");
        assert_eq!(cache.get("orders", None, at(60)), None);
        assert_eq!(cache.get("orders", None, at(-60)), None, "the clock was set back");
        assert_eq!(cache.get("auth", None, at(0)), None);
        cache.clear();
        assert_eq!(cache.get("orders", None, at(0)), None);
    }

    #[test]
    fn the_memory_held_is_bounded_whatever_comes() {
        let cache = Cache::new();
        for at in 0..60_000 {
            let service = format!("service-{at}");
            cache.insert(&service, None, Timestamp::default(), token(700));
            assert_eq!(cache.get(&service, None, Timestamp::default()), Some(token(700)), "the newest is kept");
        }
        assert!(bytes(&cache) <= SHARDS * SHARD_BYTES);
        assert!(bytes(&cache) > SHARDS * SHARD_BYTES / 8, "and used");
        for _ in 0..1000 {
            cache.insert("orders", None, Timestamp::default(), token(700));
        }
        assert_eq!(
            bytes(&cache),
            cache
                .shards
                .iter()
                .flat_map(|it| it.read().table.iter().map(Entry::weight).collect::<Vec<_>>())
                .sum::<usize>()
        );
    }
}
