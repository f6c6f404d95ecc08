//! How long somebody whose logins failed has to wait before the next attempt is looked at.

use std::time::Duration;

use gateway_config::model::Timestamp;
use gateway_config::store::Failures;

/// So many failures cost nothing: of one email, and from one address, behind which there may be many people.
pub(crate) const FREE_OF_EMAIL: u32 = 5;
pub(crate) const FREE_OF_ADDRESS: u32 = 20;

const FIRST: Duration = Duration::from_secs(10);
const LONGEST: Duration = Duration::from_mins(15);
/// Nobody who waited the longest time has been forgotten meanwhile.
const REMEMBERED: Duration = Duration::from_hours(1);

/// Failures before this moment count no more.
pub(crate) fn since(now: Timestamp) -> Timestamp {
    Timestamp::from_micros(now.micros().saturating_sub(micros(REMEMBERED)))
}

/// What is left of the wait; it doubles with every failure after those that are free.
pub(crate) fn wait(failures: Failures, free: u32, now: Timestamp) -> Option<Duration> {
    let doublings = failures.count.checked_sub(free)?;
    let whole = FIRST.checked_mul(1_u32.checked_shl(doublings).unwrap_or(u32::MAX)).unwrap_or(LONGEST).min(LONGEST);
    let passed = now.micros().saturating_sub(failures.last_at.micros());
    let left = micros(whole).saturating_sub(passed);
    // A clock that was set back must not make it longer.
    u64::try_from(left).ok().filter(|left| *left > 0).map(|left| Duration::from_micros(left).min(whole))
}

fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wait_of(count: u32, passed_seconds: i64) -> Option<u64> {
        let last_at = Timestamp::from_micros(1_000_000_000);
        let now = Timestamp::from_micros(last_at.micros() + passed_seconds * 1_000_000);
        wait(Failures { count, last_at }, FREE_OF_EMAIL, now).map(|wait| wait.as_secs())
    }

    #[test]
    fn the_wait_begins_with_the_fifth_failure_and_doubles_up_to_fifteen_minutes() {
        assert_eq!(wait_of(0, 0), None);
        assert_eq!(wait_of(4, 0), None);
        let waits: Vec<_> = (5..=12).filter_map(|count| wait_of(count, 0)).collect();
        assert_eq!(waits, [10, 20, 40, 80, 160, 320, 640, 900]);
        assert_eq!((wait_of(37, 0), wait_of(u32::MAX, 0)), (Some(900), Some(900)));
    }

    #[test]
    fn the_wait_passes_with_time_and_a_clock_set_back_makes_it_no_longer() {
        assert_eq!((wait_of(5, 9), wait_of(5, 10)), (Some(1), None));
        assert_eq!(wait_of(5, -3600), Some(10));
    }
}
