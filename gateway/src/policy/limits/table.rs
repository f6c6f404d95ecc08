//! All counters of this gateway, in shards behind mutexes. A request locks the shards of all its counters, in one order so that
//! no two requests wait for each other, looks at all, and changes all or none: exact however many threads count.
//!
//! Our own rather than governor or a map of atomics: neither can count in several counters or in none, and governor's limiters
//! can't change their numbers without forgetting what they counted. A lock is held for some dozen nanoseconds and never
//! across an await (its guard is not `Send`).

use std::hash::BuildHasher;

use foldhash::quality::RandomState;
use gateway_config::snapshot::{Counter, Who};
use hashbrown::HashTable;
use parking_lot::{Mutex, MutexGuard};
use smallvec::SmallVec;

use super::gcra::{Bucket, Level, Nanos, Rate};

/// A power of two.
const SHARDS: usize = 64;
/// How many places are looked over when a counter is added: more than one, so that stale ones go faster than new ones come.
const SWEPT: usize = 8;
/// How many are looked over when a shard is full, to find the one whose loss matters least.
const CANDIDATES: usize = 64;

#[derive(Debug)]
pub(super) struct Table {
    shards: Box<[Mutex<Shard>]>,
    /// Seeded at random: callers choose names, and must not choose who shares a place with whom.
    hasher: RandomState,
    capacity_of_shard: usize,
}

#[derive(Debug, Default)]
struct Shard {
    entries: HashTable<Entry>,
    /// Where the next look for stale entries begins.
    cursor: usize,
}

#[derive(Debug)]
struct Entry {
    limit: u64,
    who: Who,
    bucket: Bucket,
}

/// The counters of one request with their shards locked.
pub(super) struct Locked<'t, 'c> {
    table: &'t Table,
    guards: SmallVec<[(usize, MutexGuard<'t, Shard>); 4]>,
    places: SmallVec<[Place<'c>; 4]>,
}

struct Place<'c> {
    counter: &'c Counter,
    rate: Rate,
    hash: u64,
    shard: usize,
    /// Where its entry is, if there is one; void once anything was added to the shard.
    index: Option<usize>,
}

impl Table {
    pub(super) fn with_capacity(entries: usize) -> Self {
        Self {
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            hasher: RandomState::default(),
            capacity_of_shard: (entries / SHARDS).max(1),
        }
    }

    /// Locks what is needed, each shard once, in the order of the shards. A counter that is named twice counts once.
    pub(super) fn lock<'t, 'c>(&'t self, counters: impl Iterator<Item = &'c Counter>, now: Nanos) -> Locked<'t, 'c> {
        let mut places: SmallVec<[Place<'c>; 4]> = SmallVec::new();
        for counter in counters {
            let hash = self.hash(counter.limit.id, &counter.who);
            if places.iter().any(|place| place.hash == hash && place.is_of(counter)) {
                continue;
            }
            places.push(Place { counter, rate: Rate::of(&counter.limit), hash, shard: shard_of(hash), index: None });
        }
        let mut needed: SmallVec<[usize; 4]> = places.iter().map(|place| place.shard).collect();
        needed.sort_unstable();
        needed.dedup();
        let lock = |at: usize| self.shards.get(at).map(|shard| (at, shard.lock()));
        let guards = needed.into_iter().filter_map(lock).collect();
        let mut locked = Locked { table: self, guards, places };
        locked.find(now);
        locked
    }

    fn hash(&self, limit: u64, who: &Who) -> u64 {
        self.hasher.hash_one((limit, who))
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().entries.len()).sum()
    }

    /// Forgets what is stale, and gives memory back after a flood. Holds one shard at a time.
    pub(super) fn sweep(&self, now: Nanos) {
        for shard in &self.shards {
            let entries = &mut shard.lock().entries;
            entries.retain(|entry| !entry.bucket.is_stale(now));
            if entries.capacity() > 64 && entries.len() < entries.capacity() / 4 {
                entries.shrink_to(entries.len() * 2, |entry| self.hash(entry.limit, &entry.who));
            }
        }
    }

    fn add(&self, shard: &mut Shard, place: &Place<'_>, bucket: Bucket, now: Nanos) {
        shard.sweep(SWEPT, now);
        if shard.entries.len() >= self.capacity_of_shard {
            shard.make_room(now);
        }
        let entry = Entry { limit: place.counter.limit.id, who: place.counter.who.clone(), bucket };
        shard.entries.insert_unique(place.hash, entry, |entry| self.hash(entry.limit, &entry.who));
    }
}

/// The bits in the middle: the table takes the lowest and the highest ones.
fn shard_of(hash: u64) -> usize {
    usize::try_from((hash >> 32) % SHARDS as u64).unwrap_or_default()
}

impl Entry {
    fn is_of(&self, counter: &Counter) -> bool {
        self.limit == counter.limit.id && self.who == counter.who
    }
}

impl Place<'_> {
    fn is_of(&self, counter: &Counter) -> bool {
        self.counter.limit.id == counter.limit.id && self.counter.who == counter.who
    }
}

// === impl Shard ===

impl Shard {
    /// Removes what is stale among the next places.
    fn sweep(&mut self, count: usize, now: Nanos) {
        for _ in 0..count.min(self.entries.num_buckets()) {
            let at = self.advance();
            if self.entries.get_bucket(at).is_some_and(|entry| entry.bucket.is_stale(now)) {
                self.remove(at);
            }
        }
    }

