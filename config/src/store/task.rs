//! The records of tasks. Gateways write them behind, in batches and in any order: what is known later is added, and a status never
//! goes back.

use std::sync::LazyLock;

use async_trait::async_trait;
use serde_json::Value;

use crate::model::{Id, Task, TaskStatus, Timestamp};

use super::database::Database;
use super::session::{Cell, Purpose, Record, Session};
use super::table::Holds;
use super::{Result, StoreError};

const SHAPE: [Holds; 15] = [
    Holds::Text,
    Holds::Text,
    Holds::Text,
    Holds::Id,
    Holds::Text,
    Holds::Text,
    Holds::Text,
    Holds::Boolean,
    Holds::Json,
    Holds::Json,
    Holds::Time,
    Holds::Time,
    Holds::Time,
    Holds::Time,
    Holds::Text,
];
const FIELDS: [&str; 15] = [
    "id",
    "queue",
    "application",
    "applicationId",
    "subject",
    "status",
    "bodyHash",
    "isPublished",
    "result",
    "error",
    "createdAt",
    "updatedAt",
    "finishedAt",
    "expiresAt",
    "callbackUrl",
];

static CLAIM: LazyLock<String> = LazyLock::new(|| format!("{} ON CONFLICT (id) DO NOTHING", insert_of(1)));
/// Rows in one statement, the largest first: a statement's text must be known beforehand. Not more: the time that SQLite takes to find
/// a parameter by its name grows with their number.
static NOTE: LazyLock<[(usize, String); 2]> = LazyLock::new(|| [10, 1].map(|rows| (rows, note_of(rows))));
/// Only ever goes on.
static REPORT: LazyLock<String> = LazyLock::new(|| {
    format!(
        "{} ON CONFLICT (id) DO UPDATE SET status = excluded.status, result = excluded.result, \
         error = excluded.error, updated_at = excluded.updated_at, finished_at = excluded.finished_at, \
         expires_at = excluded.expires_at, \
         callback_at = CASE WHEN gateway_task.callback_url IS NULL THEN NULL ELSE excluded.finished_at END \
         WHERE excluded.status <> 'queued' AND (gateway_task.status = 'queued' \
         OR (gateway_task.status = 'running' AND excluded.status <> 'running'))",
        insert_of(1)
    )
});

const ASKED_AT_ONCE: usize = 100;
static READ: LazyLock<String> = LazyLock::new(|| {
    let asked: Vec<String> = (1..=ASKED_AT_ONCE).map(|number| format!("${number}")).collect();
    format!("SELECT {} FROM gateway_task WHERE id IN ({})", columns(), asked.join(", "))
});
static SEARCH: LazyLock<String> = LazyLock::new(|| {
    format!(
        "SELECT {} FROM gateway_task WHERE ($1 IS NULL OR queue = $1) AND ($2 IS NULL OR application = $2) \
         AND ($3 IS NULL OR status = $3) AND created_at >= $4 AND created_at < $5 \
         AND (created_at < $6 OR (created_at = $6 AND id < $7)) ORDER BY created_at DESC, id DESC LIMIT $8",
        columns()
    )
});
const EXPIRE: &str = "DELETE FROM gateway_task WHERE id IN ( \
    SELECT id FROM gateway_task WHERE expires_at <= $1 ORDER BY expires_at LIMIT $2)";
const REOPEN: &str = "UPDATE gateway_task SET status = 'queued', result = NULL, error = NULL, updated_at = $2, \
    finished_at = NULL, callback_at = NULL, callback_attempts = 0 WHERE id = $1 AND status = 'failed'";
const SETTLE_CALLBACK: &str = "UPDATE gateway_task SET callback_at = $2 WHERE id = $1 AND callback_at IS NOT NULL";

/// Whose an id is that was made of an `Idempotency-Key`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TaskClaim {
    New,
    /// The same body came before.
    Same {
        status: TaskStatus,
        is_published: bool,
    },
    OtherBody,
}

/// What a worker says of a task, and what is written where no record of it is there yet.
#[derive(Clone, Debug, PartialEq)]
pub struct TaskReport {
    /// With the new status, result, error and times.
    pub task: Task,
}

