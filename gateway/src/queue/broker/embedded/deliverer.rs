//! Pushes what is due to where it is to go. One loop starts pushes and notes what comes of them; beside it the database is asked, by few
//! and large transactions: messages are claimed ahead of their push, as many as a quarter of a second takes, and what is over is
//! written together. What is claimed is held by a lease, which is extended for as long as it takes; a gateway that dies extends nothing, and
//! another one claims it.

use std::collections::HashSet;
use std::ops::Bound;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures::{FutureExt, StreamExt};
use gateway_config::clock::Clock;
use gateway_config::master_key::MasterKey;
use gateway_config::model::Timestamp;
use gateway_config::snapshot::Snapshot;
use gateway_config::store::{MessageClaim, Settlement, Store, StoreError};
use gateway_config::webhook::WebhookSecret;
use tokio::sync::Notify;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};
use tokio_util::sync::CancellationToken;

use super::lane::Lane;
use super::push::{Parts, push};
use super::round::{Claimed, Done, LOOK, Round, is_deliverable};
use crate::identity::egress::Egress;
use crate::live::Current;
use crate::observe::metrics::QueueMetrics;
use crate::queue::task::Tasks;
use crate::queue::webhook::later;

/// At the same time, each of another queue.
const MOST_CLAIMS: usize = 2;
/// Dead letters whose tasks are told in one go.
const TOLD_AT_ONCE: usize = 32;
/// A push that panicked must not hold its message for ever.
const FAULT: &str = "a fault in the gateway";

#[derive(Clone, Copy, Debug)]
pub(crate) struct DeliverySettings {
    /// The longest that a worker may take to answer.
    pub(crate) timeout: Duration,
    pub(crate) lease: Duration,
}

/// Pushes messages of embedded queues.
#[derive(Debug)]
pub(crate) struct Deliverer {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) egress: Arc<Egress>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) current: Arc<Current>,
    pub(crate) tasks: Arc<Tasks>,
    pub(crate) master: MasterKey,
    pub(crate) metrics: QueueMetrics,
    pub(crate) settings: DeliverySettings,
    /// Something was accepted here.
    pub(crate) accepted: Arc<Notify>,
}

impl Deliverer {
    /// Claims until `drain`; ends when all that was being pushed is over, or gives it back at `stop`.
    pub(crate) async fn run(self: Arc<Self>, drain: CancellationToken, stop: CancellationToken) {
        // Leases are extended by the way.
        let mut ticks = interval(LOOK.min(self.settings.lease / 4));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut round = Round::new(Instant::now());
        while !round.is_draining || !round.is_over() {
            tokio::select! {
                () = stop.cancelled() => break,
                () = drain.cancelled(), if !round.is_draining => round.drain(Instant::now(), self.clock.now()),
                () = self.accepted.notified() => round.look = true,
                _ = ticks.tick() => round.look = true,
                Some(over) = round.pushing.join_next() => round.pushed(over, Instant::now()),
                Some(done) = round.asked.next() => self.answered(&mut round, done),
                () = sleep_until(round.write_at), if !round.settled.is_empty() && !round.is_writing => {}
            }
            while let Some(over) = round.pushing.try_join_next() {
                round.pushed(over, Instant::now());
            }
            self.push(&mut round);
            self.extend(&mut round);
            self.write(&mut round);
            self.tell(&mut round, Instant::now());
            if !round.is_draining {
                self.look(&mut round);
                self.claim(&mut round);
            }
        }
        self.give_back(round).await;
    }

    fn answered(&self, round: &mut Round, done: Done) {
        let live = self.current.get();
        round.answered(done, live.as_ref().map(|live| &*live.snapshot), self.clock.now());
    }

