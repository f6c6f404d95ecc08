//! Numbered places for what routes lead to: a number is found without a hash, and without a look at a name. A change copies the
//! chunk that it touches and shares the others.

use std::num::NonZeroU32;
use std::sync::Arc;

/// So many places are copied by a change.
const CHUNK: usize = 64;

/// The number of a place, from 1 on: so none takes no room of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Slot(NonZeroU32);

#[derive(Clone, Debug)]
pub(super) struct Slots<T> {
    chunks: Vec<Arc<[Place<T>; CHUNK]>>,
    /// Free places make a list.
    first_free: Option<Slot>,
}

#[derive(Clone, Debug)]
enum Place<T> {
    Free {
        next: Option<Slot>,
    },
    /// Somebody leads here, to nothing where there is nothing yet or any more.
    Held(Option<T>),
}

impl<T> Default for Slots<T> {
    fn default() -> Self {
        Self { chunks: Vec::new(), first_free: None }
    }
}

impl<T: Clone> Slots<T> {
    #[inline]
    pub(super) fn get(&self, slot: Slot) -> Option<&T> {
        let (chunk, at) = slot.place();
        match self.chunks.get(chunk)?.get(at)? {
            Place::Held(held) => held.as_ref(),
            Place::Free { .. } => None,
        }
    }

    /// A place of its own for `value`; `None` once there are as many as numbers.
    pub(super) fn take(&mut self, value: Option<T>) -> Option<Slot> {
        if self.first_free.is_none() {
            self.grow();
        }
        let slot = self.first_free?;
        if let Place::Free { next } = std::mem::replace(self.place_mut(slot)?, Place::Held(value)) {
            self.first_free = next;
        }
        Some(slot)
    }

    /// Puts into a place that was taken.
    pub(super) fn put(&mut self, slot: Slot, value: Option<T>) {
        if let Some(place) = self.place_mut(slot) {
            *place = Place::Held(value);
        }
    }

    /// Gives a place back that was taken.
    pub(super) fn release(&mut self, slot: Slot) {
        let next = self.first_free;
        if let Some(place) = self.place_mut(slot) {
            *place = Place::Free { next };
            self.first_free = Some(slot);
        }
    }

    fn place_mut(&mut self, slot: Slot) -> Option<&mut Place<T>> {
        let (chunk, at) = slot.place();
        Arc::make_mut(self.chunks.get_mut(chunk)?).get_mut(at)
    }

    fn grow(&mut self) {
        let first = self.chunks.len() * CHUNK;
        // The last of them ends the list.
        let next = |at: usize| if at + 1 < CHUNK { Slot::numbered(first + at + 1) } else { None };
        self.chunks.push(Arc::new(std::array::from_fn(|at| Place::Free { next: next(at) })));
        self.first_free = Slot::numbered(first);
    }
}

impl Slot {
    fn numbered(index: usize) -> Option<Self> {
        NonZeroU32::new(u32::try_from(index + 1).ok()?).map(Self)
    }

    /// The chunk, and where in it.
    #[inline]
    fn place(self) -> (usize, usize) {
        let index = self.0.get() as usize - 1;
        (index / CHUNK, index % CHUNK)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Debug)]
    enum Step {
        Take(Option<u8>),
        Put(prop::sample::Index, Option<u8>),
        Release(prop::sample::Index),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            4 => any::<Option<u8>>().prop_map(Step::Take),
            1 => (any::<prop::sample::Index>(), any::<Option<u8>>()).prop_map(|(which, value)| Step::Put(which, value)),
            2 => any::<prop::sample::Index>().prop_map(Step::Release),
        ]
    }

    proptest! {
        #[test]
        fn every_place_holds_what_was_put_there(steps in prop::collection::vec(step(), 0..400)) {
            let (mut slots, mut plain) = (Slots::default(), BTreeMap::<Slot, Option<u8>>::new());
            for step in steps {
                let held: Vec<Slot> = plain.keys().copied().collect();
                match step {
                    Step::Take(value) => prop_assert!(plain.insert(slots.take(value).unwrap(), value).is_none()),
                    Step::Put(..) | Step::Release(_) if held.is_empty() => {}
                    Step::Put(which, value) => {
                        let slot = *which.get(&held);
                        slots.put(slot, value);
                        plain.insert(slot, value);
                    }
                    Step::Release(which) => {
                        let slot = *which.get(&held);
                        slots.release(slot);
                        plain.remove(&slot);
                    }
                }
                for (slot, value) in &plain {
                    prop_assert_eq!(slots.get(*slot), value.as_ref());
                }
            }
            prop_assert!(slots.chunks.len() * CHUNK < 400 + CHUNK);
        }
    }

    #[test]
    fn a_changed_clone_shares_the_other_chunks_and_leaves_the_original_alone() {
        let mut slots = Slots::default();
        let all: Vec<Slot> = (0..1000).filter_map(|number| slots.take(Some(number))).collect();
        let mut changed = slots.clone();
        changed.put(all[70], None);
        let shared = slots.chunks.iter().zip(&changed.chunks).filter(|(a, b)| Arc::ptr_eq(a, b)).count();
        assert_eq!(shared, slots.chunks.len() - 1);
        assert_eq!((slots.get(all[70]), changed.get(all[70])), (Some(&70), None));
    }

    #[test]
    fn places_that_were_given_back_are_taken_again() {
        let mut slots = Slots::default();
        for _ in 0..1000 {
            let slot = slots.take(Some(())).unwrap();
            slots.release(slot);
        }
        assert_eq!(slots.chunks.len(), 1);
    }
}
