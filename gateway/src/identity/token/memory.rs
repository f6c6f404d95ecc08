//! A bounded memory by presented token. Looking something up costs one quick hash and one comparison of texts: a digest that nobody
//! could forge would cost several times as much as all the rest, on every request.
//!
//! Each shard keeps two generations: when the young one is full it becomes the old one, and what was not asked for since is
//! gone. That is as good as a list of the last uses, without one.

use std::fmt;
use std::hash::BuildHasher;
use std::sync::atomic::{AtomicU32, Ordering};

use foldhash::quality::RandomState;
use hashbrown::HashTable;
use parking_lot::Mutex;

/// Many enough that threads seldom meet.
const SHARDS: usize = 64;
/// What an entry takes beside its token, roughly.
const ENTRY_BYTES: usize = 500;
/// Tokens that came once, by the place and the tag that their hash gives them.
const SEEN: usize = 16 * 1024;

pub(super) struct Memory<V> {
    shards: Box<[Mutex<Shard<V>>]>,
    generation_bytes: usize,
    seen: Box<[AtomicU32]>,
}

/// Seeded anew in each process.
#[derive(Clone, Debug, Default)]
pub(super) struct Hashing(RandomState);

/// A token with its hash, for every memory that is asked of it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Hashed<'p> {
    presented: &'p str,
    hash: u64,
}

impl<'p> Hashed<'p> {
    pub(super) fn text(self) -> &'p str {
        self.presented
    }
}

impl Hashing {
    pub(super) fn of<'p>(&self, presented: &'p str) -> Hashed<'p> {
        Hashed { presented, hash: self.0.hash_one(presented) }
    }
}

struct Shard<V> {
    young: HashTable<Entry<V>>,
    old: HashTable<Entry<V>>,
    young_bytes: usize,
}

struct Entry<V> {
    hash: u64,
    presented: Box<str>,
    value: V,
}

impl<V: Clone> Memory<V> {
    /// Takes about `bytes` at the most.
    pub(super) fn new(bytes: usize) -> Self {
        let shard = || Mutex::new(Shard { young: HashTable::new(), old: HashTable::new(), young_bytes: 0 });
        Self {
            shards: std::iter::repeat_with(shard).take(SHARDS).collect(),
            generation_bytes: bytes / SHARDS / 2,
            seen: std::iter::repeat_with(AtomicU32::default).take(SEEN).collect(),
        }
    }

    /// All that a memory is asked for must be hashed alike.
    pub(super) fn get(&self, Hashed { presented, hash }: Hashed<'_>) -> Option<V> {
        let mut shard = self.shard(hash)?.lock();
        let is_it = |entry: &Entry<V>| *entry.presented == *presented;
        if let Some(entry) = shard.young.find(hash, is_it) {
            return Some(entry.value.clone());
        }
        let (entry, _) = shard.old.find_entry(hash, is_it).ok()?.remove();
        let value = entry.value.clone();
        shard.insert(entry, self.generation_bytes);
        Some(value)
    }

    pub(super) fn insert(&self, Hashed { presented, hash }: Hashed<'_>, value: V) {
        if let Some(shard) = self.shard(hash) {
            shard.lock().insert(Entry { hash, presented: presented.into(), value }, self.generation_bytes);
        }
    }

    /// For what is found out anew at little cost: kept when it comes again before too many others. Where every request brings another
    /// token, nothing is kept, and nothing that is kept has to go for it.
    pub(super) fn insert_if_again(&self, hashed: Hashed<'_>, value: impl FnOnce() -> V) {
        let [a, b, c, d, place @ ..] = hashed.hash.to_le_bytes();
        let tag = u32::from_le_bytes([a, b, c, d]) | 1;
        let place = u32::from_le_bytes(place) as usize % SEEN;
        if self.seen.get(place).is_some_and(|seen| seen.swap(tag, Ordering::Relaxed) == tag) {
            self.insert(hashed, value());
        }
    }

    /// The table takes the lowest and the highest bits.
    fn shard(&self, hash: u64) -> Option<&Mutex<Shard<V>>> {
        let [_, _, _, _, byte, ..] = hash.to_le_bytes();
        self.shards.get(usize::from(byte) % SHARDS)
    }
}

impl<V> Shard<V> {
    fn insert(&mut self, entry: Entry<V>, generation_bytes: usize) {
        if let Ok(before) = self.young.find_entry(entry.hash, |it| it.presented == entry.presented) {
            before.into_mut().value = entry.value;
            return;
        }
        let bytes = entry.presented.len().saturating_add(ENTRY_BYTES);
        if self.young_bytes.saturating_add(bytes) > generation_bytes {
            self.old = std::mem::take(&mut self.young);
            self.young_bytes = 0;
        }
        self.young_bytes = self.young_bytes.saturating_add(bytes);
        self.young.insert_unique(entry.hash, entry, |it| it.hash);
    }
}

impl<V> fmt::Debug for Memory<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Memory").field("generation_bytes", &self.generation_bytes).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_for_stays_and_the_rest_makes_room() {
        let (hashing, memory) = (Hashing::default(), Memory::new(SHARDS * 2 * 8 * (ENTRY_BYTES + 10)));
        memory.insert(hashing.of("wanted"), 0);
        for number in 1..10_000 {
            memory.insert(hashing.of(&format!("{number:010}")), number);
            assert_eq!(memory.get(hashing.of("wanted")), Some(0));
        }
        let size = |shard: &Mutex<Shard<i32>>| {
            let shard = shard.lock();
            shard.young.len() + shard.old.len()
        };
        let kept: usize = memory.shards.iter().map(size).sum();
        assert!(kept <= SHARDS * 2 * 8, "{kept}");
        assert_eq!(memory.get(hashing.of("0000000001")), None);
    }

    #[test]
    fn what_came_once_is_kept_when_it_comes_again_and_not_before() {
        let (hashing, memory) = (Hashing::default(), Memory::new(1_000_000));
        memory.insert_if_again(hashing.of("a"), || unreachable!("nobody has seen it"));
        assert_eq!(memory.get(hashing.of("a")), None);
        memory.insert_if_again(hashing.of("a"), || 1);
        assert_eq!(memory.get(hashing.of("a")), Some(1));
        memory.insert_if_again(hashing.of("b"), || 2);
        for other in 0..20 * SEEN {
            memory.insert_if_again(hashing.of(&other.to_string()), || 0);
        }
        memory.insert_if_again(hashing.of("b"), || 2);
        assert_eq!(memory.get(hashing.of("b")), None, "too many came between");
    }

    #[test]
    fn only_the_whole_token_is_found_and_the_last_word_counts() {
        let (hashing, memory) = (Hashing::default(), Memory::new(1_000_000));
        memory.insert(hashing.of("a.b.c"), 1);
        memory.insert(hashing.of("a.b.c"), 2);
        assert_eq!(memory.get(hashing.of("a.b.c")), Some(2));
        for other in ["a.b.d", "a.b.", "a.b.cc", ""] {
            assert_eq!(memory.get(hashing.of(other)), None);
        }
    }
}
