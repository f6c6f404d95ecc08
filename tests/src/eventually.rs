//! Waiting for a state instead of sleeping: with a deadline, and with words for what was waited for.

use std::fmt::Display;
use std::time::{Duration, Instant};

/// Long enough for a busy machine; a test that needs it all is about to fail anyway.
pub const DEADLINE: Duration = Duration::from_secs(30);

const PAUSE: Duration = Duration::from_millis(5);

/// Asks `probe` again and again until it answers `Ok`, and hands its value back. `Err` carries the state seen, so that a test
/// that gives up says what it waited for and what it last saw.
pub async fn eventually<T, S: Display>(what: &str, probe: impl AsyncFnMut() -> Result<T, S>) -> T {
    eventually_within(DEADLINE, what, probe).await
}

/// [`eventually`] with a deadline of its own.
pub async fn eventually_within<T, S: Display>(
    deadline: Duration,
    what: &str,
    mut probe: impl AsyncFnMut() -> Result<T, S>,
) -> T {
    let start = Instant::now();
    let mut last = "nothing yet".to_owned();
    loop {
        let left = deadline.saturating_sub(start.elapsed());
        let Ok(seen) = tokio::time::timeout(left, probe()).await else {
            panic!("waited {deadline:?} for: {what}; the last look did not end; the one before saw: {last}");
        };
        match seen {
            Ok(value) => return value,
            Err(state) => last = state.to_string(),
        }
        assert!(start.elapsed() < deadline, "waited {deadline:?} for: {what}; last seen: {last}");
        tokio::time::sleep(PAUSE).await;
    }
}
