//! The audit's rows. The head's row is locked first, so that the chain never forks.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use async_trait::async_trait;
use serde_json::Value;

use crate::model::{Action, AuditEntry, ChainKey, NewAudit, Timestamp};

use super::database::Database;
use super::read::pattern;
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
/// $1: before this number; $2, $3: from this time until before that one; $4: a LIKE pattern in lower case; $5: the actor; $6: the
/// action; $7: at most so many.
const SEARCH: &str = "SELECT number, at, actor, address, request_id, action, summary, generation, changes, hash \
    FROM audit_entry WHERE number < $1 AND at >= $2 AND at < $3 \
    AND (lower(actor) LIKE $4 ESCAPE '\\' OR lower(summary) LIKE $4 ESCAPE '\\' OR lower(request_id) LIKE $4 ESCAPE '\\' \
    OR address LIKE $4 ESCAPE '\\') AND ($5 IS NULL OR actor = $5) AND ($6 IS NULL OR action = $6) \
    ORDER BY number DESC LIMIT $7";
/// The same about one thing. $8: its name; $9: its kind.
const SEARCH_SUBJECT: &str = "SELECT number, at, actor, address, request_id, action, summary, generation, changes, hash \
    FROM audit_entry WHERE number < $1 AND at >= $2 AND at < $3 \
    AND (lower(actor) LIKE $4 ESCAPE '\\' OR lower(summary) LIKE $4 ESCAPE '\\' OR lower(request_id) LIKE $4 ESCAPE '\\' \
    OR address LIKE $4 ESCAPE '\\') AND ($5 IS NULL OR actor = $5) AND ($6 IS NULL OR action = $6) \
    AND number IN (SELECT number FROM audit_subject WHERE ($8 IS NULL OR name = $8) AND ($9 IS NULL OR kind = $9)) \
    ORDER BY number DESC LIMIT $7";
const ADD_SUBJECT: &str = "INSERT INTO audit_subject (name, kind, number) VALUES ($1, $2, $3)";

/// So many subjects go into one statement, for an entry may have very many.
const SUBJECTS_AT_ONCE: usize = 100;
static ADD_SUBJECTS: LazyLock<String> = LazyLock::new(|| {
    let row = |at: usize| format!("(${}, ${}, ${})", at * 3 + 1, at * 3 + 2, at * 3 + 3);
    let rows: Vec<String> = (0..SUBJECTS_AT_ONCE).map(row).collect();
    format!("INSERT INTO audit_subject (name, kind, number) VALUES {}", rows.join(", "))
});

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

/// What is looked for in the audit. What is not said matches all.
#[derive(Clone, Debug, Default)]
pub struct AuditQuery {
    /// Only entries before this number.
    pub before: Option<u64>,
    pub limit: u32,
    /// What the actor, the summary, the address or the request id contains, in any case.
    pub search: Option<String>,
    /// Exactly.
    pub actor: Option<String>,
    pub action: Option<Action>,
    /// Of something that was changed.
    pub kind: Option<String>,
    pub name: Option<String>,
    pub since: Option<Timestamp>,
    /// Before this time.
    pub until: Option<Timestamp>,
}

/// What was found, the newest first.
#[derive(Clone, Debug)]
pub struct AuditPage {
    /// Without those that can't be read.
    pub entries: Vec<AuditEntry>,
    /// More entries match before this number.
    pub next: Option<u64>,
}

/// What was done, by whom.
#[async_trait]
pub trait AuditLog {
    /// Adds an entry; answers its number.
    async fn record(&self, new: &NewAudit, chain: &ChainKey) -> Result<u64>;

    async fn audit_head(&self) -> Result<AuditHead>;

    async fn audit_search(&self, query: &AuditQuery) -> Result<AuditPage>;

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

