//! What Prometheus reads. The names are a contract with `dashboards/`.

use std::time::Duration;

use http::{Method, StatusCode};
use prometheus::{
    Encoder, Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry, TextEncoder,
};

const REQUESTS: &str = "gatehouse_admin_requests_total";
const WRITE_SECONDS: &str = "gatehouse_admin_write_seconds";
const HEAD_GENERATION: &str = "gatehouse_admin_head_generation";
const HAND_EDITS: &str = "gatehouse_admin_hand_edits_total";
const BUILD_INFO: &str = "gatehouse_admin_build_info";

#[derive(Debug)]
pub(crate) struct Metrics {
    registry: Registry,
    requests: Option<IntCounterVec>,
    write_seconds: Option<Histogram>,
    head_generation: Option<IntGauge>,
    hand_edits: Option<IntCounter>,
}

impl Metrics {
    pub(crate) fn new() -> Self {
        let registry = Registry::new();
        let requests = Opts::new(REQUESTS, "Requests by operation, method and status");
        let requests = IntCounterVec::new(requests, &["operation", "method", "status"]).ok();
        let write = HistogramOpts::new(WRITE_SECONDS, "How long configuration writes took, without waiting for nodes")
            .buckets(vec![0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0]);
        let write_seconds = Histogram::with_opts(write).ok();
        let head_generation = IntGauge::new(HEAD_GENERATION, "The newest generation that this process knows of").ok();
        let hand_edits = IntCounter::new(HAND_EDITS, "How often rows were found that were edited by hand").ok();
        let build = IntGaugeVec::new(Opts::new(BUILD_INFO, "The program's version; always 1"), &["version"]).ok();
        if let Some(build) = &build {
            build.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
        }
        let metrics = Self { registry, requests, write_seconds, head_generation, hand_edits };
        metrics.register(metrics.requests.clone());
        metrics.register(metrics.write_seconds.clone());
        metrics.register(metrics.head_generation.clone());
        metrics.register(metrics.hand_edits.clone());
        metrics.register(build);
        metrics
    }

    /// A metric that can't be registered is one that is missing, and a test would see it; it is no reason not to serve.
    fn register<C: prometheus::core::Collector + 'static>(&self, collector: Option<C>) {
        let registered = collector.map(|collector| self.registry.register(Box::new(collector)));
        if !matches!(registered, Some(Ok(()))) {
            tracing::error!("a metric could not be registered");
        }
    }

    pub(crate) fn count(&self, operation: &str, method: &Method, status: StatusCode) {
        if let Some(requests) = &self.requests {
            requests.with_label_values(&[operation, method_label(method), status.as_str()]).inc();
        }
    }

    pub(crate) fn wrote(&self, took: Duration, generation: u64) {
        if let Some(seconds) = &self.write_seconds {
            seconds.observe(took.as_secs_f64());
        }
        self.head_is(generation);
    }

    pub(crate) fn head_is(&self, generation: u64) {
        if let Some(gauge) = &self.head_generation {
            gauge.set(i64::try_from(generation).unwrap_or(i64::MAX));
        }
    }

    pub(crate) fn found_hand_edit(&self) {
        if let Some(gauge) = &self.hand_edits {
            gauge.inc();
        }
    }

    pub(crate) fn as_text(&self) -> Result<Vec<u8>, prometheus::Error> {
        let mut text = Vec::new();
        TextEncoder::new().encode(&self.registry.gather(), &mut text)?;
        Ok(text)
    }
}

/// Clients may invent methods; labels must not grow with them.
fn method_label(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::POST => "POST",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        _ => "other",
    }
}
