//! Pushes what is due to where it is to go: one loop that claims, waits for what it pushes, and settles. What is under way is held by a
//! lease, which is extended for as long as it takes; a gateway that dies extends nothing, and another one claims it.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;
use gateway_config::clock::{Clock, new_id};
use gateway_config::master_key::MasterKey;
use gateway_config::model::{Broker, Timestamp};
use gateway_config::snapshot::{CompiledQueue, Snapshot};
use gateway_config::store::{ClaimedMessage, MessageClaim, Settlement, Store, StoreError};
use gateway_config::webhook::WebhookSecret;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::identity::egress::{Egress, Post, Reach};
use crate::live::Current;
use crate::observe::metrics::QueueMetrics;
use crate::queue::event::EVENT_TYPE;
use crate::queue::task::Tasks;
use crate::queue::webhook::{Pushed, delay, headers, later};

/// How often it is looked for what others accepted, and for what is due again.
const LOOK: Duration = Duration::from_secs(1);
/// Claimed of one queue at a time.
const MOST_CLAIMED: u32 = 64;
/// A worker that reports by itself why it failed says more than a gateway can: it has so long after its last answer.
const OWN_WORD: Duration = Duration::from_secs(5);
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

/// A message that this gateway delivers.
struct Claimed {
    id: String,
    queue: String,
    attempts: u32,
}

/// What this gateway has claimed.
struct Round {
    /// Claims are made under this name.
    worker: Uuid,
    pushing: JoinSet<(i64, Settlement)>,
    claimed: HashMap<i64, Claimed>,
    /// Known, and not written yet.
    settled: Vec<(i64, Settlement)>,
    /// Dead letters whose tasks do not say so yet, and when they will.
    given_up: VecDeque<(Instant, Claimed)>,
    extend_at: Instant,
}

impl Deliverer {
    /// Claims until `drain`; ends when all that was claimed is over, or gives it back at `stop`.
    pub(crate) async fn run(self: Arc<Self>, drain: CancellationToken, stop: CancellationToken) {
        // Leases are extended by the way.
        let mut ticks = interval(LOOK.min(self.settings.lease / 4));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut round = Round {
            worker: new_id(),
            pushing: JoinSet::new(),
            claimed: HashMap::new(),
            settled: Vec::new(),
            given_up: VecDeque::new(),
            extend_at: Instant::now(),
        };
        while !drain.is_cancelled() || !round.claimed.is_empty() {
            let mut free = BTreeSet::new();
            let mut look = false;
            tokio::select! {
                () = stop.cancelled() => break,
                () = drain.cancelled(), if !drain.is_cancelled() => {}
                () = self.accepted.notified() => look = true,
                _ = ticks.tick() => look = true,
                Some(over) = round.pushing.join_next() => round.over(over),
            }
            while let Some(over) = round.pushing.try_join_next() {
                round.over(over);
            }
            self.settle(&mut round, &mut free).await;
            self.tell(&mut round, Instant::now()).await;
            self.extend(&mut round).await;
            if !drain.is_cancelled() {
                self.claim(&mut round, free, look).await;
            }
        }
        self.give_back(round).await;
    }

    /// Writes what is known. What can't be written now is written later; meanwhile its lease may run out, and it comes again.
    async fn settle(&self, round: &mut Round, free: &mut BTreeSet<String>) {
        if round.settled.is_empty() {
            return;
        }
        match self.store.settle_messages(round.worker, &round.settled).await {
            Ok(()) => {
                for (number, settlement) in round.settled.drain(..) {
                    let Some(claimed) = round.claimed.remove(&number) else { continue };
                    free.insert(claimed.queue.clone());
                    if matches!(settlement, Settlement::Dead { .. }) {
                        round.given_up.push_back((Instant::now() + OWN_WORD, claimed));
                    }
                }
            }
            Err(error) => {
                away(&error);
                // Not at once again: that would be a loop without a pause.
                tokio::time::sleep(LOOK).await;
            }
        }
    }

    /// Whoever waits for a task hears that nobody works on it any more, if it was given up before `now`.
    async fn tell(&self, round: &mut Round, now: Instant) {
        let Some(live) = self.current.get() else { return };
        while let Some((_, claimed)) = round.given_up.front().filter(|(at, _)| *at <= now) {
            if let Err(error) = self.tell_of(claimed, &live.snapshot).await {
                return away(&error);
            }
            round.given_up.pop_front();
        }
    }

    async fn tell_of(&self, Claimed { id, attempts, .. }: &Claimed, snapshot: &Snapshot) -> Result<(), StoreError> {
        // Replayed meanwhile, or somebody else's since a lease ran out: it is not over.
        let Ok(task) = id.parse() else { return Ok(()) };
        if !self.store.is_dead_letter(id).await? {
            return Ok(());
        }
        self.tasks.give_up(&task, &format!("given up after {attempts} attempts"), snapshot).await
    }

    async fn extend(&self, round: &mut Round) {
        if round.claimed.is_empty() || Instant::now() < round.extend_at {
            return;
        }
        round.extend_at = Instant::now() + self.settings.lease / 3;
        let numbers: Vec<i64> = round.claimed.keys().copied().collect();
        if let Err(error) = self.store.extend_messages(round.worker, &numbers, self.lease_end()).await {
            away(&error);
        }
    }

