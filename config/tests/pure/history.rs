//! Going back over a SQLite file: what stood at each generation, told from the history, is what stood there.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use gateway_config::api_key::HashedKey;
use gateway_config::change::{Applied, ChangeError, Changer, Diff, Expect, KeyTarget, Op, Proposal, tag};
use gateway_config::clock::ManualClock;
use gateway_config::model::{Actor, Item, Kind, Timestamp};
use gateway_config::snapshot::Snapshot;
use gateway_config::store::{self, Store};
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Value, json};
use sqlx::Connection;
use tempfile::TempDir;

use crate::chain;

struct Fleet {
    changer: Changer,
    store: Arc<dyn Store>,
    folder: TempDir,
}

impl Fleet {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = store::open(&format!("sqlite://{}/gateway.db", folder.path().display())).await.unwrap();
        store.migrate().await.unwrap();
        let clock = Arc::new(ManualClock::at(Timestamp::from_micros(1_795_000_000_000_000)));
        let changer = Changer::new(store.clone(), clock, chain());
        Self { changer, store, folder }
    }

    async fn write(&self, proposals: &[Proposal]) -> Applied {
        self.changer.write("me", proposals).await.unwrap()
    }

    async fn issue(&self, prefix: &str) -> Applied {
        let fresh = HashedKey { prefix: prefix.to_owned(), hash: "$argon2id$canary".to_owned() };
        self.changer.issue_key("me", "shop", &fresh, "a key", None).await.unwrap().applied
    }

    async fn revoke(&self, prefix: &str) -> Applied {
        let target = KeyTarget { application: "shop".to_owned(), key: prefix.to_owned(), expect: Expect::Anything };
        self.changer.revoke_key("me", &target).await.unwrap().applied
    }

    async fn roll_back(&self, to: u64) -> Applied {
        self.changer.roll_back(&me(), to, &Expect::Anything).await.unwrap()
    }

    async fn execute(&self, sql: &'static str) {
        let path = format!("sqlite://{}/gateway.db", self.folder.path().display());
        let mut connection = sqlx::SqliteConnection::connect(&path).await.unwrap();
        sqlx::raw_sql(sql).execute(&mut connection).await.unwrap();
    }
}

fn me() -> Actor {
    "me".into()
}

fn service(name: &str, weight: u64) -> Proposal {
    let versions = json!([{"version": "v1", "url": "http://127.0.0.1:1", "weight": weight}]);
    Proposal::put(Kind::Service, name, json!({"versions": versions}))
}

fn route(name: &str, service: &str) -> Proposal {
    Proposal::put(Kind::Route, name, json!({"path": format!("/{name}"), "target": {"service": service}}))
}

fn shop(description: &str) -> Proposal {
    Proposal::put(Kind::Application, "shop", json!({"description": description}))
}

fn delete(kind: Kind, name: &str) -> Proposal {
    Proposal { op: Op::Delete, ..Proposal::put(kind, name, Value::Null) }
}

/// Every entity without its ids, times and keys.
type Contents = BTreeMap<(Kind, String), Value>;

fn contents(snapshot: &Snapshot) -> Contents {
    let items = snapshot.configuration();
    items.items().map(|item| ((item.kind(), item.name().to_owned()), content(item.to_public_json()))).collect()
}

fn content(mut value: Value) -> Value {
    strip(&mut value);
    value
}

fn strip(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            for name in ["id", "createdAt", "updatedAt", "apiKeys"] {
                fields.remove(name);
            }
            fields.values_mut().for_each(strip);
        }
        Value::Array(members) => members.iter_mut().for_each(strip),
        _ => {}
    }
}

/// Of all applications, the keys that are good.
fn good_keys(snapshot: &Snapshot) -> BTreeSet<String> {
    let keys = snapshot.applications().flat_map(|it| it.source.api_keys.clone());
    keys.filter(|key| key.is_active).map(|key| key.prefix).collect()
}

/// Where the generation stands among all that stood.
fn place(generation: u64) -> usize {
    usize::try_from(generation).unwrap()
}

/// What comes out when the diff is made on top of `from`.
fn after(mut from: Contents, diff: Diff) -> Contents {
    for gone in diff.delete {
        let was = from.remove(&(gone.kind, gone.name)).unwrap();
        assert_eq!(was, content(gone.value));
    }
    for update in diff.update {
        assert!(!update.changed.is_empty());
        let was = from.insert((update.kind, update.name), content(update.after)).unwrap();
        assert_eq!(was, content(update.before));
    }
    for new in diff.create {
        assert_eq!(from.insert((new.kind, new.name), content(new.value)), None);
    }
    from
}

