//! The life of API keys, over a SQLite file: what a write does to them, what is refused, and what the history says.

use std::sync::Arc;

use futures::future::join_all;
use gateway_config::api_key::HashedKey;
use gateway_config::change::{
    ChangeError, Changer, Expect, Expiry, KeyChange, KeyError, KeyTarget, LONGEST_OVERLAP_SECONDS, Op, Proposal,
    tag_of_key,
};
use gateway_config::clock::{Clock, ManualClock};
use gateway_config::model::{ApiKey, Item, Kind, Timestamp};
use gateway_config::store::{self, Store};
use proptest::prelude::*;
use serde_json::{Value, json};
use sqlx::Connection;
use tempfile::TempDir;

use crate::chain;

/// When the clock of the tests begins.
const BEGAN: i64 = 1_795_000_000_000_000;
const HASH: &str = "$argon2id$v=19$m=8,t=1,p=1$canary";

struct Shop {
    changer: Changer,
    store: Arc<dyn Store>,
    clock: Arc<ManualClock>,
    folder: TempDir,
}

impl Shop {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = store::open(&format!("sqlite://{}/gateway.db", folder.path().display())).await.unwrap();
        store.migrate().await.unwrap();
        let clock = Arc::new(ManualClock::at(Timestamp::from_micros(BEGAN)));
        let changer = Changer::new(store.clone(), clock.clone(), chain());
        changer.write("me", &[application(json!({}))]).await.unwrap();
        Self { changer, store, clock, folder }
    }

    async fn issue(&self, id: &str) -> ApiKey {
        self.changer.issue_key("me", "shop", &hashed(id), "a key", None).await.unwrap().key
    }

    async fn rotate(&self, old: &ApiKey, new: &str, overlap: u64, expiry: Expiry) -> Result<KeyChange, KeyError> {
        self.changer.rotate_key("me", &target(old), &hashed(new), overlap, expiry).await
    }

    async fn keys(&self) -> Vec<ApiKey> {
        match self.store.get(Kind::Application, "shop").await.unwrap() {
            Some(Item::Application(it)) => it.api_keys.clone(),
            other => panic!("{other:?}"),
        }
    }

    async fn key(&self, id: &ApiKey) -> ApiKey {
        self.keys().await.into_iter().find(|key| key.id == id.id).unwrap()
    }

    fn after(&self, seconds: i64) -> Timestamp {
        Timestamp::from_micros(self.clock.now().micros() + seconds * 1_000_000)
    }
}

fn application(value: Value) -> Proposal {
    Proposal::put(Kind::Application, "shop", value)
}

fn hashed(id: &str) -> HashedKey {
    HashedKey { prefix: format!("gk_{id:0>12}"), hash: format!("{HASH}-{id}") }
}

fn target(key: &ApiKey) -> KeyTarget {
    KeyTarget { application: "shop".to_owned(), key: key.id.to_string(), expect: Expect::Anything }
}

#[track_caller]
fn problems(refused: Result<KeyChange, KeyError>) -> Vec<String> {
    match refused.unwrap_err() {
        KeyError::Change(ChangeError::Invalid(problems)) => problems.into_iter().map(|problem| problem.path).collect(),
        other => panic!("{other}"),
    }
}

#[tokio::test]
async fn an_issued_key_stands_in_its_application_under_one_generation() {
    let shop = Shop::new().await;
    let end = shop.after(60);
    let made = shop.changer.issue_key("me", "shop", &hashed("a"), "the till", Some(end)).await.unwrap();
    assert_eq!(made.applied.generation, 2);
    assert_eq!(shop.keys().await, std::slice::from_ref(&made.key));
    let ApiKey { name, prefix, expires_at, is_active, created_at, .. } = made.key;
    assert_eq!((name.as_str(), prefix.as_str()), ("the till", "gk_00000000000a"));
    assert_eq!((expires_at, is_active, created_at), (Some(end), true, shop.clock.now()));
}

