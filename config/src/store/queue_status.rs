//! What gateways see of queues, and test messages that they are asked to publish. Neither is part of the configuration.

use std::fmt::Write;
use std::sync::LazyLock;

use async_trait::async_trait;
use serde::de::DeserializeOwned;
use uuid::Uuid;

use crate::model::{Id, Queue, Timestamp};

use super::Result;
use super::database::Database;
use super::session::{Cell, Purpose, Record, Session};
use super::table::Holds;

/// Rows in one statement, the largest first: a statement's text must be known beforehand.
static REPORT: LazyLock<[(usize, String); 3]> = LazyLock::new(|| [100, 10, 1].map(|rows| (rows, report_of(rows))));
const COLUMNS: usize = 7;

/// Each gateway clears up after itself; after others only what they left behind for good.
const FORGET: &str = "DELETE FROM gateway_queue_status WHERE at < $1 AND (node = $2 OR at < $3)";
const LIST: &str = "SELECT node, queue_id, messages, consumers, broker_up, spooled, at FROM gateway_queue_status \
    WHERE queue_id = $1 ORDER BY at DESC, node";
const REPORTED: [Holds; 7] =
    [Holds::Id, Holds::Id, Holds::Integer, Holds::Integer, Holds::Boolean, Holds::Integer, Holds::Time];
/// What is left of nodes that are gone is shown for a day.
const LEFT_BEHIND_MICROS: i64 = 24 * 60 * 60 * 1_000_000;

const ASK: &str = "INSERT INTO gateway_queue_test (id, queue_id, data, asked_at) VALUES ($1, $2, $3, $4)";
const OPEN: &str = "SELECT id, queue_id, data, asked_at FROM gateway_queue_test \
    WHERE node IS NULL AND asked_at >= $1 ORDER BY asked_at, id LIMIT 100";
const OPENED: [Holds; 4] = [Holds::Id, Holds::Id, Holds::Text, Holds::Time];
const TAKE: &str = "UPDATE gateway_queue_test SET node = $2, task_id = $3 WHERE id = $1 AND node IS NULL";
const SETTLE: &str = "UPDATE gateway_queue_test SET published = $2, error = $3 WHERE id = $1";
const STATE: &str = "SELECT node, task_id, published, error FROM gateway_queue_test WHERE id = $1";
const STATES: [Holds; 4] = [Holds::Id, Holds::Text, Holds::Boolean, Holds::Text];
const WITHDRAW: &str = "DELETE FROM gateway_queue_test WHERE id = $1 OR asked_at < $2";
/// Of an admin API that died while it waited.
const LEFT_WAITING_MICROS: i64 = 60 * 60 * 1_000_000;

/// A queue as one gateway sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueReport {
    pub node: Uuid,
    pub queue: Id<Queue>,
    /// That wait at the broker; none: it does not tell.
    pub messages: Option<u64>,
    pub consumers: Option<u64>,
    pub broker_up: bool,
    /// That wait on the gateway's own disk.
    pub spooled: u64,
    pub at: Timestamp,
}

/// A message that a gateway is asked to publish.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueTest {
    pub id: Uuid,
    pub queue: Id<Queue>,
    /// JSON.
    pub data: Option<String>,
    pub asked_at: Timestamp,
}

/// How far a test is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum QueueTestState {
    /// No gateway has it yet.
    Waiting,
    Taken {
        node: Uuid,
        task: String,
    },
    /// The broker answered for it.
    Published {
        node: Uuid,
        task: String,
    },
    Failed {
        node: Uuid,
        task: String,
        error: String,
    },
}

/// Queues as gateways see them.
#[async_trait]
pub trait QueueStatus {
    /// Replaces all that this node reported before. The reports' times are `now`.
    async fn report_queues(&self, node: Uuid, reports: &[QueueReport], now: Timestamp) -> Result<()>;

    /// Of every gateway that reported of this queue within a day, the newest first.
    async fn queue_reports(&self, queue: Id<Queue>) -> Result<Vec<QueueReport>>;

