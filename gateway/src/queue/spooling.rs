//! Between queues and their spool: what is kept while a broker is away, where it goes when it is back, and how that shows.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use gateway_config::model::{Id, Queue};
use gateway_config::snapshot::{Code, CompiledQueue, Refusal};

use super::Queues;
use super::broker::{Message, PublishError};
use super::spool::{Outlet, Record, Sent, SpoolError};
use crate::live::Current;
use crate::observe::metrics::QueueMetrics;
use crate::sync::{Reason, Status};

/// How often the backlog is looked at.
const LOOK: Duration = Duration::from_secs(1);

impl Queues {
    /// Publishes, or keeps the message on disk where its queue says so and the broker did not take it.
    pub(super) async fn publish_or_keep(&self, message: &Message, patience: Duration) -> Result<(), PublishError> {
        let spools = message.queue.spools();
        if spools && self.spool.holds(message.queue.source.id) {
            // In order: behind those that wait already.
            return self.keep(message).await;
        }
        match self.brokers.publish(message, patience).await {
            Err(PublishError::Unavailable(_) | PublishError::Nacked | PublishError::Unconfirmed) if spools => {
                self.keep(message).await
            }
            published => published,
        }
    }

    async fn keep(&self, message: &Message) -> Result<(), PublishError> {
        let record = Record { id: message.id, key: message.key.clone(), event: message.event.clone() };
        self.spool.keep(record).await.map_err(|error| match error {
            SpoolError::TooLarge => PublishError::Refused(error.to_string()),
            SpoolError::Full | SpoolError::Busy => PublishError::Overloaded(error.to_string()),
            SpoolError::Disk(_) => PublishError::Unavailable(error.to_string()),
        })
    }
}

/// Spooled messages on their way to where the configuration sends them now.
pub(super) struct ToBrokers {
    pub(super) queues: Arc<Queues>,
    pub(super) current: Arc<Current>,
}

#[async_trait]
impl Outlet for ToBrokers {
    async fn publish(&self, record: &Record) -> Sent {
        let Some(queue) = find(&self.current, record.id.queue()) else {
            return Sent::Later("its queue is not configured any more".to_owned());
        };
        let patience = Duration::from_millis(u64::from(queue.source.confirm_timeout_ms));
        let message = Message { id: record.id, queue, event: record.event.clone(), key: record.key.clone() };
        match self.queues.brokers.publish(&message, patience).await {
            Ok(()) => Sent::Done,
            Err(error @ PublishError::Refused(_)) => Sent::Never(error.to_string()),
            Err(error) => Sent::Later(error.to_string()),
        }
    }

    async fn gave_up(&self, record: &Record) {
        let Some(live) = self.current.get() else { return };
        let why = "its broker refuses the message";
        if let Err(error) = self.queues.tasks.give_up(&record.id, why, &live.snapshot).await {
            tracing::warn!(%error, task = %record.id, "a task whose message was put aside still says that it is queued");
        }
    }
}

pub(super) fn find(current: &Current, id: Id<Queue>) -> Option<Arc<CompiledQueue>> {
    let live = current.get()?;
    live.snapshot.queues().find(|queue| queue.source.id == id).cloned()
}

/// Shows in the node's status and metrics what waits.
pub(super) struct Watch {
    pub(super) queues: Arc<Queues>,
    pub(super) current: Arc<Current>,
    pub(super) status: Arc<Status>,
    pub(super) metrics: QueueMetrics,
}

impl Watch {
    pub(super) async fn run(self) {
        loop {
            tokio::time::sleep(LOOK).await;
            self.look();
        }
    }

    /// Also at the start, before anybody can ask: nothing waits, says a gauge that nobody has set.
    pub(super) fn look(&self) {
        let spool = &self.queues.spool;
        let waiting: Vec<(Id<Queue>, u64)> = spool.backlog().into_iter().filter(|(_, count)| *count > 0).collect();
        let messages = waiting.iter().map(|(_, count)| count).sum::<u64>();
        self.metrics.spooled.set(i64::try_from(messages).unwrap_or(i64::MAX));
        self.metrics.spooled_bytes.set(i64::try_from(spool.bytes()).unwrap_or(i64::MAX));
        if waiting.is_empty() {
            self.status.mend(Reason::Spool);
        } else {
            let told: Vec<String> = waiting.iter().map(|(id, count)| tell(&self.current, *id, *count)).collect();
            self.status.degrade(Reason::Spool, told.join("; "));
        }
    }
}

fn tell(current: &Current, id: Id<Queue>, count: u64) -> String {
    match find(current, id) {
        Some(queue) => format!("{count} messages of queue \"{}\" wait on disk for their broker", queue.name()),
        None => format!("{count} messages wait on disk for queue {id}, which is not configured any more"),
    }
}

/// What a client is told of a message that was not taken.
pub(super) fn refusal_of(message: &Message, error: &PublishError) -> Refusal {
    let queue = message.queue.name();
    tracing::warn!(queue, task = %message.id, %error, "could not publish a message to queue {queue}");
    match error {
        PublishError::Refused(_) => Refusal::new(Code::BodyTooLarge),
        _ => Refusal::new(Code::QueueUnavailable),
    }
}