    fn advance(&mut self) -> usize {
        self.cursor = if self.cursor + 1 < self.entries.num_buckets() { self.cursor + 1 } else { 0 };
        self.cursor
    }

    fn remove(&mut self, at: usize) {
        if let Ok(entry) = self.entries.get_bucket_entry(at) {
            drop(entry.remove());
        }
    }

    /// Removes one entry at least. Nothing stale among the next ones: the one goes that would be full again first, because its
    /// caller gains least. Not the first of all in the shard: a flood of new names must not make each of them cost a walk over
    /// thousands. What is held for a request stays; those are never more than there are requests in flight.
    fn make_room(&mut self, now: Nanos) {
        let before = self.entries.len();
        let mut first: Option<(u128, usize)> = None;
        let (mut seen, mut walked) = (0, 0);
        while seen < CANDIDATES && walked < self.entries.num_buckets() {
            walked += 1;
            let at = self.advance();
            let Some(entry) = self.entries.get_bucket(at) else { continue };
            seen += 1;
            if entry.bucket.is_stale(now) {
                self.remove(at);
            } else if !entry.bucket.is_held() {
                let full_at = entry.bucket.full_at_nanos();
                if first.is_none_or(|(earliest, _)| full_at < earliest) {
                    first = Some((full_at, at));
                }
            }
        }
        if let (true, Some((_, at))) = (self.entries.len() == before, first) {
            self.remove(at);
        }
    }
}

// === impl Locked ===

impl<'c> Locked<'_, 'c> {
    fn find(&mut self, now: Nanos) {
        for place in &mut self.places {
            let Some(shard) = shard_in(&mut self.guards, place.shard) else { continue };
            place.index = shard.entries.find_bucket_index(place.hash, |entry| entry.is_of(place.counter));
            if let Some(entry) = place.index.and_then(|at| shard.entries.get_bucket_mut(at)) {
                entry.bucket.adopt(place.rate, now);
            }
        }
    }

    fn bucket(&self, place: &Place<'_>) -> Option<&Bucket> {
        let (_, shard) = self.guards.iter().find(|(at, _)| *at == place.shard)?;
        shard.entries.get_bucket(place.index?).map(|entry| &entry.bucket)
    }

    /// Whether all admit one more request; a counter that nobody knows does.
    pub(super) fn admits(&self, now: Nanos) -> bool {
        self.places.iter().all(|place| self.bucket(place).is_none_or(|bucket| bucket.admits(now)))
    }

    /// How all stand, in the order in which they were named.
    pub(super) fn levels(&self, now: Nanos) -> impl Iterator<Item = (&'c Counter, Level)> {
        self.places.iter().map(move |place| {
            let level = self.bucket(place).map(|bucket| bucket.level(now));
            (place.counter, level.unwrap_or_else(|| Bucket::full(place.rate).level(now)))
        })
    }

    /// Changes all buckets, and sees each as it stands then. A counter that nobody knew is added. The last thing to be done, because
    /// adding moves entries.
    pub(super) fn change(mut self, now: Nanos, mut change: impl FnMut(&'c Counter, &mut Bucket)) {
        let table = self.table;
        for place in &self.places {
            let Some(shard) = shard_in(&mut self.guards, place.shard) else { continue };
            if let Some(entry) = place.index.and_then(|at| shard.entries.get_bucket_mut(at)) {
                change(place.counter, &mut entry.bucket);
            }
        }
        for place in self.places.iter().filter(|place| place.index.is_none()) {
            let Some(shard) = shard_in(&mut self.guards, place.shard) else { continue };
            let mut bucket = Bucket::full(place.rate);
            change(place.counter, &mut bucket);
            table.add(shard, place, bucket, now);
        }
    }
}

fn shard_in<'g>(guards: &'g mut [(usize, MutexGuard<'_, Shard>)], shard: usize) -> Option<&'g mut Shard> {
    guards.iter_mut().find(|(at, _)| *at == shard).map(|(_, guard)| &mut **guard)
}
