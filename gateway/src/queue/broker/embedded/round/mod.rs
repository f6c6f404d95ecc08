//! What this gateway knows of what it delivers: what it has claimed, what came of it, and what is being asked of the database. Nothing
//! here waits.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use gateway_config::clock::new_id;
use gateway_config::model::{Broker, Timestamp};
use gateway_config::snapshot::{CompiledQueue, Snapshot};
use gateway_config::store::{Claim, Settlement, StoreError};
use tokio::task::{JoinError, JoinSet};
use tokio::time::Instant;
use uuid::Uuid;

use super::deliverer::away;
use super::lane::{Ask, Lane};

/// How often it is looked for what others accepted, and for what is due again.
pub(super) const LOOK: Duration = Duration::from_secs(1);
/// A worker that reports by itself why it failed says more than a gateway can: it has so long after its last answer.
pub(super) const OWN_WORD: Duration = Duration::from_secs(5);
/// What comes of pushes is gathered so long, or until it is so much: a transaction costs the same for one as for many. After a kill what
/// was gathered is pushed once more.
const GATHER: Duration = Duration::from_millis(5);
const GATHERED: usize = 64;
/// When so much is known and not written, nothing more is pushed: after a kill it would all come twice.
const MOST_UNWRITTEN: usize = 512;

/// What one push came to.
pub(super) type Over = (Arc<CompiledQueue>, i64, Settlement);

/// A message that this gateway delivers.
#[derive(Debug)]
pub(super) struct Claimed {
    pub(super) id: String,
    pub(super) attempts: u32,
    /// When its lease runs out.
    until: Timestamp,
}

impl Claimed {
    pub(super) fn is_held(&self, now: Timestamp) -> bool {
        self.until > now
    }
}

/// What came of a question to the database.
pub(super) enum Done {
    Claimed {
        queue: Arc<CompiledQueue>,
        ask: Ask,
        until: Timestamp,
        outcome: Result<Claim, StoreError>,
    },
    Written {
        settled: Vec<(i64, Settlement)>,
        left: Vec<String>,
        outcome: Result<(), StoreError>,
    },
    Extended {
        asked: Vec<i64>,
        until: Timestamp,
        outcome: Result<Vec<i64>, StoreError>,
    },
    Looked(Result<Vec<String>, StoreError>),
    /// What could not be told.
    Told(Vec<(Instant, Claimed)>),
}

pub(super) struct Round {
    /// Claims are made under this name.
    pub(super) worker: Uuid,
    pub(super) lanes: BTreeMap<String, Lane>,
    pub(super) pushing: JoinSet<Over>,
    pub(super) asked: FuturesUnordered<BoxFuture<'static, Done>>,
    pub(super) claimed: HashMap<i64, Claimed>,
    /// Known, and not written yet.
    pub(super) settled: Vec<(i64, Settlement)>,
    /// Dead letters whose tasks do not say so yet, and when they will.
    pub(super) given_up: VecDeque<(Instant, Claimed)>,
    pub(super) write_at: Instant,
    pub(super) extend_at: Instant,
    /// The database was away when something was to be written.
    pub(super) is_away: bool,
    pub(super) is_writing: bool,
    pub(super) is_extending: bool,
    pub(super) is_looking: bool,
    pub(super) is_telling: bool,
    pub(super) claims: usize,
    /// The queue that was claimed of last: the next one is next.
    pub(super) turn: String,
    /// Something may be due that is not known to be.
    pub(super) look: bool,
    pub(super) is_draining: bool,
}

