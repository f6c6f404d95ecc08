//! The keys that were verified, and when each was last used. Only a key that was found good gets in, so wrong ones can push
//! nothing out.

use std::collections::{HashMap, VecDeque};
use std::hash::BuildHasher;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use dashmap::DashMap;
use dashmap::mapref::entry::Entry;
use foldhash::fast::RandomState;
use foldhash::quality::FixedState;
use gateway_config::model::{ApiKey, Id};
use parking_lot::Mutex;

/// The keyed digest of a presented key. Compares in constant time.
pub(super) type Digest = blake3::Hash;

/// Tells one stored hash of a key from another: a key whose hash was replaced is verified anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Revision(pub(super) u64);

impl Revision {
    /// Of a prefix that nobody has.
    pub(super) const NONE: Self = Self(0);

    pub(super) fn of(key: &ApiKey) -> Self {
        // Only who writes the database can choose what is hashed here, and they need no collision.
        Self(FixedState::with_seed(0).hash_one(key.api_key_hash.as_bytes()))
    }
}

/// What is known of a key that was verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Remembered {
    pub(super) key: Id<ApiKey>,
    pub(super) digest: Digest,
    pub(super) revision: Revision,
    /// Seconds since 1970; 0: not yet.
    pub(super) used: i64,
    /// The last use that the database knows of.
    pub(super) written: i64,
}

#[derive(Debug)]
struct Slot {
    digest: Digest,
    revision: Revision,
    used: AtomicI64,
    written: AtomicI64,
    /// Used since the last look for something to forget.
    is_fresh: AtomicBool,
}

#[derive(Debug)]
pub(super) struct Memory {
    slots: DashMap<Id<ApiKey>, Slot, RandomState>,
    /// In the order in which they came, for the choice of what to forget.
    order: Mutex<VecDeque<Id<ApiKey>>>,
    capacity: usize,
    /// Uses of keys that were forgotten before they were written.
    left: Mutex<HashMap<Id<ApiKey>, i64>>,
    /// Something that belongs on disk has changed.
    is_dirty: AtomicBool,
}

impl Memory {
    pub(super) fn new(capacity: usize) -> Self {
        Self {
            slots: DashMap::default(),
            order: Mutex::default(),
            capacity: capacity.max(1),
            left: Mutex::default(),
            is_dirty: AtomicBool::new(false),
        }
    }

    /// Whether exactly this key was found good.
    pub(super) fn holds(&self, key: Id<ApiKey>, digest: &Digest, revision: Revision) -> bool {
        self.slots.get(&key).is_some_and(|slot| slot.digest == *digest && slot.revision == revision)
    }

    pub(super) fn insert(&self, known: Remembered) {
        let slot = Slot {
            digest: known.digest,
            revision: known.revision,
            used: AtomicI64::new(known.used),
            written: AtomicI64::new(known.written),
            is_fresh: AtomicBool::new(true),
        };
        match self.slots.entry(known.key) {
            Entry::Occupied(mut there) => {
                let before = there.insert(slot);
                // Nothing else is locked while a slot is.
                drop(there);
                self.keep_use(known.key, &before);
            }
            Entry::Vacant(free) => {
                drop(free.insert(slot));
                self.order.lock().push_back(known.key);
            }
        }
        self.is_dirty.store(true, Ordering::Relaxed);
        self.forget_surplus();
    }

    /// The oldest go first, but those that were used meanwhile get another round.
    fn forget_surplus(&self) {
        let mut order = self.order.lock();
        let mut rounds = order.len();
        while order.len() > self.capacity {
            let Some(oldest) = order.pop_front() else { return };
            let is_fresh = self.slots.get(&oldest).is_some_and(|slot| slot.is_fresh.swap(false, Ordering::Relaxed));
            if is_fresh && rounds > 0 {
                rounds -= 1;
                order.push_back(oldest);
            } else if let Some((key, slot)) = self.slots.remove(&oldest) {
                self.keep_use(key, &slot);
            }
        }
    }

    fn keep_use(&self, key: Id<ApiKey>, slot: &Slot) {
        let used = slot.used.load(Ordering::Relaxed);
        if used > slot.written.load(Ordering::Relaxed) {
            self.leave(key, used);
        }
    }

    /// For a key that has no slot.
    fn leave(&self, key: Id<ApiKey>, used: i64) {
        let mut left = self.left.lock();
        if left.len() < self.capacity || left.contains_key(&key) {
            let known = left.entry(key).or_insert(used);
            *known = (*known).max(used);
        }
    }

    /// Nothing is written in a second in which the key was used already.
    pub(super) fn used(&self, key: Id<ApiKey>, second: i64) {
        let Some(slot) = self.slots.get(&key) else {
            self.leave(key, second);
            return;
        };
        if slot.used.load(Ordering::Relaxed) < second {
            slot.used.fetch_max(second, Ordering::Relaxed);
            slot.is_fresh.store(true, Ordering::Relaxed);
        }
    }

