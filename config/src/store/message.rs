//! Messages of embedded queues: accepted many at a time, claimed for a while by whoever delivers them, and settled. A claim is a lease:
//! what a gateway that died had claimed is claimed again when the lease has run out.

use std::fmt::Write;
use std::sync::LazyLock;

use async_trait::async_trait;
use serde::de::DeserializeOwned;
use serde_json::Value;
use uuid::Uuid;

use crate::model::Timestamp;

use super::database::Database;
use super::session::{Cell, Purpose, Record, Session};
use super::table::Holds;
use super::{Result, StoreError, delivery};

/// Rows in one statement, the largest first: a statement's text must be known beforehand, and few statements are fewer ways to Postgres.
static ACCEPT: LazyLock<[(usize, String); 7]> =
    LazyLock::new(|| [100, 50, 20, 10, 5, 2, 1].map(|rows| (rows, accept_of(rows))));
const COLUMNS: usize = 4;

/// From queue to queue by their names: reading all that is due would take the longer the more waits.
const DUE: &str = "WITH RECURSIVE named (queue) AS ( \
        SELECT (SELECT MIN(queue) FROM gateway_message WHERE dead_at IS NULL) \
        UNION ALL \
        SELECT (SELECT MIN(m.queue) FROM gateway_message m WHERE m.dead_at IS NULL AND m.queue > named.queue) \
        FROM named WHERE named.queue IS NOT NULL) \
    SELECT queue FROM named WHERE queue IS NOT NULL AND EXISTS ( \
        SELECT 1 FROM gateway_message m WHERE m.queue = named.queue AND m.dead_at IS NULL AND m.due_at <= $1)";
const DEAD: &str = "SELECT number, id, event, attempts, accepted_at, dead_at, last_error FROM gateway_message \
    WHERE queue = $1 AND dead_at IS NOT NULL AND number > $2 ORDER BY number LIMIT $3";
const IS_DEAD: &str = "SELECT COUNT(*) FROM gateway_message WHERE id = $1 AND dead_at IS NOT NULL";
const REPLAY: &str = "UPDATE gateway_message SET dead_at = NULL, lease_owner = NULL, attempts = 0, due_at = $2 \
    WHERE queue = $1 AND dead_at IS NOT NULL AND ($3 IS NULL OR id = $3)";
const DISCARD: &str =
    "DELETE FROM gateway_message WHERE queue = $1 AND dead_at IS NOT NULL AND ($2 IS NULL OR id = $2)";
const DEPTHS: &str = "SELECT queue, \
    SUM(CASE WHEN dead_at IS NULL AND (lease_owner IS NULL OR due_at <= $1) THEN 1 ELSE 0 END), \
    SUM(CASE WHEN dead_at IS NULL AND lease_owner IS NOT NULL AND due_at > $1 THEN 1 ELSE 0 END), \
    SUM(CASE WHEN dead_at IS NOT NULL THEN 1 ELSE 0 END), \
    MIN(CASE WHEN dead_at IS NULL THEN accepted_at END) \
    FROM gateway_message GROUP BY queue ORDER BY queue";

const ONE_DEPTH: &str = "SELECT \
    (SELECT COUNT(*) FROM gateway_message WHERE queue = $1 AND dead_at IS NULL AND (lease_owner IS NULL OR due_at <= $2)), \
    (SELECT COUNT(*) FROM gateway_message WHERE queue = $1 AND dead_at IS NULL AND lease_owner IS NOT NULL AND due_at > $2), \
    (SELECT COUNT(*) FROM gateway_message WHERE queue = $1 AND dead_at IS NOT NULL), \
    (SELECT MIN(accepted_at) FROM gateway_message WHERE queue = $1 AND dead_at IS NULL)";

const DEAD_LETTER: [Holds; 7] =
    [Holds::Integer, Holds::Text, Holds::Text, Holds::Integer, Holds::Time, Holds::Time, Holds::Text];
