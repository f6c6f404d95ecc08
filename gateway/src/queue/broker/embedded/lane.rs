//! What this gateway has of one queue: messages that are pushed, those that were claimed ahead of it, and how much more it wants. Time
//! comes in as an argument, and nothing here does anything.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use gateway_config::snapshot::CompiledQueue;
use gateway_config::store::{Claim, ClaimedMessage, Here};
use tokio::time::Instant;

/// Claimed at a time, and ahead.
const MOST_AHEAD: u32 = 512;
/// The same by the size of the last messages.
const MOST_AHEAD_BYTES: usize = 16 * 1024 * 1024;
/// Ahead is claimed what was pushed in so long, so no message waits much longer than this for its push.
const WINDOW: Duration = Duration::from_millis(250);
/// How soon a gateway asks again for slots that others have.
const ASK_AGAIN: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(super) struct Lane {
    pub(super) queue: Arc<CompiledQueue>,
    held: VecDeque<ClaimedMessage>,
    pushing: u32,
    /// So many pushes may be under way here.
    slots: u32,
    /// There may be more to claim.
    is_due: bool,
    /// Messages came after the claim that is under way had looked.
    is_due_again: bool,
    /// A claim is under way, or the word that this gateway has left the queue: not both at once, nor two.
    is_busy: bool,
    /// Others have slots that this gateway would use.
    ask_again_at: Option<Instant>,
    pace: Pace,
    mean_bytes: usize,
}

/// To be claimed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ask {
    pub(super) here: Here,
    pub(super) limit: u32,
}

impl Lane {
    pub(super) fn new(queue: Arc<CompiledQueue>, now: Instant) -> Self {
        Self {
            queue,
            held: VecDeque::new(),
            pushing: 0,
            slots: 0,
            is_due: false,
            is_due_again: false,
            is_busy: false,
            ask_again_at: None,
            pace: Pace { since: now, counts: [0; 3] },
            mean_bytes: 0,
        }
    }

    pub(super) fn found_due(&mut self) {
        self.is_due = true;
        self.is_due_again = self.is_busy;
    }

    /// Whether it need not be asked what is due.
    pub(super) fn is_due(&self) -> bool {
        self.is_due
    }

    /// Nobody is to deliver the queue any more.
    pub(super) fn close(&mut self) {
        (self.is_due, self.is_due_again) = (false, false);
    }

    /// What to claim now. Claims are few and large: the next one is made when half of what was claimed ahead is used up.
    pub(super) fn ask(&mut self, now: Instant) -> Option<Ask> {
        if self.is_busy || !self.is_due {
            return None;
        }
        let (held, ahead) = (self.count(), self.ahead(now));
        let limit = self.queue.source.concurrency.saturating_add(ahead).saturating_sub(held).min(self.most(MOST_AHEAD));
        let is_low =
            self.slots > 0 && held < self.slots.saturating_add(ahead) && held <= self.slots.saturating_add(ahead / 2);
        let may_grow = held <= self.slots && self.ask_again_at.is_none_or(|at| at <= now);
        if limit == 0 || !(is_low || may_grow) {
            return None;
        }
        (self.is_busy, self.is_due_again) = (true, false);
        // What is pushed at this moment is there, also where there are fewer slots by now.
        Some(Ask { here: Here { held, slots: self.slots.max(self.pushing), ahead }, limit })
    }

    pub(super) fn claimed(&mut self, claim: Claim, ask: Ask, now: Instant) {
        self.is_busy = false;
        self.slots = claim.slots;
        self.is_due = !claim.is_drained || self.is_due_again;
        let count = u32::try_from(claim.messages.len()).unwrap_or(u32::MAX);
        let is_short = !claim.is_drained && count < ask.limit;
        self.ask_again_at = is_short.then(|| now + ASK_AGAIN);
        let bytes: usize = claim.messages.iter().map(|message| message.event.len()).sum();
        self.mean_bytes = bytes.checked_div(claim.messages.len()).unwrap_or(self.mean_bytes);
        self.held.extend(claim.messages);
    }

    pub(super) fn claim_failed(&mut self) {
        // Found due again by the next look.
        (self.is_busy, self.is_due) = (false, false);
    }

    /// The next one, if it may be pushed now. It counts as pushed until `pushed`.
    pub(super) fn next(&mut self) -> Option<ClaimedMessage> {
        if self.pushing >= self.slots {
            return None;
        }
        let message = self.held.pop_front()?;
        self.pushing += 1;
        Some(message)
    }

    pub(super) fn pushed(&mut self, now: Instant) {
        self.pushing = self.pushing.saturating_sub(1);
        self.pace.note(now);
    }

    /// What `next` answered is not pushed.
    pub(super) fn skipped(&mut self) {
        self.pushing = self.pushing.saturating_sub(1);
    }

