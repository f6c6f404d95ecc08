//! Where the configuration is kept: one interface, Postgres and SQLite behind it in mirrored files, one suite
//! (`conformance`) that both pass. The store knows rows, not meaning: what a configuration compiles to is none of its business,
//! and only `change` opens write transactions.

mod admin;
mod audit;
#[doc(hidden)]
pub mod conformance;
mod database;
mod deadline;
mod delivery;
mod dump;
mod error;
mod history;
mod lease;
mod login;
mod message;
mod node;
mod pace;
mod postgres;
mod queue_status;
mod read;
mod record;
mod session;
mod signing;
mod sqlite;
mod statement;
mod table;
mod task;
mod traffic;
mod usage;
mod verify;
mod write;
mod write_many;

use std::collections::HashMap;
use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use crate::model::{
    ApiKey, ChainKey, Change, Configuration, Digest, EntityChange, Id, Item, Kind, NewAudit, Node, Problem, Timestamp,
};

use database::Database;
use postgres::PostgresBackend;
use sqlite::SqliteBackend;

pub use admin::{AdminWritten, Admins, KnownToken};
pub use audit::{AuditHead, AuditLog, AuditPage, AuditQuery};
pub use dump::{
    Dump, DumpRow, DumpSource, DumpTable, Dumping, NOT_DUMPED, Restored, Restoring, SIGNING_KEYS, dump_tables,
};
pub use error::StoreError;
pub use history::{History, HistoryPage};
pub use login::{Failures, Logins, Renewal};
pub use message::{
    Claim, ClaimedMessage, DeadLetter, Here, MessageClaim, Messages, NewMessage, QueueDepth, Settlement,
};
pub use queue_status::{QueueReport, QueueStatus, QueueTest, QueueTestState};
pub use signing::SigningKeyRow;
pub use task::{DueCallback, Reported, TaskClaim, TaskReport, TaskSearch, Tasks};
pub use traffic::{RouteUsage, Traffic, TrafficQuery};
pub use verify::{Audited, verify_audit};

pub type Result<T, E = StoreError> = std::result::Result<T, E>;

/// How a store treats its database.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// The longest that one step (a connection, a statement, a commit) may take.
    pub deadline: Duration,
    /// At most so many connections, beside one for each watch.
    pub connections: u32,
    /// SQLite: make the files where they are missing.
    pub may_create: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self { deadline: Duration::from_secs(3), connections: 8, may_create: true }
    }
}

/// Opens `sqlite://PATH` or `postgres://…`. Nothing is connected yet, so this also succeeds while the database is away.
pub async fn open(url: &str) -> Result<Arc<dyn Store>> {
    open_with(url, Options::default()).await
}

pub async fn open_with(url: &str, options: Options) -> Result<Arc<dyn Store>> {
    let backend: Arc<dyn session::Backend> = match url.split_once("://") {
        Some(("sqlite", path)) => Arc::new(SqliteBackend::open(path, &options).await?),
        Some(("postgres" | "postgresql", _)) => Arc::new(PostgresBackend::open(url, &options)?),
        other => {
            // Only the scheme is repeated: the rest may hold a password.
            let scheme = other.map_or("…".to_owned(), |(scheme, _)| format!("{scheme}://…"));
            return Err(StoreError::BadUrl(scheme, "write sqlite://PATH or postgres://USER@HOST/DATABASE".to_owned()));
        }
    };
    Ok(Arc::new(Database::new(backend, options)))
}

/// The newest generation and the content hash that it led to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Head {
    pub generation: u64,
    pub digest: Digest,
    /// The configuration format that a reader must know.
    pub format: i32,
}

/// The whole configuration as it stands in one consistent read.
#[derive(Clone, Debug, Default)]
pub struct Loaded {
    pub head: Head,
    pub configuration: Configuration,
    /// Rows that could not be read, as after an edit by hand. They are missing from `configuration`.
    pub spoilt: Vec<Problem>,
}

/// All rows as they stand, looked at without being kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Survey {
    /// Of the configuration that they make.
    pub digest: Digest,
    /// Rows that could not be read; they are missing from the digest.
    pub spoilt: Vec<Problem>,
}

/// What happened after a generation.
#[derive(Clone, Debug)]
pub enum Since {
    /// Nothing.
    UpToDate,
    /// These entities were written, and stand like this at `head`.
    Changed { head: Head, change: Change, spoilt: Vec<Problem> },
    /// The history does not reach back that far (or lies ahead: another database was restored). Load everything.
    Reload,
}

/// A page of a listing, in the order of names.
#[derive(Clone, Debug, Default)]
pub struct Page {
    /// Begin behind this name.
    pub after: Option<String>,
    pub limit: u32,
    /// Only names or descriptions that contain this, in any case.
    pub search: Option<String>,
}

/// What a write leaves behind beside the rows.
#[derive(Clone, Debug)]
pub struct NewGeneration {
    /// The locked head's plus one.
    pub number: u64,
    pub digest: Digest,
    pub created_at: Timestamp,
    pub actor: String,
    pub summary: String,
    pub changes: Vec<EntityChange>,
}

