//! How the gateway is: what it serves, since when, and what is not well.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use gateway_config::clock::Clock;
use gateway_config::model::Timestamp;
use tokio::sync::watch;

use crate::observe::metrics::Metrics;

/// Where the served snapshot came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    Database,
    Disk,
}

impl Source {
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Database => "database",
            Self::Disk => "disk",
        }
    }
}

/// Why not all is well.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Reason {
    DatabaseAway,
    ConfigurationRefused,
    /// The snapshot file could not be read or written.
    SnapshotFile,
    /// A secret that the configuration names can't be read: what needs it is refused.
    SecretMissing,
    /// A certificate has no key that fits, or does not count at this time.
    Certificate,
    /// The keys of an issuer can't be had.
    Issuer,
    /// What backends are told can't be signed as it should.
    SigningKeys,
    /// Messages wait on disk for their broker.
    Spool,
}

impl Reason {
    const ALL: [Self; 8] = [
        Self::DatabaseAway,
        Self::ConfigurationRefused,
        Self::SnapshotFile,
        Self::SecretMissing,
        Self::Certificate,
        Self::Issuer,
        Self::SigningKeys,
        Self::Spool,
    ];

    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::DatabaseAway => "database_away",
            Self::ConfigurationRefused => "configuration_refused",
            Self::SnapshotFile => "snapshot_file",
            Self::SecretMissing => "secret_missing",
            Self::Certificate => "certificate",
            Self::Issuer => "issuer",
            Self::SigningKeys => "signing_keys",
            Self::Spool => "spool",
        }
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Degraded {
    pub(crate) reason: Reason,
    pub(crate) detail: String,
}

#[derive(Debug)]
pub(crate) struct Status {
    inner: Mutex<Inner>,
    metrics: Arc<Metrics>,
    clock: Arc<dyn Clock>,
    /// The served generation, for those who wait for the next; 0 before the first.
    moved: watch::Sender<u64>,
}

#[derive(Debug)]
struct Inner {
    source: Source,
    since: Timestamp,
    degraded: BTreeMap<Reason, String>,
}

impl Status {
    pub(crate) fn new(metrics: Arc<Metrics>, clock: Arc<dyn Clock>) -> Self {
        for reason in Reason::ALL {
            metrics.set_degraded(reason.word(), false);
        }
        let inner = Inner { source: Source::Database, since: clock.now(), degraded: BTreeMap::new() };
        Self { inner: Mutex::new(inner), metrics, clock, moved: watch::Sender::new(0) }
    }

    /// Wakes with every generation that is applied.
    pub(crate) fn moved(&self) -> watch::Receiver<u64> {
        self.moved.subscribe()
    }

    pub(crate) fn applied(&self, generation: u64, source: Source) {
        {
            let mut inner = self.lock();
            inner.source = source;
            inner.since = self.clock.now();
        }
        self.moved.send_replace(generation);
    }

    pub(crate) fn set_source(&self, source: Source) {
        self.lock().source = source;
    }

    pub(crate) fn source(&self) -> Source {
        self.lock().source
    }

    pub(crate) fn since(&self) -> Timestamp {
        self.lock().since
    }

    /// `true` when it was well before, so that a log says it once.
    pub(crate) fn degrade(&self, reason: Reason, detail: String) -> bool {
        let was = self.lock().degraded.insert(reason, detail);
        self.metrics.set_degraded(reason.word(), true);
        was.is_none()
    }

    pub(crate) fn mend(&self, reason: Reason) {
        if self.lock().degraded.remove(&reason).is_some() {
            self.metrics.set_degraded(reason.word(), false);
            tracing::info!(reason = reason.word(), "well again: {}", reason.word());
        }
    }

    pub(crate) fn is_degraded(&self, reason: Reason) -> bool {
        self.lock().degraded.contains_key(&reason)
    }

    pub(crate) fn degraded(&self) -> Vec<Degraded> {
        let inner = self.lock();
        inner.degraded.iter().map(|(reason, detail)| Degraded { reason: *reason, detail: detail.clone() }).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // What it guards is whole after every statement, so a panic elsewhere spoils nothing.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
