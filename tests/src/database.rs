//! A database for one test: a SQLite file in a folder of its own, or a fresh database in the run's Postgres cluster.

use std::sync::Arc;

use gateway_config::clock::new_id;
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection, SqliteConnection};
use tempfile::TempDir;

use crate::postgres::PostgresCluster;

/// Where `tests/with-servers` says that its cluster is.
pub const CLUSTER: &str = "GATEHOUSE_TEST_POSTGRES";

/// Which database the tests use that do not care.
const KIND: &str = "GATEHOUSE_TEST_DATABASE";

/// A database; gone when its last owner is.
#[derive(Clone, Debug)]
pub struct Database(Arc<Place>);

#[derive(Debug)]
enum Place {
    Sqlite(TempDir),
    /// In the run's cluster, whose own database `cluster` is.
    Shared {
        cluster: String,
        name: String,
    },
    /// In a cluster that goes as a whole.
    Own(Arc<PostgresCluster>, String),
}

impl Database {
    /// A SQLite file, unless the environment asks for Postgres with `GATEHOUSE_TEST_DATABASE=postgres`.
    pub async fn usual() -> Self {
        if std::env::var_os(KIND).is_some_and(|kind| kind == "postgres") {
            Self::postgres().await
        } else {
            Self::sqlite()
        }
    }

    pub fn sqlite() -> Self {
        Self(Arc::new(Place::Sqlite(TempDir::with_prefix("gatehouse-").expect("a temporary folder can be made"))))
    }

    /// A fresh database in the run's cluster.
    pub async fn postgres() -> Self {
        let cluster = std::env::var(CLUSTER)
            .unwrap_or_else(|_| panic!("{CLUSTER} is not set: run tests through tests/with-servers"));
        let name = fresh_name();
        create(&cluster, &name).await;
        Self(Arc::new(Place::Shared { cluster, name }))
    }

    /// A fresh database in a cluster of the test's own.
    pub async fn on(cluster: &Arc<PostgresCluster>) -> Self {
        let name = fresh_name();
        create(&cluster.url("postgres"), &name).await;
        Self(Arc::new(Place::Own(Arc::clone(cluster), name)))
    }

    /// As the setting `DATABASE_URL` takes it.
    pub fn url(&self) -> String {
        match &*self.0 {
            Place::Sqlite(folder) => format!("sqlite://{}", folder.path().join("gateway.db").display()),
            Place::Shared { cluster, name } => {
                let (server, _) = cluster.rsplit_once('/').expect("the cluster's URL ends in a database");
                format!("{server}/{name}")
            }
            Place::Own(cluster, name) => cluster.url(name),
        }
    }

    pub fn is_sqlite(&self) -> bool {
        matches!(&*self.0, Place::Sqlite(_))
    }

    /// Runs a statement behind the product's back, as an operator with a SQL shell would; tells how many rows it touched.
    pub async fn execute(&self, sql: &str) -> u64 {
        self.try_execute(sql).await.unwrap_or_else(|error| panic!("could not run {sql:?}: {error}"))
    }

    async fn try_execute(&self, sql: &str) -> sqlx::Result<u64> {
        let statement = AssertSqlSafe(sql.to_owned());
        if self.is_sqlite() {
            Ok(SqliteConnection::connect(&self.url()).await?.execute(statement).await?.rows_affected())
        } else {
            Ok(PgConnection::connect(&self.url()).await?.execute(statement).await?.rows_affected())
        }
    }

    /// The single whole number that a query answers.
    pub async fn number(&self, sql: &str) -> i64 {
        self.try_number(sql).await.unwrap_or_else(|error| panic!("could not ask {sql:?}: {error}"))
    }

    async fn try_number(&self, sql: &str) -> sqlx::Result<i64> {
        let statement = AssertSqlSafe(sql.to_owned());
        if self.is_sqlite() {
            sqlx::query_scalar(statement).fetch_one(&mut SqliteConnection::connect(&self.url()).await?).await
        } else {
            sqlx::query_scalar(statement).fetch_one(&mut PgConnection::connect(&self.url()).await?).await
        }
    }
}

impl Database {
    /// The texts that a query answers of what changes all the time: on SQLite it is in a file of its own.
    pub async fn runtime_texts(&self, sql: &str) -> Vec<String> {
        let statement = AssertSqlSafe(sql.to_owned());
        let url = self.url().replace("gateway.db", "runtime.db");
        let found = async {
            if self.is_sqlite() {
                sqlx::query_scalar(statement).fetch_all(&mut SqliteConnection::connect(&url).await?).await
            } else {
                sqlx::query_scalar(statement).fetch_all(&mut PgConnection::connect(&url).await?).await
            }
        };
        found.await.unwrap_or_else(|error: sqlx::Error| panic!("could not ask {sql:?}: {error}"))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let Self::Shared { cluster, name } = self else { return };
        let (cluster, sql) = (cluster.clone(), format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)"));
        // On a thread with a runtime of its own, because the test's cannot be waited for in here.
        let dropping = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(async {
                PgConnection::connect(&cluster).await?.execute(AssertSqlSafe(sql)).await?;
                anyhow::Ok(())
            })
        });
        if let Ok(Err(error)) = dropping.join() {
            eprintln!("could not drop the test's database {name}: {error}");
        }
    }
}

fn fresh_name() -> String {
    format!("t_{}", new_id().simple())
}

async fn create(cluster: &str, name: &str) {
    let mut connection = PgConnection::connect(cluster)
        .await
        .unwrap_or_else(|error| panic!("could not reach the tests' Postgres at {cluster}: {error}"));
    let sql = format!("CREATE DATABASE {name}");
    connection.execute(AssertSqlSafe(sql)).await.unwrap_or_else(|error| panic!("could not create {name}: {error}"));
}
