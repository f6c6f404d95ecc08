//! Metrics. All names stand here; a route's series are made when it is compiled in, so that a request only adds.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use gateway_config::snapshot::{Code, Snapshot, Table};
use prometheus::{
    Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
    TextEncoder,
};

use crate::queue::broker::{Depth, PublishError};

/// From a loopback's millisecond to a slow report.
const BUCKETS: [f64; 12] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0];
/// The first digit of a status; 0: no answer was written.
const CLASSES: [&str; 6] = ["none", "1xx", "2xx", "3xx", "4xx", "5xx"];
/// The label of requests that no route took.
const NO_ROUTE: &str = "-";

#[derive(Debug)]
pub(crate) struct Metrics {
    registry: Registry,
    requests: IntCounterVec,
    durations: HistogramVec,
    refusals: Vec<IntCounter>,
    connect_failures: IntCounter,
    retries: IntCounter,
    fallbacks: IntCounter,
    pub(crate) unrouted: Arc<Series>,
    pub(crate) requests_in_flight: IntGauge,
    pub(crate) connections: IntGauge,
    pub(crate) generation: IntGauge,
    pub(crate) snapshot_bytes: IntGauge,
    pub(crate) applied_at: IntGauge,
    pub(crate) limits_store_up: IntGauge,
    pub(crate) limits_without_store: IntCounter,
    /// By what was fetched and how that went.
    pub(crate) fetches: IntCounterVec,
    pub(crate) queues: QueueMetrics,
    pub(crate) samples_dropped: IntCounter,
    certificates: IntGaugeVec,
    handshakes: IntCounterVec,
    reloads: IntCounterVec,
    degraded: IntGaugeVec,
}

/// The series of one route. Each is made when it first counts: most of ten thousand routes are quiet, and what was never
/// counted need be neither kept nor scraped.
#[derive(Debug)]
pub(crate) struct Series {
    route: Box<str>,
    requests: IntCounterVec,
    durations: HistogramVec,
    by_class: [OnceLock<IntCounter>; 6],
    duration: OnceLock<Histogram>,
    /// Since somebody last asked.
    was_used: AtomicBool,
}

impl Series {
    fn new(requests: &IntCounterVec, durations: &HistogramVec, route: &str) -> Self {
        Self {
            route: route.into(),
            requests: requests.clone(),
            durations: durations.clone(),
            by_class: Default::default(),
            duration: OnceLock::new(),
            was_used: AtomicBool::new(false),
        }
    }

    pub(crate) fn observe(&self, status: u16, seconds: f64) {
        let class = usize::from(status / 100);
        if let (Some(counter), Some(label)) = (self.by_class.get(class), CLASSES.get(class)) {
            counter.get_or_init(|| self.requests.with_label_values(&[&*self.route, label])).inc();
        }
        self.duration.get_or_init(|| self.durations.with_label_values(&[&*self.route])).observe(seconds);
        self.mark_used();
    }

    pub(crate) fn mark_used(&self) {
        // Written only when it changes: a busy route's threads would take the word from each other.
        if !self.was_used.load(Ordering::Relaxed) {
            self.was_used.store(true, Ordering::Relaxed);
        }
    }

    /// Whether it was used since the last time that this was asked.
    pub(crate) fn take_used(&self) -> bool {
        self.was_used.swap(false, Ordering::Relaxed)
    }
}

/// How a load of the configuration ended.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Reload {
    /// As a change.
    Change,
    /// As a whole.
    Full,
    /// It did not compile or could not be read; the last good one serves on.
    Refused,
}

