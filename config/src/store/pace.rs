//! How fast a watch polls and how it slows down while the database is away.

use std::time::Duration;

use tokio::time::Instant;

/// The longest that a watch stays silent: notices may be lost.
pub(super) const POLL: Duration = Duration::from_secs(5);

const FIRST: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_secs(1);

/// Waits before each attempt that follows a failed one, longer each time.
#[derive(Debug, Default)]
pub(super) struct Pace {
    delay: Duration,
    not_before: Option<Instant>,
}

impl Pace {
    /// The moment is kept, not the delay, so that a wait that is dropped and begun again does not start over.
    pub(super) async fn wait(&self) {
        if let Some(moment) = self.not_before {
            tokio::time::sleep_until(moment).await;
        }
    }

    pub(super) fn succeeded(&mut self) {
        *self = Self::default();
    }

    pub(super) fn failed(&mut self) {
        self.delay = (self.delay * 2).clamp(FIRST, LONGEST);
        self.not_before = Some(Instant::now() + self.delay);
    }
}
