//! What Postgres alone has to get right, and the suite.

use std::time::Duration;

use futures::FutureExt;
use gateway_config::clock::new_id;
use gateway_config::model::{Item, Kind, Timestamp};
use gateway_config::store::conformance::Subject;
use gateway_config::store::{NewGeneration, StoreError};
use serde_json::json;
use tokio::time::timeout;

use crate::subject::{Postgres, passes};

const PATIENCE: Duration = Duration::from_secs(30);

/// So often that looks each five seconds would take much longer than the patience.
const TWICE_TOLD: usize = 20;

#[tokio::test(flavor = "multi_thread")]
async fn postgres_passes_the_suite() {
    passes(Postgres::migrated).await;
}

#[tokio::test]
async fn a_database_without_tables_says_to_migrate() {
    let store = Postgres::new().await.open().await;
    let error = store.load().await.unwrap_err();
    assert!(matches!(error, StoreError::NotMigrated(_)), "{error}");
}

#[tokio::test]
async fn two_processes_may_migrate_at_once() {
    let subject = Postgres::new().await;
    let (a, b) = (subject.open().await, subject.open().await);
    let (a, b) = tokio::join!(a.migrate(), b.migrate());
    a.unwrap();
    b.unwrap();
}

#[tokio::test]
async fn a_watch_whose_connection_was_cut_says_look_and_listens_again() {
    let subject = Postgres::migrated().await;
    let store = subject.open().await;
    let mut watch = store.watch().await.unwrap();
    watch.changed().await.unwrap();
    let cut = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
        WHERE datname = current_database() AND query LIKE 'LISTEN%'";
    subject.execute(cut).await;
    // Once or more it says "look" or that the connection is gone; then it listens.
    let listens = async {
        while listeners(&subject).await == 0 {
            watch.changed().await.ok();
        }
    };
    timeout(PATIENCE, listens).await.expect("it listens again");
    let told = async {
        for _ in 0..TWICE_TOLD {
            subject.execute("SELECT pg_notify('gatehouse_config', '1'), pg_notify('gatehouse_config', '2')").await;
            watch.changed().await.unwrap();
        }
    };
    timeout(PATIENCE, told).await.expect("a notice each time, not the look after five seconds");
    // Two notices come as one. Otherwise half of them would be left; of looks there was one each five seconds.
    let left = std::iter::from_fn(|| watch.changed().now_or_never()).take(TWICE_TOLD).count();
    assert!(left < TWICE_TOLD / 2, "{left} notices are left");
}

async fn listeners(subject: &Postgres) -> i64 {
    let count = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND query LIKE 'LISTEN%'";
    sqlx::query_scalar(count).fetch_one(&mut subject.connect().await).await.unwrap()
}

#[tokio::test]
async fn every_connection_bounds_itself_on_the_server() {
    let subject = Postgres::migrated().await;
    let mut watch = subject.open().await.watch().await.unwrap();
    watch.changed().await.unwrap();
    let holder = subject.open().await.begin().await.unwrap();
    let refused = subject.open().await.begin().await.map(drop).unwrap_err();
    assert!(refused.is_unavailable(), "{refused}");
    assert!(refused.to_string().contains("lock timeout"), "the server gave up before the client: {refused}");
    drop(holder);
}

#[tokio::test]
async fn a_child_that_stays_as_it_is_keeps_its_row() {
    let subject = Postgres::migrated().await;
    let store = subject.open().await;
    let (service_id, same, other) = (new_id(), new_id(), new_id());
    let mut rows = Vec::new();
    for weight in [1, 2] {
        let versions = json!([{"id": same, "version": "v1"}, {"id": other, "version": "v2", "weight": weight}]);
        let service = json!({"id": service_id, "serviceName": "auth", "versions": versions});
        let mut transaction = store.begin().await.unwrap();
        transaction.put(&Item::from_json(Kind::Service, service).unwrap()).await.unwrap();
        let number = transaction.head().generation + 1;
        let (actor, summary, changes) = (String::new(), String::new(), Vec::new());
        let (digest, created_at) = (transaction.head().digest, Timestamp::default());
        let generation = NewGeneration { number, digest, created_at, actor, summary, changes };
        transaction.commit(&generation).await.unwrap();
        // ctid is where the row lies: a row that is written anew lies elsewhere.
        let written = "SELECT weight, ctid::text FROM gateway_service_version ORDER BY position";
        let written: Vec<(i64, String)> =
            sqlx::query_as(written).fetch_all(&mut subject.connect().await).await.unwrap();
        rows.push(written);
    }
    assert_eq!(rows[0][1].0, 1);
    assert_eq!(rows[1][1].0, 2);
    assert_eq!(rows[0][0], rows[1][0], "the first version's row stands where it stood");
}

#[tokio::test]
async fn ten_thousand_routes_load_whole() {
    let subject = Postgres::migrated().await;
    let insert = "INSERT INTO gateway_route (id, name, path, target, hosts, methods, access, retries) \
        SELECT gen_random_uuid(), 'r' || i, '/r/' || i || '/{*rest}', '{\"service\": \"s\"}', '[\"a.test\"]', '[\"GET\"]', \
        '{\"anyOf\": [\"public\"]}', '{\"attempts\": 1}' FROM generate_series(1, 10000) AS n (i)";
    subject.execute(insert).await;
    let store = subject.open().await;
    let loaded = store.load().await.unwrap();
    assert_eq!((loaded.configuration.routes.len(), loaded.spoilt.len()), (10_000, 0));
}