/// A store of configuration. Every call has a deadline of its own: with the database closed or hung it fails with
/// [`StoreError::Unavailable`] within a few seconds rather than wait.
#[async_trait]
pub trait Store:
    History + AuditLog + Admins + Logins + Traffic + Dump + Tasks + Messages + QueueStatus + Debug + Send + Sync
{
    /// Brings the tables up to date. Only the admin API calls this.
    async fn migrate(&self) -> Result<()>;

    /// The cheapest question: has anything changed?
    async fn head(&self) -> Result<Head>;

    /// The whole configuration.
    async fn load(&self) -> Result<Loaded>;

    /// The entities written after `generation`, as they stand now.
    async fn load_since(&self, generation: u64) -> Result<Since>;

    /// One entity; [`StoreError::Spoilt`] when its row can't be read. The defaults exist also without a row.
    async fn get(&self, kind: Kind, name: &str) -> Result<Option<Item>>;

    /// Fewer than `page.limit` entities mean that there are no more. Rows that can't be read are left out.
    async fn list(&self, kind: Kind, page: &Page) -> Result<Vec<Item>>;

    /// One state to read from, however long it takes; keeps nobody from writing.
    async fn read(&self) -> Result<Box<dyn ReadTransaction>>;

    /// Locks the head for writing. Dropped without a commit, nothing was written.
    async fn begin(&self) -> Result<Box<dyn WriteTransaction>>;

    /// Hints that something may have changed. Connects with the first call of [`Watch::changed`].
    async fn watch(&self) -> Result<Box<dyn Watch>>;

    /// Records what a node serves.
    async fn report_node(&self, node: &Node) -> Result<()>;

    /// Every node that ever reported and was not forgotten, the oldest id first.
    async fn nodes(&self) -> Result<Vec<Node>>;

    /// Marks the node as left; `false` when there is none of this id.
    async fn leave_node(&self, id: uuid::Uuid, now: Timestamp) -> Result<bool>;

    /// Notes when keys were used. A time before the one that is known changes nothing.
    async fn record_key_usage(&self, uses: &[(Id<ApiKey>, Timestamp)]) -> Result<()>;

    /// When these keys were last used, for those that ever were.
    async fn key_usage(&self, keys: &[Id<ApiKey>]) -> Result<HashMap<Id<ApiKey>, Timestamp>>;

    /// The fleet's signing keys, the oldest slot first. A row that can't be read is left out.
    async fn signing_keys(&self) -> Result<Vec<SigningKeyRow>>;

    /// Adds a key and notes for those before it from when it signs in their place. `false`: its slot is taken; read again.
    async fn add_signing_key(&self, row: &SigningKeyRow) -> Result<bool>;

    /// Deletes the keys that were retired before `before`.
    async fn forget_signing_keys(&self, before: Timestamp) -> Result<()>;
}

/// The configuration as it stood at one moment.
#[async_trait]
pub trait ReadTransaction: Send {
    /// As it was when the transaction began; in a write, when the lock was taken.
    fn head(&self) -> Head;

    async fn get(&mut self, kind: Kind, name: &str) -> Result<Option<Item>>;

    /// Every entity of the kind, and what is wrong with those that can't be read.
    async fn all(&mut self, kind: Kind) -> Result<(Vec<Item>, Vec<Problem>)>;

    async fn load(&mut self) -> Result<Loaded>;

    async fn load_since(&mut self, generation: u64) -> Result<Since>;

    /// Whether [`ReadTransaction::load`] would bring what is known, at a fraction of its memory.
    async fn survey(&mut self) -> Result<Survey>;

    /// Gives the connection back. A transaction that is dropped closes it.
    async fn end(self: Box<Self>) -> Result<()>;
}

/// A write in progress: the head is locked, everything else still reads the old state.
#[async_trait]
pub trait WriteTransaction: ReadTransaction {
    async fn nodes(&mut self) -> Result<Vec<Node>>;

    /// Inserts the entity, or replaces the one of its kind and name with all its children.
    async fn put(&mut self, item: &Item) -> Result<()>;

    /// The same for many entities, of which no two are the same, in fewer statements.
    async fn put_all(&mut self, items: &[&Item]) -> Result<()>;

    async fn delete(&mut self, kind: Kind, name: &str) -> Result<()>;

    /// The same for many, in fewer statements.
    async fn delete_all(&mut self, kind: Kind, names: &[&str]) -> Result<()>;

    /// Notes who does this, in the same transaction.
    async fn audit(&mut self, new: &NewAudit, chain: &ChainKey) -> Result<()>;

    /// Writes the generation, moves the head, commits, and tells whoever watches. Refused when a statement failed before or
    /// when the number does not follow the head. After [`StoreError::TimedOut`] it may have happened or not.
    async fn commit(self: Box<Self>, generation: &NewGeneration) -> Result<()>;
}

/// A stream of hints. It only ever says "look": whoever waits then asks [`Store::load_since`].
#[async_trait]
pub trait Watch: Send {
    /// Waits for a notice, or for the poll that covers lost notices to fall due. Notices that pile up come as one. The first
    /// call, and the first after a lost connection, answers at once: what happened until then was not watched. After an error
    /// call again: each attempt waits a little longer, up to a second. May be dropped and called again.
    async fn changed(&mut self) -> Result<()>;
}