#[tokio::test]
async fn keys_that_are_issued_at_once_all_stay() {
    let shop = Shop::new().await;
    let other = Changer::new(shop.store.clone(), shop.clock.clone(), chain());
    let ids: Vec<String> = (0..12).map(|at| at.to_string()).collect();
    let issuing = ids.iter().enumerate().map(|(at, id)| {
        let changer = if at % 2 == 0 { &shop.changer } else { &other };
        async move { changer.issue_key("me", "shop", &hashed(id), "a key", None).await }
    });
    for issued in join_all(issuing).await {
        issued.unwrap();
    }
    assert_eq!(shop.keys().await.len(), 12);
    assert_eq!(shop.store.head().await.unwrap().generation, 13);
}

#[tokio::test]
async fn a_rotated_key_ends_at_once_or_after_its_overlap() {
    let shop = Shop::new().await;
    let (first, second) = (shop.issue("a").await, shop.issue("b").await);
    let made = shop.rotate(&first, "c", 0, Expiry::Kept).await.unwrap();
    assert_eq!((made.key.name.as_str(), made.key.expires_at, made.key.is_active), ("a key", None, true));
    assert!(!shop.key(&first).await.is_active);

    let made = shop.rotate(&second, "d", 60, Expiry::At(shop.after(600))).await.unwrap();
    assert_eq!(made.key.expires_at, Some(shop.after(600)));
    let old = shop.key(&second).await;
    assert_eq!((old.is_active, old.expires_at), (true, Some(shop.after(60))));
    // An overlap never lengthens a life.
    shop.rotate(&second, "e", 3600, Expiry::Kept).await.unwrap();
    assert_eq!(shop.key(&second).await.expires_at, Some(shop.after(60)));
    assert_eq!(shop.keys().await.len(), 5);
    assert_eq!(shop.store.head().await.unwrap().generation, 6, "one for each call");
}

#[tokio::test]
async fn a_key_in_place_of_one_that_would_expire_lives_as_long_as_that_one_was_given() {
    let shop = Shop::new().await;
    let end = shop.after(100);
    let old = shop.changer.issue_key("me", "shop", &hashed("a"), "a key", Some(end)).await.unwrap().key;
    shop.clock.advance_millis(60_000);
    let made = shop.rotate(&old, "b", 0, Expiry::Kept).await.unwrap();
    assert_eq!(made.key.expires_at, Some(shop.after(100)));
}

#[tokio::test]
async fn nothing_brings_a_revoked_or_expired_key_back() {
    let shop = Shop::new().await;
    let (revoked, expired) = (shop.issue("a").await, shop.issue("b").await);
    shop.changer.revoke_key("me", &target(&revoked)).await.unwrap();
    let end = Expiry::At(shop.after(10));
    shop.changer.update_key("me", &target(&expired), None, end).await.unwrap();
    shop.clock.advance_millis(10_000);
    for dead in [&revoked, &expired] {
        for expiry in [Expiry::At(shop.after(60)), Expiry::Never] {
            if dead.id == revoked.id && expiry == Expiry::Never {
                // It had no end before either: nothing is asked for.
                continue;
            }
            let refused = shop.changer.update_key("me", &target(dead), None, expiry).await;
            assert!(matches!(refused, Err(KeyError::Dead { .. })), "{refused:?}");
        }
        let refused = shop.rotate(dead, "c", 0, Expiry::Kept).await;
        assert!(matches!(refused, Err(KeyError::Dead { .. })), "{refused:?}");
    }
    let before = shop.keys().await;
    assert!(!before[0].is_active && before[1].expires_at.is_some());
    let revived =
        json!({"description": "x", "apiKeys": [{"id": revoked.id, "prefix": revoked.prefix, "isActive": true}]});
    shop.changer.write("me", &[application(revived.clone())]).await.unwrap();
    assert_eq!(shop.keys().await, before, "a put leaves keys alone");
    let patch = Proposal { op: Op::Patch, ..application(json!({"apiKeys": []})) };
    shop.changer.write("me", &[patch]).await.unwrap();
    assert_eq!(shop.keys().await, before, "and so does a patch");
    // A label for the record is no way back.
    let named = shop.changer.update_key("me", &target(&revoked), Some("leaked in May"), Expiry::Kept).await.unwrap();
    assert_eq!((named.key.name.as_str(), named.key.is_active), ("leaked in May", false));
}