    /// Of the queues that have room again, and, after a look, of all that have something due.
    async fn claim(&self, round: &mut Round, free: BTreeSet<String>, look: bool) {
        let Some(live) = self.current.get() else { return };
        let queues = deliverable(&live.snapshot);
        if queues.is_empty() {
            return;
        }
        let mut names = free;
        if look {
            match self.store.due_queues(self.clock.now()).await {
                Ok(due) => names.extend(due),
                Err(error) => return away(&error),
            }
        }
        for name in names {
            let Some(queue) = queues.get(name.as_str()) else { continue };
            if let Err(error) = self.claim_of(round, queue).await {
                return away(&error);
            }
        }
    }

    async fn claim_of(&self, round: &mut Round, queue: &Arc<CompiledQueue>) -> Result<(), StoreError> {
        let concurrency = queue.source.concurrency;
        let here = round.claimed.values().filter(|claimed| claimed.queue == queue.name()).count();
        let limit = concurrency.saturating_sub(u32::try_from(here).unwrap_or(u32::MAX)).min(MOST_CLAIMED);
        if limit == 0 {
            return Ok(());
        }
        let (now, until) = (self.clock.now(), self.lease_end());
        let claim = MessageClaim { queue: queue.name(), worker: round.worker, now, until, limit, concurrency };
        let claimed = self.store.claim_messages(&claim).await?;
        if round.claimed.is_empty() {
            round.extend_at = Instant::now() + self.settings.lease / 3;
        }
        for message in claimed {
            let ClaimedMessage { id, queue: name, attempts, .. } = &message;
            let claimed = Claimed { id: id.clone(), queue: name.clone(), attempts: *attempts };
            round.claimed.insert(message.number, claimed);
            // Where the master key is, the secret is derived in a moment.
            let secret = WebhookSecret::of_queue(&self.master, queue.source.id);
            let (number, broken) =
                (message.number, Settlement::Retry { at: later(now, LOOK), error: FAULT.to_owned() });
            let pushing = AssertUnwindSafe(push(self.parts(), queue.clone(), message, secret)).catch_unwind();
            round.pushing.spawn(async move { pushing.await.unwrap_or((number, broken)) });
        }
        Ok(())
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

    /// At the end: others deliver what was not over in time.
    async fn give_back(&self, mut round: Round) {
        round.pushing.abort_all();
        while let Some(over) = round.pushing.join_next().await {
            round.over(over);
        }
        let known: BTreeSet<i64> = round.settled.iter().map(|(number, _)| *number).collect();
        let at = self.clock.now();
        let left = round.claimed.keys().filter(|number| !known.contains(number));
        let left: Vec<_> = left.map(|number| (*number, Settlement::GiveBack { at })).collect();
        round.settled.extend(left);
        self.settle(&mut round, &mut BTreeSet::new()).await;
        self.tell(&mut round, Instant::now() + OWN_WORD).await;
    }
}

impl Round {
    fn over(&mut self, joined: Result<(i64, Settlement), tokio::task::JoinError>) {
        // One that was aborted is not known.
        self.settled.extend(joined);
    }
}

/// The embedded queues that are delivered, by name.
fn deliverable(snapshot: &Snapshot) -> HashMap<&str, &Arc<CompiledQueue>> {
    let embedded = |queue: &&Arc<CompiledQueue>| queue.source.broker == Broker::Embedded && queue.source.is_active;
    snapshot.queues().filter(embedded).map(|queue| (queue.name(), queue)).collect()
}

/// What one push needs.
struct Parts {
    egress: Arc<Egress>,
    clock: Arc<dyn Clock>,
    tasks: Arc<Tasks>,
    metrics: QueueMetrics,
    timeout: Duration,
}

async fn push(
    parts: Parts,
    queue: Arc<CompiledQueue>,
    message: ClaimedMessage,
    secret: WebhookSecret,
) -> (i64, Settlement) {
    if message.is_replayed()
        && let Err(error) = parts.tasks.reopen(&message.id).await
    {
        away(&error);
    }
    let ClaimedMessage { number, id, event, attempts, .. } = message;
    let body = Bytes::from(event);
    let headers = headers(&secret, &id, parts.clock.now(), EVENT_TYPE, &body);
    let url = queue.source.destination.deliver_to.as_deref().unwrap_or_default();
    let outcome = parts.egress.post(Post { url, headers, body, timeout: parts.timeout, reach: Reach::Any }).await;
    let at = parts.clock.now();
    let name = queue.name();
    let settlement = match Pushed::of(outcome) {
        Pushed::Taken => Settlement::Done,
        Pushed::Failed { error, not_before } if attempts < queue.source.max_attempts => {
            Settlement::Retry { at: later(at, delay(attempts, not_before, rand::random())), error }
        }
        Pushed::Failed { error, .. } | Pushed::Gone { error } => {
            tracing::warn!(queue = name, task = id, attempts, error, "a message of queue {name} is a dead letter");
            Settlement::Dead { at, error }
        }
    };
    let result = match settlement {
        Settlement::Done => "delivered",
        Settlement::Retry { .. } | Settlement::GiveBack { .. } => "retry",
        Settlement::Dead { .. } => "dead",
    };
    parts.metrics.delivered(name, result);
    (number, settlement)
}

/// Said at debug level: that the database is away is told by those who watch it.
fn away(error: &StoreError) {
    tracing::debug!(%error, "embedded queues can't be worked on: the database is away");
}
