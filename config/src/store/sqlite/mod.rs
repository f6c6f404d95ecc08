//! SQLite behind the store: three files (the configuration, and beside it what changes all the time, and
//! embedded queues), transactions, migrations.

mod file;
mod session;
mod watch;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use sqlx::migrate::Migrator;
use sqlx::pool::PoolConnection;
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous,
};
use sqlx::{ConnectOptions, Connection, Sqlite};
use tokio::sync::Mutex;

use super::deadline::within;
use super::lease::Lease;
use super::session::{Backend, Purpose, Session};
use super::{Options, Result, StoreError, Watch};
use session::SqliteSession;
use watch::SqliteWatch;

static MIGRATIONS: Migrator = sqlx::migrate!("../migrations/sqlite");
static RUNTIME_MIGRATIONS: Migrator = sqlx::migrate!("../migrations/sqlite_runtime");

static QUEUE_MIGRATIONS: Migrator = sqlx::migrate!("../migrations/sqlite_queue");

/// The file beside the configuration's that holds nodes and the use of keys.
const RUNTIME_FILE: &str = "runtime.db";
/// The file beside it that holds the messages of embedded queues.
const QUEUE_FILE: &str = "queue.db";

/// How long SQLite itself waits for another writer.
const BUSY: Duration = Duration::from_secs(5);

#[derive(Debug)]
pub(super) struct SqliteBackend {
    configuration: SqlitePool,
    runtime: SqlitePool,
    queue: SqlitePool,
    deliveries: SqlitePool,
    configuration_file: PathBuf,
    runtime_file: PathBuf,
    queue_file: PathBuf,
    /// Whoever writes to queues waits here: SQLite's own waiting is by looking again later and later, which costs a busy queue dearly.
    queue_turn: Arc<Mutex<()>>,
    deadline: Duration,
}

impl SqliteBackend {
    pub(super) async fn open(path: &str, options: &Options) -> Result<Self> {
        let configuration_file = PathBuf::from(path);
        let runtime_file = configuration_file.with_file_name(RUNTIME_FILE);
        let bad = |why: String| StoreError::BadUrl(format!("sqlite://{path}"), why);
        if configuration_file.file_name().is_none() || path.contains('?') || path.contains(":memory:") {
            return Err(bad("it does not name a file".to_owned()));
        }
        let queue_file = configuration_file.with_file_name(QUEUE_FILE);
        if configuration_file == runtime_file {
            return Err(bad(format!("{RUNTIME_FILE} is taken by what changes all the time")));
        }
        if configuration_file == queue_file {
            return Err(bad(format!("{QUEUE_FILE} is taken by embedded queues")));
        }
        let files = [configuration_file.clone(), runtime_file.clone(), queue_file.clone()];
        if let Some(missing) = files.iter().find(|file| !options.may_create && !file.exists()) {
            return Err(StoreError::NotMigrated(format!("there is no file {}", missing.display())));
        }
        let prepared = tokio::task::spawn_blocking(move || files.iter().try_for_each(|path| file::prepare(path)));
        prepared.await.unwrap_or_else(|error| Err(error.to_string())).map_err(bad)?;
        for path in [&configuration_file, &runtime_file, &queue_file] {
            switch_to_wal(path).await;
        }
        Ok(Self {
            configuration: pool(&configuration_file, SqliteSynchronous::Full, options),
            // The nodes report anew every second: after a power cut nothing of it is missed.
            runtime: pool(&runtime_file, SqliteSynchronous::Normal, options),
            // A message that was answered for is on disk.
            queue: pool(&queue_file, SqliteSynchronous::Full, options),
            // After a power cut it is delivered once more.
            deliveries: pool(&queue_file, SqliteSynchronous::Normal, options),
            configuration_file,
            runtime_file,
            queue_file,
            queue_turn: Arc::default(),
            deadline: options.deadline,
        })
    }
}

fn pool(file: &Path, synchronous: SqliteSynchronous, options: &Options) -> SqlitePool {
    SqlitePoolOptions::new()
        // Each is a thread, and writers wait for each other anyway.
        .max_connections(options.connections.min(4))
        .acquire_timeout(options.deadline * 2 / 3)
        .connect_lazy_with(connection(file).synchronous(synchronous))
}

fn connection(file: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(file)
        .journal_mode(SqliteJournalMode::Wal)
        .busy_timeout(BUSY)
        .foreign_keys(true)
        .disable_statement_logging()
}

