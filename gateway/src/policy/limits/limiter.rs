//! Counting a request: in this gateway, in the store that the fleet shares, or in both, and always in all or in none.
//!
//! A request whose limits lie here and there is held here first (its places are taken but not charged), then counted there, and
//! then charged or released here. That is exact: what is held keeps others out as if it had been charged, so the charge is sure
//! to fit, and what is released has never been in the books. Charging at once and giving back on a refusal would not be: a bucket
//! that had been full would come back fuller than it was.

use std::sync::Arc;

use gateway_config::model::OnStoreError;
use gateway_config::snapshot::{CompiledLimit, Counter};
use prometheus::IntCounter;
use smallvec::SmallVec;

use super::gcra::{Level, Nanos};
use super::store::{Answer, SharedLevel, SharedStore};
use super::table::Table;

/// Counters in memory at the most; about 100 bytes each.
const CAPACITY: usize = 1 << 20;
const MICROS_A_SECOND: u64 = 1_000_000;

#[derive(Debug)]
pub(crate) struct Limiter {
    table: Table,
    store: Option<SharedStore>,
    /// Counts decisions on shared limits that were taken without the store.
    without_store: IntCounter,
}

/// How the limits stand after a request was counted, or not.
#[derive(Clone, Debug, Default)]
pub(crate) struct Verdict {
    /// The limit that says no; the one that says it longest.
    pub(crate) refused: Option<Standing>,
    pub(crate) standings: SmallVec<[Standing; 4]>,
}

#[derive(Clone, Debug)]
pub(crate) struct Standing {
    pub(crate) limit: Arc<CompiledLimit>,
    pub(crate) remaining: u32,
    /// Until it is full again.
    pub(crate) reset_seconds: u32,
    /// Until it lets the next one in; 0: now.
    pub(crate) retry_after_seconds: u32,
}

/// Counters that are counted in one place.
type Group<'c> = SmallVec<[&'c Counter; 4]>;

impl Limiter {
    pub(crate) fn new(store: Option<SharedStore>, without_store: IntCounter) -> Self {
        Self::with_capacity(CAPACITY, store, without_store)
    }

    pub(super) fn with_capacity(entries: usize, store: Option<SharedStore>, without_store: IntCounter) -> Self {
        Self { table: Table::with_capacity(entries), store, without_store }
    }

    /// Whether [`Self::count_here`] is enough.
    pub(crate) fn is_here(counters: &[Counter]) -> bool {
        counters.iter().all(|counter| !counter.limit.shared)
    }

    /// Counts in this gateway alone, shared limits too.
    pub(crate) fn count_here(&self, counters: &[Counter], now: Nanos) -> Verdict {
        self.charge(counters.iter(), now)
    }

    /// Counts shared limits in the store, in one round trip, and the others here. `now` is when the request came.
    pub(crate) async fn count(&self, counters: &[Counter], now: Nanos) -> Verdict {
        if Self::is_here(counters) {
            return self.count_here(counters, now);
        }
        let Some(store) = self.store.as_ref().filter(|store| store.is_up()) else {
            return self.count_without_store(counters, now);
        };
        let (shared, here) = split(counters);
        let mut refusal = Verdict::default();
        let Some(held) = self.hold(here, now, &mut refusal) else {
            return refusal;
        };
        let Some(answer) = store.count(&shared).await else {
            drop(held);
            return self.count_without_store(counters, now);
        };
        self.remember(&shared, &answer, now);
        let mut verdict = held.settle(answer.admitted, now);
        let levels = shared.iter().zip(&answer.levels);
        verdict.standings.extend(levels.map(|(counter, level)| Standing::of_shared(counter, *level)));
        if !answer.admitted {
            verdict.refuse();
        }
        verdict
    }

    /// How limits stand. Of shared ones this is what the store last told this gateway.
    pub(crate) fn standing(&self, counters: &[Counter], now: Nanos) -> Vec<Standing> {
        let locked = self.table.lock(counters.iter(), now);
        locked.levels(now).map(|(counter, level)| Standing::of(counter, level)).collect()
    }

    /// Forgets what is full again. For a task that runs every few seconds; without it only new counters push old ones out.
    pub(crate) fn sweep(&self, now: Nanos) {
        self.table.sweep(now);
    }

