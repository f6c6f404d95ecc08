//! The door for changes, over a SQLite file: what it refuses, what it writes, and what two processes make of one database.

use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;

use gateway_config::change::{ChangeError, Changer, Expect, Member, Op, Proposal, tag};
use gateway_config::clock::ManualClock;
use gateway_config::model::{Item, Kind, Problem, Timestamp};
use gateway_config::store::{self, Store};
use serde_json::{Value, json};
use sqlx::ConnectOptions;
use sqlx::sqlite::SqliteConnectOptions;
use tempfile::TempDir;

use crate::chain;

pub(crate) struct Database {
    folder: TempDir,
}

impl Database {
    pub(crate) async fn new() -> Self {
        let database = Self { folder: tempfile::tempdir().unwrap() };
        database.open().await.migrate().await.unwrap();
        database
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("gateway.db")
    }

    pub(crate) async fn open(&self) -> Arc<dyn Store> {
        store::open(&format!("sqlite://{}", self.path().display())).await.unwrap()
    }

    /// As another process would have it.
    pub(crate) async fn changer(&self) -> Changer {
        let clock = Arc::new(ManualClock::at(Timestamp::from_micros(1_795_000_000_000_000)));
        Changer::new(self.open().await, clock, chain())
    }

    /// As an operator would by hand.
    pub(crate) async fn execute(&self, sql: &'static str) {
        let options = SqliteConnectOptions::from_str(&self.path().display().to_string()).unwrap();
        let mut connection = options.connect().await.unwrap();
        let done = sqlx::query(sql).execute(&mut connection).await.unwrap();
        assert_eq!(done.rows_affected(), 1);
    }

    pub(crate) async fn generation(&self) -> u64 {
        self.open().await.head().await.unwrap().generation
    }
}

pub(crate) fn service(name: &str) -> Proposal {
    Proposal::put(Kind::Service, name, json!({"defaultUrl": "http://127.0.0.1:1", "versions": [version("v1", 1)]}))
}

pub(crate) fn version(name: &str, weight: u16) -> Value {
    json!({"version": name, "url": "http://127.0.0.1:2", "weight": weight})
}

pub(crate) fn route(name: &str, service: &str) -> Proposal {
    Proposal::put(Kind::Route, name, json!({"path": format!("/{name}"), "target": {"service": service}}))
}

fn delete(kind: Kind, name: &str) -> Proposal {
    Proposal { op: Op::Delete, ..Proposal::put(kind, name, Value::Null) }
}

fn member(op: Op, key: &str, value: Value) -> Proposal {
    let member = Some(Member { field: "versions", key: key.to_owned() });
    Proposal { op, member, ..Proposal::put(Kind::Service, "a", value) }
}

pub(crate) fn invalid(error: ChangeError) -> Vec<Problem> {
    match error {
        ChangeError::Invalid(problems) => problems,
        other => panic!("{other}"),
    }
}

#[tokio::test]
async fn a_write_makes_one_generation_and_one_that_changes_nothing_makes_none() {
    let database = Database::new().await;
    let changer = database.changer().await;
    let first = changer.write("me", &[service("a"), route("r", "a")]).await.unwrap();
    assert_eq!((first.generation, database.generation().await), (1, 1));
    assert!(first.outcomes.iter().all(|done| done.created && done.changed));

    let again = changer.write("me", &[service("a"), route("r", "a")]).await.unwrap();
    assert_eq!((again.generation, database.generation().await), (1, 1));
    assert!(again.outcomes.iter().all(|done| !done.created && !done.changed));
    assert_eq!(again.outcomes[0].item, first.outcomes[0].item, "ids and times stay");

    let there_and_back = [delete(Kind::Route, "r"), route("r", "a")];
    assert_eq!(changer.write("me", &there_and_back).await.unwrap().generation, 1);
}