/// One of many small steps; some can't be made, as those that delete what is used.
#[derive(Clone, Debug)]
enum Move {
    Write(Vec<Proposal>),
    Issue,
    /// The so many-th key that there is.
    Revoke(usize),
    RollBack(usize),
}

fn moves() -> impl Strategy<Value = Vec<Move>> {
    let names = || select(vec!["a", "b", "c"]);
    let proposal = prop_oneof![
        3 => (names(), 0..3_u64).prop_map(|(name, weight)| service(name, weight)),
        3 => (names(), names()).prop_map(|(name, to)| route(name, to)),
        2 => names().prop_map(shop),
        1 => (0..3_u64).prop_map(|size| Proposal::put(Kind::Defaults, "defaults", json!({"maxUriBytes": 8000 + size}))),
        2 => (select(vec![Kind::Service, Kind::Route]), names()).prop_map(|(kind, name)| delete(kind, name)),
        1 => Just(delete(Kind::Application, "shop")),
    ];
    let one = prop_oneof![
        6 => prop::collection::vec(proposal, 1..4).prop_map(Move::Write),
        2 => Just(Move::Issue),
        1 => (0..4_usize).prop_map(Move::Revoke),
        1 => (0..9_usize).prop_map(Move::RollBack),
    ];
    prop::collection::vec(one, 1..25)
}

impl Fleet {
    async fn make(&self, one: &Move, number: usize) {
        let keys: Vec<String> = good_keys(&self.changer.snapshot().await.unwrap()).into_iter().collect();
        match one {
            Move::Write(proposals) => drop(self.changer.write("me", proposals).await),
            Move::Issue => {
                let fresh = HashedKey { prefix: format!("gk_{number}"), hash: "$argon2id$canary".to_owned() };
                let _ = self.changer.issue_key("me", "shop", &fresh, "a key", None).await;
            }
            Move::Revoke(at) => {
                if let Some(key) = keys.get(*at) {
                    self.revoke(key).await;
                }
            }
            Move::RollBack(to) => drop(self.changer.roll_back(&me(), *to as u64, &Expect::Anything).await),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, max_shrink_iters: 64, ..ProptestConfig::default() })]

    #[test]
    fn every_generation_reads_back_as_it_stood(moves in moves(), pick in any::<(prop::sample::Index, prop::sample::Index)>()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let fleet = Fleet::new().await;
            let mut stood = vec![contents(&Snapshot::empty())];
            for (number, one) in moves.iter().enumerate() {
                fleet.make(one, number).await;
                let now = fleet.changer.snapshot().await.unwrap();
                if place(now.generation()) == stood.len() {
                    stood.push(contents(&now));
                }
                assert_eq!((place(now.generation()), &contents(&now)), (stood.len() - 1, &stood[stood.len() - 1]));
            }
            let newest = stood.len() - 1;
            for (number, stood) in stood.iter().enumerate().skip(1) {
                let told = fleet.changer.snapshot_at(number as u64).await.unwrap();
                assert_eq!((place(told.generation()), &contents(&told)), (number, stood));
            }
            let (one, other) = (pick.0.index(stood.len()), pick.1.index(stood.len()));
            let (from, to) = (one.min(other), one.max(other));
            let past = fleet.changer.past(from as u64, to as u64).await.unwrap();
            assert_eq!(after(stood[from].clone(), Diff::of(past.clone().changes())), stood[to]);
            assert_eq!(after(stood[to].clone(), Diff::of(past.backwards())), stood[from]);

            if newest > 0 {
                let to = pick.0.index(newest) + 1;
                let before = good_keys(&fleet.changer.snapshot().await.unwrap());
                let applied = fleet.roll_back(to as u64).await;
                assert_eq!(contents(&applied.snapshot), stood[to]);
                assert!(good_keys(&applied.snapshot).is_subset(&before), "a key came back");
                assert_eq!(place(applied.generation), newest + usize::from(stood[to] != stood[newest]));
                assert_eq!(applied.changes.is_empty(), stood[to] == stood[newest]);
            }
        });
    }
}

#[tokio::test]
async fn a_rollback_restores_entities_and_says_so_in_the_history() {
    let fleet = Fleet::new().await;
    let first = fleet.write(&[service("a", 1), route("r", "a")]).await;
    fleet.write(&[service("a", 2), service("b", 1), route("r", "b")]).await;
    fleet.write(&[delete(Kind::Route, "r")]).await;
    let back = fleet.roll_back(1).await;
    assert_eq!((back.generation, back.snapshot.digest()), (4, first.snapshot.digest()));
    assert_eq!(fleet.store.generation(4).await.unwrap().unwrap().summary, "roll back to generation 1");
    let restored = |applied: &Applied| applied.snapshot.item(Kind::Service, "a").unwrap().to_json()["id"].clone();
    assert_eq!(restored(&back), restored(&first), "what was there all the time keeps its id");
    let again = fleet.roll_back(1).await;
    assert_eq!((again.generation, again.changes.len()), (4, 0), "what stands already needs no generation");
    let forward = fleet.roll_back(3).await;
    assert_eq!((forward.generation, forward.snapshot.routes().count()), (5, 0), "a rollback is undone like all else");
}