const ONE: [Holds; 4] = [Holds::Integer, Holds::Integer, Holds::Integer, Holds::Time];
const DEPTH: [Holds; 5] = [Holds::Text, Holds::Integer, Holds::Integer, Holds::Integer, Holds::Time];

/// A message to be accepted. It is due at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewMessage {
    /// Its task's id.
    pub id: String,
    pub queue: String,
    pub event: String,
    pub accepted_at: Timestamp,
}

/// Who claims how much.
#[derive(Clone, Copy, Debug)]
pub struct MessageClaim<'a> {
    pub queue: &'a str,
    pub worker: Uuid,
    pub now: Timestamp,
    /// Until when the lease holds.
    pub until: Timestamp,
    /// At most so many now.
    pub limit: u32,
    /// At most so many of this queue may be pushed at the same time, by all workers together.
    pub concurrency: u32,
    pub here: Here,
}

/// What the worker that claims has of the queue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Here {
    /// Claimed, and pushed or waiting for it.
    pub held: u32,
    /// It may be pushing so many at this moment: they are left to it.
    pub slots: u32,
    /// It wants to hold so many more than it may push.
    pub ahead: u32,
}

/// What came of a claim.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Claim {
    pub messages: Vec<ClaimedMessage>,
    /// The worker may push so many at the same time from now on.
    pub slots: u32,
    /// Nothing more is due.
    pub is_drained: bool,
}

/// A message on loan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClaimedMessage {
    pub number: i64,
    pub id: String,
    pub queue: String,
    pub event: String,
    /// Begun deliveries, this one among them.
    pub attempts: u32,
    pub accepted_at: Timestamp,
    /// What was wrong with the last delivery; it stays with a dead letter that is replayed.
    pub last_error: Option<String>,
}

impl ClaimedMessage {
    /// Whether it was a dead letter before.
    #[must_use]
    pub fn is_replayed(&self) -> bool {
        self.attempts == 1 && self.last_error.is_some()
    }
}

/// What becomes of a claimed message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Settlement {
    Done,
    /// It is due again at this time.
    Retry {
        at: Timestamp,
        error: String,
    },
    /// A dead letter from now on.
    Dead {
        at: Timestamp,
        error: String,
    },
    /// It was not tried: as if it had not been claimed.
    GiveBack {
        at: Timestamp,
    },
}

/// A message that nobody delivers any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadLetter {
    /// By it the next page begins.
    pub number: i64,
    pub id: String,
    pub event: String,
    pub attempts: u32,
    pub accepted_at: Timestamp,
    pub dead_at: Timestamp,
    pub last_error: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueDepth {
    pub queue: String,
    /// That wait, be it for their next try.
    pub waiting: u64,
    /// That are being delivered.
    pub claimed: u64,
    pub dead: u64,
    /// When the oldest was accepted that is not dead.
    pub oldest: Option<Timestamp>,
}

/// The messages of embedded queues. Every write is on disk when it is answered.
#[async_trait]
pub trait Messages {
    /// All or none. One whose id is there already is accepted by that.
    async fn accept_messages(&self, messages: &[NewMessage]) -> Result<()>;

    /// The queues that have something to be claimed.
    async fn due_queues(&self, now: Timestamp) -> Result<Vec<String>>;

