//! Everything that the database holds, out of one and into another, whichever two they are: rows as values, table by table, read
//! in one consistent state and written in one transaction (on SQLite one for each file, the configuration's last).

mod tables;

use std::collections::HashMap;

use async_trait::async_trait;
use serde_json::Value;
use tokio::sync::OwnedMutexGuard;

use crate::model::{Action, Actor, ChainKey, Digest, NewAudit, Problem, Timestamp};

use super::audit::{self, AuditHead, READ_AUDIT_HEAD};
use super::database::Database;
use super::session::{Backend, Cell, Purpose, Session};
use super::table::Holds;
use super::{Head, NewGeneration, Result, StoreError, read, write};

use tables::{DumpColumn, EMPTIED, Place};

pub use tables::{DumpTable, NOT_DUMPED, SIGNING_KEYS, dump_tables};

/// The values of a row: texts, numbers, booleans and nulls; ids as texts, bytes as hexadecimal digits, JSON as it is written.
pub type DumpRow = Vec<Value>;

/// Rows put in by one statement, the largest first.
const AT_ONCE: [usize; 2] = [64, 1];

const MOVE_AUDIT_HEAD: &str = "UPDATE audit_head SET number = $1, hash = $2 WHERE id = 1";
/// No list of what was written: no history reaches over such a generation.
const TOUCH_EVERYTHING: &str = "UPDATE config_generation SET touched = $2 WHERE number = $1";
const IS_ANY_ADMIN: &str = "SELECT id FROM gateway_admin LIMIT 1";

/// The whole of it, for backups.
#[async_trait]
pub trait Dump {
    /// What is read from now on is one state.
    async fn dump(&self) -> Result<Box<dyn Dumping>>;

    /// Keeps other writers of the configuration away. Dropped before its end, nothing was written.
    async fn restore(&self) -> Result<Box<dyn Restoring>>;
}

/// A read of everything under way.
#[async_trait]
pub trait Dumping: Send {
    fn head(&self) -> Head;

    fn audit_head(&self) -> &AuditHead;

    /// The next rows behind `after`; none: that was all.
    async fn rows(&mut self, table: &'static DumpTable, after: Option<&DumpRow>) -> Result<Vec<DumpRow>>;

    async fn end(self: Box<Self>) -> Result<()>;
}

/// What was dumped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DumpSource {
    pub generation: u64,
    pub audit: AuditHead,
    pub made_at: Timestamp,
}

/// What a restore came to.
#[derive(Clone, Debug)]
pub struct Restored {
    pub generation: u64,
    /// Of the configuration as it stands in the database now.
    pub digest: Digest,
    /// Rows that can't be read, as they could not be before.
    pub spoilt: Vec<Problem>,
}

/// A write of everything under way.
#[async_trait]
pub trait Restoring: Send {
    /// As it was before.
    fn head(&self) -> Head;

    /// Somebody wrote a configuration, or made an admin.
    async fn is_occupied(&mut self) -> Result<bool>;

    /// Takes out all that a backup replaces. Tasks and messages stay, for gateways have answered for them.
    async fn clear(&mut self) -> Result<()>;

    /// Puts rows in, whose values stand in the order of `columns`. A column that is not named gets its default.
    async fn put(&mut self, table: &'static DumpTable, columns: &[String], rows: Vec<DumpRow>) -> Result<()>;

    /// Makes a generation of it, notes it in the audit, commits and tells whoever watches.
    async fn finish(
        self: Box<Self>,
        source: &DumpSource,
        now: Timestamp,
        actor: &Actor,
        chain: &ChainKey,
    ) -> Result<Restored>;
}

#[async_trait]
impl Dump for Database {
    async fn dump(&self) -> Result<Box<dyn Dumping>> {
        let backend = &*self.backend;
        let mut sessions = Sessions::beside(backend.open(Purpose::Read).await?, backend, READS).await?;
        let head = read::head(&mut *sessions.configuration, read::READ_HEAD).await?;
        let audit = audit::head(&mut *sessions.configuration, READ_AUDIT_HEAD).await?;
        if let Some([runtime, queue]) = &mut sessions.apart {
            // SQLite's snapshot is taken by the first read.
            runtime.fetch("SELECT key_id FROM gateway_key_usage LIMIT 1", Vec::new(), &[Holds::Id]).await?;
            queue.fetch("SELECT number FROM gateway_message LIMIT 1", Vec::new(), &[Holds::Integer]).await?;
        }
        Ok(Box::new(Reading { sessions, head, audit }))
    }