    async fn ask_queue_test(&self, test: &QueueTest) -> Result<()>;

    /// Tests that were asked at `since` or later and that nobody has taken.
    async fn open_queue_tests(&self, since: Timestamp) -> Result<Vec<QueueTest>>;

    /// Takes a test, as this task. `false`: another gateway has it, or nobody waits for it any more.
    async fn take_queue_test(&self, id: Uuid, node: Uuid, task: &str) -> Result<bool>;

    /// Says what came of it.
    async fn settle_queue_test(&self, id: Uuid, outcome: Result<(), String>) -> Result<()>;

    async fn queue_test(&self, id: Uuid) -> Result<Option<QueueTestState>>;

    /// Nobody waits for it any more; answers how far it came.
    async fn withdraw_queue_test(&self, id: Uuid, now: Timestamp) -> Result<Option<QueueTestState>>;
}

#[async_trait]
impl QueueStatus for Database {
    async fn report_queues(&self, node: Uuid, reports: &[QueueReport], now: Timestamp) -> Result<()> {
        let mut session = self.backend.open(Purpose::Runtime).await?;
        let mut rest = reports;
        for (size, sql) in &*REPORT {
            while let Some((now, later)) = rest.split_at_checked(*size) {
                session.execute(sql, now.iter().flat_map(row).collect()).await?;
                rest = later;
            }
        }
        let left_behind = now.micros().saturating_sub(LEFT_BEHIND_MICROS);
        session.execute(FORGET, vec![time(now), Cell::Id(Some(node)), Cell::Integer(Some(left_behind))]).await?;
        session.commit(None).await
    }

    async fn queue_reports(&self, queue: Id<Queue>) -> Result<Vec<QueueReport>> {
        let mut session = self.backend.open(Purpose::RuntimeRead).await?;
        let rows = session.fetch(LIST, vec![Cell::Id(Some(queue.uuid()))], &REPORTED).await?;
        session.commit(None).await?;
        Ok(rows.into_iter().filter_map(report).collect())
    }

    async fn ask_queue_test(&self, test: &QueueTest) -> Result<()> {
        let QueueTest { id, queue, data, asked_at } = test;
        let cells = vec![Cell::Id(Some(*id)), Cell::Id(Some(queue.uuid())), Cell::Text(data.clone()), time(*asked_at)];
        let mut session = self.backend.open(Purpose::Runtime).await?;
        session.execute(ASK, cells).await?;
        session.commit(None).await
    }

    async fn open_queue_tests(&self, since: Timestamp) -> Result<Vec<QueueTest>> {
        let mut session = self.backend.open(Purpose::RuntimeRead).await?;
        let rows = session.fetch(OPEN, vec![time(since)], &OPENED).await?;
        session.commit(None).await?;
        Ok(rows.into_iter().filter_map(test).collect())
    }

    async fn take_queue_test(&self, id: Uuid, node: Uuid, task: &str) -> Result<bool> {
        let cells = vec![Cell::Id(Some(id)), Cell::Id(Some(node)), Cell::text(task)];
        let mut session = self.backend.open(Purpose::Runtime).await?;
        let touched = session.execute(TAKE, cells).await?;
        session.commit(None).await?;
        Ok(touched > 0)
    }

    async fn settle_queue_test(&self, id: Uuid, outcome: Result<(), String>) -> Result<()> {
        // Postgres holds no NUL, and a broker may say anything.
        let error = outcome.as_ref().err().map(|error| error.replace('\0', "\u{fffd}"));
        let cells = vec![Cell::Id(Some(id)), Cell::Boolean(Some(outcome.is_ok())), Cell::Text(error)];
        let mut session = self.backend.open(Purpose::Runtime).await?;
        session.execute(SETTLE, cells).await?;
        session.commit(None).await
    }

