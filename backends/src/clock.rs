//! Where the services take the time and their ids from. A clock can be moved ahead, so that what happens tomorrow can be tested today.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use time::{OffsetDateTime, format_description::well_known::Rfc3339};
use uuid::Uuid;

/// The system's time, and by how much this clock is ahead of it. Clones are one clock.
#[derive(Clone, Debug, Default)]
pub struct Clock {
    ahead_ms: Arc<AtomicU64>,
}

impl Clock {
    /// Milliseconds since 1970.
    #[must_use]
    pub fn now_ms(&self) -> i64 {
        #[expect(
            clippy::disallowed_methods,
            reason = "the services are strangers to Gatehouse and have a clock of their own"
        )]
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let ahead = Duration::from_millis(self.ahead_ms.load(Ordering::Relaxed));
        i64::try_from((now + ahead).as_millis()).unwrap_or(i64::MAX)
    }

    pub fn advance(&self, by: Duration) {
        self.ahead_ms.fetch_add(u64::try_from(by.as_millis()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }
}

/// A new id; later ones sort after earlier ones.
#[must_use]
pub fn new_id() -> Uuid {
    #[expect(clippy::disallowed_methods, reason = "the services are strangers to Gatehouse and make ids of their own")]
    Uuid::now_v7()
}

/// A time as the services' answers show it: RFC 3339 in UTC.
#[must_use]
pub fn shown(at_ms: i64) -> String {
    OffsetDateTime::from_unix_timestamp_nanos(i128::from(at_ms) * 1_000_000)
        .ok()
        .and_then(|at| at.format(&Rfc3339).ok())
        .unwrap_or_default()
}