    async fn restore(&self) -> Result<Box<dyn Restoring>> {
        let (mut configuration, turn) = self.writing().await?;
        let head = read::head(&mut *configuration, self.backend.lock_head()).await?;
        audit::head(&mut *configuration, self.backend.lock_audit()).await?;
        let sessions = Sessions::beside(configuration, &*self.backend, WRITES).await?;
        let lock_audit = self.backend.lock_audit();
        Ok(Box::new(Writing { sessions, head, lock_audit, statements: HashMap::new(), _turn: turn }))
    }
}

/// Of what is no configuration: of runtime.db and queue.db.
const READS: [Purpose; 2] = [Purpose::RuntimeRead, Purpose::QueueRead];
const WRITES: [Purpose; 2] = [Purpose::Runtime, Purpose::Queue];

struct Sessions {
    configuration: Box<dyn Session>,
    /// Runtime and queues, where they lie in databases of their own.
    apart: Option<[Box<dyn Session>; 2]>,
}

impl Sessions {
    async fn beside(
        configuration: Box<dyn Session>,
        backend: &dyn Backend,
        [runtime, queue]: [Purpose; 2],
    ) -> Result<Self> {
        let apart = if backend.has_runtime_apart() {
            Some([backend.open(runtime).await?, backend.open(queue).await?])
        } else {
            None
        };
        Ok(Self { configuration, apart })
    }

    fn of(&mut self, place: Place) -> &mut dyn Session {
        match (&mut self.apart, place) {
            (None, _) | (_, Place::Configuration) => &mut *self.configuration,
            (Some([runtime, _]), Place::Runtime | Place::Tasks) => &mut **runtime,
            (Some([_, queue]), Place::Messages) => &mut **queue,
        }
    }

    /// The configuration last: watchers look at it.
    async fn commit(self, generation: Option<i64>) -> Result<()> {
        for apart in self.apart.into_iter().flatten() {
            apart.commit(None).await?;
        }
        self.configuration.commit(generation).await
    }
}

struct Reading {
    sessions: Sessions,
    head: Head,
    audit: AuditHead,
}

#[async_trait]
impl Dumping for Reading {
    fn head(&self) -> Head {
        self.head
    }

    fn audit_head(&self) -> &AuditHead {
        &self.audit
    }

    async fn rows(&mut self, table: &'static DumpTable, after: Option<&DumpRow>) -> Result<Vec<DumpRow>> {
        let mut cells = vec![Cell::Integer(Some(table.page))];
        let shape = table.shape();
        let sql = match after {
            None => &table.first,
            Some(row) => {
                for at in &table.key {
                    let holds = shape.get(*at).copied().unwrap_or(Holds::Text);
                    cells.push(Cell::of(row.get(*at), holds).map_err(|why| wrong(table, why))?);
                }
                &table.next
            }
        };
        let rows = self.sessions.of(table.place).fetch(sql, cells, &shape).await?;
        rows.into_iter()
            .map(|row| row.into_iter().collect::<Result<DumpRow, String>>().map_err(|why| wrong(table, why)))
            .collect()
    }

    async fn end(self: Box<Self>) -> Result<()> {
        self.sessions.commit(None).await
    }
}

fn wrong(table: &DumpTable, why: impl std::fmt::Display) -> StoreError {
    StoreError::Spoilt(Problem::new(&table.name, format!("a row of it can't be carried over: {why}")))
}

struct Writing {
    sessions: Sessions,
    head: Head,
    lock_audit: &'static str,
    /// By table, columns and rows.
    statements: HashMap<(&'static str, Vec<String>, usize), &'static str>,
    // Declared last: the sessions end before the next writer of this process begins.
    _turn: OwnedMutexGuard<()>,
}

#[async_trait]
impl Restoring for Writing {
    fn head(&self) -> Head {
        self.head
    }

    async fn is_occupied(&mut self) -> Result<bool> {
        let admins = self.sessions.configuration.fetch(IS_ANY_ADMIN, Vec::new(), &[Holds::Id]).await?;
        Ok(self.head.generation > 0 || !admins.is_empty())
    }

