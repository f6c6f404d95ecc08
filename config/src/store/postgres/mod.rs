//! Postgres behind the store: a pool that connects when it is first asked, transactions, migrations.

mod session;
mod watch;

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use async_trait::async_trait;
use sqlx::migrate::Migrator;
use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions};
use sqlx::{ConnectOptions, Connection, PgConnection, Postgres};

use super::deadline::within;
use super::lease::Lease;
use super::session::{Backend, Purpose, Session};
use super::{Options, Result, StoreError, Watch};
use session::PostgresSession;
use watch::PostgresWatch;

static MIGRATIONS: Migrator = sqlx::migrate!("../migrations/postgres");

/// Where commits are told; the payload is the generation.
const CHANNEL: &str = "gatehouse_config";

/// A migration may rewrite tables.
const MIGRATION_DEADLINE: Duration = Duration::from_mins(5);

pub(super) struct PostgresBackend {
    pool: PgPool,
    server: PgConnectOptions,
    deadline: Duration,
}

impl fmt::Debug for PostgresBackend {
    /// Without the password, which sqlx's own would show.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresBackend")
            .field("host", &self.server.get_host())
            .field("port", &self.server.get_port())
            .field("database", &self.server.get_database())
            .finish_non_exhaustive()
    }
}

impl PostgresBackend {
    /// Connects to nothing yet: a gateway must start while the database is away.
    pub(super) fn open(url: &str, options: &Options) -> Result<Self> {
        // Neither the URL nor the parser's message is repeated: either may hold the password.
        let bad = |_| StoreError::BadUrl("postgres://…".to_owned(), "it is no valid address of a database".to_owned());
        let server =
            PgConnectOptions::from_str(url).map_err(bad)?.application_name("gatehouse").disable_statement_logging();
        let pool = PgPoolOptions::new()
            .max_connections(options.connections)
            // Shorter than a call's deadline, so that a closed database is told from one that hangs.
            .acquire_timeout(options.deadline * 2 / 3)
            .connect_lazy_with(bounded(server.clone(), options.deadline));
        Ok(Self { pool, server, deadline: options.deadline })
    }
}

/// The server's own limits, for when this process is the one that hangs or is cut off.
fn bounded(server: PgConnectOptions, deadline: Duration) -> PgConnectOptions {
    let milliseconds = |duration: Duration| duration.as_millis().to_string();
    server.options([
        ("lock_timeout", milliseconds(deadline * 2 / 3)),
        ("statement_timeout", milliseconds(deadline * 4)),
        ("idle_in_transaction_session_timeout", milliseconds(deadline * 4)),
    ])
}

#[async_trait]
impl Backend for PostgresBackend {
    async fn migrate(&self) -> Result<()> {
        // On a connection without limits: a second process waits here until the first has migrated.
        let mut connection = within(self.deadline, PgConnection::connect_with(&self.server)).await?;
        let run = tokio::time::timeout(MIGRATION_DEADLINE, MIGRATIONS.run_direct(None, &mut connection, false));
        let outcome = run.await.map_err(|_| StoreError::timed_out(MIGRATION_DEADLINE))?;
        within(self.deadline, connection.close()).await.ok();
        Ok(outcome?)
    }

    async fn open(&self, purpose: Purpose) -> Result<Box<dyn Session>> {
        let begin = match purpose {
            Purpose::Read | Purpose::RuntimeRead | Purpose::QueueRead => {
                "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
            }
            // Not REPEATABLE READ: what is read behind the head's lock must be newer than the lock.
            Purpose::Write | Purpose::Runtime | Purpose::Queue | Purpose::Delivery => {
                "BEGIN ISOLATION LEVEL READ COMMITTED"
            }
        };
        let connection: PoolConnection<Postgres> = within(self.deadline, self.pool.acquire()).await?;
        let mut session = PostgresSession::new(Lease::new(connection), self.deadline);
        session.execute(begin, Vec::new()).await?;
        if matches!(purpose, Purpose::Delivery) {
            session.execute("SET LOCAL synchronous_commit TO off", Vec::new()).await?;
        }
        Ok(Box::new(session))
    }

    fn has_runtime_apart(&self) -> bool {
        false
    }

    fn lock_head(&self) -> &'static str {
        "SELECT generation, digest, format_version FROM config_head WHERE id = 1 FOR UPDATE"
    }

    fn lock_audit(&self) -> &'static str {
        "SELECT number, hash FROM audit_head WHERE id = 1 FOR UPDATE"
    }

    fn claim_messages(&self) -> &'static str {
        "UPDATE gateway_message SET lease_owner = $3, due_at = $4, attempts = attempts + 1 WHERE number IN ( \
            SELECT number FROM gateway_message WHERE queue = $1 AND dead_at IS NULL AND due_at <= $2 \
            ORDER BY due_at, number LIMIT $5 FOR UPDATE SKIP LOCKED) \
        RETURNING number, id, queue, event, attempts, accepted_at, last_error"
    }

    fn extend_messages(&self) -> &'static str {
        "UPDATE gateway_message SET due_at = $3 WHERE lease_owner = $1 AND dead_at IS NULL AND \
            number = ANY(ARRAY(SELECT value::bigint FROM json_array_elements_text($2) AS value)) RETURNING number"
    }

    fn delete_messages(&self) -> &'static str {
        "DELETE FROM gateway_message WHERE lease_owner = $1 AND \
            number = ANY(ARRAY(SELECT value::bigint FROM json_array_elements_text($2) AS value))"
    }

    fn give_back_messages(&self) -> &'static str {
        "UPDATE gateway_message SET lease_owner = NULL, due_at = $3, attempts = attempts - 1 WHERE lease_owner = $1 AND \
            number = ANY(ARRAY(SELECT value::bigint FROM json_array_elements_text($2) AS value))"
    }

    fn lock_queue(&self) -> Option<&'static str> {
        // The first number is ours; the second is the queue's.
        Some("SELECT pg_advisory_xact_lock(1734438248, hashtext($1))")
    }

    fn claim_callbacks(&self) -> &'static str {
        "UPDATE gateway_task SET callback_at = $2, callback_attempts = callback_attempts + 1 WHERE id IN ( \
            SELECT id FROM gateway_task WHERE callback_at <= $1 ORDER BY callback_at LIMIT $3 FOR UPDATE SKIP LOCKED) \
        RETURNING id, callback_attempts"
    }

    async fn watch(&self) -> Result<Box<dyn Watch>> {
        Ok(Box::new(PostgresWatch::new(bounded(self.server.clone(), self.deadline), self.deadline)))
    }
}
