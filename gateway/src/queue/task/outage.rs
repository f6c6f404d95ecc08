//! Whether the database is away. While it is, one request now and then finds out for all whether it is back, and no other waits for it.

use std::time::{Duration, Instant};

use gateway_config::store::StoreError;
use parking_lot::Mutex;

const ASK_AGAIN: Duration = Duration::from_secs(1);
/// Longer than asking may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// Until when it is taken to be away.
#[derive(Debug, Default)]
pub(super) struct Outage(Mutex<Option<Instant>>);

impl Outage {
    /// If not, the caller asks and tells with [`Self::heard`].
    pub(super) fn lasts(&self, now: Instant) -> bool {
        let mut until = self.0.lock();
        match *until {
            Some(at) if at > now => return true,
            Some(_) => *until = Some(now + PATIENCE),
            None => {}
        }
        false
    }

    pub(super) fn heard<T>(&self, answer: &Result<T, StoreError>, now: Instant) {
        let is_away = answer.as_ref().is_err_and(StoreError::is_unavailable);
        *self.0.lock() = is_away.then(|| now + ASK_AGAIN);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_finds_out_for_all() {
        let (outage, start) = (Outage::default(), Instant::now());
        let away = || Err::<(), _>(StoreError::TimedOut(1));
        assert!(!outage.lasts(start) && !outage.lasts(start));
        outage.heard(&away(), start);
        assert!(outage.lasts(start));
        let later = start + ASK_AGAIN;
        assert!(!outage.lasts(later), "this one asks");
        assert!(outage.lasts(later), "nobody else does meanwhile");
        outage.heard(&away(), later);
        assert!(outage.lasts(later) && !outage.lasts(later + ASK_AGAIN));
        outage.heard(&Ok(()), later);
        assert!(!outage.lasts(later));
        outage.heard(&Err::<(), _>(StoreError::Refused("a blank".to_owned())), later);
        assert!(!outage.lasts(later), "it is there to refuse");
    }
}