impl Metrics {
    pub(crate) fn new() -> Result<Self, prometheus::Error> {
        let registry = Registry::new();
        let counter = |name: &str, help: &str| -> Result<IntCounter, prometheus::Error> {
            let counter = IntCounter::new(name, help)?;
            registry.register(Box::new(counter.clone()))?;
            Ok(counter)
        };
        let gauge = |name: &str, help: &str| -> Result<IntGauge, prometheus::Error> {
            let gauge = IntGauge::new(name, help)?;
            registry.register(Box::new(gauge.clone()))?;
            Ok(gauge)
        };
        let counters = |name: &str, help: &str, labels: &[&str]| -> Result<IntCounterVec, prometheus::Error> {
            let counters = IntCounterVec::new(Opts::new(name, help), labels)?;
            registry.register(Box::new(counters.clone()))?;
            Ok(counters)
        };
        let requests =
            counters("gatehouse_requests_total", "Requests by route and class of status.", &["route", "status"])?;
        let durations = HistogramVec::new(
            HistogramOpts::new("gatehouse_request_duration_seconds", "From a request's head to the end of its answer.")
                .buckets(BUCKETS.to_vec()),
            &["route"],
        )?;
        registry.register(Box::new(durations.clone()))?;
        let refusals =
            counters("gatehouse_refusals_total", "Answers that the gateway made itself, by code.", &["code"])?;
        let degraded =
            IntGaugeVec::new(Opts::new("gatehouse_degraded", "1 for each reason why not all is well."), &["reason"])?;
        registry.register(Box::new(degraded.clone()))?;
        let certificates = IntGaugeVec::new(
            Opts::new(
                "gatehouse_certificate_expiry_timestamp_seconds",
                "When a certificate of the TLS listener runs out.",
            ),
            &["certificate"],
        )?;
        registry.register(Box::new(certificates.clone()))?;
        let build = IntGaugeVec::new(Opts::new("gatehouse_build_info", "Which program this is."), &["version"])?;
        registry.register(Box::new(build.clone()))?;
        build.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
        Ok(Self {
            unrouted: Arc::new(Series::new(&requests, &durations, NO_ROUTE)),
            refusals: Code::ALL.iter().map(|code| refusals.with_label_values(&[code.as_str()])).collect(),
            connect_failures: counter(
                "gatehouse_upstream_connect_failures_total",
                "Connections to backends that failed.",
            )?,
            retries: counter("gatehouse_upstream_retries_total", "Attempts after a request's first.")?,
            fallbacks: counter("gatehouse_upstream_fallbacks_total", "Requests sent to a fallbackUrl.")?,
            requests_in_flight: gauge("gatehouse_requests_in_flight", "Requests being handled.")?,
            connections: gauge("gatehouse_connections", "Open client connections.")?,
            generation: gauge("gatehouse_config_generation", "The generation that is served.")?,
            snapshot_bytes: gauge("gatehouse_config_snapshot_bytes", "Size of the snapshot on disk.")?,
            applied_at: gauge("gatehouse_config_applied_timestamp_seconds", "When the served generation was applied.")?,
            limits_store_up: gauge("gatehouse_limits_store_up", "1 while the store of shared limits answers.")?,
            limits_without_store: counter(
                "gatehouse_limits_without_store_total",
                "Decisions on shared limits that were taken while their store was away.",
            )?,
            fetches: counters(
                "gatehouse_identity_fetches_total",
                "Key sets and introspections that were asked of issuers, by result.",
                &["what", "result"],
            )?,
            queues: QueueMetrics::new(&registry)?,
            samples_dropped: counter(
                "gatehouse_traffic_samples_dropped_total",
                "Samples of requests that could not be written.",
            )?,
            certificates,
            handshakes: counters(
                "gatehouse_tls_handshakes_total",
                "Handshakes of clients, by what came of them.",
                &["result"],
            )?,
            reloads: counters("gatehouse_config_reloads_total", "Loads of the configuration by result.", &["result"])?,
            degraded,
            requests,
            durations,
            registry,
        })
    }

    pub(crate) fn refused(&self, code: Code) {
        // `Code::ALL` is in the order of declaration; a test holds it to that.
        if let Some(counter) = self.refusals.get(code as usize) {
            counter.inc();
        }
    }

    pub(crate) fn connect_failed(&self) {
        self.connect_failures.inc();
    }

    pub(crate) fn attempts(&self, made: usize, used_fallback: bool) {
        if made > 1 {
            self.retries.inc_by(made as u64 - 1);
        }
        if used_fallback {
            self.fallbacks.inc();
        }
    }