/// What came of a report.
#[derive(Clone, Debug, PartialEq)]
pub enum Reported {
    /// It changed the task.
    Changed(Task),
    /// The task was that far already.
    Same(Task),
    /// The task is further, or ended otherwise.
    Late(Task),
}

/// The newest first. What is absent is not asked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TaskSearch {
    pub queue: Option<String>,
    pub application: Option<String>,
    pub status: Option<TaskStatus>,
    /// Made at this time or later.
    pub from: Option<Timestamp>,
    /// Made before this time.
    pub until: Option<Timestamp>,
    /// Begin behind the task of this time and id.
    pub after: Option<(Timestamp, String)>,
    pub limit: u32,
}

/// A callback that is due; `attempts` counts this one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DueCallback {
    pub id: String,
    pub attempts: u32,
}

#[async_trait]
pub trait Tasks {
    /// Writes the record unless there is one, and tells what is there.
    async fn claim_task(&self, task: &Task) -> Result<TaskClaim>;

    /// Notes tasks that were published. What their workers reported meanwhile stays.
    async fn note_tasks(&self, tasks: &[Task]) -> Result<()>;

    async fn report_task(&self, report: &TaskReport) -> Result<Reported>;

    /// A task that failed is to be done after all; any other stays as it is.
    async fn reopen_task(&self, id: &str, now: Timestamp) -> Result<()>;

    /// Those of these ids that have a record, in any order.
    async fn tasks(&self, ids: &[String]) -> Result<Vec<Task>>;

    async fn search_tasks(&self, search: &TaskSearch) -> Result<Vec<Task>>;

    /// Forgets at most `limit` of those that have expired; answers how many.
    async fn expire_tasks(&self, now: Timestamp, limit: u32) -> Result<u64>;

    /// Takes callbacks that are due; whoever took one has until `until` to settle it before it is due again.
    async fn claim_callbacks(&self, now: Timestamp, until: Timestamp, limit: u32) -> Result<Vec<DueCallback>>;

    /// Tries a callback again at this time, or never.
    async fn settle_callback(&self, id: &str, again_at: Option<Timestamp>) -> Result<()>;
}

#[async_trait]
impl Tasks for Database {
    async fn claim_task(&self, task: &Task) -> Result<TaskClaim> {
        let mut session = self.backend.open(Purpose::Runtime).await?;
        let is_new = session.execute(&CLAIM, cells(task)?.into()).await? > 0;
        let claim = if is_new { TaskClaim::New } else { standing(&mut *session, task).await? };
        session.commit(None).await?;
        Ok(claim)
    }

    async fn note_tasks(&self, tasks: &[Task]) -> Result<()> {
        // In one order for all gateways, or two of them could wait for each other's rows.
        let mut sorted: Vec<&Task> = tasks.iter().collect();
        sorted.sort_by(|one, other| one.id.cmp(&other.id));
        let mut session = self.backend.open(Purpose::Runtime).await?;
        // A statement touches no row twice.
        let (mut once, mut again) = (Vec::with_capacity(sorted.len()), Vec::new());
        for task in sorted {
            let is_there = once.last().is_some_and(|last: &&Task| last.id == task.id);
            if is_there { again.push(task) } else { once.push(task) }
        }
        note(&mut *session, &once).await?;
        for task in &again {
            note(&mut *session, std::slice::from_ref(task)).await?;
        }
        session.commit(None).await
    }

    async fn report_task(&self, report: &TaskReport) -> Result<Reported> {
        let task = &report.task;
        let mut session = self.backend.open(Purpose::Runtime).await?;
        let has_changed = session.execute(&REPORT, cells(task)?.into()).await? > 0;
        let standing = one(&mut *session, &task.id).await?.ok_or_else(|| gone(&task.id))?;
        session.commit(None).await?;
        Ok(match standing.status {
            _ if has_changed => Reported::Changed(standing),
            status if status == task.status => Reported::Same(standing),
            _ => Reported::Late(standing),
        })
    }

