//! What this gateway tells the fleet of its queues: how full they are where the broker tells, whether the broker is there, and what waits
//! on this disk. The admin API shows it to operators.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::stream::iter;
use gateway_config::clock::Clock;
use gateway_config::model::{Broker as Kind, Id, Queue, Timestamp};
use gateway_config::snapshot::CompiledQueue;
use gateway_config::store::{QueueReport, Store};
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::Queues;
use super::broker::Depth;
use crate::live::Current;

const REPORT_EVERY: Duration = Duration::from_secs(10);
/// How long a broker may take to say how full one queue is.
const PATIENCE: Duration = Duration::from_secs(2);
/// Brokers have other things to do.
const ASKED_AT_ONCE: usize = 8;

pub(super) struct Reporter {
    pub(super) node: Uuid,
    pub(super) queues: Arc<Queues>,
    pub(super) current: Arc<Current>,
    pub(super) store: Arc<dyn Store>,
    pub(super) clock: Arc<dyn Clock>,
}

impl Reporter {
    pub(super) async fn run(self, stop: CancellationToken) {
        let mut ticks = interval(REPORT_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut swaps = self.current.swaps();
        let reporting = async {
            // Before the first snapshot there is nothing to tell.
            while self.current.get().is_none() && swaps.changed().await.is_ok() {}
            loop {
                ticks.tick().await;
                self.report().await;
            }
        };
        stop.run_until_cancelled(reporting).await;
    }

    async fn report(&self) {
        let Some(live) = self.current.get() else { return };
        let spooled: HashMap<Id<Queue>, u64> = self.queues.spool.backlog().into_iter().collect();
        let spooled = |queue: Id<Queue>| spooled.get(&queue).copied().unwrap_or_default();
        let asking: Vec<_> = live.snapshot.queues().map(|it| self.look(it.clone(), spooled(it.source.id))).collect();
        let mut reports: Vec<QueueReport> = iter(asking).buffer_unordered(ASKED_AT_ONCE).collect().await;
        let now = self.clock.now();
        for report in &mut reports {
            report.at = now;
        }
        if let Err(error) = self.store.report_queues(self.node, &reports, now).await {
            tracing::debug!(%error, "could not report how full queues are");
        }
    }

    async fn look(&self, queue: Arc<CompiledQueue>, spooled: u64) -> QueueReport {
        let (broker_up, Depth { messages, consumers }) = self.ask(&queue).await;
        let (node, queue, at) = (self.node, queue.source.id, Timestamp::default());
        QueueReport { node, queue, messages, consumers, broker_up, spooled, at }
    }

    /// Whether the broker is there, and what it tells.
    async fn ask(&self, queue: &CompiledQueue) -> (bool, Depth) {
        // It is the database in which this report is written, and the admin API counts there itself.
        if queue.source.broker == Kind::Embedded {
            return (true, Depth::default());
        }
        let Ok(broker) = self.queues.brokers.of(&queue.source) else { return (false, Depth::default()) };
        match timeout(PATIENCE, broker.depth(queue)).await {
            Ok(Ok(depth)) => (broker.is_up(), depth),
            _ => (broker.is_up(), Depth::default()),
        }
    }
}