#[tokio::test]
async fn the_stored_head_has_the_digest_of_what_compiles() {
    let database = Database::new().await;
    let changer = database.changer().await;
    let applied = changer.write("me", &[service("a"), service("b"), route("r", "a")]).await.unwrap();
    let applied = changer.write("me", &[route("r", "b"), delete(Kind::Service, "a")]).await.unwrap_or(applied);
    let loaded = database.open().await.load().await.unwrap();
    assert_eq!((loaded.head.generation, loaded.head.digest), (2, applied.snapshot.digest()));
    assert_eq!(loaded.configuration.digest(), applied.snapshot.digest());
}

#[tokio::test]
async fn what_does_not_compile_never_reaches_the_store() {
    let database = Database::new().await;
    let changer = database.changer().await;
    changer.write("me", &[service("a"), route("r", "a")]).await.unwrap();
    let before = database.open().await.load().await.unwrap().configuration;
    let refused = [service("b"), route("x", "ghost"), Proposal::put(Kind::Route, "y", json!({"path": "no-slash"}))];
    let problems = invalid(changer.write("me", &refused).await.unwrap_err());
    let paths: Vec<&str> = problems.iter().map(|problem| problem.path.as_str()).collect();
    assert_eq!(paths, ["routes/x/target/service", "routes/y/path", "routes/y/target"]);
    assert_eq!(database.open().await.load().await.unwrap().configuration, before);
    assert_eq!(changer.snapshot().await.unwrap().generation(), 1);
    assert_eq!(changer.write("me", &[service("b")]).await.unwrap().generation, 2, "the next write is free to follow");
}

#[tokio::test]
async fn everything_unreadable_is_named_at_once() {
    let database = Database::new().await;
    let refused = [
        Proposal::put(Kind::Service, "a", json!({"defaultURL": "http://a"})),
        Proposal::put(Kind::Route, "r", json!({"path": 7})),
        route("s", "a"),
    ];
    let problems = invalid(database.changer().await.write("me", &refused).await.unwrap_err());
    let paths: Vec<&str> = problems.iter().map(|problem| problem.path.as_str()).collect();
    assert_eq!(paths, ["routes/r/path", "services/a/defaultURL"]);
}

#[tokio::test]
async fn a_dry_run_answers_like_the_write_and_writes_nothing() {
    let database = Database::new().await;
    let changer = database.changer().await;
    let dry = changer.dry_run(&[service("a"), route("r", "a")]).await.unwrap();
    assert_eq!((dry.generation, dry.outcomes.len(), database.generation().await), (1, 2, 0));
    assert!(changer.snapshot().await.unwrap().route("r").is_none());
    let written = changer.write("me", &[service("a"), route("r", "a")]).await.unwrap();
    assert_eq!(written.snapshot.digest(), dry.snapshot.digest());
}

#[tokio::test]
async fn a_stale_expectation_is_refused() {
    let database = Database::new().await;
    let changer = database.changer().await;
    let read = changer.write("me", &[service("a")]).await.unwrap();
    let seen = tag(read.outcomes[0].item.as_ref().map(Item::digest).unwrap());
    let patch = |weight: u16, expect: Expect| {
        let value = json!({"description": format!("{weight}")});
        Proposal { op: Op::Patch, expect, ..Proposal::put(Kind::Service, "a", value) }
    };
    changer.write("me", &[patch(1, Expect::Tags(vec!["other".to_owned(), seen.clone()]))]).await.unwrap();
    let stale = changer.write("me", &[patch(2, Expect::Tags(vec![seen.clone()]))]).await;
    assert!(matches!(stale, Err(ChangeError::Stale { .. })), "{stale:?}");
    let gone = Proposal { expect: Expect::Tags(vec![seen]), ..delete(Kind::Service, "a") };
    assert!(matches!(changer.write("me", &[gone]).await, Err(ChangeError::Stale { .. })));
    let taken = Proposal { expect: Expect::Absent, ..service("a") };
    assert!(matches!(changer.write("me", &[taken]).await, Err(ChangeError::Exists { .. })));
    let absent = Proposal { expect: Expect::Tags(Vec::new()), ..service("new") };
    assert!(matches!(changer.write("me", &[absent]).await, Err(ChangeError::Stale { .. })));
    changer.write("me", &[patch(3, Expect::Tags(Vec::new()))]).await.unwrap();
    assert_eq!(database.generation().await, 3);
}