    async fn reopen_task(&self, id: &str, now: Timestamp) -> Result<()> {
        let mut session = self.backend.open(Purpose::Runtime).await?;
        session.execute(REOPEN, vec![Cell::text(id), Cell::Integer(Some(now.micros()))]).await?;
        session.commit(None).await
    }

    async fn tasks(&self, ids: &[String]) -> Result<Vec<Task>> {
        let mut session = self.backend.open(Purpose::Runtime).await?;
        let found = read_many(&mut *session, ids).await?;
        session.commit(None).await?;
        Ok(found)
    }

    async fn search_tasks(&self, search: &TaskSearch) -> Result<Vec<Task>> {
        let micros = |at: Option<Timestamp>, or: i64| Cell::Integer(Some(at.map_or(or, Timestamp::micros)));
        let (before, id) = search.after.clone().unzip();
        let cells = vec![
            Cell::Text(search.queue.clone()),
            Cell::Text(search.application.clone()),
            Cell::Text(search.status.map(|status| status.word().to_owned())),
            micros(search.from, i64::MIN),
            micros(search.until, i64::MAX),
            micros(before, i64::MAX),
            Cell::text(id.unwrap_or_default()),
            Cell::Integer(Some(i64::from(search.limit))),
        ];
        let mut session = self.backend.open(Purpose::Runtime).await?;
        let rows = session.fetch(&SEARCH, cells, &SHAPE).await?;
        session.commit(None).await?;
        Ok(rows.into_iter().filter_map(read).collect())
    }

    async fn expire_tasks(&self, now: Timestamp, limit: u32) -> Result<u64> {
        let mut session = self.backend.open(Purpose::Runtime).await?;
        let cells = vec![Cell::Integer(Some(now.micros())), Cell::Integer(Some(i64::from(limit)))];
        let gone = session.execute(EXPIRE, cells).await?;
        session.commit(None).await?;
        Ok(gone)
    }

    async fn claim_callbacks(&self, now: Timestamp, until: Timestamp, limit: u32) -> Result<Vec<DueCallback>> {
        let mut session = self.backend.open(Purpose::Runtime).await?;
        let cells = [now.micros(), until.micros(), i64::from(limit)].map(|number| Cell::Integer(Some(number)));
        let shape = [Holds::Text, Holds::Integer];
        let rows = session.fetch(self.backend.claim_callbacks(), cells.to_vec(), &shape).await?;
        session.commit(None).await?;
        let due = |row: Record| {
            let mut fields = row.into_iter().filter_map(std::result::Result::ok);
            let (id, attempts) = (fields.next()?, fields.next()?);
            Some(DueCallback { id: id.as_str()?.to_owned(), attempts: u32::try_from(attempts.as_u64()?).ok()? })
        };
        Ok(rows.into_iter().filter_map(due).collect())
    }

    async fn settle_callback(&self, id: &str, again_at: Option<Timestamp>) -> Result<()> {
        let mut session = self.backend.open(Purpose::Runtime).await?;
        let cells = vec![Cell::text(id), Cell::Integer(again_at.map(Timestamp::micros))];
        session.execute(SETTLE_CALLBACK, cells).await?;
        session.commit(None).await
    }
}

async fn standing(session: &mut dyn Session, task: &Task) -> Result<TaskClaim> {
    let there = one(session, &task.id).await?.ok_or_else(|| gone(&task.id))?;
    // Without a hash it is not known which body it was; it was published, though, or nobody could have reported.
    if !there.body_hash.is_empty() && there.body_hash != task.body_hash {
        return Ok(TaskClaim::OtherBody);
    }
    let is_published = there.is_published || there.status != TaskStatus::Queued;
    Ok(TaskClaim::Same { status: there.status, is_published })
}

async fn note(session: &mut dyn Session, tasks: &[&Task]) -> Result<()> {
    let mut rest = tasks;
    for (size, sql) in &*NOTE {
        while let Some((now, later)) = rest.split_at_checked(*size) {
            let mut all = Vec::with_capacity(size * FIELDS.len());
            for task in now {
                all.extend(cells(task)?);
            }
            session.execute(sql, all).await?;
            rest = later;
        }
    }
    Ok(())
}

async fn one(session: &mut dyn Session, id: &str) -> Result<Option<Task>> {
    Ok(read_many(session, &[id.to_owned()]).await?.pop())
}