    /// What is due longest, first. Workers share a queue's concurrency: who has no slot claims nothing.
    async fn claim_messages(&self, claim: &MessageClaim<'_>) -> Result<Claim>;

    /// The worker still has these, until then, and its slots. Answers which: those that it has no more are passed over.
    async fn extend_messages(&self, worker: Uuid, numbers: &[i64], until: Timestamp) -> Result<Vec<i64>>;

    /// Those that the worker has no more are passed over: somebody else settles them. `left` are queues of which it has nothing more
    /// after this: their slots are free for others.
    async fn settle_messages(&self, worker: Uuid, settled: &[(i64, Settlement)], left: &[String]) -> Result<()>;

    /// The dead letters of a queue behind number `after`, in the order of acceptance.
    async fn dead_letters(&self, queue: &str, after: i64, limit: u32) -> Result<Vec<DeadLetter>>;

    /// Whether the message of this id is a dead letter: neither replayed, nor delivered by somebody else.
    async fn is_dead_letter(&self, id: &str) -> Result<bool>;

    /// Makes dead letters due again, as if they had never been tried: the one of this id, or all. Answers how many.
    async fn replay_dead_letters(&self, queue: &str, id: Option<&str>, now: Timestamp) -> Result<u64>;

    /// Answers how many.
    async fn delete_dead_letters(&self, queue: &str, id: Option<&str>) -> Result<u64>;

    /// Of every queue that has messages, by name.
    async fn queue_depths(&self, now: Timestamp) -> Result<Vec<QueueDepth>>;

    /// Of one queue, whether or not it has any.
    async fn queue_depth(&self, queue: &str, now: Timestamp) -> Result<QueueDepth>;
}

#[async_trait]
impl Messages for Database {
    async fn accept_messages(&self, messages: &[NewMessage]) -> Result<()> {
        let mut session = self.backend.open(Purpose::Queue).await?;
        accept(&mut *session, messages).await?;
        session.commit(None).await
    }

    async fn due_queues(&self, now: Timestamp) -> Result<Vec<String>> {
        let rows = self.queue_rows(DUE, vec![time(now)], &[Holds::Text]).await?;
        Ok(rows.into_iter().filter_map(|row| Fields::of(row).next()).collect())
    }

    async fn claim_messages(&self, claim: &MessageClaim<'_>) -> Result<Claim> {
        let mut session = self.backend.open(Purpose::Delivery).await?;
        let claimed = delivery::claim(&mut *session, &*self.backend, claim).await?;
        session.commit(None).await?;
        Ok(claimed)
    }

    async fn extend_messages(&self, worker: Uuid, numbers: &[i64], until: Timestamp) -> Result<Vec<i64>> {
        let mut session = self.backend.open(Purpose::Delivery).await?;
        let extended = delivery::extend(&mut *session, &*self.backend, worker, numbers, until).await?;
        session.commit(None).await?;
        Ok(extended)
    }

    async fn settle_messages(&self, worker: Uuid, settled: &[(i64, Settlement)], left: &[String]) -> Result<()> {
        let mut session = self.backend.open(Purpose::Delivery).await?;
        delivery::settle(&mut *session, &*self.backend, worker, settled).await?;
        delivery::leave(&mut *session, worker, left).await?;
        session.commit(None).await
    }

    async fn dead_letters(&self, queue: &str, after: i64, limit: u32) -> Result<Vec<DeadLetter>> {
        let cells = vec![Cell::text(queue), Cell::Integer(Some(after)), Cell::Integer(Some(i64::from(limit)))];
        let rows = self.queue_rows(DEAD, cells, &DEAD_LETTER).await?;
        Ok(rows.into_iter().filter_map(dead_letter_of).collect())
    }

    async fn is_dead_letter(&self, id: &str) -> Result<bool> {
        let rows = self.queue_rows(IS_DEAD, vec![Cell::text(id)], &[Holds::Integer]).await?;
        Ok(rows.into_iter().next().and_then(|row| Fields::of(row).next::<i64>()).is_some_and(|count| count > 0))
    }

    async fn replay_dead_letters(&self, queue: &str, id: Option<&str>, now: Timestamp) -> Result<u64> {
        let mut session = self.backend.open(Purpose::Queue).await?;
        let cells = vec![Cell::text(queue), time(now), Cell::Text(id.map(str::to_owned))];
        let touched = session.execute(REPLAY, cells).await?;
        session.commit(None).await?;
        Ok(touched)
    }

    async fn delete_dead_letters(&self, queue: &str, id: Option<&str>) -> Result<u64> {
        let mut session = self.backend.open(Purpose::Queue).await?;
        let touched = session.execute(DISCARD, vec![Cell::text(queue), Cell::Text(id.map(str::to_owned))]).await?;
        session.commit(None).await?;
        Ok(touched)
    }