    async fn queue_test(&self, id: Uuid) -> Result<Option<QueueTestState>> {
        let mut session = self.backend.open(Purpose::RuntimeRead).await?;
        let found = state(&mut *session, id).await?;
        session.commit(None).await?;
        Ok(found)
    }

    async fn withdraw_queue_test(&self, id: Uuid, now: Timestamp) -> Result<Option<QueueTestState>> {
        let mut session = self.backend.open(Purpose::Runtime).await?;
        let found = state(&mut *session, id).await?;
        let left_waiting = now.micros().saturating_sub(LEFT_WAITING_MICROS);
        session.execute(WITHDRAW, vec![Cell::Id(Some(id)), Cell::Integer(Some(left_waiting))]).await?;
        session.commit(None).await?;
        Ok(found)
    }
}

async fn state(session: &mut dyn Session, id: Uuid) -> Result<Option<QueueTestState>> {
    let rows = session.fetch(STATE, vec![Cell::Id(Some(id))], &STATES).await?;
    Ok(rows.into_iter().next().map(|row| {
        let mut fields = row.into_iter();
        let (node, task) = (next(&mut fields), next(&mut fields));
        let (published, error): (Option<bool>, Option<String>) = (next(&mut fields), next(&mut fields));
        match (node, task, published) {
            (Some(node), Some(task), None) => QueueTestState::Taken { node, task },
            (Some(node), Some(task), Some(true)) => QueueTestState::Published { node, task },
            (Some(node), Some(task), Some(false)) => {
                QueueTestState::Failed { node, task, error: error.unwrap_or_default() }
            }
            _ => QueueTestState::Waiting,
        }
    }))
}

fn time(at: Timestamp) -> Cell {
    Cell::Integer(Some(at.micros()))
}

fn row(report: &QueueReport) -> [Cell; COLUMNS] {
    let count = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
    [
        Cell::Id(Some(report.queue.uuid())),
        Cell::Id(Some(report.node)),
        Cell::Integer(report.messages.map(count)),
        Cell::Integer(report.consumers.map(count)),
        Cell::Boolean(Some(report.broker_up)),
        Cell::Integer(Some(count(report.spooled))),
        time(report.at),
    ]
}

fn report_of(rows: usize) -> String {
    let mut values = String::new();
    for row in 0..rows {
        let comma = if row == 0 { "" } else { ", " };
        let cells: Vec<String> = (1..=COLUMNS).map(|column| format!("${}", row * COLUMNS + column)).collect();
        // Writing to a string can't fail.
        let _ = write!(values, "{comma}({})", cells.join(", "));
    }
    format!(
        "INSERT INTO gateway_queue_status (queue_id, node, messages, consumers, broker_up, spooled, at) VALUES {values} \
         ON CONFLICT (queue_id, node) DO UPDATE SET messages = excluded.messages, consumers = excluded.consumers, \
         broker_up = excluded.broker_up, spooled = excluded.spooled, at = excluded.at"
    )
}

/// The next field of a row. One that can't be read is as good as none.
fn next<T: DeserializeOwned>(
    fields: &mut std::vec::IntoIter<std::result::Result<serde_json::Value, String>>,
) -> Option<T> {
    serde_json::from_value(fields.next()?.ok()?).ok()
}

/// A row that can't be read is left out: its gateway writes it anew in a moment.
fn report(row: Record) -> Option<QueueReport> {
    let mut fields = row.into_iter();
    Some(QueueReport {
        node: next(&mut fields)?,
        queue: next(&mut fields)?,
        messages: next::<Option<u64>>(&mut fields)?,
        consumers: next::<Option<u64>>(&mut fields)?,
        broker_up: next(&mut fields)?,
        spooled: next(&mut fields)?,
        at: next(&mut fields)?,
    })
}

fn test(row: Record) -> Option<QueueTest> {
    let mut fields = row.into_iter();
    Some(QueueTest {
        id: next(&mut fields)?,
        queue: next(&mut fields)?,
        data: next::<Option<String>>(&mut fields)?,
        asked_at: next(&mut fields)?,
    })
}