#[tokio::test]
async fn a_rollback_brings_no_key_back_and_takes_none_away() {
    let fleet = Fleet::new().await;
    fleet.write(&[shop("one")]).await;
    fleet.issue("gk_old").await;
    fleet.write(&[shop("two")]).await;
    fleet.revoke("gk_old").await;
    fleet.issue("gk_new").await;
    let back = fleet.roll_back(2).await;
    let [old, new] = back.snapshot.application("shop").unwrap().source.api_keys.clone().try_into().unwrap();
    assert_eq!((back.snapshot.application("shop").unwrap().source.description.as_str(), back.generation), ("one", 6));
    assert_eq!(
        (old.prefix.as_str(), old.is_active, new.prefix.as_str(), new.is_active),
        ("gk_old", false, "gk_new", true)
    );
    assert_eq!(old.api_key_hash, "$argon2id$canary", "it is still the key that it was");
    assert_eq!(back.warnings[0].path, "applications/shop/apiKeys");
    assert!(back.warnings[0].message.contains("stay as they are"), "{:?}", back.warnings);

    fleet.write(&[delete(Kind::Application, "shop")]).await;
    let back = fleet.roll_back(6).await;
    assert!(back.snapshot.application("shop").unwrap().source.api_keys.is_empty());
    assert_eq!(back.warnings.len(), 1);
    assert!(back.warnings[0].message.contains("(2): they are gone for good"), "{:?}", back.warnings);
    fleet.issue("gk_third").await;
    let gone = fleet.roll_back(7).await;
    assert!(gone.warnings[0].message.contains("deleted with its API keys (1)"), "{:?}", gone.warnings);
}

#[tokio::test]
async fn the_history_of_an_application_lists_only_the_keys_that_changed() {
    let fleet = Fleet::new().await;
    fleet.write(&[shop("one")]).await;
    for at in 0..30 {
        fleet.issue(&format!("gk_{at}")).await;
    }
    let recorded = |applied: &Applied| {
        let listed = |side: &Option<Value>| -> Vec<String> {
            let keys = side.as_ref().unwrap()["apiKeys"].as_array().unwrap();
            keys.iter().map(|key| key["prefix"].as_str().unwrap().to_owned()).collect()
        };
        (listed(&applied.changes[0].before), listed(&applied.changes[0].after))
    };
    let none = || Vec::<String>::new();
    let one = |prefix: &str| vec![prefix.to_owned()];
    assert_eq!(recorded(&fleet.issue("gk_new").await), (none(), one("gk_new")));
    assert_eq!(recorded(&fleet.revoke("gk_7").await), (one("gk_7"), one("gk_7")));
    assert_eq!(recorded(&fleet.write(&[shop("two")]).await), (none(), none()));
    let longest = |generation: u64| {
        let store = fleet.store.clone();
        async move { serde_json::to_string(&store.generation(generation).await.unwrap().unwrap()).unwrap().len() }
    };
    assert!(longest(31).await < longest(2).await + 32, "the thirtieth key costs what the first did");
    let entries = fleet.store.audit_behind(30, 1).await.unwrap();
    assert!(serde_json::to_string(entries[0].as_ref().unwrap()).unwrap().len() < 4000, "nor in the audit");
    // Together they tell of all keys that changed.
    let past = fleet.changer.past(30, 34).await.unwrap();
    let diff = Diff::of(past.changes());
    assert_eq!(diff.update[0].changed, ["apiKeys/gk_29", "apiKeys/gk_7/isActive", "apiKeys/gk_new", "description"]);
    let gone = fleet.write(&[delete(Kind::Application, "shop")]).await;
    let before = gone.changes[0].before.as_ref().unwrap();
    assert_eq!(before["apiKeys"].as_array().unwrap().len(), 31, "a deletion tells of all that went with it");
    assert!(!before.to_string().contains("canary"));
}

