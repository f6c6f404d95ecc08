//! What this gateway tells of its queues: how full they are where the broker tells, whether the broker is there, and what waits on this
//! disk. The admin API shows it to operators, and its own metrics say it, too.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::stream::iter;
use gateway_config::clock::Clock;
use gateway_config::model::{Broker as Kind, Id, Queue};
use gateway_config::snapshot::CompiledQueue;
use gateway_config::store::{QueueReport, Store};
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::Queues;
use super::broker::Depth;
use crate::live::Current;
use crate::observe::metrics::QueueMetrics;

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
    pub(super) metrics: QueueMetrics,
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
        let asking: Vec<_> = live.snapshot.queues().map(|queue| self.ask(queue.clone())).collect();
        let asked: Vec<_> = iter(asking).buffer_unordered(ASKED_AT_ONCE).collect().await;
        let depths: Vec<_> = asked.iter().map(|(queue, _, depth)| (queue.name().to_owned(), *depth)).collect();
        self.metrics.set_depths(&depths);
        let at = self.clock.now();
        let report = |(queue, broker_up, depth): (Arc<CompiledQueue>, bool, Depth)| {
            // The fleet's database counts for itself what is in it.
            let is_counted = queue.source.broker == Kind::Embedded;
            let Depth { messages, consumers } = if is_counted { Depth::default() } else { depth };
            let (node, queue) = (self.node, queue.source.id);
            QueueReport { node, queue, messages, consumers, broker_up, spooled: spooled(queue), at }
        };
        let reports: Vec<QueueReport> = asked.into_iter().map(report).collect();
        if let Err(error) = self.store.report_queues(self.node, &reports, at).await {
            tracing::debug!(%error, "could not report how full queues are");
        }
    }

    /// Whether the queue's broker is there, and what it tells.
    async fn ask(&self, queue: Arc<CompiledQueue>) -> (Arc<CompiledQueue>, bool, Depth) {
        let Ok(broker) = self.queues.brokers.of(&queue.source) else { return (queue, false, Depth::default()) };
        let depth = match timeout(PATIENCE, broker.depth(&queue)).await {
            Ok(Ok(depth)) => depth,
            _ => Depth::default(),
        };
        (queue, broker.is_up(), depth)
    }
}
