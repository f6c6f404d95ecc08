//! The audit's rows. The head's row is locked first, so that the chain never forks.

use async_trait::async_trait;
use serde_json::Value;

use crate::model::{AuditEntry, ChainKey, NewAudit};

use super::database::Database;
use super::session::{Cell, Purpose, Record, Session};
use super::table::Holds;
use super::write::json;
use super::{Result, StoreError};

pub(super) const READ_AUDIT_HEAD: &str = "SELECT number, hash FROM audit_head WHERE id = 1";
const ADD: &str = "INSERT INTO audit_entry \
    (number, at, actor, address, request_id, action, summary, generation, changes, hash) \
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)";
const MOVE_HEAD: &str = "UPDATE audit_head SET number = $1, hash = $2 WHERE id = 1";
const READ: &str = "SELECT number, at, actor, address, request_id, action, summary, generation, changes, hash \
    FROM audit_entry WHERE number > $1 ORDER BY number LIMIT $2";

const SHAPE: [Holds; 10] = [
    Holds::Integer,
    Holds::Time,
    Holds::Text,
    Holds::Text,
    Holds::Text,
    Holds::Text,
    Holds::Text,
    Holds::Integer,
    Holds::Json,
    Holds::Text,
];
const FIELDS: [&str; 10] =
    ["number", "at", "actor", "address", "requestId", "action", "summary", "generation", "changes", "hash"];

/// The newest entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditHead {
    /// 0: there is none yet.
    pub number: u64,
    pub hash: String,
}

/// What was done, by whom.
#[async_trait]
pub trait AuditLog {
    /// Adds an entry; answers its number.
    async fn record(&self, new: &NewAudit, chain: &ChainKey) -> Result<u64>;

    async fn audit_head(&self) -> Result<AuditHead>;

    /// The entries behind number `after`, the oldest first; an entry that can't be read is an `Err` with its place.
    async fn audit_behind(&self, after: u64, limit: u32) -> Result<Vec<std::result::Result<AuditEntry, String>>>;
}

#[async_trait]
impl AuditLog for Database {
    async fn record(&self, new: &NewAudit, chain: &ChainKey) -> Result<u64> {
        let (mut session, _turn) = self.writing().await?;
        let number = append(&mut *session, self.backend.lock_audit(), new, chain).await?;
        session.commit(None).await?;
        Ok(number)
    }

    async fn audit_head(&self) -> Result<AuditHead> {
        let mut session = self.backend.open(Purpose::Read).await?;
        let head = head(&mut *session, READ_AUDIT_HEAD).await?;
        session.commit(None).await?;
        Ok(head)
    }

    async fn audit_behind(&self, after: u64, limit: u32) -> Result<Vec<std::result::Result<AuditEntry, String>>> {
        let mut session = self.backend.open(Purpose::Read).await?;
        let cells = vec![Cell::Integer(i64::try_from(after).ok()), Cell::Integer(Some(i64::from(limit)))];
        let rows = session.fetch(READ, cells, &SHAPE).await?;
        session.commit(None).await?;
        Ok(rows.into_iter().map(read).collect())
    }
}

/// Adds an entry in a transaction that writes something else, too. `lock` reads the audit's head and locks it.
pub(super) async fn append(
    session: &mut dyn Session,
    lock: &'static str,
    new: &NewAudit,
    chain: &ChainKey,
) -> Result<u64> {
    let before = head(session, lock).await?;
    let entry = chain.link(&before.hash, before.number + 1, new);
    let number = Cell::Integer(i64::try_from(entry.number).ok());
    let action = serde_json::to_value(entry.action).map_err(|error| StoreError::Refused(error.to_string()))?;
    let cells = vec![
        number.clone(),
        Cell::Integer(Some(entry.at.micros())),
        Cell::text(&entry.actor),
        Cell::Text(entry.address.map(|address| address.to_string())),
        Cell::Text(entry.request_id.clone()),
        Cell::Text(action.as_str().map(str::to_owned)),
        Cell::text(&entry.summary),
        Cell::Integer(entry.generation.and_then(|generation| i64::try_from(generation).ok())),
        json("changes", &entry.changes)?,
        Cell::text(&entry.hash),
    ];
    session.execute(ADD, cells).await?;
    session.execute(MOVE_HEAD, vec![number, Cell::text(&entry.hash)]).await?;
    Ok(entry.number)
}

async fn head(session: &mut dyn Session, sql: &'static str) -> Result<AuditHead> {
    let rows = session.fetch(sql, Vec::new(), &[Holds::Integer, Holds::Text]).await?;
    let Some([number, hash]) = rows.first().map(Vec::as_slice) else {
        return Err(StoreError::NotMigrated("audit_head has no row".to_owned()));
    };
    let number = number.as_ref().ok().and_then(Value::as_u64).unwrap_or_default();
    let hash = hash.as_ref().ok().and_then(Value::as_str).unwrap_or_default().to_owned();
    Ok(AuditHead { number, hash })
}

pub(super) fn read(row: Record) -> std::result::Result<AuditEntry, String> {
    let number = row.first().and_then(|number| number.as_ref().ok()).and_then(Value::as_u64).unwrap_or_default();
    let place = |why: String| format!("audit_entry {number}: {why}");
    let mut entry = serde_json::Map::new();
    for (name, value) in FIELDS.iter().zip(row) {
        entry.insert((*name).to_owned(), value.map_err(|why| place(format!("{name} {why}")))?);
    }
    serde_json::from_value(Value::Object(entry)).map_err(|error| place(error.to_string()))
}
