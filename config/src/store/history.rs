//! The history as people read it: generations and what each of them changed.

use async_trait::async_trait;
use serde_json::{Map, Value};

use crate::model::{Generation, GenerationLine, Problem};

use super::database::Database;
use super::read::pattern;
use super::session::{Cell, Purpose, Record};
use super::table::Holds;
use super::{Result, StoreError};

const LIST: &str = "SELECT number, created_at, actor, summary FROM config_generation WHERE number < $1 \
    AND (lower(actor) LIKE $2 ESCAPE '\\' OR lower(summary) LIKE $2 ESCAPE '\\') ORDER BY number DESC LIMIT $3";
const BEHIND: &str = "SELECT number, created_at, actor, summary, changes FROM config_generation \
    WHERE number > $1 AND number <= $2 ORDER BY number LIMIT $3";
const OLDEST: &str = "SELECT min(number) FROM config_generation";
const FORGET: &str = "DELETE FROM config_generation WHERE number < $1";

const SHAPE: [Holds; 5] = [Holds::Integer, Holds::Time, Holds::Text, Holds::Text, Holds::Json];
const FIELDS: [&str; 5] = ["number", "createdAt", "actor", "summary", "changes"];

/// Old generations that are forgotten in one transaction.
const FORGET_AT_ONCE: u64 = 500;

/// A page of the generations, the newest first.
#[derive(Clone, Debug, Default)]
pub struct HistoryPage {
    /// Only those before this one.
    pub before: Option<u64>,
    pub limit: u32,
    /// Only where the actor or the summary contains this, in any case.
    pub search: Option<String>,
}

/// What was written, generation by generation.
#[async_trait]
pub trait History {
    /// Fewer than `page.limit` mean that there are no more.
    async fn generations(&self, page: &HistoryPage) -> Result<Vec<GenerationLine>>;

    /// The kept ones behind `after` up to `to`, the oldest first, at most `limit`.
    async fn generations_behind(&self, after: u64, to: u64, limit: u32) -> Result<Vec<Generation>>;

    async fn generation(&self, number: u64) -> Result<Option<Generation>>;

    /// The number of the oldest that is kept.
    async fn oldest_generation(&self) -> Result<Option<u64>>;

    /// Forgets the oldest, as many at a time as do not keep others waiting, until the newest `keep` are left. The newest stays
    /// whatever is asked. Answers how many it forgot; 0: nothing was left to do.
    async fn forget_generations(&self, keep: u64) -> Result<u64>;
}

#[async_trait]
impl History for Database {
    async fn generations(&self, page: &HistoryPage) -> Result<Vec<GenerationLine>> {
        let before = page.before.and_then(|before| i64::try_from(before).ok()).unwrap_or(i64::MAX);
        let cells = vec![
            Cell::Integer(Some(before)),
            Cell::text(pattern(page.search.as_deref().unwrap_or(""))),
            Cell::Integer(Some(i64::from(page.limit))),
        ];
        let [number, created_at, actor, summary, _] = SHAPE;
        let mut session = self.backend.open(Purpose::Read).await?;
        let rows = session.fetch(LIST, cells, &[number, created_at, actor, summary]).await?;
        session.commit(None).await?;
        rows.into_iter().map(read).collect()
    }

    async fn generations_behind(&self, after: u64, to: u64, limit: u32) -> Result<Vec<Generation>> {
        // What is beyond the largest number of a row is beyond every row.
        let number = |number: u64| Cell::Integer(Some(i64::try_from(number).unwrap_or(i64::MAX)));
        let cells = vec![number(after), number(to), Cell::Integer(Some(i64::from(limit)))];
        let mut session = self.backend.open(Purpose::Read).await?;
        let rows = session.fetch(BEHIND, cells, &SHAPE).await?;
        session.commit(None).await?;
        rows.into_iter().map(read).collect()
    }

    async fn generation(&self, number: u64) -> Result<Option<Generation>> {
        let Some(before) = number.checked_sub(1) else { return Ok(None) };
        Ok(self.generations_behind(before, number, 1).await?.pop())
    }

    async fn oldest_generation(&self) -> Result<Option<u64>> {
        let mut session = self.backend.open(Purpose::Read).await?;
        let rows = session.fetch(OLDEST, Vec::new(), &[Holds::Integer]).await?;
        session.commit(None).await?;
        Ok(rows.first().and_then(|row| row.first()?.as_ref().ok()?.as_u64()))
    }

    async fn forget_generations(&self, keep: u64) -> Result<u64> {
        let head = super::Store::head(self).await?.generation;
        let Some(oldest) = self.oldest_generation().await? else { return Ok(0) };
        let first_kept = (head + 1).saturating_sub(keep.max(1));
        if oldest >= first_kept {
            return Ok(0);
        }
        let before = first_kept.min(oldest + FORGET_AT_ONCE);
        let (mut session, _turn) = self.writing().await?;
        let forgotten = session.execute(FORGET, vec![Cell::Integer(i64::try_from(before).ok())]).await?;
        session.commit(None).await?;
        Ok(forgotten)
    }
}

fn read<T: serde::de::DeserializeOwned>(row: Record) -> Result<T> {
    let number = row.first().and_then(|number| number.as_ref().ok()).and_then(Value::as_u64).unwrap_or_default();
    let spoilt = |why: String| StoreError::Spoilt(Problem::new(format!("config_generation/{number}"), why));
    let mut generation = Map::new();
    for (name, value) in FIELDS.iter().zip(row) {
        generation.insert((*name).to_owned(), value.map_err(|why| spoilt(format!("{name} {why}")))?);
    }
    serde_json::from_value(Value::Object(generation)).map_err(|error| spoilt(error.to_string()))
}
