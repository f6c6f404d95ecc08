//! What SQLite alone has to get right, and the suite.

use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use futures::future::join_all;
use gateway_config::clock::new_id;
use gateway_config::model::{Kind, Node, Timestamp};
use gateway_config::store::conformance::Subject;
use gateway_config::store::{StoreError, open};

use crate::subject::{Sqlite, passes};

#[tokio::test(flavor = "multi_thread")]
async fn sqlite_passes_the_suite() {
    passes(Sqlite::migrated).await;
}

#[tokio::test]
async fn the_folder_and_the_files_are_made_for_their_owner_only() {
    let subject = Sqlite::new();
    let folder = subject.folder.path().join("a/b");
    let store = open(&format!("sqlite://{}", folder.join("gateway.db").display())).await.unwrap();
    store.migrate().await.unwrap();
    for file in ["gateway.db", "runtime.db", "queue.db", "gateway.db-wal"] {
        let mode = std::fs::metadata(folder.join(file)).map(|file| file.permissions().mode() & 0o777);
        assert_eq!(mode.unwrap_or(0o600), 0o600, "{file}");
    }
}

#[tokio::test]
async fn a_file_without_tables_says_to_migrate() {
    let subject = Sqlite::new();
    let store = subject.open().await;
    let error = store.load().await.unwrap_err();
    assert!(matches!(error, StoreError::NotMigrated(_)), "{error}");
    assert!(!error.is_unavailable());
}

/// At the first start the gateway, the admin API and whoever else open the same fresh file.
#[tokio::test(flavor = "multi_thread")]
async fn several_processes_may_open_and_migrate_a_fresh_file_at_once() {
    for _ in 0..5 {
        let subject = Sqlite::new();
        let stores = join_all((0..4).map(|_| subject.open())).await;
        let migrated = join_all(stores.iter().map(|store| store.migrate())).await;
        migrated.into_iter().collect::<Result<Vec<()>, _>>().unwrap();
        let heads = join_all(stores.iter().map(|store| store.head())).await;
        heads.into_iter().collect::<Result<Vec<_>, _>>().unwrap();
    }
}

#[tokio::test]
async fn a_file_that_is_no_database_is_unavailable() {
    let subject = Sqlite::new();
    std::fs::write(subject.folder.path().join("gateway.db"), vec![b'x'; 8192]).unwrap();
    let error = subject.open().await.head().await.unwrap_err();
    assert!(error.is_unavailable(), "{error}");
}

#[tokio::test]
async fn a_value_of_a_wrong_type_is_a_problem_of_its_row() {
    let subject = Sqlite::migrated().await;
    let store = subject.open().await;
    let insert = "INSERT INTO gateway_route (id, name, path, target) VALUES \
        (x'00', 'a', '/', '{\"service\": \"auth\"}'), (randomblob(16), 'b', '/', '{torn'), \
        (randomblob(16), 'c', CAST(x'FF' AS TEXT), '{\"service\": \"auth\"}')";
    subject.execute(insert).await;
    let loaded = store.load().await.unwrap();
    let paths: Vec<&str> = loaded.spoilt.iter().map(|problem| problem.path.as_str()).collect();
    assert_eq!(paths[..2], ["routes/a/id", "routes/b/target"], "{:?}", loaded.spoilt);
    for name in ["a", "b"] {
        assert!(matches!(store.get(Kind::Route, name).await, Err(StoreError::Spoilt(_))), "{name}");
    }
}

/// Polling the configuration's file would otherwise wake every gateway with every report of every other.
#[tokio::test]
async fn a_report_of_a_node_wakes_no_watch() {
    let subject = Sqlite::migrated().await;
    let store = subject.open().await;
    let mut watch = subject.open().await.watch().await.unwrap();
    watch.changed().await.unwrap();
    let node = Node {
        id: new_id(),
        version: String::new(),
        format: 1,
        address: String::new(),
        generation: 0,
        digest: String::new(),
        degraded: Vec::new(),
        last_seen: Timestamp::from_micros(1),
        has_left: false,
    };
    store.report_node(&node).await.unwrap();
    let woken = tokio::time::timeout(Duration::from_millis(500), watch.changed()).await;
    assert!(woken.is_err(), "{woken:?}");
}

/// Readers go on while a writer holds the lock, and a second writer gives up in time.
#[tokio::test]
async fn a_writer_of_another_process_is_waited_for_only_so_long() {
    let subject = Sqlite::migrated().await;
    let holder = subject.open().await.begin().await.unwrap();
    let store = subject.open().await;
    // The lock is held until this was answered.
    let refused = store.begin().await.map(drop).unwrap_err();
    assert!(refused.is_unavailable(), "{refused}");
    store.load().await.unwrap();
    drop(holder);
    store.begin().await.unwrap();
}

#[tokio::test]
async fn ten_thousand_routes_load_whole() {
    let subject = Sqlite::migrated().await;
    let insert = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 10000) \
        INSERT INTO gateway_route (id, name, path, target, hosts, methods, access, retries) \
        SELECT randomblob(16), 'r' || i, '/r/' || i || '/{*rest}', '{\"service\": \"s\"}', '[\"a.test\"]', '[\"GET\"]', \
        '{\"anyOf\": [\"public\"]}', '{\"attempts\": 1}' FROM n";
    subject.execute(insert).await;
    let store = subject.open().await;
    let loaded = store.load().await.unwrap();
    assert_eq!((loaded.configuration.routes.len(), loaded.spoilt.len()), (10_000, 0));
}
