//! Each service keeps its data in a SQLite file of its own, which several processes on one host may share.

use std::{
    fs::{DirBuilder, File},
    os::unix::fs::DirBuilderExt,
    path::Path,
    time::Duration,
};

use anyhow::{Context, Result};
use sqlx::{
    SqlitePool,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};
use tokio::task::spawn_blocking;

/// How long a statement waits for another process to finish writing.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// Opens `folder/file`, making both where they are missing, and brings in `schema`, whose statements must be repeatable.
pub(crate) async fn open(folder: &Path, file: &str, schema: &'static str) -> Result<SqlitePool> {
    let path = folder.join(file);
    let _turn = take_turn(folder).await?;
    let options = SqliteConnectOptions::new()
        .filename(&path)
        .create_if_missing(true)
        .foreign_keys(true)
        .busy_timeout(BUSY_TIMEOUT)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Normal);
    let pool = SqlitePoolOptions::new().max_connections(4).connect_with(options).await;
    let pool = pool.with_context(|| format!("could not open the database {}", path.display()))?;
    let brought = sqlx::raw_sql(schema).execute(&pool).await;
    brought.with_context(|| format!("could not bring the schema into {}", path.display()))?;
    Ok(pool)
}

/// One process after the other opens a database of the folder, until the file is dropped: when two switch a new file to WAL at the same
/// moment, SQLite tells one of them "database is locked" at once, whatever the busy timeout.
pub(crate) async fn take_turn(folder: &Path) -> Result<File> {
    // The folder holds password hashes: it is its owner's alone.
    let made = DirBuilder::new().recursive(true).mode(0o700).create(folder);
    made.with_context(|| format!("could not create the folder {}", folder.display()))?;
    let path = folder.join(".opening");
    let file = spawn_blocking(move || {
        let file = File::create(path)?;
        file.lock().map(|()| file)
    });
    file.await?.with_context(|| format!("could not lock the folder {}", folder.display()))
}
