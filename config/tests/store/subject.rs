//! Databases for the conformance suite, one for each check.

use std::future::Future;
use std::sync::Arc;

use async_trait::async_trait;
use gateway_config::clock::new_id;
use gateway_config::store::conformance::{CHECKS, Subject};
use gateway_config::store::{Store, open};
use sqlx::{AssertSqlSafe, Connection, PgConnection, SqliteConnection};
use tempfile::TempDir;

/// A SQLite file in a folder of its own.
#[derive(Debug)]
pub(crate) struct Sqlite {
    pub(crate) folder: TempDir,
}

impl Sqlite {
    pub(crate) fn new() -> Self {
        Self { folder: TempDir::with_prefix("gatehouse-store-").unwrap() }
    }

    pub(crate) async fn migrated() -> Self {
        let subject = Self::new();
        subject.open().await.migrate().await.unwrap();
        subject
    }

    pub(crate) fn url(&self) -> String {
        format!("sqlite://{}", self.folder.path().join("gateway.db").display())
    }
}

#[async_trait]
impl Subject for Sqlite {
    async fn open(&self) -> Arc<dyn Store> {
        open(&self.url()).await.unwrap()
    }

    async fn execute(&self, sql: &'static str) {
        let mut connection = SqliteConnection::connect(&self.url()).await.unwrap();
        sqlx::raw_sql(sql).execute(&mut connection).await.unwrap();
        connection.close().await.unwrap();
    }
}

/// A database in a Postgres cluster.
#[derive(Debug)]
pub(crate) struct Postgres {
    server: String,
    name: String,
}

impl Postgres {
    /// In the run's cluster.
    pub(crate) async fn new() -> Self {
        let server = std::env::var("GATEHOUSE_TEST_POSTGRES").expect(
            "GATEHOUSE_TEST_POSTGRES names no Postgres cluster: run this as `tests/with-servers cargo nextest run -p gateway-config`",
        );
        Self::at(server).await
    }

    /// In the cluster at `server`, the URL of one of its databases.
    pub(crate) async fn at(server: String) -> Self {
        let name = format!("t_{}", new_id().simple());
        let mut connection = PgConnection::connect(&server).await.unwrap();
        sqlx::raw_sql(AssertSqlSafe(format!("CREATE DATABASE {name}"))).execute(&mut connection).await.unwrap();
        Self { server, name }
    }

    pub(crate) async fn migrated() -> Self {
        let subject = Self::new().await;
        subject.open().await.migrate().await.unwrap();
        subject
    }

    pub(crate) fn url(&self) -> String {
        let (server, _) = self.server.rsplit_once('/').unwrap();
        format!("{server}/{}", self.name)
    }

    pub(crate) async fn connect(&self) -> PgConnection {
        PgConnection::connect(&self.url()).await.unwrap()
    }
}

#[async_trait]
impl Subject for Postgres {
    async fn open(&self) -> Arc<dyn Store> {
        open(&self.url()).await.unwrap()
    }

    async fn execute(&self, sql: &'static str) {
        sqlx::raw_sql(sql).execute(&mut self.connect().await).await.unwrap();
    }
}

/// Runs every check, each on a subject of its own, and names all that fail.
pub(crate) async fn passes<S: Subject + 'static, F: Future<Output = S>>(subject: impl Fn() -> F) {
    let mut failures = Vec::new();
    for (fact, check) in CHECKS {
        let subject = subject().await;
        // In a task, so that a failed assertion is one failure among others.
        let outcome = tokio::spawn(async move { check(&subject).await }).await;
        match outcome {
            Ok(Ok(())) => {}
            Ok(Err(error)) => failures.push(format!("{fact}: {error}")),
            Err(panic) => failures.push(format!("{fact}: {panic}")),
        }
    }
    assert!(failures.is_empty(), "{} of {} checks failed:\n{}", failures.len(), CHECKS.len(), failures.join("\n"));
}