    pub(crate) fn reloaded(&self, how: Reload) {
        let result = match how {
            Reload::Change => "change",
            Reload::Full => "full",
            Reload::Refused => "refused",
        };
        self.reloads.with_label_values(&[result]).inc();
    }

    pub(crate) fn set_degraded(&self, reason: &str, is_so: bool) {
        self.degraded.with_label_values(&[reason]).set(i64::from(is_so));
    }

    pub(crate) fn certificate_expires(&self, name: &str, at_second: i64) {
        self.certificates.with_label_values(&[name]).set(at_second);
    }

    /// A certificate that is gone must not be scraped for ever.
    pub(crate) fn forget_certificate(&self, name: &str) {
        let _ = self.certificates.remove_label_values(&[name]);
    }

    pub(crate) fn handshake_ended(&self, result: &str) {
        self.handshakes.with_label_values(&[result]).inc();
    }

    pub(crate) fn encode(&self) -> String {
        let mut text = String::new();
        // Writing to a string can't fail, and a metric that can't be encoded would be missing, not fatal.
        let _ = TextEncoder::new().encode_utf8(&self.registry.gather(), &mut text);
        text
    }
}

/// What became of messages, and which brokers are there.
#[derive(Clone, Debug)]
pub(crate) struct QueueMetrics {
    publishes: IntCounterVec,
    confirms: HistogramVec,
    up: IntGaugeVec,
    messages: IntGaugeVec,
    consumers: IntGaugeVec,
    deliveries: IntCounterVec,
    callbacks: IntCounterVec,
    pub(crate) task_records_dropped: IntCounter,
    /// Messages that wait on disk for their broker.
    pub(crate) spooled: IntGauge,
    pub(crate) spooled_bytes: IntGauge,
}

impl QueueMetrics {
    fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let publishes = Opts::new("gatehouse_queue_publishes_total", "Messages given to brokers, by what came of it.");
        let confirms = HistogramOpts::new("gatehouse_queue_confirm_seconds", "From a publish to its confirm.");
        let up = Opts::new("gatehouse_queue_broker_up", "1 while the broker of a connection answers.");
        let messages = Opts::new("gatehouse_queue_messages", "Messages that wait, where the broker tells.");
        let consumers = Opts::new("gatehouse_queue_consumers", "Consumers of a queue, where the broker tells.");
        let deliveries =
            Opts::new("gatehouse_queue_deliveries_total", "Pushes of embedded queues, by what came of it.");
        let callbacks = Opts::new("gatehouse_task_callbacks_total", "Callbacks of tasks, by what came of it.");
        let dropped = Opts::new("gatehouse_task_records_dropped_total", "Records of tasks that were never written.");
        let metrics = Self {
            publishes: IntCounterVec::new(publishes, &["queue", "result"])?,
            confirms: HistogramVec::new(confirms.buckets(BUCKETS.to_vec()), &["queue"])?,
            up: IntGaugeVec::new(up, &["broker", "connection"])?,
            messages: IntGaugeVec::new(messages, &["queue"])?,
            consumers: IntGaugeVec::new(consumers, &["queue"])?,
            deliveries: IntCounterVec::new(deliveries, &["queue", "result"])?,
            callbacks: IntCounterVec::new(callbacks, &["result"])?,
            task_records_dropped: IntCounter::with_opts(dropped)?,
            spooled: IntGauge::new("gatehouse_spool_messages", "Messages that wait on disk for their broker.")?,
            spooled_bytes: IntGauge::new("gatehouse_spool_bytes", "Bytes that they take.")?,
        };
        registry.register(Box::new(metrics.publishes.clone()))?;
        registry.register(Box::new(metrics.confirms.clone()))?;
        registry.register(Box::new(metrics.up.clone()))?;
        registry.register(Box::new(metrics.messages.clone()))?;
        registry.register(Box::new(metrics.consumers.clone()))?;
        registry.register(Box::new(metrics.deliveries.clone()))?;
        registry.register(Box::new(metrics.callbacks.clone()))?;
        registry.register(Box::new(metrics.task_records_dropped.clone()))?;
        registry.register(Box::new(metrics.spooled.clone()))?;
        registry.register(Box::new(metrics.spooled_bytes.clone()))?;
        Ok(metrics)
    }

    pub(crate) fn published(&self, queue: &str, outcome: &Result<(), PublishError>, took: Duration) {
        let result = outcome.as_ref().map_or_else(PublishError::word, |()| "confirmed");
        self.publishes.with_label_values(&[queue, result]).inc();
        if outcome.is_ok() {
            self.confirms.with_label_values(&[queue]).observe(took.as_secs_f64());
        }
    }

    /// Of an embedded queue.
    pub(crate) fn delivered(&self, queue: &str, result: &str) {
        self.deliveries.with_label_values(&[queue, result]).inc();
    }

    pub(crate) fn called_back(&self, result: &str) {
        self.callbacks.with_label_values(&[result]).inc();
    }

    /// How full queues are. Those that are not among them were not told.
    pub(crate) fn set_depths(&self, depths: &[(String, Depth)]) {
        self.messages.reset();
        self.consumers.reset();
        for (queue, depth) in depths {
            for (gauge, number) in [(&self.messages, depth.messages), (&self.consumers, depth.consumers)] {
                if let Some(number) = number.and_then(|number| i64::try_from(number).ok()) {
                    gauge.with_label_values(&[queue]).set(number);
                }
            }
        }
    }

    /// Of one connection.
    pub(crate) fn up(&self, broker: &str, connection: &str) -> IntGauge {
        self.up.with_label_values(&[broker, connection])
    }
}

