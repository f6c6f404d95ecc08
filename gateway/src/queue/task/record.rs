//! The records of tasks: claimed before publishing where an `Idempotency-Key` demands it, written behind in batches else.

use std::sync::Arc;
use std::time::{Duration, Instant};

use gateway_config::clock::Clock;
use gateway_config::model::{Task, TaskStatus, Timestamp};
use gateway_config::snapshot::Snapshot;
use gateway_config::store::{Reported, Store, StoreError, TaskClaim, TaskReport};
use prometheus::IntCounter;
use serde_json::json;
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::TaskId;
use super::follow::Followers;
use super::keeper::Keeper;
use super::outage::Outage;
use crate::queue::webhook::later;

/// Records that may wait to be written, as while the database is away.
const WAITING: usize = 50_000;

/// A task that is about to be accepted.
#[derive(Clone, Debug)]
pub(crate) struct NewTask {
    pub(crate) id: TaskId,
    pub(crate) queue: String,
    pub(crate) application: Option<String>,
    /// Who called, where a token said so.
    pub(crate) subject: Option<String>,
    /// By it the same body is known again.
    pub(crate) body_hash: String,
    pub(crate) callback_url: Option<String>,
    pub(crate) is_idempotent: bool,
    pub(crate) created_at: Timestamp,
}

/// Whose an `Idempotency-Key` is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Claim {
    /// Nobody's so far; or claimed before, but never published.
    New,
    /// The first answer holds; this is the status now.
    Same(&'static str),
    OtherBody,
    /// The database is away: the id is the same anyway, and workers sort it out.
    Unknown,
}

#[derive(Debug)]
pub(crate) struct Tasks {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    ttl: Duration,
    notes: mpsc::Sender<Task>,
    dropped: IntCounter,
    /// Of the database, as those see it who would have to wait for it.
    outage: Outage,
    pub(super) followers: Arc<Followers>,
    /// A task has ended that somebody may have to be told of.
    ended: Arc<Notify>,
}

impl Tasks {
    /// Also starts what writes behind, forgets and follows; the handle ends with `stop`, when all is written that can be.
    pub(crate) fn open(
        store: Arc<dyn Store>,
        clock: Arc<dyn Clock>,
        ttl: Duration,
        dropped: IntCounter,
        ended: Arc<Notify>,
        stop: &CancellationToken,
    ) -> (Self, JoinHandle<()>) {
        let (notes, waiting) = mpsc::channel(WAITING);
        let keeper = Keeper { store: store.clone(), clock: clock.clone(), dropped: dropped.clone(), waiting };
        let keeping = tokio::spawn(keeper.run(stop.clone()));
        let followers = Arc::new(Followers::default());
        let looking = followers.clone().look_forever(store.clone());
        let until_stop = stop.clone();
        tokio::spawn(async move { until_stop.run_until_cancelled(looking).await });
        (Self { store, clock, ttl, notes, dropped, outage: Outage::default(), followers, ended }, keeping)
    }

    pub(crate) async fn claim(&self, task: &NewTask) -> Claim {
        if self.outage.lasts(Instant::now()) {
            return Claim::Unknown;
        }
        let record = Task { is_published: false, ..self.record(task) };
        let claimed = self.store.claim_task(&record).await;
        self.outage.heard(&claimed, Instant::now());
        match claimed {
            Ok(TaskClaim::New | TaskClaim::Same { is_published: false, .. }) => Claim::New,
            Ok(TaskClaim::Same { status, .. }) => Claim::Same(status.word()),
            Ok(TaskClaim::OtherBody) => Claim::OtherBody,
            Err(error) => {
                tracing::debug!(%error, task = %task.id, "could not claim a task");
                Claim::Unknown
            }
        }
    }