/// Makes a new file a WAL database, one process after the other: when two switch it at the same moment, SQLite tells one of
/// them "database is locked" at once, whatever the busy timeout. Later connections find it switched.
async fn switch_to_wal(file: &Path) {
    let Ok(_turn) = file::take_turn(file).await else { return };
    // What is wrong with the file is told by whoever reads it.
    if let Ok(connection) = SqliteConnection::connect_with(&connection(file)).await {
        let _ = connection.close().await;
    }
}

/// All migrations in one transaction that locks the file first, so that two processes can't both begin.
async fn migrate(file: &Path, migrations: &Migrator) -> Result<()> {
    let mut connection = SqliteConnection::connect_with(&connection(file)).await?;
    let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
    migrations.run_direct(None, &mut *transaction, false).await?;
    transaction.commit().await?;
    connection.close().await?;
    Ok(())
}

#[async_trait]
impl Backend for SqliteBackend {
    async fn migrate(&self) -> Result<()> {
        migrate(&self.configuration_file, &MIGRATIONS).await?;
        migrate(&self.runtime_file, &RUNTIME_MIGRATIONS).await?;
        migrate(&self.queue_file, &QUEUE_MIGRATIONS).await
    }

    async fn open(&self, purpose: Purpose) -> Result<Box<dyn Session>> {
        let turn = match purpose {
            Purpose::Queue | Purpose::Delivery => {
                let turn = async { Ok(Arc::clone(&self.queue_turn).lock_owned().await) };
                Some(within(self.deadline, turn).await?)
            }
            Purpose::Read | Purpose::Write | Purpose::Runtime | Purpose::RuntimeRead | Purpose::QueueRead => None,
        };
        let (pool, begin) = match purpose {
            Purpose::Read => (&self.configuration, "BEGIN DEFERRED"),
            // A transaction that reads first and then writes fails at once if another wrote in between.
            Purpose::Write => (&self.configuration, "BEGIN IMMEDIATE"),
            Purpose::Runtime => (&self.runtime, "BEGIN IMMEDIATE"),
            Purpose::Queue => (&self.queue, "BEGIN IMMEDIATE"),
            Purpose::Delivery => (&self.deliveries, "BEGIN IMMEDIATE"),
            Purpose::RuntimeRead => (&self.runtime, "BEGIN DEFERRED"),
            Purpose::QueueRead => (&self.queue, "BEGIN DEFERRED"),
        };
        let connection: PoolConnection<Sqlite> = within(self.deadline, pool.acquire()).await?;
        let mut session = SqliteSession::new(Lease::new(connection), self.deadline, turn);
        session.execute(begin, Vec::new()).await?;
        Ok(Box::new(session))
    }

    fn has_runtime_apart(&self) -> bool {
        true
    }

    fn lock_head(&self) -> &'static str {
        // BEGIN IMMEDIATE has locked the whole file already.
        super::read::READ_HEAD
    }

    fn lock_audit(&self) -> &'static str {
        super::audit::READ_AUDIT_HEAD
    }

    fn claim_messages(&self) -> &'static str {
        "UPDATE gateway_message SET lease_owner = $3, due_at = $4, attempts = attempts + 1 WHERE number IN ( \
            SELECT number FROM gateway_message WHERE queue = $1 AND dead_at IS NULL AND due_at <= $2 \
            ORDER BY due_at, number LIMIT $5) \
        RETURNING number, id, queue, event, attempts, accepted_at, last_error"
    }

    fn extend_messages(&self) -> &'static str {
        "UPDATE gateway_message SET due_at = $3 WHERE lease_owner = $1 AND dead_at IS NULL AND \
            number IN (SELECT value FROM json_each($2)) RETURNING number"
    }

    fn delete_messages(&self) -> &'static str {
        "DELETE FROM gateway_message WHERE lease_owner = $1 AND \
            number IN (SELECT value FROM json_each($2))"
    }

    fn give_back_messages(&self) -> &'static str {
        "UPDATE gateway_message SET lease_owner = NULL, due_at = $3, attempts = attempts - 1 WHERE lease_owner = $1 AND \
            number IN (SELECT value FROM json_each($2))"
    }

    fn lock_queue(&self) -> Option<&'static str> {
        None
    }

    fn claim_callbacks(&self) -> &'static str {
        "UPDATE gateway_task SET callback_at = $2, callback_attempts = callback_attempts + 1 WHERE id IN ( \
            SELECT id FROM gateway_task WHERE callback_at <= $1 ORDER BY callback_at LIMIT $3) \
        RETURNING id, callback_attempts"
    }

    async fn watch(&self) -> Result<Box<dyn Watch>> {
        Ok(Box::new(SqliteWatch::new(connection(&self.configuration_file), self.deadline)))
    }
}