/// The series of a snapshot's routes, by name.
#[derive(Clone, Debug, Default)]
pub(crate) struct RouteSeries(Table<Arc<Series>>);

impl RouteSeries {
    pub(crate) fn for_snapshot(snapshot: &Snapshot, before: &Self, metrics: &Metrics) -> Self {
        let mut all = Self::default();
        for route in snapshot.routes() {
            let name = &route.source.name;
            let series = before.0.get(name).cloned();
            let series = series.unwrap_or_else(|| Arc::new(series_of(metrics, name)));
            all.0.insert(name, series);
        }
        for (name, _) in before.0.iter().filter(|(name, _)| all.0.get(name).is_none()) {
            forget(metrics, name);
        }
        all
    }

    /// These with one route added or taken out.
    pub(crate) fn with_route(&self, name: &str, exists: bool, metrics: &Metrics) -> Self {
        let mut all = self.clone();
        match (exists, self.0.get(name).is_some()) {
            (true, false) => drop(all.0.insert(name, Arc::new(series_of(metrics, name)))),
            (false, true) => {
                all.0.remove(name);
                forget(metrics, name);
            }
            _ => {}
        }
        all
    }

    pub(crate) fn get(&self, route: &str) -> Option<&Arc<Series>> {
        self.0.get(route)
    }
}

fn series_of(metrics: &Metrics, route: &str) -> Series {
    Series::new(&metrics.requests, &metrics.durations, route)
}

/// A route that is gone must not be scraped for ever.
fn forget(metrics: &Metrics, route: &str) {
    for class in CLASSES {
        let _ = metrics.requests.remove_label_values(&[route, class]);
    }
    let _ = metrics.durations.remove_label_values(&[route]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_counts_under_its_own_name() {
        for (at, code) in Code::ALL.iter().enumerate() {
            assert_eq!(*code as usize, at, "{code}");
        }
        let metrics = Metrics::new().unwrap();
        metrics.refused(Code::UpstreamTimeout);
        assert!(metrics.encode().contains("gatehouse_refusals_total{code=\"upstream_timeout\"} 1"));
    }

    #[test]
    fn a_route_that_is_gone_is_not_scraped() {
        let metrics = Metrics::new().unwrap();
        let series = RouteSeries::default().with_route("gone", true, &metrics);
        series.get("gone").unwrap().observe(200, 0.1);
        assert!(metrics.encode().contains("route=\"gone\""));
        let _ = series.with_route("gone", false, &metrics);
        assert!(!metrics.encode().contains("route=\"gone\""));
    }
}
