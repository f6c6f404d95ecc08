//! Connections to backends that wait for their next request.
//!
//! Our own rather than Pingora's: that one starts a task for each connection whenever it comes back, to see whether the backend
//! closes it, and wakes that task when it is taken again. Together that is an eighth of a request. Here a connection is looked at when it is
//! taken, and all that lie idle once a second by one task.

use std::collections::HashMap;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Waker};
use std::time::{Duration, Instant};

use foldhash::fast::FixedState;
use parking_lot::Mutex;
use pingora::protocols::Stream;
use tokio::io::{AsyncRead, ReadBuf};
use tokio::task::unconstrained;
use tokio_util::sync::CancellationToken;

const SHARDS: usize = 16;
const LOOK: Duration = Duration::from_secs(1);

/// By what Pingora calls the peer's reuse hash: address, TLS, and what else tells one peer from another.
pub(crate) struct Pool {
    shards: [Mutex<Shard>; SHARDS],
    /// How many a shard holds at the most.
    room: usize,
    patience: Duration,
}

#[derive(Default)]
struct Shard {
    /// The one that came last is taken first: the others may grow old.
    idle: HashMap<u64, Vec<Idle>, FixedState>,
    count: usize,
}

struct Idle {
    io: Stream,
    since: Instant,
}

impl Pool {
    /// `room`: for how many in all; `patience`: how long they may lie idle.
    pub(crate) fn new(room: usize, patience: Duration) -> Self {
        Self { shards: Default::default(), room: room.div_ceil(SHARDS), patience }
    }

    /// One that still stands.
    pub(crate) fn take(&self, key: u64) -> Option<Stream> {
        loop {
            let mut io = self.shard(key).lock().pop(key)?;
            if is_quiet(&mut io) {
                return Some(io);
            }
        }
    }

    /// Lays one by, in the place of another where there is no more room.
    pub(crate) fn put(&self, key: u64, mut io: Stream) {
        if self.room == 0 || !is_quiet(&mut io) {
            return;
        }
        let idle = Idle { io, since: Instant::now() };
        // Closed when nobody has to wait for the lock.
        let _left_over = self.shard(key).lock().push(key, idle, self.room);
    }

    /// Closes those whose backend has closed them, or that lie idle for too long, again and again.
    pub(crate) async fn run(self: Arc<Self>, stop: CancellationToken) {
        while stop.run_until_cancelled(tokio::time::sleep(LOOK)).await.is_some() {
            for shard in &self.shards {
                // Closed when nobody has to wait for the lock.
                let _swept = shard.lock().sweep(self.patience);
            }
        }
    }

    fn shard(&self, key: u64) -> &Mutex<Shard> {
        &self.shards[usize::try_from(key % SHARDS as u64).unwrap_or(0)]
    }
}

impl Shard {
    fn pop(&mut self, key: u64) -> Option<Stream> {
        let idle = self.idle.get_mut(&key)?.pop()?;
        self.count -= 1;
        Some(idle.io)
    }

    /// Answers what there was no more room for.
    fn push(&mut self, key: u64, idle: Idle, room: usize) -> Option<Idle> {
        let left_over = if self.count < room { None } else { self.oldest_of_any() };
        self.idle.entry(key).or_default().push(idle);
        self.count += 1;
        left_over
    }

    /// Of whichever peer comes first: to know the oldest of all would cost every request.
    fn oldest_of_any(&mut self) -> Option<Idle> {
        let some = self.idle.values_mut().find(|idle| !idle.is_empty())?;
        self.count -= 1;
        Some(some.remove(0))
    }

    /// Answers what is not worth keeping.
    fn sweep(&mut self, patience: Duration) -> Vec<Idle> {
        let is_over = |idle: &mut Idle| idle.since.elapsed() >= patience || !is_quiet(&mut idle.io);
        let swept: Vec<Idle> = self.idle.values_mut().flat_map(|idle| idle.extract_if(.., is_over)).collect();
        self.idle.retain(|_, idle| !idle.is_empty());
        self.count -= swept.len();
        swept
    }
}

/// Nothing came in, and it was not closed: a backend that says something unasked is not to be believed any more.
fn is_quiet(io: &mut Stream) -> bool {
    let mut byte = [0; 1];
    let read = poll_fn(|context| Pin::new(&mut *io).poll_read(context, &mut ReadBuf::new(&mut byte)));
    // A task that has read much would be told to come again instead of being told how it is.
    pin!(unconstrained(read)).poll(&mut Context::from_waker(Waker::noop())).is_pending()
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncWriteExt, DuplexStream};

    use super::*;

    const LONG: Duration = Duration::from_mins(1);

    /// A backend's end, and ours laid by.
    fn lay_by(pool: &Pool, key: u64) -> DuplexStream {
        let (backend, ours) = tokio::io::duplex(64);
        pool.put(key, Box::new(ours));
        backend
    }

    fn sweep(pool: &Pool) {
        pool.shards.iter().for_each(|shard| drop(shard.lock().sweep(pool.patience)));
    }

    fn count(pool: &Pool) -> usize {
        pool.shards.iter().map(|shard| shard.lock().count).sum()
    }

    #[tokio::test]
    async fn what_was_laid_by_is_taken_once_and_by_its_own_key_only() {
        let pool = Pool::new(16, LONG);
        let _backend = lay_by(&pool, 7);
        assert!(pool.take(7 + SHARDS as u64).is_none());
        assert!(pool.take(7).is_some());
        assert!(pool.take(7).is_none());
        assert_eq!(count(&pool), 0);
    }

    #[tokio::test]
    async fn what_was_closed_or_says_something_is_not_taken() {
        let pool = Pool::new(64, LONG);
        let sound = lay_by(&pool, 7);
        let mut talks = lay_by(&pool, 7);
        drop(lay_by(&pool, 7));
        talks.write_all(b"HTTP/1.1 408 Request Timeout\r\n\r\n").await.unwrap();
        assert!(pool.take(7).is_some());
        assert!(pool.take(7).is_none(), "of three only the oldest was sound");
        drop(sound);
    }

    #[tokio::test]
    async fn what_was_closed_or_is_old_is_swept_out() {
        let pool = Pool::new(64, LONG);
        let _sound = lay_by(&pool, 7);
        drop(lay_by(&pool, 8));
        sweep(&pool);
        assert_eq!(count(&pool), 1);
        let impatient = Pool::new(64, Duration::ZERO);
        let _sound = lay_by(&impatient, 7);
        sweep(&impatient);
        assert_eq!(count(&impatient), 0);
    }

    #[tokio::test]
    async fn where_there_is_no_more_room_an_old_one_goes() {
        let pool = Pool::new(2 * SHARDS, LONG);
        let mut backends: Vec<_> = (0..3).map(|_| lay_by(&pool, 7)).collect();
        assert_eq!(count(&pool), 2);
        assert!(backends.remove(0).write_all(b"x").await.is_err(), "the first is closed");
        let _other = lay_by(&pool, 7 + SHARDS as u64);
        assert_eq!(count(&pool), 2, "whoever it belongs to");
        let none = Pool::new(0, LONG);
        let _backend = lay_by(&none, 7);
        assert_eq!(count(&none), 0);
    }
}
