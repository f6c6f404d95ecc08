//! Counters that the whole fleet shares, kept in Redis: one script and one round trip a request, whatever number of limits.
//!
//! A request never waits for a Redis that is away. It waits for an answer no longer than the deadline, and is then decided without it.
//! A broken connection, an error, or no answer in time for a while take the store out of use, and a task in the background looks
//! four times a second whether it is back. Until then nobody asks it.
//!
//! Redis Cluster is not supported: the counters of one request lie in different slots, and hash tags that would bring them
//! together would bring all of a limit's callers together.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use gateway_config::snapshot::{Counter, Who};
use prometheus::IntGauge;
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, RedisError, Script};
use smallvec::SmallVec;
use thiserror::Error;
use tokio::sync::Notify;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

/// Before the names of all counters.
const PREFIX: &str = "gatehouse:limit:";
/// How often a store that is away is looked for.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// How often one that nobody asks is looked at.
const CHECK_EVERY: Duration = Duration::from_secs(1);
/// For connecting and for the looks, which no request waits for.
const PATIENCE: Duration = Duration::from_secs(1);
/// So long without one answer in time, and it is away; less is a hiccup, which costs only those who met it the store.
const SILENT_AT_MOST: Duration = Duration::from_millis(50);

#[derive(Debug, Error)]
#[error("could not use the URL of the Redis for shared limits: {0}")]
pub(crate) struct StoreUrlError(#[source] RedisError);

#[derive(Clone)]
pub(crate) struct SharedStore(Arc<Inner>);

struct Inner {
    client: Client,
    script: Script,
    /// How long a request waits for an answer.
    deadline: Duration,
    prefix: Box<str>,
    /// None: away.
    connection: ArcSwapOption<MultiplexedConnection>,
    lost: Notify,
    began: Instant,
    /// When the first of those was asked that waited in vain since the last answer in time, in microseconds from `began`; 0: none.
    silent_since: AtomicU64,
    /// So that what lasts is told once.
    told: AtomicBool,
    up: IntGauge,
}

/// What the script says.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) admitted: bool,
    pub(super) levels: SmallVec<[SharedLevel; 4]>,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct SharedLevel {
    pub(super) remaining: u32,
    pub(super) full_in_micros: u64,
    pub(super) retry_in_micros: u64,
}

/// Shows no URL: there may be a password in it.
impl fmt::Debug for SharedStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedStore").field("up", &self.is_up()).finish_non_exhaustive()
    }
}

impl SharedStore {
    /// `url` as in `redis://…` or `rediss://…`. `up` is 1 while the store answers. Nothing connects before
    /// [`Self::keep_connected`] runs.
    pub(crate) fn new(url: &str, deadline: Duration, up: IntGauge) -> Result<Self, StoreUrlError> {
        Self::with_prefix(url, deadline, up, PREFIX)
    }

    pub(super) fn with_prefix(
        url: &str,
        deadline: Duration,
        up: IntGauge,
        prefix: &str,
    ) -> Result<Self, StoreUrlError> {
        up.set(0);
        Ok(Self(Arc::new(Inner {
            client: Client::open(url).map_err(StoreUrlError)?,
            script: Script::new(include_str!("script.lua")),
            deadline,
            prefix: prefix.into(),
            connection: ArcSwapOption::empty(),
            lost: Notify::new(),
            began: Instant::now(),
            silent_since: AtomicU64::new(0),
            told: AtomicBool::new(false),
            up,
        })))
    }

    pub(crate) fn is_up(&self) -> bool {
        self.0.connection.load().is_some()
    }

    /// Connects, and connects again whenever the store was away, until `stop`.
    pub(crate) async fn keep_connected(self, stop: CancellationToken) {
        let forever = async {
            loop {
                match self.connect().await {
                    Ok(connection) => self.use_while_it_answers(connection).await,
                    Err(error) => self.tell_once(&error),
                }
                tokio::time::sleep(LOOK_EVERY).await;
            }
        };
        let _ = stop.run_until_cancelled(forever).await;
        self.0.connection.store(None);
    }

    async fn connect(&self) -> Result<MultiplexedConnection, RedisError> {
        let config =
            AsyncConnectionConfig::new().set_connection_timeout(Some(PATIENCE)).set_response_timeout(Some(PATIENCE));
        let connecting = self.0.client.get_multiplexed_async_connection_with_config(&config);
        // Around it all: the time-out of connecting does not cover the name's resolution.
        let mut connection = timeout(2 * PATIENCE, connecting).await.map_err(|_| too_late())??;
        self.check(&mut connection).await?;
        Ok(connection)
    }

    /// The script itself is the check, on a counter of its own: a server that answers a PING may still be loading, full or a
    /// replica. It also loads the script.
    async fn check(&self, connection: &mut MultiplexedConnection) -> Result<(), RedisError> {
        let mut call = self.0.script.prepare_invoke();
        call.key(format!("{}check", self.0.prefix)).arg(1_000_000).arg(1).arg(1_000_000);
        timeout(PATIENCE, call.invoke_async::<Vec<i64>>(connection)).await.map_err(|_| too_late())??;
        Ok(())
    }

