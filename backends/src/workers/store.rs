//! What a worker remembers: how often a task was tried, what came of it, and whether that was reported. It is what makes "once" of a
//! broker's "at least once".

use std::{path::Path, time::Duration};

use anyhow::Result;
use serde_json::Value;
use sqlx::{SqlitePool, types::Json};

use super::{event::Event, worker::Report};
use crate::{clock::Clock, database};

const SCHEMA: &str = "
CREATE TABLE IF NOT EXISTS tasks (
    id TEXT PRIMARY KEY,
    attempts INTEGER NOT NULL,
    -- What is to be reported, once it is known.
    report TEXT,
    -- Where to report it and with which token, as long as that is to be done.
    status_url TEXT,
    task_token TEXT,
    -- How often it ended: once, and again for each message that came again.
    ends INTEGER NOT NULL DEFAULT 0,
    changed_at_ms INTEGER NOT NULL
) STRICT;
CREATE INDEX IF NOT EXISTS tasks_to_report ON tasks (changed_at_ms) WHERE task_token IS NOT NULL;
CREATE INDEX IF NOT EXISTS tasks_by_change ON tasks (changed_at_ms);
";

/// Longer than any broker keeps trying.
const KEPT: Duration = Duration::from_hours(7 * 24);

const BEGIN: &str = "
INSERT INTO tasks (id, attempts, changed_at_ms) VALUES ($1, $2, $3)
ON CONFLICT (id) DO UPDATE SET attempts = max(tasks.attempts + 1, excluded.attempts), changed_at_ms = excluded.changed_at_ms
RETURNING attempts";
const END: &str = "
INSERT INTO tasks (id, attempts, report, status_url, task_token, ends, changed_at_ms) VALUES ($1, 1, $2, $3, $4, 1, $5)
ON CONFLICT (id) DO UPDATE SET report = excluded.report, status_url = excluded.status_url, task_token = excluded.task_token,
    ends = tasks.ends + 1, changed_at_ms = excluded.changed_at_ms";
const TO_REPORT: &str = "
SELECT id, report, status_url, task_token, ends FROM tasks WHERE task_token IS NOT NULL AND report IS NOT NULL ORDER BY changed_at_ms LIMIT 100";

#[derive(Clone, Debug)]
pub(super) struct Store {
    pool: SqlitePool,
    clock: Clock,
}

/// A report that is still owed.
#[derive(sqlx::FromRow)]
pub(super) struct Owed {
    pub(super) id: String,
    pub(super) report: Json<Report>,
    pub(super) status_url: String,
    pub(super) task_token: String,
    ends: i64,
}

impl Store {
    pub(super) async fn open(folder: &Path, worker: &str, clock: Clock) -> Result<Self> {
        let pool = database::open(folder, &format!("worker-{worker}.db"), SCHEMA).await?;
        Ok(Self { pool, clock })
    }

    pub(super) fn pool(&self) -> &SqlitePool {
        &self.pool
    }

    /// What came of a task that is over.
    pub(super) async fn done(&self, id: &str) -> sqlx::Result<Option<Report>> {
        let found: Option<(Option<Json<Report>>,)> =
            sqlx::query_as("SELECT report FROM tasks WHERE id = $1").bind(id).fetch_optional(&self.pool).await?;
        Ok(found.and_then(|(report,)| report).map(|Json(report)| report))
    }

    /// Counts one more attempt before it is made, so that a task that kills its worker is counted too; `told`: what the message itself
    /// says of the attempts so far, this one included. Answers which attempt it is.
    pub(super) async fn begin(&self, id: &str, told: u32) -> sqlx::Result<u32> {
        let begun: (u32,) =
            sqlx::query_as(BEGIN).bind(id).bind(told.max(1)).bind(self.clock.now_ms()).fetch_one(&self.pool).await?;
        Ok(begun.0)
    }

    /// Remembers the end of a task together with the debt to report it.
    pub(super) async fn end(&self, event: &Event, report: &Report) -> sqlx::Result<()> {
        sqlx::query(END)
            .bind(&event.id)
            .bind(Json(report))
            .bind(&event.statusurl)
            .bind(&event.tasktoken)
            .bind(self.clock.now_ms())
            .execute(&self.pool)
            .await?;
        Ok(())
    }

    /// The same for a task that was given up. It is not done: whoever sends its dead letter again has it tried from the beginning.
    pub(super) async fn give_up(&self, event: &Event, report: &Report) -> sqlx::Result<()> {
        // Under a name of its own, which no task has.
        let id = format!("{} (given up)", event.id);
        let mut both = self.pool.begin().await?;
        sqlx::query("DELETE FROM tasks WHERE id = $1").bind(&event.id).execute(&mut *both).await?;
        sqlx::query(END)
            .bind(id)
            .bind(Json(report))
            .bind(&event.statusurl)
            .bind(&event.tasktoken)
            .bind(self.clock.now_ms())
            .execute(&mut *both)
            .await?;
        both.commit().await
    }

    pub(super) async fn to_report(&self) -> sqlx::Result<Vec<Owed>> {
        sqlx::query_as(TO_REPORT).fetch_all(&self.pool).await
    }

    /// It was reported, or can't be; the token is forgotten, unless it ended again meanwhile.
    pub(super) async fn reported(&self, owed: &Owed) -> sqlx::Result<()> {
        let settled = "UPDATE tasks SET status_url = NULL, task_token = NULL WHERE id = $1 AND ends = $2";
        sqlx::query(settled).bind(&owed.id).bind(owed.ends).execute(&self.pool).await.map(drop)
    }

    /// Forgets what no broker will send again.
    pub(super) async fn tidy(&self) -> sqlx::Result<()> {
        let kept_ms = i64::try_from(KEPT.as_millis()).unwrap_or(i64::MAX);
        let oldest = self.clock.now_ms().saturating_sub(kept_ms);
        sqlx::query("DELETE FROM tasks WHERE changed_at_ms < $1").bind(oldest).execute(&self.pool).await.map(drop)
    }
}

impl Report {
    pub(super) fn succeeded(result: Value) -> Self {
        Self { status: "succeeded".to_owned(), result: Some(result), error: None }
    }

    pub(super) fn failed(error: String) -> Self {
        Self { status: "failed".to_owned(), result: None, error: Some(error) }
    }
}
