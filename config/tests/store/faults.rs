//! A database that hangs, dies and comes back: every call ends, and the store recovers by itself.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::future::join_all;
use gateway_config::model::{Defaults, Item, Kind, Timestamp};
use gateway_config::store::conformance::Subject;
use gateway_config::store::{NewGeneration, Page, Store, StoreError, WriteTransaction};

use crate::cluster::Cluster;
use crate::subject::Postgres;

/// Ten times a call's deadline.
const PATIENCE: Duration = Duration::from_secs(30);

async fn database(cluster: &Cluster) -> (Postgres, Arc<dyn Store>) {
    let subject = Postgres::at(cluster.url()).await;
    let store = subject.open().await;
    store.migrate().await.unwrap();
    (subject, store)
}

fn next(transaction: &dyn WriteTransaction) -> NewGeneration {
    let head = transaction.head();
    NewGeneration {
        number: head.generation + 1,
        digest: head.digest,
        created_at: Timestamp::default(),
        actor: String::new(),
        summary: String::new(),
        changes: Vec::new(),
    }
}

fn defaults() -> Item {
    Item::Defaults(Defaults { max_body_bytes: 7, ..Defaults::default() }.into())
}

/// To be called while the database is away: the call ends by itself.
async fn ends<T>(call: &str, step: impl Future<Output = Result<T, StoreError>>) {
    let outcome = tokio::time::timeout(PATIENCE, step).await.expect("every call ends");
    let error = outcome.map(drop).expect_err(call);
    assert!(error.is_unavailable(), "{call}: {error}");
}

/// Waits until the store works again.
async fn recovers(store: &dyn Store) {
    let works = async {
        while let Err(error) = store.load().await {
            assert!(error.is_unavailable(), "{error}");
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, works).await.expect("the store works again");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_call_to_a_hung_database_ends_and_it_recovers() {
    let cluster = Cluster::start().await;
    let (_subject, store) = database(&cluster).await;
    let mut watch = store.watch().await.unwrap();
    watch.changed().await.unwrap();
    // Three connections in the pool, one of them in a transaction that holds the lock.
    join_all((0..3).map(|_| store.head())).await;
    let mut transaction = store.begin().await.unwrap();
    transaction.put(&defaults()).await.unwrap();
    cluster.freeze();

    let page = Page { limit: 1, ..Page::default() };
    tokio::join!(
        ends("head", store.head()),
        ends("load", store.load()),
        ends("load_since", store.load_since(0)),
        ends("get", store.get(Kind::Route, "r")),
        ends("list", store.list(Kind::Route, &page)),
        ends("begin", store.begin()),
        ends("nodes", store.nodes()),
        ends("signing_keys", store.signing_keys()),
        ends("migrate", store.migrate()),
        ends("get in a transaction", transaction.get(Kind::Route, "r")),
    );
    let generation = next(&*transaction);
    assert!(transaction.commit(&generation).await.is_err(), "a commit in a broken transaction");
    // More calls than the pool has connections: those that hang must not keep the rest waiting.
    // Eight at a time they would take longer than the patience.
    join_all((0..200).map(|_| ends("one of many", store.head()))).await;

    cluster.thaw();
    recovers(&*store).await;
    assert_eq!(store.head().await.unwrap().generation, 0, "nothing of the broken transaction was written");
    let transaction = store.begin().await.unwrap();
    let generation = next(&*transaction);
    transaction.commit(&generation).await.unwrap();
    // The watch lives, too: it may fail once for the connection that it lost.
    let woken = async { while watch.changed().await.is_err() {} };
    tokio::time::timeout(PATIENCE, woken).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_cut_off_by_a_hang_is_whole_or_nothing() {
    let cluster = Cluster::start().await;
    let (_subject, store) = database(&cluster).await;
    let mut transaction = store.begin().await.unwrap();
    transaction.put(&defaults()).await.unwrap();
    let generation = next(&*transaction);
    cluster.freeze();
    ends("commit", transaction.commit(&generation)).await;
    cluster.thaw();
    recovers(&*store).await;
    // The server may have read COMMIT before it saw that the connection was gone; then all of it stands.
    let transaction = store.begin().await.unwrap();
    let loaded = store.load().await.unwrap();
    let wrote = loaded.configuration.defaults.max_body_bytes == 7;
    assert_eq!(loaded.head.generation, u64::from(wrote));
    assert_eq!(transaction.head(), loaded.head);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_database_that_comes_back_serves_again() {
    let mut cluster = Cluster::start().await;
    let (_subject, store) = database(&cluster).await;
    let mut watch = store.watch().await.unwrap();
    watch.changed().await.unwrap();
    cluster.kill();
    ends("head", store.head()).await;
    // The watch fails again and again, and not as fast as it can.
    let begun = Instant::now();
    let mut failures = 0;
    while begun.elapsed() < Duration::from_secs(3) {
        failures += u32::from(watch.changed().await.is_err());
    }
    assert!((1..10).contains(&failures), "{failures} failures in {:?}", begun.elapsed());

    cluster.start_again().await;
    recovers(&*store).await;
    let woken = async { while watch.changed().await.is_err() {} };
    tokio::time::timeout(PATIENCE, woken).await.unwrap();
    let transaction = store.begin().await.unwrap();
    let generation = next(&*transaction);
    let (committed, woken) = tokio::join!(transaction.commit(&generation), watch.changed());
    committed.unwrap();
    woken.unwrap();
}
