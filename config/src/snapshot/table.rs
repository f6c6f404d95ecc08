//! A hash table from names to shared values that is cheap to change in one place: it is split into shards behind `Arc`s, and a
//! clone that is then changed copies one shard (at most some hundred entries) and shares the others.
//!
//! Our own rather than a crate's tree: a lookup is one hash and one probe, as in a plain table, and lookups are what every
//! request does; persistent trees of the well-kept crates pay with several cache misses a lookup. Short names lie in their
//! entries, and a few entries in one plain list.

use std::hash::BuildHasher;
use std::sync::Arc;

use foldhash::fast::FixedState;
use hashbrown::HashTable;

use super::text::Text;

/// So many are found as fast by looking at each.
const FEW: usize = 4;

/// A shard is split when shards hold more than this on average.
const SHARD_ENTRIES: usize = 64;

/// Keys are names that operators chose, so a fixed seed gives attackers nothing.
const HASHER: FixedState = FixedState::with_seed(0x6761_7465_686f_7573);

#[derive(Clone, Debug)]
pub struct Table<V> {
    entries: Entries<V>,
}

#[derive(Clone, Debug)]
enum Entries<V> {
    Few(Vec<(Text, V)>),
    Many(Shards<V>),
}

#[derive(Clone, Debug)]
struct Shards<V> {
    /// A power of two of them.
    shards: Vec<Arc<Shard<V>>>,
    len: usize,
}

type Shard<V> = HashTable<(Text, V)>;

impl<V> Default for Table<V> {
    fn default() -> Self {
        Self { entries: Entries::Few(Vec::new()) }
    }
}

impl<V: Clone> Table<V> {
    #[must_use]
    pub fn len(&self) -> usize {
        match &self.entries {
            Entries::Few(few) => few.len(),
            Entries::Many(many) => many.len,
        }
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    #[must_use]
    #[inline]
    pub fn get(&self, key: &str) -> Option<&V> {
        match &self.entries {
            Entries::Few(few) => few.iter().find(|(name, _)| name.is(key)).map(|(_, value)| value),
            Entries::Many(many) => many.get(key),
        }
    }

    /// Copies the shard first if another table shares it.
    pub fn get_mut(&mut self, key: &str) -> Option<&mut V> {
        match &mut self.entries {
            Entries::Few(few) => few.iter_mut().find(|(name, _)| name.is(key)).map(|(_, value)| value),
            Entries::Many(many) => many.get_mut(key),
        }
    }

    /// Puts `value` under `key`; answers what stood there.
    pub fn insert(&mut self, key: &str, value: V) -> Option<V> {
        let few = match &mut self.entries {
            Entries::Many(many) => return many.insert(key, value),
            Entries::Few(few) => few,
        };
        if let Some((_, old)) = few.iter_mut().find(|(name, _)| name.is(key)) {
            return Some(std::mem::replace(old, value));
        }
        // One more and no spare room: most of these lists stay as they are.
        few.reserve_exact(1);
        few.push((key.into(), value));
        if few.len() > FEW {
            self.entries = Entries::Many(Shards::of(std::mem::take(few)));
        }
        None
    }

    pub fn remove(&mut self, key: &str) -> Option<V> {
        match &mut self.entries {
            Entries::Few(few) => {
                let at = few.iter().position(|(name, _)| name.is(key))?;
                Some(few.swap_remove(at).1)
            }
            Entries::Many(many) => many.remove(key),
        }
    }

    /// In no particular order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &V)> {
        let (few, many) = match &self.entries {
            Entries::Few(few) => (few.as_slice(), [].as_slice()),
            Entries::Many(many) => ([].as_slice(), many.shards.as_slice()),
        };
        let many = many.iter().flat_map(|shard| shard.iter());
        few.iter().chain(many).map(|(name, value)| (name.as_str(), value))
    }

    pub fn values(&self) -> impl Iterator<Item = &V> {
        self.iter().map(|(_, value)| value)
    }
}

impl<V: Clone> Shards<V> {
    fn of(few: Vec<(Text, V)>) -> Self {
        let mut shard = Shard::new();
        let len = few.len();
        for entry in few {
            shard.insert_unique(hash(&entry.0), entry, |(name, _)| hash(name));
        }
        Self { shards: vec![Arc::new(shard)], len }
    }

    #[inline]
    fn get(&self, key: &str) -> Option<&V> {
        let hash = hash(key);
        let shard = self.shards.get(slot(hash, self.shards.len()))?;
        shard.find(hash, |(name, _)| name.is(key)).map(|(_, value)| value)
    }

    fn get_mut(&mut self, key: &str) -> Option<&mut V> {
        self.get(key)?;
        let hash = hash(key);
        let count = self.shards.len();
        let shard = Arc::make_mut(self.shards.get_mut(slot(hash, count))?);
        shard.find_mut(hash, |(name, _)| name.is(key)).map(|(_, value)| value)
    }

    fn insert(&mut self, key: &str, value: V) -> Option<V> {
        if self.len >= self.shards.len() * SHARD_ENTRIES {
            self.grow();
        }
        let hash = hash(key);
        let count = self.shards.len();
        let shard = Arc::make_mut(self.shards.get_mut(slot(hash, count))?);
        if let Some((_, old)) = shard.find_mut(hash, |(name, _)| name.is(key)) {
            return Some(std::mem::replace(old, value));
        }
        shard.insert_unique(hash, (key.into(), value), |(name, _)| self::hash(name));
        self.len += 1;
        None
    }

    fn remove(&mut self, key: &str) -> Option<V> {
        // Looked up first: a miss must not copy a shard.
        self.get(key)?;
        let hash = hash(key);
        let count = self.shards.len();
        let shard = Arc::make_mut(self.shards.get_mut(slot(hash, count))?);
        let entry = shard.find_entry(hash, |(name, _)| name.is(key)).ok()?;
        let ((_, value), _) = entry.remove();
        self.len -= 1;
        Some(value)
    }

    fn grow(&mut self) {
        let count = self.shards.len() * 2;
        let mut shards: Vec<Shard<V>> = (0..count).map(|_| HashTable::new()).collect();
        for entry in self.shards.iter().flat_map(|shard| shard.iter()) {
            let hash = hash(&entry.0);
            if let Some(shard) = shards.get_mut(slot(hash, count)) {
                shard.insert_unique(hash, entry.clone(), |(name, _)| self::hash(name));
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
fn hash(key: impl AsRef<[u8]>) -> u64 {
    HASHER.hash_one(key.as_ref())
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
        fn it_holds_what_a_plain_map_holds(keys in prop::sample::select(vec![3u16, 8, 300]), steps in prop::collection::vec(
            (any::<u16>(), any::<Option<u8>>()), 0..800,
        )) {
            let (mut table, mut plain) = (Table::default(), HashMap::new());
            for (key, value) in steps {
                // Every fifth is too long to lie in its entry.
                let (number, width) = (key % keys, if key % keys % 5 == 0 { 30 } else { 1 });
                let key = format!("k{number:0>width$}");
                prop_assert_eq!(table.get(&key), plain.get(&key));
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
        let (Entries::Many(of_table), Entries::Many(of_changed)) = (&table.entries, &changed.entries) else { panic!() };
        let shared = of_table.shards.iter().zip(&of_changed.shards).filter(|(a, b)| Arc::ptr_eq(a, b)).count();
        assert_eq!(shared, of_table.shards.len() - 1);
        assert_eq!((table.get("n7"), changed.get("n7")), (Some(&7), Some(&700)));
    }
}
