//! A hash table from names to shared values that is cheap to change in one place: it is split into shards behind `Arc`s, and a
//! clone that is then changed copies one shard (at most some hundred entries) and shares the others.
//!
//! Our own rather than a crate's tree: a lookup is one hash and one probe, as in a plain table, and lookups are what every
//! request does; persistent trees of the well-kept crates pay with several cache misses a lookup.

use std::hash::BuildHasher;
use std::sync::Arc;

use foldhash::fast::FixedState;
use hashbrown::HashTable;

/// A shard is split when shards hold more than this on average.
const SHARD_ENTRIES: usize = 64;

/// Keys are names that operators chose, so a fixed seed gives attackers nothing.
const HASHER: FixedState = FixedState::with_seed(0x6761_7465_686f_7573);

#[derive(Debug)]
pub struct Table<V> {
    /// None while empty, else a power of two.
    shards: Vec<Arc<Shard<V>>>,
    len: usize,
}

type Shard<V> = HashTable<(Box<str>, V)>;

impl<V> Default for Table<V> {
    fn default() -> Self {
        Self { shards: Vec::new(), len: 0 }
    }
}

impl<V> Clone for Table<V> {
    fn clone(&self) -> Self {
        Self { shards: self.shards.clone(), len: self.len }
    }
}

impl<V: Clone> Table<V> {
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    #[must_use]
    #[inline]
    pub fn get(&self, key: &str) -> Option<&V> {
        let hash = hash(key);
        let shard = self.shards.get(slot(hash, self.shards.len()))?;
        shard.find(hash, |(name, _)| **name == *key).map(|(_, value)| value)
    }

    /// Copies the shard first if another table shares it.
    pub fn get_mut(&mut self, key: &str) -> Option<&mut V> {
        self.get(key)?;
        let hash = hash(key);
        let count = self.shards.len();
        let shard = Arc::make_mut(self.shards.get_mut(slot(hash, count))?);
        shard.find_mut(hash, |(name, _)| **name == *key).map(|(_, value)| value)
    }

    /// Puts `value` under `key`; answers what stood there.
    pub fn insert(&mut self, key: &str, value: V) -> Option<V> {
        if self.len >= self.shards.len() * SHARD_ENTRIES {
            self.grow();
        }
        let hash = hash(key);
        let count = self.shards.len();
        let shard = Arc::make_mut(self.shards.get_mut(slot(hash, count))?);
        if let Some((_, old)) = shard.find_mut(hash, |(name, _)| **name == *key) {
            return Some(std::mem::replace(old, value));
        }
        shard.insert_unique(hash, (key.into(), value), |(name, _)| self::hash(name));
        self.len += 1;
        None
    }

    pub fn remove(&mut self, key: &str) -> Option<V> {
        // Looked up first: a miss must not copy a shard.
        self.get(key)?;
        let hash = hash(key);
        let count = self.shards.len();
        let shard = Arc::make_mut(self.shards.get_mut(slot(hash, count))?);
        let entry = shard.find_entry(hash, |(name, _)| **name == *key).ok()?;
        let ((_, value), _) = entry.remove();
        self.len -= 1;
        Some(value)
    }

    /// In no particular order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &V)> {
        self.shards.iter().flat_map(|shard| shard.iter()).map(|(name, value)| (&**name, value))
    }

    pub fn values(&self) -> impl Iterator<Item = &V> {
        self.iter().map(|(_, value)| value)
    }

    fn grow(&mut self) {
        let count = (self.shards.len() * 2).max(1);
        let mut shards: Vec<Shard<V>> = (0..count).map(|_| HashTable::new()).collect();
        for (name, value) in self.shards.iter().flat_map(|shard| shard.iter()) {
            let hash = hash(name);
            if let Some(shard) = shards.get_mut(slot(hash, count)) {
                shard.insert_unique(hash, (name.clone(), value.clone()), |(name, _)| self::hash(name));
            }
        }
        self.shards = shards.into_iter().map(Arc::new).collect();
    }
}

impl<'a, V: Clone> FromIterator<(&'a str, V)> for Table<V> {
    fn from_iter<I: IntoIterator<Item = (&'a str, V)>>(entries: I) -> Self {
        let mut table = Self::default();
        for (key, value) in entries {
            table.insert(key, value);
        }
        table
    }
}

#[inline]
fn hash(key: &str) -> u64 {
    HASHER.hash_one(key)
}

/// The shard's index; the table inside uses the lowest and the highest bits, so the ones between choose the shard.
#[inline]
fn slot(hash: u64, shards: usize) -> usize {
    (hash >> 32) as usize & shards.wrapping_sub(1)
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_holds_what_a_plain_map_holds(steps in prop::collection::vec((0u16..300, any::<Option<u8>>()), 0..800)) {
            let (mut table, mut plain) = (Table::default(), HashMap::new());
            for (key, value) in steps {
                let key = format!("k{key}");
                if let Some(value) = value {
                    prop_assert_eq!(table.insert(&key, value), plain.insert(key, value));
                } else {
                    prop_assert_eq!(table.remove(&key), plain.remove(&key));
                }
            }
            prop_assert_eq!(table.len(), plain.len());
            let all: HashMap<String, u8> = table.iter().map(|(k, v)| (k.to_owned(), *v)).collect();
            prop_assert_eq!(all, plain);
        }
    }

    #[test]
    fn a_changed_clone_shares_the_other_shards_and_leaves_the_original_alone() {
        let names: Vec<String> = (0..5000).map(|n| format!("n{n}")).collect();
        let table: Table<usize> = names.iter().enumerate().map(|(n, name)| (name.as_str(), n)).collect();
        let mut changed = table.clone();
        changed.insert("n7", 700);
        let shared = table.shards.iter().zip(&changed.shards).filter(|(a, b)| Arc::ptr_eq(a, b)).count();
        assert_eq!(shared, table.shards.len() - 1);
        assert_eq!((table.get("n7"), changed.get("n7")), (Some(&7), Some(&700)));
    }
}