    async fn use_while_it_answers(&self, mut connection: MultiplexedConnection) {
        self.0.silent_since.store(0, Ordering::Relaxed);
        self.0.told.store(false, Ordering::Relaxed);
        self.0.connection.store(Some(Arc::new(connection.clone())));
        self.0.up.set(1);
        tracing::info!("shared limits are counted in Redis");
        loop {
            tokio::select! {
                () = self.0.lost.notified() => {}
                () = tokio::time::sleep(CHECK_EVERY) => {
                    if let Err(error) = self.check(&mut connection).await {
                        self.tell_once(&error);
                        self.0.connection.store(None);
                    }
                }
            }
            // A notice may be left over from the connection before.
            if !self.is_up() {
                self.0.up.set(0);
                return;
            }
        }
    }

    /// Counts one request in all of `counters` or in none. None: the store is away or too slow, decide without it. It may have
    /// counted even so.
    pub(super) async fn count(&self, counters: &[&Counter]) -> Option<Answer> {
        let used = self.0.connection.load_full()?;
        let mut call = self.0.script.prepare_invoke();
        for counter in counters {
            let limit = &counter.limit;
            call.key(self.name_of(counter)).arg(limit.requests.max(1)).arg(limit.per_seconds.max(1));
            call.arg(limit.burst.max(1));
        }
        let mut connection = MultiplexedConnection::clone(&used);
        let asked = self.0.began.elapsed();
        let answer = match timeout(self.0.deadline, call.invoke_async::<Vec<i64>>(&mut connection)).await {
            Ok(Ok(numbers)) => parse(&numbers, counters.len()),
            Ok(Err(error)) => {
                self.tell_once(&error);
                self.give_up(&used);
                return None;
            }
            Err(_) => {
                if self.has_been_silent(asked) >= SILENT_AT_MOST {
                    self.tell_once(&too_late());
                    self.give_up(&used);
                }
                return None;
            }
        };
        // Looked at first: a plain store would be written by every request.
        if self.0.silent_since.load(Ordering::Relaxed) != 0 {
            self.0.silent_since.store(0, Ordering::Relaxed);
        }
        answer
    }

    /// For how long, after one who was asked `asked` waited in vain.
    fn has_been_silent(&self, asked: Duration) -> Duration {
        let asked = u64::try_from(asked.as_micros()).unwrap_or(u64::MAX).max(1);
        let (silent, relaxed) = (&self.0.silent_since, Ordering::Relaxed);
        let since = silent.compare_exchange(0, asked, relaxed, relaxed).err().unwrap_or(asked);
        self.0.began.elapsed().saturating_sub(Duration::from_micros(since))
    }

    /// Takes the connection out of use, unless another has taken its place already.
    fn give_up(&self, used: &Arc<MultiplexedConnection>) {
        let before = self.0.connection.compare_and_swap(used, None);
        if before.as_ref().is_some_and(|before| Arc::ptr_eq(before, used)) {
            self.0.up.set(0);
            self.0.lost.notify_one();
        }
    }

    fn tell_once(&self, error: &RedisError) {
        if !self.0.told.swap(true, Ordering::Relaxed) {
            tracing::warn!(%error, "the Redis for shared limits is away: each limit's onStoreError decides");
        }
    }

    fn name_of(&self, counter: &Counter) -> String {
        format!("{}{:016x}:{}", self.0.prefix, counter.limit.id, Word(&counter.who))
    }
}

fn too_late() -> RedisError {
    std::io::Error::from(std::io::ErrorKind::TimedOut).into()
}

fn parse(numbers: &[i64], counters: usize) -> Option<Answer> {
    let (admitted, levels) = numbers.split_first()?;
    let (levels, _) = levels.as_chunks::<3>();
    if levels.len() != counters {
        return None;
    }
    let level = |[remaining, full_in, retry_in]: &[i64; 3]| SharedLevel {
        remaining: u32::try_from(*remaining).unwrap_or(0),
        full_in_micros: u64::try_from(*full_in).unwrap_or(0),
        retry_in_micros: u64::try_from(*retry_in).unwrap_or(0),
    };
    Some(Answer { admitted: *admitted == 1, levels: levels.iter().map(level).collect() })
}

/// A caller in the name of a key.
struct Word<'w>(&'w Who);

impl fmt::Display for Word<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Who::All => f.write_str("all"),
            Who::Address(IpAddr::V4(four)) => write!(f, "ip:{four}"),
            Who::Address(IpAddr::V6(six)) => write!(f, "ip:{six}"),
            Who::Application(name) => write!(f, "application:{name}"),
            Who::Key(id) => write!(f, "key:{id}"),
            // A subject is often somebody's mail address, may be long, and hold whatever it likes.
            Who::Subject(issuer, subject) => {
                let mut hash = blake3::Hasher::new();
                hash.update(issuer.as_bytes()).update(&[0]).update(subject.as_bytes());
                write!(f, "subject:{}", hash.finalize().to_hex().get(..32).unwrap_or_default())
            }
        }
    }
}