    async fn clear(&mut self) -> Result<()> {
        for sql in EMPTIED {
            self.sessions.of(Place::Runtime).execute(sql, Vec::new()).await?;
        }
        for table in dump_tables().iter().rev() {
            if let Some(clear) = &table.clear {
                self.sessions.of(table.place).execute(clear, Vec::new()).await?;
            }
        }
        Ok(())
    }

    async fn put(&mut self, table: &'static DumpTable, columns: &[String], rows: Vec<DumpRow>) -> Result<()> {
        let known: Vec<&DumpColumn> = columns
            .iter()
            .map(|name| table.columns.iter().find(|column| column.name == *name))
            .collect::<Option<_>>()
            .ok_or_else(|| wrong(table, "the backup has a column that this version does not know"))?;
        let mut rest = rows.into_iter().peekable();
        let mut left = rest.len();
        for size in AT_ONCE {
            while left >= size && rest.peek().is_some() {
                let mut cells = Vec::with_capacity(size * known.len());
                for row in rest.by_ref().take(size) {
                    if row.len() != known.len() {
                        return Err(wrong(table, "it has not as many values as there are columns"));
                    }
                    for (column, value) in known.iter().zip(row) {
                        cells.push(
                            cell(column.holds, value).map_err(|why| wrong(table, format!("{} {why}", column.name)))?,
                        );
                    }
                }
                left -= size;
                let key = (table.name.as_str(), columns.to_vec(), size);
                // Which columns a backup has is known when it is read; a statement must live as long as the process. There is
                // one for each table, in a command that ends with this.
                let sql = *self.statements.entry(key).or_insert_with(|| table.insert(&known, size).leak());
                self.sessions.of(table.place).execute(sql, cells).await?;
            }
        }
        Ok(())
    }

    async fn finish(
        self: Box<Self>,
        source: &DumpSource,
        now: Timestamp,
        actor: &Actor,
        chain: &ChainKey,
    ) -> Result<Restored> {
        let Self { mut sessions, head, lock_audit, _turn, .. } = *self;
        let session = &mut *sessions.configuration;
        let number = Cell::Integer(i64::try_from(source.audit.number).ok());
        session.execute(MOVE_AUDIT_HEAD, vec![number, Cell::text(&source.audit.hash)]).await?;
        let loaded = read::load(session).await?;
        let digest = loaded.configuration.digest();
        let generation = source.generation.max(head.generation) + 1;
        let summary = format!("restored from a backup of generation {} of {}", source.generation, source.made_at);
        let (name, changes) = (actor.name.clone(), Vec::new());
        let new = NewGeneration {
            number: generation,
            digest,
            created_at: now,
            actor: name,
            summary: summary.clone(),
            changes,
        };
        let number = write::generation(session, &new).await?;
        // Whoever serves a generation of before, of this database or of another, loads everything anew rather than apply changes
        // to what they were not made of.
        let everything = Cell::Json(Some("\"everything\"".to_owned()));
        session.execute(TOUCH_EVERYTHING, vec![Cell::Integer(Some(number)), everything]).await?;
        let deed = NewAudit {
            at: now,
            actor: actor.clone(),
            action: Action::BackupRestore,
            summary,
            generation: Some(generation),
            changes: Vec::new(),
        };
        audit::append(session, lock_audit, &deed, chain).await?;
        sessions.commit(Some(number)).await?;
        Ok(Restored { generation, digest, spoilt: loaded.spoilt })
    }
}

/// A value of a backup as it goes into a column.
fn cell(holds: Holds, value: Value) -> Result<Cell, String> {
    match (holds, value) {
        (Holds::Json, Value::Null) => Ok(Cell::Json(None)),
        (Holds::Json, Value::String(text)) => Ok(Cell::Json(Some(text))),
        (Holds::Bytes, Value::Null) => Ok(Cell::Bytes(None)),
        (Holds::Bytes, Value::String(digits)) => {
            let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
            let (pairs, odd) = digits.as_bytes().as_chunks::<2>();
            let bytes: Option<Vec<u8>> =
                pairs.iter().map(|[high, low]| Some(digit(*high)? << 4 | digit(*low)?)).collect();
            bytes.filter(|_| odd.is_empty()).map(|bytes| Cell::Bytes(Some(bytes))).ok_or("holds no bytes".to_owned())
        }
        (Holds::Json | Holds::Bytes, _) => Err("is not a text".to_owned()),
        (Holds::Time, value) => Cell::of(Some(&value), Holds::Integer),
        (holds, value) => Cell::of(Some(&value), holds),
    }
}
