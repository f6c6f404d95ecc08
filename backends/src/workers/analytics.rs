//! Counts by key. A task counts once, however often its message comes.

use anyhow::{Context, Result};
use serde::Deserialize;
use serde_json::json;
use sqlx::SqlitePool;

use super::{event::Event, store::Store, worker::Outcome};

const SCHEMA: &str = "
CREATE TABLE IF NOT EXISTS counts (key TEXT PRIMARY KEY, total INTEGER NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS counted (task TEXT PRIMARY KEY, total INTEGER NOT NULL) STRICT;
";
const LONGEST_KEY: usize = 200;

#[derive(Debug)]
pub(super) struct Analytics {
    pool: SqlitePool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Order {
    key: String,
    #[serde(default)]
    count: Option<u32>,
}

impl Analytics {
    pub(super) async fn open(store: &Store) -> Result<Self> {
        let pool = store.pool().clone();
        sqlx::raw_sql(SCHEMA).execute(&pool).await.context("could not bring the counters' schema in")?;
        Ok(Self { pool })
    }

    pub(super) async fn handle(&self, event: &Event) -> Outcome {
        let order: Order = match event.ask() {
            Ok(order) => order,
            Err(why) => return Outcome::Failed(why),
        };
        if order.key.is_empty() || order.key.len() > LONGEST_KEY {
            return Outcome::Failed(format!("`key` has 1 to {LONGEST_KEY} bytes"));
        }
        match self.count(&event.id, &order.key, order.count.unwrap_or(1)).await {
            Ok(total) => Outcome::Done(json!({"key": order.key, "total": total})),
            Err(cause) => Outcome::Again(format!("the counters can't be written: {cause}")),
        }
    }

    async fn count(&self, task: &str, key: &str, count: u32) -> sqlx::Result<i64> {
        let mut both = self.pool.begin_with("BEGIN IMMEDIATE").await?;
        let counted: Option<(i64,)> =
            sqlx::query_as("SELECT total FROM counted WHERE task = $1").bind(task).fetch_optional(&mut *both).await?;
        if let Some((total,)) = counted {
            return Ok(total);
        }
        let add = "INSERT INTO counts (key, total) VALUES ($1, $2) ON CONFLICT (key) DO UPDATE SET total = total + excluded.total
                   RETURNING total";
        let (total,): (i64,) = sqlx::query_as(add).bind(key).bind(count).fetch_one(&mut *both).await?;
        let note = "INSERT INTO counted (task, total) VALUES ($1, $2)";
        sqlx::query(note).bind(task).bind(total).execute(&mut *both).await?;
        both.commit().await?;
        Ok(total)
    }
}