async fn read_many(session: &mut dyn Session, ids: &[String]) -> Result<Vec<Task>> {
    let mut found = Vec::new();
    for asked in ids.chunks(ASKED_AT_ONCE) {
        // The statement's list is filled with an id that no task has.
        let names = asked.iter().map(String::as_str).chain(std::iter::repeat(""));
        let cells = names.take(ASKED_AT_ONCE).map(Cell::text).collect();
        found.extend(session.fetch(&READ, cells, &SHAPE).await?.into_iter().filter_map(read));
    }
    Ok(found)
}

/// It was there a moment ago: it has expired meanwhile, or can't be read.
fn gone(id: &str) -> StoreError {
    StoreError::Refused(format!("the record of task {id} can't be read"))
}

fn insert_of(rows: usize) -> String {
    let row = |row: usize| {
        let cells: Vec<String> = (1..=FIELDS.len()).map(|column| format!("${}", row * FIELDS.len() + column)).collect();
        format!("({}, 0)", cells.join(", "))
    };
    let values: Vec<String> = (0..rows).map(row).collect();
    format!("INSERT INTO gateway_task ({}, callback_attempts) VALUES {}", columns(), values.join(", "))
}

/// The rest of what is known of a task. Where its worker was faster, the end that is there already calls back now.
fn note_of(rows: usize) -> String {
    format!(
        "{} ON CONFLICT (id) DO UPDATE SET \
         queue = excluded.queue, application = excluded.application, application_id = excluded.application_id, \
         subject = excluded.subject, is_published = TRUE, \
         body_hash = CASE WHEN gateway_task.body_hash = '' THEN excluded.body_hash ELSE gateway_task.body_hash END, \
         created_at = CASE WHEN excluded.created_at < gateway_task.created_at THEN excluded.created_at \
         ELSE gateway_task.created_at END, \
         callback_url = COALESCE(gateway_task.callback_url, excluded.callback_url), \
         callback_at = CASE WHEN gateway_task.callback_url IS NULL AND excluded.callback_url IS NOT NULL \
         THEN gateway_task.finished_at ELSE gateway_task.callback_at END",
        insert_of(rows)
    )
}

fn columns() -> String {
    FIELDS.map(super::statement::snake).join(", ")
}

/// In the order of the columns.
fn cells(task: &Task) -> Result<[Cell; FIELDS.len()]> {
    let text = |field: &str, text: Option<&str>| match text {
        Some(text) if text.contains('\0') => {
            let why = "holds a NUL character, which can't be stored";
            Err(StoreError::Refused(format!("a task's {field} {why}")))
        }
        text => Ok(Cell::Text(text.map(str::to_owned))),
    };
    // Any JSON may stand there: the column keeps it letter by letter.
    let json = |value: Option<&Value>| Cell::Json(value.filter(|value| !value.is_null()).map(Value::to_string));
    let time = |at: Option<Timestamp>| Cell::Integer(at.map(Timestamp::micros));
    Ok([
        text("id", Some(&task.id))?,
        text("queue", Some(&task.queue))?,
        text("application", task.application.as_deref())?,
        Cell::Id(task.application_id.map(Id::uuid)),
        text("subject", task.subject.as_deref())?,
        Cell::text(task.status.word()),
        text("body hash", Some(&task.body_hash))?,
        Cell::Boolean(Some(task.is_published)),
        json(task.result.as_ref()),
        json(task.error.as_ref()),
        time(Some(task.created_at)),
        time(Some(task.updated_at)),
        time(task.finished_at),
        time(Some(task.expires_at)),
        text("callback URL", task.callback_url.as_deref())?,
    ])
}

/// A row that can't be read is as good as none: the task's id still tells whose it is.
fn read(row: Record) -> Option<Task> {
    let fields = FIELDS.iter().zip(row).filter_map(|(name, value)| Some(((*name).to_owned(), value.ok()?)));
    serde_json::from_value(Value::Object(fields.collect()))
        .inspect_err(|error| tracing::warn!(%error, "a row of gateway_task can't be read"))
        .ok()
}