    async fn queue_depths(&self, now: Timestamp) -> Result<Vec<QueueDepth>> {
        let rows = self.queue_rows(DEPTHS, vec![time(now)], &DEPTH).await?;
        Ok(rows.into_iter().filter_map(depth_of).collect())
    }

    async fn queue_depth(&self, queue: &str, now: Timestamp) -> Result<QueueDepth> {
        let rows = self.queue_rows(ONE_DEPTH, vec![Cell::text(queue), time(now)], &ONE).await?;
        let name = std::iter::once(Ok(Value::from(queue)));
        let depth = rows.into_iter().next().and_then(|row| depth_of(name.chain(row).collect()));
        depth.ok_or_else(|| StoreError::Refused(format!("the messages of queue {queue} can't be counted")))
    }
}

impl Database {
    /// A read that keeps nobody from accepting.
    async fn queue_rows(&self, sql: &'static str, cells: Vec<Cell>, shape: &[Holds]) -> Result<Vec<Record>> {
        let mut session = self.backend.open(Purpose::QueueRead).await?;
        let rows = session.fetch(sql, cells, shape).await?;
        session.commit(None).await?;
        Ok(rows)
    }
}

async fn accept(session: &mut dyn Session, messages: &[NewMessage]) -> Result<()> {
    let mut rest = messages;
    for (size, sql) in &*ACCEPT {
        while let Some((now, later)) = rest.split_at_checked(*size) {
            let cells = now.iter().flat_map(|message| {
                [text(&message.id), text(&message.queue), text(&message.event), time(message.accepted_at)]
            });
            session.execute(sql, cells.collect()).await?;
            rest = later;
        }
    }
    Ok(())
}

fn accept_of(rows: usize) -> String {
    let mut values = String::new();
    for row in 0..rows {
        let [id, queue, event, at] = [1, 2, 3, 4].map(|column| row * COLUMNS + column);
        let comma = if row == 0 { "" } else { ", " };
        // Writing to a string can't fail.
        let _ = write!(values, "{comma}(${id}, ${queue}, ${event}, 0, ${at}, ${at})");
    }
    format!(
        "INSERT INTO gateway_message (id, queue, event, attempts, accepted_at, due_at) VALUES {values} \
         ON CONFLICT (id) DO NOTHING"
    )
}

pub(super) fn time(at: Timestamp) -> Cell {
    Cell::Integer(Some(at.micros()))
}

/// Postgres holds no NUL: what a worker's machine said of an error may be anything.
pub(super) fn text(text: &str) -> Cell {
    Cell::text(text.replace('\0', "\u{fffd}"))
}

/// A row's fields, one after the other.
pub(super) struct Fields(std::vec::IntoIter<std::result::Result<Value, String>>);

impl Fields {
    pub(super) fn of(row: Record) -> Self {
        Self(row.into_iter())
    }

    pub(super) fn next<T: DeserializeOwned>(&mut self) -> Option<T> {
        let value = self.0.next()?.inspect_err(|why| tracing::warn!(why, "a row of gateway_message can't be read"));
        serde_json::from_value(value.ok()?).ok()
    }
}

fn dead_letter_of(row: Record) -> Option<DeadLetter> {
    let mut fields = Fields::of(row);
    Some(DeadLetter {
        number: fields.next()?,
        id: fields.next()?,
        event: fields.next()?,
        attempts: fields.next()?,
        accepted_at: fields.next()?,
        dead_at: fields.next()?,
        last_error: fields.next()?,
    })
}

fn depth_of(row: Record) -> Option<QueueDepth> {
    let mut fields = Fields::of(row);
    Some(QueueDepth {
        queue: fields.next()?,
        waiting: fields.next()?,
        claimed: fields.next()?,
        dead: fields.next()?,
        oldest: fields.next()?,
    })
}