    /// Takes out those that wait and are no more to be pushed.
    pub(super) fn drop_held(&mut self, is_dropped: impl Fn(i64) -> bool) -> Vec<i64> {
        let dropped = self.held.iter().map(|message| message.number).filter(|number| is_dropped(*number)).collect();
        self.held.retain(|message| !is_dropped(message.number));
        dropped
    }

    /// There is nothing of the queue here, and others should hear it: true once.
    pub(super) fn leaves(&mut self) -> bool {
        let leaves = !self.is_busy && !self.is_due && self.count() == 0;
        self.is_busy |= leaves;
        leaves
    }

    /// Others have heard it, or could not. Answers whether it is still left.
    pub(super) fn left(&mut self, is_known: bool) -> bool {
        self.is_busy = false;
        if is_known {
            self.slots = 0;
        }
        is_known && !self.is_due
    }

    fn count(&self) -> u32 {
        u32::try_from(self.held.len()).unwrap_or(u32::MAX).saturating_add(self.pushing)
    }

    fn ahead(&mut self, now: Instant) -> u32 {
        let lately = self.pace.lately(now);
        self.most(MOST_AHEAD).min(lately)
    }

    /// `count`, or fewer of large messages; one at least.
    fn most(&self, count: u32) -> u32 {
        let fit = MOST_AHEAD_BYTES.checked_div(self.mean_bytes).unwrap_or(usize::MAX);
        count.min(u32::try_from(fit).unwrap_or(u32::MAX)).max(1)
    }
}

/// How many were pushed in the window that runs, in the one before, and before that.
#[derive(Debug)]
struct Pace {
    since: Instant,
    counts: [u32; 3],
}

impl Pace {
    fn note(&mut self, now: Instant) {
        self.roll(now);
        let [current, ..] = &mut self.counts;
        *current = current.saturating_add(1);
    }

    /// In one whole window: the lesser of the last two, so that a few slow pushes that end at once are not taken for haste.
    fn lately(&mut self, now: Instant) -> u32 {
        self.roll(now);
        let [_, last, before] = self.counts;
        last.min(before)
    }

    fn roll(&mut self, now: Instant) {
        let [current, last, _] = self.counts;
        let passed = now.saturating_duration_since(self.since);
        if passed >= WINDOW * 3 {
            (self.counts, self.since) = ([0; 3], now);
        } else if passed >= WINDOW {
            (self.counts, self.since) = ([0, current, last], self.since + WINDOW);
            self.roll(now);
        }
    }
}

#[cfg(test)]
mod tests {
    use gateway_config::clock::new_id;
    use gateway_config::model::{Configuration, Destination, Id, Queue, Timestamp};
    use gateway_config::snapshot::compile;

    use super::*;

    fn lane(concurrency: u32, now: Instant) -> Lane {
        let destination = Destination { deliver_to: Some("http://worker/".to_owned()), ..Destination::default() };
        let queue = Queue { id: Id::new(new_id()), name: "q".to_owned(), destination, concurrency, ..Queue::default() };
        let queues = [("q".to_owned(), Arc::new(queue))].into();
        let snapshot = compile(&Configuration { queues, ..Configuration::default() }, 1).unwrap();
        let mut lane = Lane::new(snapshot.queue("q").unwrap().clone(), now);
        lane.found_due();
        lane
    }

    fn messages(count: u32, bytes: usize) -> Vec<ClaimedMessage> {
        let one = |number: u32| ClaimedMessage {
            number: i64::from(number),
            id: number.to_string(),
            queue: "q".to_owned(),
            event: "x".repeat(bytes),
            attempts: 1,
            accepted_at: Timestamp::from_micros(0),
            last_error: None,
        };
        (0..count).map(one).collect()
    }

    fn claim(count: u32, slots: u32) -> Claim {
        Claim { messages: messages(count, 10), slots, is_drained: false }
    }

    /// Pushes all that may be pushed, each taken at once.
    fn push_all(lane: &mut Lane, now: Instant) -> u32 {
        let mut count = 0;
        while lane.next().is_some() {
            lane.pushed(now);
            count += 1;
        }
        count
    }

    /// So many in each of three windows; the time after them.
    fn at_pace(lane: &mut Lane, each: u32, start: Instant) -> Instant {
        for window in 0..3 {
            for _ in 0..each {
                lane.pushed(start + WINDOW * window);
            }
        }
        start + WINDOW * 3 - Duration::from_millis(1)
    }