    /// The uses that the database does not know of.
    pub(super) fn unwritten(&self) -> Vec<(Id<ApiKey>, i64)> {
        let mut unwritten: Vec<_> = self.left.lock().iter().map(|(key, used)| (*key, *used)).collect();
        for slot in &self.slots {
            let used = slot.used.load(Ordering::Relaxed);
            if used > slot.written.load(Ordering::Relaxed) {
                unwritten.push((*slot.key(), used));
            }
        }
        unwritten
    }

    /// The disk need not follow: an old use is written again at the worst, and changes nothing.
    pub(super) fn wrote(&self, uses: &[(Id<ApiKey>, i64)]) {
        let mut left = self.left.lock();
        for (key, used) in uses {
            if left.get(key).is_some_and(|known| known <= used) {
                left.remove(key);
            }
        }
        drop(left);
        for (key, used) in uses {
            if let Some(slot) = self.slots.get(key) {
                slot.written.fetch_max(*used, Ordering::Relaxed);
            }
        }
    }

    /// All of it, the oldest first, if anything has changed since the last time.
    pub(super) fn take_changed(&self) -> Option<Vec<Remembered>> {
        if !self.is_dirty.swap(false, Ordering::Relaxed) {
            return None;
        }
        let order: Vec<Id<ApiKey>> = self.order.lock().iter().copied().collect();
        let known = order.into_iter().filter_map(|key| {
            let slot = self.slots.get(&key)?;
            let (used, written) = (slot.used.load(Ordering::Relaxed), slot.written.load(Ordering::Relaxed));
            Some(Remembered { key, digest: slot.digest, revision: slot.revision, used, written })
        });
        Some(known.collect())
    }

    /// What was taken could not be kept, or there are uses that only the disk can keep.
    pub(super) fn keep_again(&self) {
        self.is_dirty.store(true, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use gateway_config::clock::new_id;

    use super::*;

    fn good(used: i64) -> Remembered {
        let key = Id::new(new_id());
        let digest = blake3::hash(key.to_string().as_bytes());
        Remembered { key, digest, revision: Revision(7), used, written: 0 }
    }

    fn holds(memory: &Memory, known: &Remembered) -> bool {
        memory.holds(known.key, &known.digest, known.revision)
    }

    #[test]
    fn only_the_same_key_under_the_same_hash_is_remembered() {
        let memory = Memory::new(10);
        let known = good(0);
        memory.insert(known);
        assert!(holds(&memory, &known));
        assert!(!memory.holds(known.key, &blake3::hash(b"other"), known.revision));
        assert!(!memory.holds(known.key, &known.digest, Revision(8)));
        assert!(!memory.holds(Id::new(new_id()), &known.digest, known.revision));
    }

    #[test]
    fn what_was_not_used_is_forgotten_first() {
        let memory = Memory::new(3);
        let keys: Vec<Remembered> = (0..3).map(|_| good(0)).collect();
        for known in &keys {
            memory.insert(*known);
        }
        memory.insert(good(0));
        // Everything is fresh at first, so the oldest went. From now on only what is used stays.
        assert!(!holds(&memory, &keys[0]) && holds(&memory, &keys[1]));
        memory.used(keys[1].key, 5);
        memory.insert(good(0));
        assert!(holds(&memory, &keys[1]) && !holds(&memory, &keys[2]));
        assert_eq!(memory.slots.len(), 3);
    }

    #[test]
    fn a_use_is_unwritten_until_it_was_written() {
        let memory = Memory::new(2);
        let known = good(0);
        memory.insert(known);
        assert_eq!(memory.unwritten(), []);
        memory.used(known.key, 5);
        memory.used(known.key, 4);
        assert_eq!(memory.unwritten(), [(known.key, 5)]);
        memory.used(known.key, 6);
        memory.wrote(&[(known.key, 5)]);
        assert_eq!(memory.unwritten(), [(known.key, 6)], "what came meanwhile is not lost");
        memory.wrote(&[(known.key, 6)]);
        assert_eq!(memory.unwritten(), []);
    }

    #[test]
    fn a_use_outlives_the_memory_of_its_key() {
        let memory = Memory::new(1);
        let known = good(9);
        memory.insert(known);
        memory.insert(good(0));
        assert!(!holds(&memory, &known));
        assert_eq!(memory.unwritten(), [(known.key, 9)]);
        memory.wrote(&[(known.key, 9)]);
        assert_eq!(memory.unwritten(), []);
    }

    #[test]
    fn it_is_handed_out_for_the_disk_only_when_it_changed() {
        let memory = Memory::new(10);
        assert_eq!(memory.take_changed(), None);
        let known = good(3);
        memory.insert(known);
        assert_eq!(memory.take_changed(), Some(vec![known]));
        assert_eq!(memory.take_changed(), None);
        memory.keep_again();
        assert_eq!(memory.take_changed(), Some(vec![known]));
    }
}