    /// How many counters are in memory.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.table.len()
    }

    fn charge<'c>(&self, counters: impl Iterator<Item = &'c Counter>, now: Nanos) -> Verdict {
        let locked = self.table.lock(counters, now);
        let mut verdict = Verdict::default();
        if locked.admits(now) {
            locked.change(now, |counter, bucket| {
                bucket.charge(now);
                verdict.standings.push(Standing::of(counter, bucket.level(now)));
            });
        } else {
            verdict.standings.extend(locked.levels(now).map(|(counter, level)| Standing::of(counter, level)));
            verdict.refuse();
        }
        verdict
    }

    fn hold<'l, 'c>(&'l self, counters: Group<'c>, now: Nanos, refusal: &mut Verdict) -> Option<Held<'l, 'c>> {
        let locked = self.table.lock(counters.iter().copied(), now);
        if locked.admits(now) {
            locked.change(now, |_, bucket| bucket.hold());
            return Some(Held { table: &self.table, counters, now });
        }
        refusal.standings.extend(locked.levels(now).map(|(counter, level)| Standing::of(counter, level)));
        refusal.refuse();
        None
    }

    /// As each shared limit chose.
    fn count_without_store(&self, counters: &[Counter], now: Nanos) -> Verdict {
        self.without_store.inc();
        let denies = |counter: &&Counter| counter.limit.shared && counter.limit.on_store_error == OnStoreError::Deny;
        if let Some(denied) = counters.iter().find(denies) {
            let mut verdict = Verdict { refused: None, standings: SmallVec::new() };
            let level = Level { remaining: 0, reset_seconds: 1, retry_after_seconds: 1 };
            verdict.standings.push(Standing::of(denied, level));
            verdict.refuse();
            return verdict;
        }
        let counted = |counter: &&Counter| !counter.limit.shared || counter.limit.on_store_error != OnStoreError::Allow;
        self.charge(counters.iter().filter(counted), now)
    }

    /// Keeps what the store said: should it go away, this gateway goes on from there.
    fn remember(&self, shared: &[&Counter], answer: &Answer, now: Nanos) {
        for (counter, level) in shared.iter().zip(&answer.levels) {
            let locked = self.table.lock(std::iter::once(*counter), now);
            locked.change(now, |_, bucket| bucket.set_full_in(level.full_in_micros, now));
        }
    }
}

/// Those in the store, each once, and those here.
fn split(counters: &[Counter]) -> (Group<'_>, Group<'_>) {
    let (mut shared, mut here) = (Group::new(), Group::new());
    for counter in counters {
        let list = if counter.limit.shared { &mut shared } else { &mut here };
        if !list.iter().any(|other| other.limit.id == counter.limit.id && other.who == counter.who) {
            list.push(counter);
        }
    }
    (shared, here)
}

/// Places taken in this gateway's counters for a request that is not decided yet. Dropped, as when the client goes away meanwhile,
/// it gives them back.
struct Held<'l, 'c> {
    table: &'l Table,
    counters: Group<'c>,
    now: Nanos,
}

impl Held<'_, '_> {
    fn settle(mut self, admitted: bool, now: Nanos) -> Verdict {
        let counters = std::mem::take(&mut self.counters);
        let mut verdict = Verdict::default();
        self.table.lock(counters.iter().copied(), now).change(now, |counter, bucket| {
            bucket.release();
            if admitted {
                bucket.charge(now);
            }
            verdict.standings.push(Standing::of(counter, bucket.level(now)));
        });
        verdict
    }
}

impl Drop for Held<'_, '_> {
    fn drop(&mut self) {
        if !self.counters.is_empty() {
            let locked = self.table.lock(self.counters.iter().copied(), self.now);
            locked.change(self.now, |_, bucket| bucket.release());
        }
    }
}

// === impl Verdict ===

impl Verdict {
    /// With what was said of the request's other group.
    pub(crate) fn and(mut self, later: Self) -> Self {
        self.refused = later.refused.or(self.refused);
        self.standings.extend(later.standings);
        self
    }

    fn refuse(&mut self) {
        self.refused = self.standings.iter().max_by_key(|standing| standing.retry_after_seconds).cloned();
    }
}

impl Standing {
    fn of(counter: &Counter, level: Level) -> Self {
        Self {
            limit: counter.limit.clone(),
            remaining: level.remaining,
            reset_seconds: level.reset_seconds,
            retry_after_seconds: level.retry_after_seconds,
        }
    }

    fn of_shared(counter: &Counter, level: SharedLevel) -> Self {
        let seconds = |micros: u64| u32::try_from(micros.div_ceil(MICROS_A_SECOND)).unwrap_or(u32::MAX);
        Self {
            limit: counter.limit.clone(),
            remaining: level.remaining,
            reset_seconds: seconds(level.full_in_micros),
            retry_after_seconds: seconds(level.retry_in_micros),
        }
    }
}
