//! A transaction on SQLite, and how values go in and come out.

use std::time::Duration;

use async_trait::async_trait;
use futures::TryStreamExt;
use serde_json::Value;
use sqlx::query::Query;
use sqlx::sqlite::{SqliteArguments, SqliteRow};
use sqlx::{Row, Sqlite};
use tokio::sync::OwnedMutexGuard;
use uuid::Uuid;

use crate::model::Timestamp;
use crate::store::deadline::within;
use crate::store::lease::Lease;
use crate::store::session::{Cell, Record, Session, hex};
use crate::store::table::Holds;
use crate::store::{Result, StoreError};

pub(super) struct SqliteSession {
    lease: Lease<Sqlite>,
    deadline: Duration,
    /// After a failed statement SQLite would commit what went before it.
    has_failed: bool,
    // Declared last: the transaction ends before the next begins.
    _turn: Option<OwnedMutexGuard<()>>,
}

impl SqliteSession {
    pub(super) fn new(lease: Lease<Sqlite>, deadline: Duration, turn: Option<OwnedMutexGuard<()>>) -> Self {
        Self { lease, deadline, has_failed: false, _turn: turn }
    }

    async fn rows(&mut self, sql: &'static str, cells: Vec<Cell>, shape: &[Holds]) -> Result<Vec<Record>> {
        let mut stream = bound(sql, cells).fetch(&mut *self.lease);
        let mut records = Vec::new();
        // The deadline is for each row: a large configuration may take its time, silence may not.
        while let Some(row) = within(self.deadline, stream.try_next()).await? {
            records.push(shape.iter().enumerate().map(|(at, holds)| read(&row, at, *holds)).collect());
        }
        Ok(records)
    }
}

#[async_trait]
impl Session for SqliteSession {
    async fn fetch(&mut self, sql: &'static str, cells: Vec<Cell>, shape: &[Holds]) -> Result<Vec<Record>> {
        let outcome = self.rows(sql, cells, shape).await;
        self.has_failed |= outcome.is_err();
        outcome
    }

    async fn execute(&mut self, sql: &'static str, cells: Vec<Cell>) -> Result<u64> {
        let outcome = within(self.deadline, bound(sql, cells).execute(&mut *self.lease)).await;
        self.has_failed |= outcome.is_err();
        Ok(outcome?.rows_affected())
    }

    /// Nobody has to be told: watchers poll the file.
    async fn commit(mut self: Box<Self>, _generation: Option<i64>) -> Result<()> {
        if self.has_failed {
            return Err(StoreError::Refused("an earlier statement of the transaction failed".to_owned()));
        }
        self.execute("COMMIT", Vec::new()).await?;
        self.lease.give_back();
        Ok(())
    }
}

fn bound(sql: &'static str, cells: Vec<Cell>) -> Query<'static, Sqlite, SqliteArguments> {
    cells.into_iter().fold(sqlx::query(sql), |query, cell| match cell {
        Cell::Id(id) => query.bind(id),
        Cell::Text(text) | Cell::Json(text) => query.bind(text),
        Cell::Integer(integer) => query.bind(integer),
        Cell::Boolean(boolean) => query.bind(boolean),
        Cell::Bytes(bytes) => query.bind(bytes),
    })
}

fn read(row: &SqliteRow, at: usize, holds: Holds) -> Result<Value, String> {
    let value = match holds {
        Holds::Id => row.try_get::<Option<Uuid>, _>(at).map(|id| id.map(|id| id.to_string().into())),
        Holds::Text => row.try_get::<Option<String>, _>(at).map(|text| text.map(Value::from)),
        Holds::Integer => row.try_get::<Option<i64>, _>(at).map(|integer| integer.map(Value::from)),
        Holds::Boolean => row.try_get::<Option<bool>, _>(at).map(|boolean| boolean.map(Value::from)),
        Holds::Time => row
            .try_get::<Option<i64>, _>(at)
            .map(|micros| micros.map(|micros| Timestamp::from_micros(micros).to_string().into())),
        Holds::Bytes => row.try_get::<Option<Vec<u8>>, _>(at).map(|bytes| bytes.map(|bytes| hex(&bytes).into())),
        Holds::Json => return json(row, at),
    };
    value.map(Option::unwrap_or_default).map_err(|error| error.to_string())
}

fn json(row: &SqliteRow, at: usize) -> Result<Value, String> {
    let text = row.try_get::<Option<String>, _>(at).map_err(|error| error.to_string())?;
    text.map_or(Ok(Value::Null), |text| serde_json::from_str(&text).map_err(|error| format!("it is no JSON: {error}")))
}
