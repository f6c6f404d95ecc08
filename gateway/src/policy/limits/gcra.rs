//! The arithmetic of one counter: a bucket that holds `burst` requests, and is refilled with `requests` every `perSeconds`
//! (the generic cell rate algorithm). Nothing is rounded, so no rate drifts however long it is kept.

use gateway_config::snapshot::CompiledLimit;

const NANOS_A_SECOND: u128 = 1_000_000_000;

/// A moment on a clock that never goes back; only differences mean anything.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Nanos(pub(crate) u64);

/// A limit's numbers. Time is counted in ticks of 1/`requests` nanoseconds: in them, the time that one request takes to be
/// refilled is whole. All products of a `u64` and two `u32` with 10⁹ stay below 2¹²⁷.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rate {
    requests: u32,
    per_seconds: u32,
    burst: u32,
}

/// What is known of one counter. A counter that nobody knows is full.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bucket {
    /// When it is full again, in ticks of its rate: the "theoretical arrival time" of the textbooks.
    full_at: u128,
    /// Places kept for requests that are not decided yet.
    held: u32,
    rate: Rate,
}

/// How a counter stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Level {
    pub(super) remaining: u32,
    /// Until it is full again.
    pub(super) reset_seconds: u32,
    /// Until the next request is let in; 0: now.
    pub(super) retry_after_seconds: u32,
}

impl Rate {
    pub(super) fn of(limit: &CompiledLimit) -> Self {
        Self { requests: limit.requests.max(1), per_seconds: limit.per_seconds.max(1), burst: limit.burst.max(1) }
    }

    /// The ticks in which one request is refilled.
    fn interval(self) -> u128 {
        u128::from(self.per_seconds) * NANOS_A_SECOND
    }

    /// The ticks in which an empty bucket is refilled.
    fn window(self) -> u128 {
        u128::from(self.burst) * self.interval()
    }

    fn ticks(self, now: Nanos) -> u128 {
        u128::from(now.0) * u128::from(self.requests)
    }

    /// Rounded up: whoever waits so long has waited long enough.
    fn seconds(self, ticks: u128) -> u32 {
        let seconds = ticks.div_ceil(u128::from(self.requests) * NANOS_A_SECOND);
        u32::try_from(seconds).unwrap_or(u32::MAX)
    }

    /// How a bucket stands that lacks so many ticks of being full.
    fn level(self, lacking: u128) -> Level {
        let (interval, window) = (self.interval(), self.window());
        let remaining = window.saturating_sub(lacking) / interval;
        Level {
            remaining: u32::try_from(remaining).unwrap_or(u32::MAX),
            reset_seconds: self.seconds(lacking),
            retry_after_seconds: self.seconds((lacking + interval).saturating_sub(window)),
        }
    }
}

impl Bucket {
    pub(super) fn full(rate: Rate) -> Self {
        Self { full_at: 0, held: 0, rate }
    }

    /// Goes over to the numbers of an edited limit: as many requests as were used stay used, but never more than the new bucket
    /// holds. So a limit that is raised lets more in at once, and nobody waits by numbers that are gone.
    pub(super) fn adopt(&mut self, rate: Rate, now: Nanos) {
        if self.rate == rate {
            return;
        }
        let (old, new) = (self.rate.interval(), rate.interval());
        let lacking = self.full_at.saturating_sub(self.rate.ticks(now));
        // In two steps, for the product of all would not fit.
        let carried = (lacking / old).saturating_mul(new).saturating_add((lacking % old * new).div_ceil(old));
        *self = Self { full_at: rate.ticks(now) + carried.min(rate.window()), held: self.held, rate };
    }

    /// Ticks until it is full, those counted that are held for requests not yet decided.
    fn lacking(&self, now: Nanos) -> u128 {
        self.full_at.saturating_sub(self.rate.ticks(now)) + u128::from(self.held) * self.rate.interval()
    }

    pub(super) fn admits(&self, now: Nanos) -> bool {
        self.lacking(now) + self.rate.interval() <= self.rate.window()
    }

    pub(super) fn charge(&mut self, now: Nanos) {
        self.full_at = self.full_at.max(self.rate.ticks(now)) + self.rate.interval();
    }

    pub(super) fn hold(&mut self) {
        self.held = self.held.saturating_add(1);
    }

    pub(super) fn release(&mut self) {
        self.held = self.held.saturating_sub(1);
    }

    /// Takes over what is known from elsewhere: full in so many microseconds from now.
    pub(super) fn set_full_in(&mut self, micros: u64, now: Nanos) {
        let lacking = u128::from(micros) * 1000 * u128::from(self.rate.requests);
        self.full_at = self.rate.ticks(now) + lacking.min(self.rate.window());
    }

    pub(super) fn level(&self, now: Nanos) -> Level {
        self.rate.level(self.lacking(now))
    }

    /// Nothing would be lost if it were forgotten.
    pub(super) fn is_stale(&self, now: Nanos) -> bool {
        self.lacking(now) == 0
    }

    pub(super) fn is_held(&self) -> bool {
        self.held > 0
    }