#[tokio::test]
async fn revoking_twice_makes_one_generation() {
    let shop = Shop::new().await;
    let key = shop.issue("a").await;
    let first = shop.changer.revoke_key("me", &target(&key)).await.unwrap();
    let by_prefix = KeyTarget { key: key.prefix.clone(), ..target(&key) };
    let again = shop.changer.revoke_key("me", &by_prefix).await.unwrap();
    assert_eq!((first.applied.generation, again.applied.generation), (3, 3));
    assert_eq!((first.key.is_active, again.key.is_active), (false, false));
}

#[tokio::test]
async fn a_key_that_changed_meanwhile_is_not_overwritten_by_whoever_set_a_condition() {
    let shop = Shop::new().await;
    let key = shop.issue("a").await;
    let read = KeyTarget { expect: Expect::Tags(vec![tag_of_key(&key)]), ..target(&key) };
    shop.changer.update_key("me", &read, Some("mine"), Expiry::Kept).await.unwrap();
    let refused = shop.changer.update_key("me", &read, Some("yours"), Expiry::Kept).await;
    assert!(matches!(refused, Err(KeyError::Change(ChangeError::Stale { .. }))), "{refused:?}");
    let refused = shop.changer.revoke_key("me", &read).await;
    assert!(matches!(refused, Err(KeyError::Change(ChangeError::Stale { .. }))), "{refused:?}");
    assert_eq!(shop.keys().await[0].name, "mine");
}

#[tokio::test]
async fn calls_without_a_condition_follow_each_other() {
    let shop = Shop::new().await;
    let key = shop.issue("a").await;
    let ids: Vec<String> = (0..6).map(|at| format!("n{at}")).collect();
    for done in join_all(ids.iter().map(|id| shop.rotate(&key, id, 600, Expiry::Kept))).await {
        done.unwrap();
    }
    let keys = shop.keys().await;
    assert_eq!(keys.len(), 7);
    assert_eq!(keys[0].expires_at, Some(shop.after(600)));
}

#[tokio::test]
async fn what_is_wrong_is_told_with_its_place() {
    let shop = Shop::new().await;
    let key = shop.issue("a").await;
    let past = Some(shop.clock.now());
    let refused = shop.changer.issue_key("me", "shop", &hashed("b"), " ", past).await;
    assert_eq!(problems(refused), ["applications/shop/apiKeys/?/name", "applications/shop/apiKeys/?/expiresAt"]);
    let place = format!("applications/shop/apiKeys/{}", key.id);
    let refused = shop.rotate(&key, "b", LONGEST_OVERLAP_SECONDS + 1, Expiry::At(shop.clock.now())).await;
    assert_eq!(problems(refused), [format!("{place}/expiresAt"), format!("{place}/overlapSeconds")]);
    let refused = shop.changer.update_key("me", &target(&key), Some("\n"), Expiry::Kept).await;
    assert_eq!(problems(refused), [format!("{place}/name")]);
    let ghost = KeyTarget { key: "gk_ghost".to_owned(), ..target(&key) };
    let refused = shop.changer.revoke_key("me", &ghost).await.unwrap_err();
    assert_eq!(refused.to_string(), "there is no key \"gk_ghost\" of application \"shop\"");
    let refused = shop.changer.issue_key("me", "gh\0st", &hashed("b"), "x", None).await;
    assert!(matches!(refused, Err(KeyError::Change(ChangeError::NotFound { .. }))), "{refused:?}");
    assert_eq!(shop.store.head().await.unwrap().generation, 2, "and nothing was written");
}

#[tokio::test]
async fn neither_history_nor_public_view_holds_a_hash() {
    let shop = Shop::new().await;
    let key = shop.issue("a").await;
    shop.rotate(&key, "b", 0, Expiry::Kept).await.unwrap();
    let item = shop.store.get(Kind::Application, "shop").await.unwrap().unwrap();
    assert!(item.to_json().to_string().contains("canary") && !item.to_public_json().to_string().contains("canary"));
    let url = format!("sqlite://{}/gateway.db", shop.folder.path().display());
    let mut connection = sqlx::SqliteConnection::connect(&url).await.unwrap();
    let history: Vec<String> = sqlx::query_scalar("SELECT summary || changes FROM config_generation")
        .fetch_all(&mut connection)
        .await
        .unwrap();
    let history = history.concat();
    assert!(history.contains("gk_00000000000b") && !history.contains("canary"), "{history}");
}