#[tokio::test]
async fn a_member_is_edited_without_its_entity() {
    let database = Database::new().await;
    let changer = database.changer().await;
    let absent = member(Op::Put, "v2", version("v2", 3));
    assert!(
        matches!(changer.write("me", &[absent]).await, Err(ChangeError::NotFound { .. })),
        "the service is missing"
    );
    changer.write("me", &[service("a")]).await.unwrap();
    let made = changer.write("me", &[member(Op::Put, "v2", version("v2", 3))]).await.unwrap();
    assert!(made.outcomes[0].created);
    let patched = changer.write("me", &[member(Op::Patch, "v1", json!({"weight": 9}))]).await.unwrap();
    assert!(!patched.outcomes[0].created);
    let Some(Item::Service(service)) = &patched.outcomes[0].item else { panic!("{patched:?}") };
    let weights: Vec<_> = service.versions.iter().map(|version| (version.version.as_str(), version.weight)).collect();
    assert_eq!(weights, [("v1", 9), ("v2", 3)]);
    changer.write("me", &[member(Op::Delete, "v1", Value::Null)]).await.unwrap();
    for gone in [member(Op::Delete, "v1", Value::Null), member(Op::Patch, "v1", json!({}))] {
        assert!(matches!(changer.write("me", &[gone]).await, Err(ChangeError::NotFound { .. })));
    }
    let problems = invalid(changer.write("me", &[member(Op::Patch, "v2", json!({"weight": 2000}))]).await.unwrap_err());
    assert_eq!(problems[0].path, "services/a/versions/0/weight");
    assert_eq!(database.generation().await, 4);
}

#[tokio::test]
async fn what_is_pointed_at_can_not_be_deleted_alone() {
    let database = Database::new().await;
    let changer = database.changer().await;
    changer.write("me", &[service("a"), route("two", "a"), route("one", "a")]).await.unwrap();
    match changer.write("me", &[delete(Kind::Service, "a")]).await {
        Err(ChangeError::Referred { by, .. }) => assert_eq!(by, ["one", "two"]),
        other => panic!("{other:?}"),
    }
    let missing = changer.write("me", &[delete(Kind::Route, "three")]).await;
    assert!(matches!(missing, Err(ChangeError::NotFound { .. })));
    let together = [delete(Kind::Service, "a"), delete(Kind::Route, "one"), delete(Kind::Route, "two")];
    assert_eq!(changer.write("me", &together).await.unwrap().generation, 2);
}

#[tokio::test]
async fn two_processes_on_one_database_catch_up_with_each_other() {
    let database = Database::new().await;
    let (left, right) = (database.changer().await, database.changer().await);
    left.write("left", &[service("a")]).await.unwrap();
    right.write("right", &[route("r", "a")]).await.unwrap();
    assert!(matches!(left.write("left", &[delete(Kind::Service, "a")]).await, Err(ChangeError::Referred { .. })));
    left.write("left", &[delete(Kind::Route, "r"), delete(Kind::Service, "a")]).await.unwrap();
    assert!(!invalid(right.write("right", &[route("r", "a")]).await.unwrap_err()).is_empty());
    let (left, right) = (left.snapshot().await.unwrap(), right.snapshot().await.unwrap());
    assert_eq!((left.generation(), left.digest()), (3, right.digest()));
    assert_eq!((right.generation(), right.routes().count()), (3, 0));
}