#[tokio::test]
async fn a_past_that_no_longer_compiles_is_refused_with_what_is_wrong() {
    let fleet = Fleet::new().await;
    fleet.write(&[service("a", 1)]).await;
    fleet.write(&[route("r", "a")]).await;
    fleet.write(&[delete(Kind::Route, "r")]).await;
    // As a change that an older version took.
    fleet.execute("UPDATE config_generation SET changes = replace(changes, '\"/r\"', '\"no-slash\"')").await;
    let Err(ChangeError::Invalid(problems)) = fleet.changer.roll_back(&me(), 2, &Expect::Anything).await else {
        panic!()
    };
    assert_eq!(problems[0].path, "routes/r/path");
    assert!(matches!(fleet.changer.snapshot_at(2).await, Err(ChangeError::Invalid(_))));
    assert_eq!(fleet.store.head().await.unwrap().generation, 3);
}

#[tokio::test]
async fn what_nobody_could_read_is_not_taken_for_nothing() {
    let fleet = Fleet::new().await;
    fleet.write(&[service("a", 1)]).await;
    fleet.execute("UPDATE gateway_service_config SET protocol = 'smoke'").await;
    fleet.write(&[service("a", 2)]).await;
    fleet.write(&[service("b", 2)]).await;
    let Err(ChangeError::Invalid(problems)) = fleet.changer.roll_back(&me(), 1, &Expect::Anything).await else {
        panic!()
    };
    assert_eq!(problems[0].path, "services/a");
    assert!(matches!(fleet.changer.snapshot_at(1).await, Err(ChangeError::Invalid(_))));
    assert_eq!(fleet.roll_back(2).await.snapshot.services().count(), 1);
}

#[tokio::test]
async fn what_the_history_can_not_tell_is_refused() {
    let fleet = Fleet::new().await;
    for weight in 1..=6 {
        fleet.write(&[service("a", weight)]).await;
    }
    let refused = async |to: u64| {
        let refused = fleet.changer.roll_back(&me(), to, &Expect::Anything).await.unwrap_err();
        assert_eq!(fleet.changer.snapshot_at(to).await.unwrap_err().to_string(), refused.to_string());
        refused.to_string()
    };
    assert_eq!(refused(7).await, "there is no generation 7; the newest is 6");
    assert_eq!(refused(0).await, "there is no generation 0 that was written; the oldest that is kept is 1");
    assert_eq!(fleet.store.forget_generations(4).await.unwrap(), 2);
    assert_eq!(refused(2).await, "there is no generation 2 any more; the oldest that is kept is 3");
    assert!(fleet.changer.past(2, 6).await.is_ok(), "what stood before the oldest is still known");
    assert_eq!(
        fleet.changer.past(1, 6).await.unwrap_err().to_string(),
        "there is no generation 1 any more; the oldest that is kept is 3"
    );
    fleet.execute("DELETE FROM config_generation WHERE number = 5").await;
    assert_eq!(refused(4).await, "the history lacks generation 5, so what stood at generation 4 can't be told");
    assert_eq!(fleet.roll_back(6).await.generation, 6);
}

#[tokio::test]
async fn a_rollback_under_a_condition_is_refused_when_the_configuration_moved() {
    let fleet = Fleet::new().await;
    fleet.write(&[service("a", 1)]).await;
    let seen = Expect::Tags(vec![tag(fleet.write(&[service("a", 2)]).await.snapshot.digest())]);
    let tried = fleet.changer.try_rolling_back(1, &seen).await.unwrap();
    assert_eq!((tried.generation, tried.changes.len(), fleet.store.head().await.unwrap().generation), (3, 1, 2));
    fleet.write(&[service("a", 3)]).await;
    for refused in [fleet.changer.roll_back(&me(), 1, &seen).await, fleet.changer.try_rolling_back(1, &seen).await] {
        assert!(matches!(refused, Err(ChangeError::Stale { .. })), "{refused:?}");
    }
    let seen = Expect::Tags(vec![tag(fleet.store.head().await.unwrap().digest)]);
    assert_eq!(fleet.changer.roll_back(&me(), 1, &seen).await.unwrap().generation, 4);
}

#[tokio::test]
async fn a_rollback_also_takes_back_what_others_write_meanwhile() {
    let fleet = Fleet::new().await;
    fleet.write(&[service("a", 1)]).await;
    let writes =
        futures::future::join_all((2..12).map(|weight| {
            let (store, clock) = (fleet.store.clone(), Arc::new(ManualClock::at(Timestamp::from_micros(1))));
            async move {
                Changer::new(store, clock, chain()).write("other", &[service("a", weight)]).await.unwrap().generation
            }
        }));
    let (written, back) = futures::join!(writes, fleet.roll_back(1));
    let before: Vec<u64> = written.into_iter().filter(|generation| *generation < back.generation).collect();
    assert_eq!(before.len() as u64, back.generation - 2, "it follows all that came before it");
    let Some(Item::Service(service)) = back.snapshot.item(Kind::Service, "a") else { panic!() };
    assert_eq!(service.versions[0].weight, 1);
}
