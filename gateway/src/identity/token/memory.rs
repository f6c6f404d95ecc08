//! A bounded memory by the digest of a presented token. Looking something up costs one hash of the token and one look into a table.
//!
//! Each shard keeps two generations: when the young one is full it becomes the old one, and what was not asked for since is
//! gone. That is as good as a list of the last uses, without one.

use std::collections::HashMap;
use std::fmt;

use foldhash::fast::RandomState;
use parking_lot::Mutex;

/// Many enough that threads seldom meet.
const SHARDS: usize = 64;

/// A token's digest under a key that lives as long as the process.
pub(super) type Print = [u8; 32];

pub(super) struct Prints([u8; 32]);

impl Prints {
    pub(super) fn new() -> Self {
        Self(rand::random())
    }

    pub(super) fn of(&self, presented: &str) -> Print {
        *blake3::keyed_hash(&self.0, presented.as_bytes()).as_bytes()
    }
}

impl fmt::Debug for Prints {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Prints(hidden)")
    }
}

pub(super) struct Memory<V> {
    shards: Box<[Mutex<Shard<V>>]>,
    generation_size: usize,
}

struct Shard<V> {
    young: HashMap<Print, V, RandomState>,
    old: HashMap<Print, V, RandomState>,
}

impl<V: Clone> Memory<V> {
    /// Holds about `capacity` entries, never more.
    pub(super) fn new(capacity: usize) -> Self {
        let shard = || Mutex::new(Shard { young: HashMap::default(), old: HashMap::default() });
        Self {
            shards: std::iter::repeat_with(shard).take(SHARDS).collect(),
            generation_size: (capacity / SHARDS / 2).max(1),
        }
    }

    pub(super) fn get(&self, print: &Print) -> Option<V> {
        let mut shard = self.shard(print)?.lock();
        if let Some(value) = shard.young.get(print) {
            return Some(value.clone());
        }
        let value = shard.old.remove(print)?;
        shard.insert(*print, value.clone(), self.generation_size);
        Some(value)
    }

    pub(super) fn insert(&self, print: Print, value: V) {
        if let Some(shard) = self.shard(&print) {
            shard.lock().insert(print, value, self.generation_size);
        }
    }

    fn shard(&self, print: &Print) -> Option<&Mutex<Shard<V>>> {
        self.shards.get(usize::from(*print.first()?) % SHARDS)
    }
}

impl<V> Shard<V> {
    fn insert(&mut self, print: Print, value: V, generation_size: usize) {
        if self.young.len() >= generation_size && !self.young.contains_key(&print) {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(print, value);
    }
}

impl<V> fmt::Debug for Memory<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Memory").field("generation_size", &self.generation_size).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_for_stays_and_the_rest_makes_room() {
        let memory = Memory::new(SHARDS * 2 * 8);
        let prints = Prints::new();
        let wanted = prints.of("wanted");
        memory.insert(wanted, 0);
        for number in 1..10_000 {
            memory.insert(prints.of(&number.to_string()), number);
            assert_eq!(memory.get(&wanted), Some(0));
        }
        let size = |shard: &Mutex<Shard<i32>>| {
            let shard = shard.lock();
            shard.young.len() + shard.old.len()
        };
        let kept: usize = memory.shards.iter().map(size).sum();
        assert!(kept <= SHARDS * 2 * 8, "{kept}");
        assert_eq!(memory.get(&prints.of("1")), None);
    }

    #[test]
    fn a_print_is_of_the_whole_token_and_of_this_process() {
        let prints = Prints::new();
        assert_eq!(prints.of("a.b.c"), prints.of("a.b.c"));
        assert_ne!(prints.of("a.b.c"), prints.of("a.b.d"));
        assert_ne!(prints.of("a.b.c"), Prints::new().of("a.b.c"));
    }
}
