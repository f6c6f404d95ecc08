//! Which requests are sampled: every first, second, fourth … one, so that there are never more than [`MOST`] in a period, evenly
//! from all of it. What is not sampled costs one atomic addition.

use std::sync::atomic::{AtomicU64, Ordering};

use gateway_config::model::{Sample, Timestamp};
use parking_lot::Mutex;

/// Samples in one period.
pub(super) const MOST: usize = 200;
pub(super) const PERIOD_MILLIS: i64 = 5000;

/// Requests are counted below this bit; above it stands how many times the stride was doubled.
const STRIDE: u32 = 56;
const COUNT: u64 = (1 << STRIDE) - 1;
/// A period of more requests than this does not happen.
const WIDEST: u64 = 40;

#[derive(Debug)]
pub(super) struct Sampler {
    /// In one word, so that a request asks only one.
    seen: AtomicU64,
    taken: Mutex<Taken>,
}

#[derive(Debug)]
struct Taken {
    since: Timestamp,
    /// Each with its number in the period.
    samples: Vec<(u64, Sample)>,
}

impl Sampler {
    pub(super) fn new(now: Timestamp) -> Self {
        Self { seen: AtomicU64::new(0), taken: Mutex::new(Taken { since: now, samples: Vec::new() }) }
    }

    /// Counts a request; its number if it is to be sampled.
    pub(super) fn turn(&self) -> Option<u64> {
        let seen = self.seen.fetch_add(1, Ordering::Relaxed);
        let number = seen & COUNT;
        is_due(number, seen >> STRIDE).then_some(number)
    }

    /// Where somebody else is at it just now, this one is let go: its neighbours stand for it.
    pub(super) fn keep(&self, number: u64, sample: Sample) {
        let Some(mut taken) = self.taken.try_lock() else { return };
        loop {
            let doubled = self.seen.load(Ordering::Relaxed) >> STRIDE;
            if !is_due(number, doubled) || doubled >= WIDEST {
                return;
            }
            if taken.samples.len() < MOST {
                taken.samples.push((number, sample));
                return;
            }
            // From here on only every second one, and of those that are here, too.
            self.seen.fetch_add(1 << STRIDE, Ordering::Relaxed);
            taken.samples.retain(|(number, _)| is_due(*number, doubled + 1));
        }
    }

    /// What was sampled since the last time, each with the number of requests that it stands for; nothing before the period is
    /// over.
    pub(super) fn take(&self, now: Timestamp) -> Vec<Sample> {
        let mut taken = self.taken.lock();
        if now.millis_since(taken.since) < PERIOD_MILLIS {
            return Vec::new();
        }
        taken.since = now;
        let seen = self.seen.swap(0, Ordering::Relaxed) & COUNT;
        let samples = std::mem::take(&mut taken.samples);
        drop(taken);
        let count = u64::try_from(samples.len()).unwrap_or(u64::MAX).max(1);
        // Those that ended while the last period did may be more than were counted.
        let seen = seen.max(count);
        let (each, more) = (seen / count, seen % count);
        let weigh = |(at, (_, sample)): (u64, (u64, Sample))| Sample {
            weight: u32::try_from(each + u64::from(at < more)).unwrap_or(u32::MAX),
            ..sample
        };
        (0..).zip(samples).map(weigh).collect()
    }
}

fn is_due(number: u64, doubled: u64) -> bool {
    let mask = 1u64.checked_shl(u32::try_from(doubled).unwrap_or(u32::MAX)).map_or(u64::MAX, |stride| stride - 1);
    number & mask == 0
}

#[cfg(test)]
mod tests {
    use gateway_config::model::{SampledCaller, SampledOutcome, SampledRequest};
    use uuid::Uuid;

    use super::*;

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_micros(millis * 1000)
    }

    /// The number stands in its id.
    fn sample(number: u64) -> Sample {
        Sample {
            id: Uuid::from_u128(number.into()),
            at: Timestamp::default(),
            node: Uuid::nil(),
            weight: 1,
            generation: 0,
            request: SampledRequest::default(),
            caller: SampledCaller::default(),
            outcome: SampledOutcome::default(),
        }
    }

    /// Sends so many requests; how many of them were built.
    fn send(sampler: &Sampler, count: u64) -> u64 {
        let mut built = 0;
        for number in 0..count {
            if let Some(turn) = sampler.turn() {
                built += 1;
                sampler.keep(turn, sample(number));
            }
        }
        built
    }

    #[test]
    fn a_period_has_at_most_200_samples_and_they_stand_for_all_its_requests() {
        let sampler = Sampler::new(at(0));
        let mut now = 0;
        for count in [0, 1, 3, 199, 200, 201, 399, 401, 12_345, 1_000_000, 7] {
            let built = send(&sampler, count);
            now += PERIOD_MILLIS;
            let taken = sampler.take(at(now));
            assert!(taken.len() <= MOST, "{count}: {}", taken.len());
            assert!(taken.len() as u64 >= count.min(MOST as u64 / 2), "{count}: {}", taken.len());
            assert_eq!(taken.iter().map(|it| u64::from(it.weight)).sum::<u64>(), count, "of {count}");
            assert!(built <= 200 + 101 * 14, "{built} were built for {count}");
        }
    }

    #[test]
    fn nothing_is_given_before_the_period_is_over() {
        let sampler = Sampler::new(at(0));
        send(&sampler, 1000);
        assert!(sampler.take(at(PERIOD_MILLIS - 1)).is_empty());
        send(&sampler, 1000);
        let taken = sampler.take(at(PERIOD_MILLIS));
        assert!(taken.len() <= MOST, "{}", taken.len());
        assert_eq!(taken.iter().map(|it| it.weight).sum::<u32>(), 2000);
        send(&sampler, 1000);
        assert!(sampler.take(at(PERIOD_MILLIS + 1)).is_empty());
        // A clock that was set back.
        assert!(sampler.take(at(0)).is_empty());
    }

    #[test]
    fn the_samples_are_evenly_spread_over_the_period() {
        let sampler = Sampler::new(at(0));
        send(&sampler, 10_000);
        let taken = sampler.take(at(PERIOD_MILLIS));
        let numbers: Vec<u128> = taken.iter().map(|it| it.id.as_u128()).collect();
        let gaps: Vec<u128> = numbers.windows(2).map(|pair| pair[1] - pair[0]).collect();
        assert!(gaps.iter().all(|gap| *gap == gaps[0]), "{gaps:?}");
        assert!(numbers[0] == 0 && numbers[numbers.len() - 1] + gaps[0] >= 10_000);
    }

    #[test]
    fn many_threads_never_make_more_than_200() {
        let sampler = Sampler::new(at(0));
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| send(&sampler, 50_000));
            }
        });
        let taken = sampler.take(at(PERIOD_MILLIS));
        assert!((50..=MOST).contains(&taken.len()), "{}", taken.len());
        assert_eq!(taken.iter().map(|it| u64::from(it.weight)).sum::<u64>(), 200_000);
    }
}
