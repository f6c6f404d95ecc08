//! A transaction on Postgres, and how values go in and come out.

use std::time::Duration;

use async_trait::async_trait;
use futures::TryStreamExt;
use serde_json::Value;
use sqlx::encode::IsNull;
use sqlx::error::BoxDynError;
use sqlx::postgres::types::Oid;
use sqlx::postgres::{PgArgumentBuffer, PgArguments, PgRow, PgTypeInfo};
use sqlx::query::Query;
use sqlx::types::Json;
use sqlx::{Encode, Postgres, Row, Type};
use uuid::Uuid;

use crate::model::Timestamp;
use crate::store::deadline::within;
use crate::store::lease::Lease;
use crate::store::session::{Cell, Record, Session, hex};
use crate::store::table::Holds;
use crate::store::{Result, StoreError};

use super::CHANNEL;

const NOTIFY: &str = "SELECT pg_notify($1, $2)";

pub(super) struct PostgresSession {
    lease: Lease<Postgres>,
    deadline: Duration,
    /// After a failed statement Postgres answers COMMIT with a silent rollback.
    has_failed: bool,
}

impl PostgresSession {
    pub(super) fn new(lease: Lease<Postgres>, deadline: Duration) -> Self {
        Self { lease, deadline, has_failed: false }
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
impl Session for PostgresSession {
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

    async fn commit(mut self: Box<Self>, generation: Option<i64>) -> Result<()> {
        if self.has_failed {
            return Err(StoreError::Refused("an earlier statement of the transaction failed".to_owned()));
        }
        if let Some(generation) = generation {
            self.execute(NOTIFY, vec![Cell::text(CHANNEL), Cell::text(generation.to_string())]).await?;
        }
        self.execute("COMMIT", Vec::new()).await?;
        self.lease.give_back();
        Ok(())
    }
}

fn bound(sql: &'static str, cells: Vec<Cell>) -> Query<'static, Postgres, PgArguments> {
    cells.into_iter().fold(sqlx::query(sql), |query, cell| match cell {
        Cell::Id(id) => query.bind(id),
        Cell::Text(text) => query.bind(text),
        Cell::Integer(integer) => query.bind(integer),
        Cell::Boolean(boolean) => query.bind(boolean),
        Cell::Bytes(bytes) => query.bind(bytes),
        Cell::Json(json) => query.bind(json.map(Written)),
    })
}

/// JSON that is already a text. Bound as `json`, which the server converts for a JSONB column and leaves alone for a JSON one.
struct Written(String);

impl Type<Postgres> for Written {
    fn type_info() -> PgTypeInfo {
        PgTypeInfo::with_oid(Oid(114))
    }
}

impl Encode<'_, Postgres> for Written {
    fn encode_by_ref(&self, buffer: &mut PgArgumentBuffer) -> Result<IsNull, BoxDynError> {
        buffer.extend(self.0.as_bytes());
        Ok(IsNull::No)
    }
}

fn read(row: &PgRow, at: usize, holds: Holds) -> Result<Value, String> {
    let value = match holds {
        Holds::Id => row.try_get::<Option<Uuid>, _>(at).map(|id| id.map(|id| id.to_string().into())),
        Holds::Text => row.try_get::<Option<String>, _>(at).map(|text| text.map(Value::from)),
        Holds::Integer => row.try_get::<Option<i64>, _>(at).map(|integer| integer.map(Value::from)),
        Holds::Boolean => row.try_get::<Option<bool>, _>(at).map(|boolean| boolean.map(Value::from)),
        Holds::Time => row
            .try_get::<Option<i64>, _>(at)
            .map(|micros| micros.map(|micros| Timestamp::from_micros(micros).to_string().into())),
        Holds::Bytes => row.try_get::<Option<Vec<u8>>, _>(at).map(|bytes| bytes.map(|bytes| hex(&bytes).into())),
        Holds::Json => row.try_get::<Option<Json<Value>>, _>(at).map(|json| json.map(|json| json.0)),
    };
    value.map(Option::unwrap_or_default).map_err(|error| error.to_string())
}
