//! Each service keeps its data in a SQLite file of its own, which several processes on one host may share.

use std::{fs::DirBuilder, os::unix::fs::DirBuilderExt, path::Path, time::Duration};

use anyhow::{Context, Result};
use sqlx::{
    SqlitePool,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};

/// How long a statement waits for another process to finish writing.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// Opens `folder/file`, making both where they are missing, and brings in `schema`, whose statements must be repeatable.
pub(crate) async fn open(folder: &Path, file: &str, schema: &'static str) -> Result<SqlitePool> {
    // The folder holds password hashes: it is its owner's alone.
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
        .with_context(|| format!("could not create the folder {}", folder.display()))?;
    let path = folder.join(file);
    let options = SqliteConnectOptions::new()
        .filename(&path)
        .create_if_missing(true)
        .foreign_keys(true)
        .busy_timeout(BUSY_TIMEOUT)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Normal);
    let pool = SqlitePoolOptions::new()
        .max_connections(4)
        .connect_with(options)
        .await
        .with_context(|| format!("could not open the database {}", path.display()))?;
    sqlx::raw_sql(schema)
        .execute(&pool)
        .await
        .with_context(|| format!("could not bring the schema into {}", path.display()))?;
    Ok(pool)
}