    #[test]
    fn no_more_are_pushed_than_there_are_slots_however_many_are_held() {
        let now = Instant::now();
        let mut lane = lane(8, now);
        let ask = lane.ask(now).unwrap();
        assert_eq!(ask, Ask { here: Here::default(), limit: 8 });
        lane.claimed(claim(50, 3), ask, now);
        let pushed: Vec<_> = std::iter::from_fn(|| lane.next()).collect();
        assert_eq!(pushed.len(), 3);
        lane.pushed(now);
        assert!(lane.next().is_some() && lane.next().is_none());
    }

    #[test]
    fn slots_that_are_taken_back_count_until_the_last_push_over_them_ends() {
        let now = Instant::now();
        let mut lane = lane(8, now);
        let then = at_pace(&mut lane, 100, now);
        let ask = lane.ask(then).unwrap();
        lane.claimed(claim(108, 8), ask, then);
        assert_eq!(std::iter::from_fn(|| lane.next()).count(), 8);
        lane.drop_held(|number| number < 90);
        let ask = lane.ask(then).unwrap();
        lane.claimed(claim(0, 2), ask, then);
        lane.pushed(then);
        assert!(lane.next().is_none(), "seven are more than two");
        assert_eq!(lane.ask(then).map(|ask| ask.here.slots), Some(7));
        while lane.pushing > 1 {
            lane.pushed(then);
        }
        assert!(lane.next().is_some() && lane.next().is_none());
    }

    #[test]
    fn what_is_claimed_ahead_is_what_a_quarter_of_a_second_takes() {
        let now = Instant::now();
        let mut slow = lane(8, now);
        let ask = slow.ask(now).unwrap();
        slow.claimed(claim(8, 8), ask, now);
        assert_eq!(slow.ask(now), None, "of a queue whose pace is unknown nothing is claimed ahead");
        assert_eq!(push_all(&mut slow, now), 8);
        assert_eq!(slow.ask(now + WINDOW).map(|ask| ask.limit), Some(8), "and no more after one lucky moment");

        let mut fast = lane(8, now);
        fast.slots = 8;
        let then = at_pace(&mut fast, 100, now);
        let ask = fast.ask(then).unwrap();
        assert_eq!((ask.limit, ask.here.ahead), (108, 100));
        fast.claimed(claim(108, 8), ask, then);
        assert_eq!(fast.ask(then), None, "there is enough");
        for _ in 0..50 {
            assert!(fast.next().is_some());
            fast.pushed(then);
        }
        assert_eq!(fast.ask(then).map(|ask| ask.limit), Some(50), "half of it is used up");
        fast.claim_failed();
        fast.found_due();
        assert_eq!(fast.ask(then + WINDOW * 9), None, "the haste is over");
    }

    #[test]
    fn large_messages_are_claimed_ahead_by_their_size() {
        let now = Instant::now();
        let mut lane = lane(2, now);
        let ask = lane.ask(now).unwrap();
        lane.claimed(Claim { messages: messages(2, 4 * 1024 * 1024), slots: 2, is_drained: false }, ask, now);
        push_all(&mut lane, now);
        let then = at_pace(&mut lane, 100, now);
        assert_eq!(lane.ask(then).map(|ask| (ask.limit, ask.here.ahead)), Some((4, 4)));
    }

    #[test]
    fn slots_that_others_have_are_asked_for_once_in_a_while() {
        let now = Instant::now();
        let mut lane = lane(8, now);
        let ask = lane.ask(now).unwrap();
        lane.claimed(claim(0, 0), ask, now);
        assert_eq!(lane.ask(now), None);
        assert!(!lane.leaves(), "it waits for its turn");
        assert!(lane.ask(now + ASK_AGAIN).is_some());
    }

    #[test]
    fn what_came_during_a_claim_is_not_forgotten_by_its_answer() {
        let now = Instant::now();
        let mut lane = lane(8, now);
        let ask = lane.ask(now).unwrap();
        lane.found_due();
        lane.claimed(Claim { is_drained: true, ..claim(1, 1) }, ask, now);
        let ask = lane.ask(now).expect("it asks again");
        lane.claimed(Claim { is_drained: true, ..claim(0, 1) }, ask, now);
        assert_eq!(lane.ask(now), None);
    }

    #[test]
    fn a_queue_is_left_when_nothing_of_it_is_here_and_before_it_is_claimed_of_again() {
        let now = Instant::now();
        let mut lane = lane(8, now);
        let ask = lane.ask(now).unwrap();
        assert!(!lane.leaves(), "a claim is under way");
        lane.claimed(Claim { is_drained: true, ..claim(1, 1) }, ask, now);
        assert!(!lane.leaves());
        assert_eq!(push_all(&mut lane, now), 1);
        assert!(lane.leaves() && !lane.leaves());
        lane.found_due();
        assert_eq!(lane.ask(now), None, "others do not know yet that the slots are free");
        assert!(!lane.left(true));
        assert_eq!(lane.ask(now).map(|ask| ask.here.slots), Some(0));
    }
}