#[derive(Clone, Debug)]
enum Step {
    Issue {
        expires_in: Option<i64>,
    },
    Rotate {
        key: usize,
        overlap: u64,
        expiry: Expiry,
    },
    Update {
        key: usize,
        expiry: Expiry,
    },
    Revoke {
        key: usize,
    },
    /// The whole application, with keys in its body that are as alive as can be.
    Put,
    Patch,
    Wait {
        seconds: i64,
    },
}

fn step() -> impl Strategy<Value = Step> {
    let expiry = || {
        let later = (1_i64..100).prop_map(|seconds| Expiry::At(Timestamp::from_micros(BEGAN + seconds * 1_000_000)));
        prop_oneof![Just(Expiry::Kept), Just(Expiry::Never), later]
    };
    prop_oneof![
        proptest::option::of(1_i64..50).prop_map(|expires_in| Step::Issue { expires_in }),
        (0_usize..8, 0_u64..50, expiry()).prop_map(|(key, overlap, expiry)| Step::Rotate { key, overlap, expiry }),
        (0_usize..8, expiry()).prop_map(|(key, expiry)| Step::Update { key, expiry }),
        (0_usize..8).prop_map(|key| Step::Revoke { key }),
        Just(Step::Put),
        Just(Step::Patch),
        (1_i64..30).prop_map(|seconds| Step::Wait { seconds }),
    ]
}

impl Shop {
    /// What is refused is refused: here only matters what stands afterwards.
    async fn take(&self, number: usize, step: &Step) {
        let keys = self.keys().await;
        let (id, chosen) = (format!("{number}"), |at: usize| keys.get(at).map(target));
        match step {
            Step::Issue { expires_in } => {
                let end = expires_in.map(|seconds| self.after(seconds));
                self.changer.issue_key("me", "shop", &hashed(&id), "a key", end).await.unwrap();
            }
            Step::Rotate { key, overlap, expiry } => {
                if let Some(key) = chosen(*key) {
                    let _ = self.changer.rotate_key("me", &key, &hashed(&id), *overlap, *expiry).await;
                }
            }
            Step::Update { key, expiry } => {
                if let Some(key) = chosen(*key) {
                    let _ = self.changer.update_key("me", &key, None, *expiry).await;
                }
            }
            Step::Revoke { key } => {
                if let Some(key) = chosen(*key) {
                    self.changer.revoke_key("me", &key).await.unwrap();
                }
            }
            Step::Put | Step::Patch => {
                let alive = |key: &ApiKey| ApiKey { is_active: true, expires_at: None, ..key.clone() };
                let alive: Vec<ApiKey> = keys.iter().map(alive).collect();
                let op = if matches!(step, Step::Put) { Op::Put } else { Op::Patch };
                let body = json!({"apiKeys": alive, "description": id});
                self.changer.write("me", &[Proposal { op, ..application(body) }]).await.unwrap();
            }
            Step::Wait { seconds } => self.clock.advance_millis(seconds * 1000),
        }
    }

    async fn dead(&self) -> Vec<String> {
        let now = self.clock.now();
        let is_dead = |key: &&ApiKey| !key.is_active || key.expires_at.is_some_and(|end| end <= now);
        self.keys().await.iter().filter(is_dead).map(|key| key.prefix.clone()).collect()
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn no_sequence_of_writes_brings_a_dead_key_back_or_loses_one(steps in proptest::collection::vec(step(), 1..25)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let shop = Shop::new().await;
            let (mut dead, mut known) = (Vec::new(), 0);
            for (number, step) in steps.iter().enumerate() {
                shop.take(number, step).await;
                let (now_dead, keys) = (shop.dead().await, shop.keys().await);
                prop_assert!(dead.iter().all(|key| now_dead.contains(key)), "{step:?} revived one of {dead:?}");
                prop_assert!(keys.len() >= known, "{step:?} lost a key");
                (dead, known) = (now_dead, keys.len());
            }
            Ok(())
        })?;
    }
}