    async fn audit_search(&self, query: &AuditQuery) -> Result<AuditPage> {
        // One more than asked for tells whether there are more.
        let cells = search_cells(query, query.limit.saturating_add(1))?;
        let sql = if cells.len() > SEARCH_CELLS { SEARCH_SUBJECT } else { SEARCH };
        let mut session = self.backend.open(Purpose::Read).await?;
        let mut rows = session.fetch(sql, cells, &SHAPE).await?;
        session.commit(None).await?;
        let limit = query.limit as usize;
        let has_more = rows.len() > limit;
        rows.truncate(limit);
        let next = rows.last().filter(|_| has_more).map(number_of);
        let mut entries = Vec::with_capacity(rows.len());
        for row in rows {
            match read(row) {
                Ok(entry) => entries.push(entry),
                Err(problem) => tracing::warn!(problem, "a listing leaves out an audit entry that can't be read"),
            }
        }
        Ok(AuditPage { entries, next })
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
    let cells = vec![
        number.clone(),
        Cell::Integer(Some(entry.at.micros())),
        Cell::text(&entry.actor),
        Cell::Text(entry.address.map(|address| address.to_string())),
        Cell::Text(entry.request_id.clone()),
        word(entry.action)?,
        Cell::text(&entry.summary),
        Cell::Integer(entry.generation.and_then(|generation| i64::try_from(generation).ok())),
        json("changes", &entry.changes)?,
        Cell::text(&entry.hash),
    ];
    session.execute(ADD, cells).await?;
    add_subjects(session, &entry).await?;
    session.execute(MOVE_HEAD, vec![number, Cell::text(&entry.hash)]).await?;
    Ok(entry.number)
}

/// Notes what the entry is about, so that it is found by it.
pub(super) async fn add_subjects(session: &mut dyn Session, entry: &AuditEntry) -> Result<()> {
    let about = |name: &str, kind: &str| (name.replace('\0', ""), kind.replace('\0', ""));
    let subjects: BTreeSet<_> = entry.changes.iter().map(|change| about(&change.name, &change.kind)).collect();
    let row = |(name, kind): &(String, String)| {
        [Cell::text(name), Cell::text(kind), Cell::Integer(i64::try_from(entry.number).ok())]
    };
    let subjects: Vec<_> = subjects.into_iter().collect();
    for many in subjects.chunks(SUBJECTS_AT_ONCE) {
        if many.len() == SUBJECTS_AT_ONCE {
            session.execute(&ADD_SUBJECTS, many.iter().flat_map(row).collect()).await?;
            continue;
        }
        for one in many {
            session.execute(ADD_SUBJECT, row(one).to_vec()).await?;
        }
    }
    Ok(())
}

/// The parameters of [`SEARCH`].
const SEARCH_CELLS: usize = 7;

/// Those of [`SEARCH_SUBJECT`] where a subject is asked for.
fn search_cells(query: &AuditQuery, limit: u32) -> Result<Vec<Cell>> {
    let AuditQuery { before, search, actor, action, kind, name, since, until, .. } = query;
    let time = |time: Option<Timestamp>, open: i64| Cell::Integer(Some(time.map_or(open, Timestamp::micros)));
    let mut cells = vec![
        Cell::Integer(Some(before.and_then(|before| i64::try_from(before).ok()).unwrap_or(i64::MAX))),
        time(*since, i64::MIN),
        time(*until, i64::MAX),
        Cell::text(pattern(search.as_deref().unwrap_or(""))),
        Cell::Text(actor.clone()),
        action.map_or(Ok(Cell::Text(None)), word)?,
        Cell::Integer(Some(i64::from(limit))),
    ];
    if kind.is_some() || name.is_some() {
        cells.extend([Cell::Text(name.clone()), Cell::Text(kind.clone())]);
    }
    Ok(cells)
}

/// An action as its row holds it.
fn word(action: Action) -> Result<Cell> {
    let action = serde_json::to_value(action).map_err(|error| StoreError::Refused(error.to_string()))?;
    Ok(Cell::Text(action.as_str().map(str::to_owned)))
}

fn number_of(row: &Record) -> u64 {
    row.first().and_then(|number| number.as_ref().ok()).and_then(Value::as_u64).unwrap_or_default()
}

pub(super) async fn head(session: &mut dyn Session, sql: &'static str) -> Result<AuditHead> {
    let rows = session.fetch(sql, Vec::new(), &[Holds::Integer, Holds::Text]).await?;
    let Some([number, hash]) = rows.first().map(Vec::as_slice) else {
        return Err(StoreError::NotMigrated("audit_head has no row".to_owned()));
    };
    let number = number.as_ref().ok().and_then(Value::as_u64).unwrap_or_default();
    let hash = hash.as_ref().ok().and_then(Value::as_str).unwrap_or_default().to_owned();
    Ok(AuditHead { number, hash })
}

pub(super) fn read(row: Record) -> std::result::Result<AuditEntry, String> {
    let number = number_of(&row);
    let place = |why: String| format!("audit_entry {number}: {why}");
    let mut entry = serde_json::Map::new();
    for (name, value) in FIELDS.iter().zip(row) {
        entry.insert((*name).to_owned(), value.map_err(|why| place(format!("{name} {why}")))?);
    }
    serde_json::from_value(Value::Object(entry)).map_err(|error| place(error.to_string()))
}
