//! Writes behind what requests left: samples, and which routes were used. No request waits for it. While the database is away
//! samples are dropped, for nobody can look at them anyway; uses are kept and tried again.

use std::sync::Arc;
use std::time::Duration;

use gateway_config::model::{Id, Route, SAMPLE_MINUTES, Timestamp};
use gateway_config::store::{Store, StoreError};
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::Traffic;
use super::sampler::PERIOD_MILLIS;
use crate::live::{Current, Live};
use crate::observe::metrics::Metrics;

const EVERY: Duration = Duration::from_millis(PERIOD_MILLIS.unsigned_abs());
/// So many periods lie between two writes of the uses.
const USES_EVERY: u32 = 2;
const MINUTE_MICROS: i64 = 60 * 1_000_000;

pub(crate) struct Writer {
    pub(crate) traffic: Arc<Traffic>,
    pub(crate) current: Arc<Current>,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) metrics: Arc<Metrics>,
}

/// What the writer remembers from one period to the next.
#[derive(Default)]
struct Memory {
    /// That headers are kept for.
    generation: Option<u64>,
    /// When the last samples were written.
    wrote_at: Option<Timestamp>,
    has_begun: bool,
    is_away: bool,
}

impl Writer {
    /// Until `stop`, and then the uses once more.
    pub(crate) async fn run(self, stop: CancellationToken) {
        let mut ticks = interval(EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut memory = Memory::default();
        for round in 0u32.. {
            let is_last = tokio::select! {
                () = stop.cancelled() => true,
                _ = ticks.tick() => false,
            };
            let Some(live) = self.current.get() else {
                if is_last {
                    return;
                }
                continue;
            };
            self.keep_for(&live, &mut memory);
            let mut written = self.write_samples(&mut memory).await;
            if is_last || round.is_multiple_of(USES_EVERY) {
                written = written.and(self.write_uses(&live, &mut memory).await);
            }
            match &written {
                Ok(()) if memory.is_away => tracing::info!("traffic is written again"),
                Err(error) if !memory.is_away => tracing::warn!(%error, "could not write traffic; samples are dropped"),
                Ok(()) | Err(_) => {}
            }
            memory.is_away = written.is_err();
            if is_last {
                return;
            }
        }
    }

    fn keep_for(&self, live: &Live, memory: &mut Memory) {
        let generation = Some(live.snapshot.generation());
        if memory.generation != generation {
            self.traffic.keep_for(&live.snapshot);
            memory.generation = generation;
        }
    }

    async fn write_samples(&self, memory: &mut Memory) -> Result<(), StoreError> {
        let Some(sampler) = &self.traffic.sampler else { return Ok(()) };
        let now = self.traffic.clock.now();
        let taken = sampler.take(now);
        let keep = Timestamp::from_micros(now.micros().saturating_sub(SAMPLE_MINUTES * MINUTE_MICROS));
        // Without traffic there is nothing to delete either, some time after the last.
        if taken.is_empty() && memory.wrote_at.is_none_or(|wrote_at| wrote_at < keep) {
            return Ok(());
        }
        let written = self.store.record_traffic(self.traffic.node, &taken, keep).await;
        match &written {
            Ok(()) if taken.is_empty() => {}
            Ok(()) => memory.wrote_at = Some(now),
            Err(_) => self.metrics.samples_dropped.inc_by(taken.len() as u64),
        }
        written
    }

    async fn write_uses(&self, live: &Live, memory: &mut Memory) -> Result<(), StoreError> {
        let now = self.traffic.clock.now();
        let series = |id: &Arc<gateway_config::snapshot::CompiledRoute>| live.series.get(&id.source.name);
        let used = live.snapshot.routes().filter(|route| series(route).is_some_and(|it| it.take_used()));
        let used: Vec<_> = used.collect();
        if used.is_empty() && memory.has_begun {
            return Ok(());
        }
        let rows: Vec<(Id<Route>, Timestamp)> = used.iter().map(|route| (route.source.id, now)).collect();
        let written = self.store.record_route_usage(&rows, now).await;
        match &written {
            Ok(()) => memory.has_begun = true,
            Err(_) => used.iter().filter_map(|route| series(route)).for_each(|series| series.mark_used()),
        }
        written
    }
}