    /// As many as may be under way, of those whose lease still holds.
    fn push(&self, round: &mut Round) {
        let now = self.clock.now();
        let mut lapsed = Vec::new();
        if !round.may_push() {
            return;
        }
        for lane in round.lanes.values_mut() {
            while let Some(message) = lane.next() {
                let number = message.number;
                if round.claimed.get(&number).is_none_or(|claimed| !claimed.is_held(now)) {
                    lane.skipped();
                    lapsed.push(number);
                    continue;
                }
                let queue = lane.queue.clone();
                // Where the master key is, the secret is derived in a moment.
                let secret = WebhookSecret::of_queue(&self.master, queue.source.id);
                let broken = Settlement::Retry { at: later(now, LOOK), error: FAULT.to_owned() };
                let pushing = AssertUnwindSafe(push(self.parts(), queue.clone(), message, secret)).catch_unwind();
                round.pushing.spawn(async move { (queue, number, pushing.await.unwrap_or(broken)) });
            }
        }
        for number in lapsed {
            round.settle(number, Settlement::GiveBack { at: now }, Instant::now());
        }
    }

    /// Writes what is known, many in one transaction, and which queues this gateway has nothing of any more.
    fn write(self: &Arc<Self>, round: &mut Round) {
        if !round.may_write(Instant::now()) {
            return;
        }
        let lanes = round.lanes.iter_mut();
        let left: Vec<String> = lanes.filter_map(|(name, lane)| lane.leaves().then(|| name.clone())).collect();
        if left.is_empty() && round.settled.is_empty() {
            return;
        }
        round.is_writing = true;
        let (own, worker, settled) = (Arc::clone(self), round.worker, std::mem::take(&mut round.settled));
        let writing = async move {
            let outcome = own.store.settle_messages(worker, &settled, &left).await;
            Done::Written { settled, left, outcome }
        };
        round.asked.push(writing.boxed());
    }

    fn extend(self: &Arc<Self>, round: &mut Round) {
        let now = Instant::now();
        if round.lanes.is_empty() {
            round.extend_at = now + self.settings.lease / 3;
        }
        if round.is_extending || round.is_writing || now < round.extend_at {
            return;
        }
        round.is_extending = true;
        round.extend_at = now + self.settings.lease / 3;
        let asked: Vec<i64> = round.claimed.keys().copied().collect();
        let (own, worker, until) = (Arc::clone(self), round.worker, self.lease_end());
        let extending = async move {
            let outcome = own.store.extend_messages(worker, &asked, until).await;
            Done::Extended { asked, until, outcome }
        };
        round.asked.push(extending.boxed());
    }

    /// Whoever waits for a task hears that nobody works on it any more, if it was given up before `now`.
    fn tell(self: &Arc<Self>, round: &mut Round, now: Instant) {
        if round.is_telling || round.given_up.front().is_none_or(|(at, _)| *at > now) {
            return;
        }
        let Some(live) = self.current.get() else { return };
        let count = round.given_up.iter().take(TOLD_AT_ONCE).take_while(|(at, _)| *at <= now).count();
        let entries: Vec<_> = round.given_up.drain(..count).collect();
        round.is_telling = true;
        let own = Arc::clone(self);
        let telling = async move {
            let mut entries = entries.into_iter();
            while let Some((_, claimed)) = entries.next() {
                if let Err(error) = own.tell_of(&claimed, &live.snapshot).await {
                    away(&error);
                    let again = Instant::now() + LOOK;
                    return Done::Told(std::iter::once((again, claimed)).chain(entries).collect());
                }
            }
            Done::Told(Vec::new())
        };
        round.asked.push(telling.boxed());
    }

    async fn tell_of(&self, Claimed { id, attempts, .. }: &Claimed, snapshot: &Snapshot) -> Result<(), StoreError> {
        // Replayed meanwhile, or somebody else's since a lease ran out: it is not over.
        let Ok(task) = id.parse() else { return Ok(()) };
        if !self.store.is_dead_letter(id).await? {
            return Ok(());
        }
        self.tasks.give_up(&task, &format!("given up after {attempts} attempts"), snapshot).await
    }