#[tokio::test]
async fn concurrent_writers_lose_nothing() {
    let database = Database::new().await;
    database.changer().await.write("me", &[service("a")]).await.unwrap();
    let mut writers = tokio::task::JoinSet::new();
    for writer in 0..4 {
        let changer = database.changer().await;
        writers.spawn(async move {
            for number in 0..8 {
                let name = format!("r{writer}-{number}");
                changer.write("me", &[route(&name, "a"), member(Op::Put, &name, version(&name, 1))]).await.unwrap();
            }
        });
    }
    while let Some(done) = writers.join_next().await {
        done.unwrap();
    }
    let snapshot = database.changer().await.snapshot().await.unwrap();
    let versions = snapshot.service("a").unwrap().versions.len();
    assert_eq!((snapshot.generation(), snapshot.routes().count(), versions), (33, 32, 33));
    let head = database.open().await.head().await.unwrap();
    assert_eq!(head.digest, snapshot.digest());
}

const SPOIL: &str = "UPDATE gateway_service_config SET protocol = 'smoke' WHERE service_name = 'a'";

#[tokio::test]
async fn a_spoilt_row_does_not_hinder_a_process_that_knows_a_good_head() {
    let database = Database::new().await;
    let changer = database.changer().await;
    changer.write("me", &[service("a"), service("b")]).await.unwrap();
    database.execute(SPOIL).await;
    assert_eq!(changer.write("me", &[route("r", "b")]).await.unwrap().generation, 2);
    let reconciled = changer.reconcile().await;
    assert!(reconciled.is_err(), "{reconciled:?}");
    assert_eq!(changer.write("me", &[route("s", "b")]).await.unwrap().generation, 3, "the good head is kept");
}

#[tokio::test]
async fn a_spoilt_row_blocks_a_fresh_process_until_its_entity_is_put() {
    let database = Database::new().await;
    database.changer().await.write("me", &[service("a"), service("b"), route("r", "a")]).await.unwrap();
    database.execute(SPOIL).await;
    let fresh = database.changer().await;
    let problems = invalid(fresh.write("me", &[route("s", "b")]).await.unwrap_err());
    assert_eq!(problems[0].path, "services/a/protocol");
    assert_eq!(invalid(fresh.snapshot().await.unwrap_err())[0].path, "services/a/protocol");
    assert_eq!(database.generation().await, 1);

    let mended = fresh.write("me", &[service("a")]).await.unwrap();
    assert_eq!((mended.generation, mended.outcomes[0].changed), (2, true));
    assert_eq!(fresh.write("me", &[route("s", "b")]).await.unwrap().generation, 3);
    assert_eq!(database.changer().await.snapshot().await.unwrap().routes().count(), 2);
}

#[tokio::test]
async fn an_entity_whose_row_is_spoilt_can_be_deleted() {
    let database = Database::new().await;
    let changer = database.changer().await;
    changer.write("me", &[service("a"), service("b"), route("r", "a")]).await.unwrap();
    database.execute(SPOIL).await;
    let gone = [delete(Kind::Service, "a"), delete(Kind::Route, "r")];
    assert!(matches!(changer.write("me", &gone[..1]).await, Err(ChangeError::Referred { .. })));
    let stale = Proposal { expect: Expect::Tags(vec!["seen".to_owned()]), ..delete(Kind::Service, "a") };
    assert!(matches!(changer.write("me", &[stale]).await, Err(ChangeError::Stale { .. })));
    let fresh = database.changer().await;
    let deleted = fresh.write("me", &gone).await.unwrap();
    assert_eq!((deleted.generation, deleted.snapshot.services().count()), (2, 1));
    assert_eq!(changer.snapshot().await.unwrap().digest(), deleted.snapshot.digest());
}

#[tokio::test]
async fn a_row_changed_by_hand_is_found_by_reading_everything() {
    let database = Database::new().await;
    let changer = database.changer().await;
    changer.write("me", &[service("a")]).await.unwrap();
    assert!(!changer.reconcile().await.unwrap());
    database.execute("UPDATE gateway_service_config SET description = 'by hand' WHERE service_name = 'a'").await;
    assert!(changer.reconcile().await.unwrap());
    assert_eq!(changer.snapshot().await.unwrap().service("a").unwrap().source.description, "by hand");
}
