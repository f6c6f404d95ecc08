//! The pairs of migrations: same numbers, same names, and the same tables and columns at their end.

use std::collections::BTreeSet;
use std::path::Path;

use gateway_config::store::conformance::Subject;
use sqlx::{Connection, SqliteConnection};

use crate::subject::{Postgres, Sqlite};

/// Of the files beside the configuration's.
const BESIDE: [&str; 2] = ["sqlite_runtime", "sqlite_queue"];

fn names(folder: &str) -> BTreeSet<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../migrations").join(folder);
    std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().file_name().into_string().unwrap()).collect()
}

#[test]
fn both_databases_have_the_same_list_of_migrations() {
    let postgres = names("postgres");
    assert!(!postgres.is_empty());
    assert_eq!(postgres, names("sqlite"));
    for folder in BESIDE {
        assert!(names(folder).is_subset(&postgres), "{:?}", names(folder));
    }
}

#[test]
fn every_migration_says_why() {
    for folder in ["postgres", "sqlite"].into_iter().chain(BESIDE) {
        for name in names(folder) {
            let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../migrations").join(folder).join(&name);
            assert!(std::fs::read_to_string(path).unwrap().starts_with("-- "), "{folder}/{name}");
        }
    }
}

#[tokio::test]
async fn both_databases_end_in_the_same_tables_and_columns() {
    let sqlite = Sqlite::migrated().await;
    let mut columns = sqlite_columns(&sqlite.url()).await;
    for file in ["runtime.db", "queue.db"] {
        columns.extend(sqlite_columns(&sqlite.url().replace("gateway.db", file)).await);
    }

    let postgres = Postgres::migrated().await;
    let listed = "SELECT table_name || '.' || column_name || ' ' || is_nullable FROM information_schema.columns \
        WHERE table_schema = 'public' AND table_name NOT LIKE '\\_sqlx%'";
    let listed: Vec<String> = sqlx::query_scalar(listed).fetch_all(&mut postgres.connect().await).await.unwrap();
    assert_eq!(listed.into_iter().collect::<BTreeSet<_>>(), columns);
    drop(postgres.open().await);
}

async fn sqlite_columns(url: &str) -> BTreeSet<String> {
    let mut connection = SqliteConnection::connect(url).await.unwrap();
    let listed = "SELECT m.name || '.' || c.name || ' ' || \
        CASE WHEN c.\"notnull\" OR (c.pk AND c.type = 'INTEGER') THEN 'NO' ELSE 'YES' END \
        FROM sqlite_schema AS m JOIN pragma_table_info(m.name) AS c WHERE m.type = 'table' AND m.name NOT LIKE '\\_sqlx%' \
        ESCAPE '\\' AND m.name NOT LIKE 'sqlite%'";
    sqlx::query_scalar::<_, String>(listed).fetch_all(&mut connection).await.unwrap().into_iter().collect()
}