    /// When it is full again, for comparing counters of different limits.
    pub(super) fn full_at_nanos(&self) -> u128 {
        self.full_at / u128::from(self.rate.requests)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SECOND: u64 = 1_000_000_000;

    fn rate(requests: u32, per_seconds: u32, burst: u32) -> Rate {
        Rate { requests, per_seconds, burst }
    }

    fn take(bucket: &mut Bucket, nanos: u64) -> bool {
        let admitted = bucket.admits(Nanos(nanos));
        if admitted {
            bucket.charge(Nanos(nanos));
        }
        admitted
    }

    #[test]
    fn a_burst_is_let_in_at_once_and_no_more() {
        let mut bucket = Bucket::full(rate(3, 1, 5));
        assert_eq!((0..10).filter(|_| take(&mut bucket, 7)).count(), 5);
        assert_eq!(bucket.level(Nanos(7)), Level { remaining: 0, reset_seconds: 2, retry_after_seconds: 1 });
    }

    #[test]
    fn a_third_of_a_second_is_a_third_of_a_second() {
        // 333,333,333 ns are a third of a nanosecond too early.
        let mut bucket = Bucket::full(rate(3, 1, 1));
        assert!(take(&mut bucket, 0));
        assert!(!take(&mut bucket, 333_333_333));
        assert!(take(&mut bucket, 333_333_334));
        assert!(!take(&mut bucket, 666_666_667));
        assert!(take(&mut bucket, 666_666_668));
    }

    #[test]
    fn a_steady_rate_is_kept_exactly_for_a_day() {
        let mut bucket = Bucket::full(rate(7, 3, 7));
        let (mut admitted, mut now) = (0_u64, 0);
        while now < 86_400 * SECOND {
            admitted += u64::from(take(&mut bucket, now));
            // Faster than the limit, and never in step with it.
            now += 237_000_017;
        }
        assert_eq!(admitted, 7 + (now - 237_000_017) * 7 / (3 * SECOND));
    }

    #[test]
    fn no_window_has_a_border_at_which_twice_as_many_pass() {
        let mut bucket = Bucket::full(rate(100, 60, 100));
        let at = |bucket: &mut Bucket, nanos| (0..300).filter(|_| take(bucket, nanos)).count();
        assert_eq!(at(&mut bucket, 59 * SECOND), 100);
        assert_eq!(at(&mut bucket, 60 * SECOND), 1);
        assert_eq!(at(&mut bucket, 61 * SECOND), 2);
    }

    #[test]
    fn an_edited_limit_keeps_what_was_used_and_forgets_what_it_can_no_longer_ask_for() {
        let mut bucket = Bucket::full(rate(1, 3600, 2));
        assert!(take(&mut bucket, 0));
        assert!(take(&mut bucket, 0));
        assert_eq!(bucket.level(Nanos(0)).retry_after_seconds, 3600);
        bucket.adopt(rate(2, 10, 2), Nanos(0));
        assert_eq!(bucket.level(Nanos(0)), Level { remaining: 0, reset_seconds: 10, retry_after_seconds: 5 });
        let mut half = Bucket::full(rate(10, 10, 10));
        (0..5).for_each(|_| half.charge(Nanos(SECOND)));
        half.adopt(rate(20, 10, 20), Nanos(SECOND));
        assert_eq!(half.level(Nanos(SECOND)), Level { remaining: 15, reset_seconds: 3, retry_after_seconds: 0 });
    }

    #[test]
    fn the_largest_numbers_there_are_do_no_harm() {
        let (most, last) = (rate(u32::MAX, u32::MAX, u32::MAX), Nanos(u64::MAX));
        let mut bucket = Bucket::full(most);
        bucket.held = u32::MAX;
        bucket.charge(last);
        assert!(!bucket.admits(last));
        bucket.set_full_in(u64::MAX, last);
        bucket.adopt(rate(1, u32::MAX, u32::MAX), Nanos(0));
        assert_eq!(bucket.level(Nanos(0)).remaining, 0);
    }

    /// The definition, told without an algorithm: from any admitted request until this one there are at most `burst` and what
    /// was refilled meanwhile.
    fn naive(admitted: &[u64], now: u64, of: Rate) -> bool {
        admitted.iter().enumerate().all(|(at, &then)| {
            let count = (admitted.len() - at + 1) as u128;
            let beyond = count.saturating_sub(u128::from(of.burst));
            beyond * of.interval() <= u128::from(now - then) * u128::from(of.requests)
        })
    }

    proptest! {
        #[test]
        fn it_admits_what_the_definition_admits(
            requests in 1..50_u32,
            per_seconds in 1..20_u32,
            burst in 1..20_u32,
            gaps in prop::collection::vec(prop_oneof![Just(0_u64), 0..1000_u64, 0..2 * SECOND], 1..200),
        ) {
            let of = rate(requests, per_seconds, burst);
            let mut bucket = Bucket::full(of);
            let (mut now, mut admitted) = (SECOND, Vec::new());
            for gap in gaps {
                now += gap;
                let expected = naive(&admitted, now, of);
                prop_assert_eq!(take(&mut bucket, now), expected);
                if expected {
                    admitted.push(now);
                }
            }
        }

        #[test]
        fn whoever_waits_as_told_is_let_in(requests in 1..50_u32, per_seconds in 1..20_u32, burst in 1..20_u32, used in 0..40_u32) {
            let mut bucket = Bucket::full(rate(requests, per_seconds, burst));
            for _ in 0..used {
                take(&mut bucket, 0);
            }
            let level = bucket.level(Nanos(0));
            prop_assert_eq!(level.remaining, burst.saturating_sub(used));
            prop_assert_eq!(level.retry_after_seconds == 0, level.remaining > 0);
            prop_assert!(bucket.admits(Nanos(u64::from(level.retry_after_seconds) * SECOND)));
            prop_assert!(bucket.is_stale(Nanos(u64::from(level.reset_seconds) * SECOND)));
        }
    }
}