    /// The task was published. A claim is marked at once, or the same request a moment later would publish it again.
    pub(crate) async fn note(&self, task: NewTask) {
        let record = self.record(&task);
        if task.is_idempotent && !self.outage.lasts(Instant::now()) {
            let noted = self.store.note_tasks(std::slice::from_ref(&record)).await;
            self.outage.heard(&noted, Instant::now());
            if noted.is_ok() {
                return;
            }
        }
        if self.notes.try_send(record).is_err() {
            self.dropped.inc();
        }
    }

    fn record(&self, task: &NewTask) -> Task {
        let owner = task.id.owner();
        Task {
            id: task.id.to_string(),
            queue: task.queue.clone(),
            application: task.application.clone(),
            application_id: Some(owner).filter(|owner| !owner.is_nil()),
            subject: task.subject.clone(),
            status: TaskStatus::Queued,
            body_hash: task.body_hash.clone(),
            is_published: true,
            result: None,
            error: None,
            created_at: task.created_at,
            updated_at: task.created_at,
            finished_at: None,
            expires_at: later(task.created_at, self.ttl),
            callback_url: task.callback_url.clone(),
        }
    }

    /// What is known of it; none where no record is there.
    pub(super) async fn find(&self, id: &TaskId) -> Result<Option<Task>, StoreError> {
        Ok(self.store.tasks(&[id.to_string()]).await?.pop())
    }

    /// It was made so long ago that its record is forgotten.
    pub(super) fn is_forgotten(&self, id: &TaskId) -> bool {
        id.made_at().is_some_and(|made| later(made, self.ttl) <= self.clock.now())
    }

    /// What a worker says. `names`: the queue's and the application's, where no record tells them.
    pub(super) async fn report(&self, id: &TaskId, said: Said, names: Names) -> Result<Reported, StoreError> {
        let now = self.clock.now();
        let owner = id.owner();
        let Said { status, result, error } = said;
        let task = Task {
            id: id.to_string(),
            queue: names.queue,
            application: names.application,
            application_id: Some(owner).filter(|owner| !owner.is_nil()),
            subject: None,
            status,
            body_hash: String::new(),
            is_published: true,
            result,
            error,
            created_at: id.made_at().unwrap_or(now),
            updated_at: now,
            finished_at: status.is_final().then_some(now),
            expires_at: later(now, self.ttl),
            callback_url: None,
        };
        let reported = self.store.report_task(&TaskReport { task }).await?;
        if let Reported::Changed(task) = &reported {
            self.followers.tell(task);
            if task.callback_url.is_some() && status.is_final() {
                self.ended.notify_one();
            }
        }
        Ok(reported)
    }

    /// Nobody works on it any more, and its worker did not say so. What was wrong is the operator's to know, not the client's.
    pub(crate) async fn give_up(&self, id: &TaskId, why: &str, snapshot: &Snapshot) -> Result<(), StoreError> {
        let error = json!({"code": "dead_letter", "message": why});
        let said = Said { status: TaskStatus::Failed, result: None, error: Some(error) };
        self.report(id, said, Names::of(snapshot, id)).await.map(drop)
    }

    /// A dead letter is delivered once more.
    pub(crate) async fn reopen(&self, id: &str) -> Result<(), StoreError> {
        self.store.reopen_task(id, self.clock.now()).await
    }
}

/// What a worker said of a task.
#[derive(Clone, Debug)]
pub(super) struct Said {
    pub(super) status: TaskStatus,
    pub(super) result: Option<serde_json::Value>,
    pub(super) error: Option<serde_json::Value>,
}

/// Of those that an id names, as the snapshot calls them.
#[derive(Clone, Debug, Default)]
pub(super) struct Names {
    pub(super) queue: String,
    pub(super) application: Option<String>,
}

impl Names {
    pub(super) fn of(snapshot: &Snapshot, id: &TaskId) -> Self {
        let queue = snapshot.queues().find(|queue| queue.source.id == id.queue());
        let application = snapshot.applications().find(|application| application.source.id == id.owner());
        Self {
            queue: queue.map(|queue| queue.name().to_owned()).unwrap_or_default(),
            application: application.map(|application| application.source.name.clone()),
        }
    }
}
