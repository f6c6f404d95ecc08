//! The open streams by number, and those whose credentials run out by when.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use gateway_config::model::Timestamp;

use super::Open;

#[derive(Default)]
pub(super) struct Register {
    last: u64,
    open: HashMap<u64, Entry>,
    due: BTreeSet<(Timestamp, u64)>,
}

struct Entry {
    open: Arc<Open>,
    until: Option<Timestamp>,
}

impl Register {
    pub(super) fn add(&mut self, open: Arc<Open>, until: Option<Timestamp>) -> u64 {
        self.last += 1;
        let number = self.last;
        self.open.insert(number, Entry { open, until: None });
        self.set_until(number, until);
        number
    }

    pub(super) fn remove(&mut self, number: u64) {
        self.set_until(number, None);
        self.open.remove(&number);
    }

    pub(super) fn get(&self, number: u64) -> Option<&Arc<Open>> {
        self.open.get(&number).map(|entry| &entry.open)
    }

    /// When it has to be looked at again. Nothing for one that is gone.
    pub(super) fn set_until(&mut self, number: u64, until: Option<Timestamp>) {
        let Some(entry) = self.open.get_mut(&number) else { return };
        if let Some(before) = std::mem::replace(&mut entry.until, until) {
            self.due.remove(&(before, number));
        }
        if let Some(until) = until {
            self.due.insert((until, number));
        }
    }

    pub(super) fn first_due(&self) -> Option<Timestamp> {
        self.due.first().map(|(until, _)| *until)
    }

    /// Those that are due at this moment; all without one.
    pub(super) fn choose(&self, moment: Option<Timestamp>) -> Vec<(u64, Arc<Open>)> {
        let with_stream = |number: &u64| self.get(*number).map(|open| (*number, open.clone()));
        match moment {
            Some(moment) => {
                let due = self.due.iter().take_while(|(until, _)| *until <= moment);
                due.filter_map(|(_, number)| with_stream(number)).collect()
            }
            None => self.open.keys().filter_map(with_stream).collect(),
        }
    }
}