impl Round {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            worker: new_id(),
            lanes: BTreeMap::new(),
            pushing: JoinSet::new(),
            asked: FuturesUnordered::new(),
            claimed: HashMap::new(),
            settled: Vec::new(),
            given_up: VecDeque::new(),
            write_at: now,
            extend_at: now,
            is_away: false,
            is_writing: false,
            is_extending: false,
            is_looking: false,
            is_telling: false,
            claims: 0,
            turn: String::new(),
            look: false,
            is_draining: false,
        }
    }

    /// Nothing is left of what was claimed.
    pub(super) fn is_over(&self) -> bool {
        self.lanes.is_empty() && self.claimed.is_empty()
    }

    pub(super) fn settle(&mut self, number: i64, settlement: Settlement, now: Instant) {
        if self.settled.is_empty() && !self.is_away {
            self.write_at = now + GATHER;
        }
        self.settled.push((number, settlement));
    }

    pub(super) fn pushed(&mut self, over: Result<Over, JoinError>, now: Instant) {
        // One that was aborted is not known.
        let Ok((queue, number, settlement)) = over else { return };
        if let Some(lane) = self.lanes.get_mut(queue.name()) {
            lane.pushed(now);
        }
        self.settle(number, settlement, now);
    }

    pub(super) fn may_push(&self) -> bool {
        !self.is_away && !self.is_draining && self.settled.len() < MOST_UNWRITTEN
    }

    /// Whether to write now what is known.
    pub(super) fn may_write(&self, now: Instant) -> bool {
        // Two transactions over the same rows could wait for each other.
        if self.is_writing || self.is_extending || (self.is_away && now < self.write_at) {
            return false;
        }
        let is_gathered = now >= self.write_at || self.settled.len() >= GATHERED || self.pushing.is_empty();
        self.settled.is_empty() || is_gathered
    }

    pub(super) fn answered(&mut self, done: Done, snapshot: Option<&Snapshot>, at: Timestamp) {
        let now = Instant::now();
        match done {
            Done::Claimed { queue, ask, until, outcome } => self.have_claimed(&queue, ask, until, outcome, (now, at)),
            Done::Written { settled, left, outcome } => self.have_written(settled, &left, outcome, now),
            Done::Extended { asked, until, outcome } => self.have_extended(&asked, until, outcome),
            Done::Looked(outcome) => {
                self.is_looking = false;
                // With nothing to be written no write would find out.
                self.is_away &= outcome.is_err() || !self.settled.is_empty();
                match (outcome, snapshot) {
                    (Ok(due), Some(snapshot)) => self.are_due(&due, snapshot, (now, at)),
                    (Ok(_), None) => {}
                    (Err(error), _) => away(&error),
                }
            }
            Done::Told(left) => {
                self.is_telling = false;
                for entry in left.into_iter().rev() {
                    self.given_up.push_front(entry);
                }
            }
        }
    }

    fn have_claimed(
        &mut self,
        queue: &CompiledQueue,
        ask: Ask,
        until: Timestamp,
        outcome: Result<Claim, StoreError>,
        (now, at): (Instant, Timestamp),
    ) {
        self.claims = self.claims.saturating_sub(1);
        let Some(lane) = self.lanes.get_mut(queue.name()) else { return };
        match outcome {
            Ok(claim) => {
                for message in &claim.messages {
                    let claimed = Claimed { id: message.id.clone(), attempts: message.attempts, until };
                    self.claimed.insert(message.number, claimed);
                }
                lane.claimed(claim, ask, now);
            }
            Err(error) => {
                away(&error);
                lane.claim_failed();
            }
        }
        if self.is_draining {
            self.drain(now, at);
        }
    }

    fn have_written(
        &mut self,
        settled: Vec<(i64, Settlement)>,
        left: &[String],
        outcome: Result<(), StoreError>,
        now: Instant,
    ) {
        (self.is_writing, self.is_away) = (false, outcome.is_err());
        for name in left {
            if self.lanes.get_mut(name).is_some_and(|lane| lane.left(outcome.is_ok())) {
                self.lanes.remove(name);
            }
        }
        if let Err(error) = outcome {
            away(&error);
            // Not at once again. Meanwhile its lease may run out, and it comes again.
            self.write_at = now + LOOK;
            self.settled.extend(settled);
            return;
        }
        for (number, settlement) in settled {
            let Some(claimed) = self.claimed.remove(&number) else { continue };
            if matches!(settlement, Settlement::Dead { .. }) {
                self.given_up.push_back((now + OWN_WORD, claimed));
            }
        }
    }

    fn have_extended(&mut self, asked: &[i64], until: Timestamp, outcome: Result<Vec<i64>, StoreError>) {
        self.is_extending = false;
        let kept: HashSet<i64> = match outcome {
            Ok(kept) => kept.into_iter().collect(),
            Err(error) => return away(&error),
        };
        for number in &kept {
            if let Some(claimed) = self.claimed.get_mut(number) {
                claimed.until = until;
            }
        }
        // Somebody else has them by now. What is being pushed is settled in vain.
        let lost: HashSet<i64> = asked.iter().copied().filter(|number| !kept.contains(number)).collect();
        if lost.is_empty() {
            return;
        }
        for lane in self.lanes.values_mut() {
            for number in lane.drop_held(|number| lost.contains(&number)) {
                self.claimed.remove(&number);
            }
        }
    }

    fn are_due(&mut self, due: &[String], snapshot: &Snapshot, (now, at): (Instant, Timestamp)) {
        for name in due {
            let Some(queue) = deliverable(snapshot, name) else { continue };
            let lane = self.lanes.entry(name.clone()).or_insert_with(|| Lane::new(queue.clone(), now));
            lane.queue = queue.clone();
            lane.found_due();
        }
        let mut given_back = Vec::new();
        for (name, lane) in &mut self.lanes {
            if deliverable(snapshot, name).is_none() {
                lane.close();
                given_back.extend(lane.drop_held(|_| true));
            }
        }
        for number in given_back {
            self.settle(number, Settlement::GiveBack { at }, now);
        }
    }

    /// Nothing more is begun: what waits here for its push is given back to others.
    pub(super) fn drain(&mut self, now: Instant, at: Timestamp) {
        self.is_draining = true;
        let mut given_back = Vec::new();
        for lane in self.lanes.values_mut() {
            lane.close();
            given_back.extend(lane.drop_held(|_| true));
        }
        for number in given_back {
            self.settle(number, Settlement::GiveBack { at }, now);
        }
    }
}

/// The queue, if it is an embedded one that is delivered.
pub(super) fn deliverable<'a>(snapshot: &'a Snapshot, name: &str) -> Option<&'a Arc<CompiledQueue>> {
    snapshot.queue(name).filter(|queue| is_deliverable(queue))
}

pub(super) fn is_deliverable(queue: &CompiledQueue) -> bool {
    queue.source.broker == Broker::Embedded && queue.source.is_active
}

#[cfg(test)]
mod tests;