    /// Asks what is due, unless that is known of every queue.
    fn look(self: &Arc<Self>, round: &mut Round) {
        let Some(live) = self.current.get() else { return };
        if !round.look || round.is_looking {
            return;
        }
        round.look = false;
        let mut queues = live.snapshot.queues().filter(|queue| is_deliverable(queue)).peekable();
        if queues.peek().is_none() && round.lanes.is_empty() {
            return;
        }
        if !round.is_away && queues.all(|queue| round.lanes.get(queue.name()).is_some_and(Lane::is_due)) {
            return round.lanes.values_mut().for_each(Lane::found_due);
        }
        round.is_looking = true;
        let own = Arc::clone(self);
        let looking = async move { Done::Looked(own.store.due_queues(own.clock.now()).await) };
        round.asked.push(looking.boxed());
    }

    /// Of the queues that have room, one after the other.
    fn claim(self: &Arc<Self>, round: &mut Round) {
        if round.is_away || round.claims >= MOST_CLAIMS {
            return;
        }
        let now = Instant::now();
        let behind = (Bound::Excluded(round.turn.clone()), Bound::Unbounded);
        let names = round.lanes.range(behind).chain(round.lanes.range(..=round.turn.clone()));
        let names: Vec<String> = names.map(|(name, _)| name.clone()).collect();
        for name in names {
            if round.claims >= MOST_CLAIMS {
                return;
            }
            let Some(lane) = round.lanes.get_mut(&name) else { continue };
            let Some(ask) = lane.ask(now) else { continue };
            round.claims += 1;
            let (own, worker, queue) = (Arc::clone(self), round.worker, lane.queue.clone());
            let claiming = async move {
                let (now, until) = (own.clock.now(), own.lease_end());
                let (name, limit, concurrency) = (queue.name(), ask.limit, queue.source.concurrency);
                let claim = MessageClaim { queue: name, worker, now, until, limit, concurrency, here: ask.here };
                let outcome = own.store.claim_messages(&claim).await;
                Done::Claimed { queue, ask, until, outcome }
            };
            round.asked.push(claiming.boxed());
            round.turn = name;
        }
    }

    fn parts(&self) -> Parts {
        Parts {
            egress: self.egress.clone(),
            clock: self.clock.clone(),
            tasks: self.tasks.clone(),
            metrics: self.metrics.clone(),
            timeout: self.settings.timeout,
        }
    }

    fn lease_end(&self) -> Timestamp {
        later(self.clock.now(), self.settings.lease)
    }

    /// At the end: others deliver what was not over in time, also what a claim brings that is still under way.
    async fn give_back(self: Arc<Self>, mut round: Round) {
        round.drain(Instant::now(), self.clock.now());
        round.pushing.abort_all();
        while let Some(over) = round.pushing.join_next().await {
            round.pushed(over, Instant::now());
        }
        while let Some(done) = round.asked.next().await {
            self.answered(&mut round, done);
        }
        let at = self.clock.now();
        let known: HashSet<i64> = round.settled.iter().map(|(number, _)| *number).collect();
        let begun = round.claimed.keys().filter(|number| !known.contains(number));
        let begun: Vec<_> = begun.map(|number| (*number, Settlement::GiveBack { at })).collect();
        round.settled.extend(begun);
        let left: Vec<String> = round.lanes.keys().cloned().collect();
        if !(left.is_empty() && round.settled.is_empty()) {
            let settled = std::mem::take(&mut round.settled);
            let outcome = self.store.settle_messages(round.worker, &settled, &left).await;
            self.answered(&mut round, Done::Written { settled, left, outcome });
        }
        let Some(live) = self.current.get() else { return };
        for (_, claimed) in &round.given_up {
            if let Err(error) = self.tell_of(claimed, &live.snapshot).await {
                return away(&error);
            }
        }
    }
}

/// Said at debug level: that the database is away is told by those who watch it.
pub(super) fn away(error: &StoreError) {
    tracing::debug!(%error, "embedded queues can't be worked on: the database is away");
}
