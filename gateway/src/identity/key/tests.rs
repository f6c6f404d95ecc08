//! The rules of API keys, with a clock that is moved by hand.

use std::future::poll_fn;
use std::net::IpAddr;
use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use futures::future::{FutureExt, maybe_done};
use gateway_config::api_key::{Argon2Settings, ChecksumKey, NewKey, generate, hash};
use gateway_config::clock::{Clock, ManualClock, new_id};
use gateway_config::master_key::MasterKey;
use gateway_config::model::{ApiKey, Application, ChainKey, Configuration, Id, Item, Kind, Timestamp};
use gateway_config::snapshot::{Code, Snapshot, compile};
use gateway_config::store::{self, Store};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::task::unconstrained;
use tokio_util::sync::CancellationToken;

use super::{KeyCaller, KeySettings, Keys};

const CHEAP: Argon2Settings = Argon2Settings { argon2_memory_kib: 8, argon2_iterations: 1, argon2_parallelism: 1 };

fn master() -> MasterKey {
    MasterKey::of("a text of more than 32 characters, I think").unwrap()
}

fn now() -> Timestamp {
    Timestamp::from_micros(1_795_000_000_000_000)
}

fn after(seconds: i64) -> Timestamp {
    Timestamp::from_micros(now().micros() + seconds * 1_000_000)
}

fn eve() -> IpAddr {
    "192.0.2.66".parse().unwrap()
}

fn bob() -> IpAddr {
    "192.0.2.1".parse().unwrap()
}

fn new_key() -> NewKey {
    generate(&ChecksumKey::of(&master()))
}

fn text(key: &NewKey) -> &[u8] {
    key.text.expose().as_bytes()
}

fn stored(key: &NewKey) -> ApiKey {
    let api_key_hash = hash(text(key), &CHEAP).unwrap();
    ApiKey { id: Id::new(new_id()), prefix: key.prefix.clone(), api_key_hash, ..ApiKey::default() }
}

fn snapshot(keys: Vec<ApiKey>) -> Snapshot {
    let application =
        Application { id: Id::new(new_id()), name: "shop".to_owned(), api_keys: keys, ..Application::default() };
    let mut configuration = Configuration::default();
    configuration.put(Item::Application(Arc::new(application)));
    compile(&configuration, 1).unwrap()
}

struct Gateway {
    keys: Arc<Keys>,
    store: Arc<dyn Store>,
    stop: CancellationToken,
}

impl Gateway {
    async fn start(dir: &Path, settings: KeySettings) -> Self {
        Self::start_with(dir, settings, &master()).await
    }

    async fn start_with(dir: &Path, settings: KeySettings, master: &MasterKey) -> Self {
        let store = store::open(&format!("sqlite://{}/gateway.db", dir.display())).await.unwrap();
        store.migrate().await.unwrap();
        let clock: Arc<dyn Clock> = Arc::new(ManualClock::at(now()));
        let stop = CancellationToken::new();
        let settings = KeySettings { argon2: CHEAP, ..settings };
        let keys = Keys::with(master, &settings, dir, store.clone(), clock, stop.clone());
        Self { keys, store, stop }
    }

    async fn end(self) {
        self.stop.cancel();
        self.keys.finished().await;
    }

    async fn verify(&self, snapshot: &Snapshot, key: &[u8], address: IpAddr) -> Result<KeyCaller, Code> {
        self.keys.verify(snapshot, key, address, now()).await
    }

    fn remembered(&self, snapshot: &Snapshot, key: &[u8], now: Timestamp) -> Option<Result<Id<ApiKey>, Code>> {
        self.keys.remembered(snapshot, key, now).map(|known| known.map(|caller| caller.key))
    }

    fn hashed(&self) -> usize {
        self.keys.verifier.hashed()
    }

    fn hold_hashes(&self) -> impl Drop {
        self.keys.verifier.hold_hashes()
    }
}

async fn gateway() -> (Gateway, TempDir) {
    let dir = tempfile::tempdir().unwrap();
    (Gateway::start(dir.path(), KeySettings::default()).await, dir)
}

#[tokio::test]
async fn a_good_key_is_hashed_once_and_then_remembered() {
    let (gateway, _dir) = gateway().await;
    let new = new_key();
    let key = stored(&new);
    let snapshot = snapshot(vec![key.clone()]);
    assert_eq!(gateway.remembered(&snapshot, text(&new), now()), None);
    let caller = gateway.verify(&snapshot, text(&new), bob()).await.unwrap();
    assert_eq!((&*caller.application.name, caller.key), ("shop", key.id));
    assert_eq!(gateway.remembered(&snapshot, text(&new), now()), Some(Ok(key.id)));
    gateway.verify(&snapshot, text(&new), bob()).await.unwrap();
    assert_eq!(gateway.hashed(), 1);
}

#[tokio::test]
async fn noise_is_refused_without_a_hash() {
    let (gateway, _dir) = gateway().await;
    let new = new_key();
    let snapshot = snapshot(vec![stored(&new)]);
    let mut altered = text(&new).to_vec();
    altered[20] ^= 1;
    let long = vec![b'a'; 8192];
    for noise in [&b""[..], b"gk_", &altered, &text(&new)[..58], &long, b"\xff\x00"] {
        assert_eq!(gateway.remembered(&snapshot, noise, now()), Some(Err(Code::CredentialsInvalid)));
    }
    assert_eq!(gateway.hashed(), 0);
}

#[tokio::test]
async fn the_memory_never_outlives_what_the_snapshot_says() {
    let (gateway, _dir) = gateway().await;
    let new = new_key();
    let key = stored(&new);
    gateway.verify(&snapshot(vec![key.clone()]), text(&new), bob()).await.unwrap();
    let asked = |key: ApiKey, at| gateway.remembered(&snapshot(vec![key]), text(&new), at);
    let revoked = ApiKey { is_active: false, ..key.clone() };
    assert_eq!(asked(revoked, now()), Some(Err(Code::CredentialsInvalid)));
    let ending = ApiKey { expires_at: Some(after(5)), ..key.clone() };
    assert_eq!(asked(ending.clone(), after(4)), Some(Ok(key.id)));
    assert_eq!(asked(ending, after(5)), Some(Err(Code::KeyExpired)));
    let rehashed = ApiKey { api_key_hash: hash(b"another key", &CHEAP).unwrap(), ..key };
    assert_eq!(asked(rehashed, now()), None, "another hash, another look");
    assert_eq!(gateway.remembered(&snapshot(vec![]), text(&new), now()), None);
}

#[tokio::test]
async fn unknown_revoked_and_wrong_are_the_same_and_expired_is_told_only_to_who_has_the_secret() {
    let (gateway, _dir) = gateway().await;
    let (revoked, expired) = (new_key(), new_key());
    let (mut one, mut other) = (stored(&revoked), stored(&expired));
    one.is_active = false;
    other.expires_at = Some(now());
    // The expired key's row holds the hash of some other key, too: a right prefix with a wrong secret.
    let mut wrong = stored(&new_key());
    let imposter = new_key();
    wrong.prefix.clone_from(&imposter.prefix);
    let snapshot = snapshot(vec![one, other, wrong]);
    for (key, code) in [
        (&new_key(), Code::CredentialsInvalid),
        (&revoked, Code::CredentialsInvalid),
        (&imposter, Code::CredentialsInvalid),
        (&expired, Code::KeyExpired),
    ] {
        let before = gateway.hashed();
        assert_eq!(gateway.verify(&snapshot, text(key), bob()).await.unwrap_err(), code);
        assert_eq!(gateway.hashed(), before + 1, "each costs the same at first");
        assert_eq!(gateway.remembered(&snapshot, text(key), now()), Some(Err(code)), "and nothing later");
    }
}

#[tokio::test]
async fn a_key_that_comes_before_its_snapshot_is_good_as_soon_as_that_is_there() {
    let (gateway, _dir) = gateway().await;
    let new = new_key();
    assert_eq!(gateway.verify(&snapshot(vec![]), text(&new), bob()).await.unwrap_err(), Code::CredentialsInvalid);
    let there = snapshot(vec![stored(&new)]);
    assert!(gateway.verify(&there, text(&new), bob()).await.is_ok());
}

#[tokio::test]
async fn a_wrong_key_costs_its_address_and_the_same_one_only_once() {
    let dir = tempfile::tempdir().unwrap();
    let settings = KeySettings { wrong_keys_per_minute: 3, ..KeySettings::default() };
    let gateway = Gateway::start(dir.path(), settings).await;
    let good = new_key();
    let snapshot = snapshot(vec![stored(&good)]);
    let same = new_key();
    for _ in 0..10 {
        assert_eq!(gateway.verify(&snapshot, text(&same), eve()).await.unwrap_err(), Code::CredentialsInvalid);
    }
    assert_eq!(gateway.hashed(), 1);
    for _ in 0..10 {
        assert_eq!(gateway.verify(&snapshot, text(&new_key()), eve()).await.unwrap_err(), Code::CredentialsInvalid);
    }
    assert_eq!(gateway.hashed(), 3, "the budget is spent");
    // Neither others nor those who share the address have to suffer for it.
    assert!(gateway.verify(&snapshot, text(&good), eve()).await.is_ok());
}

#[tokio::test]
async fn over_budget_a_prefix_whose_secret_was_wrong_gets_no_second_hash() {
    let dir = tempfile::tempdir().unwrap();
    let settings = KeySettings { wrong_keys_per_minute: 1, ..KeySettings::default() };
    let gateway = Gateway::start(dir.path(), settings).await;
    let wrong = new_key();
    let mut row = stored(&new_key());
    row.prefix.clone_from(&wrong.prefix);
    let before = snapshot(vec![row.clone()]);
    gateway.verify(&before, text(&wrong), eve()).await.unwrap_err();
    // Another hash under the same prefix, so that what is remembered of the key itself does not answer.
    row.api_key_hash = hash(b"another key", &CHEAP).unwrap();
    let later = snapshot(vec![row]);
    gateway.verify(&later, text(&wrong), eve()).await.unwrap_err();
    assert_eq!(gateway.hashed(), 1);
    gateway.verify(&later, text(&wrong), bob()).await.unwrap_err();
    assert_eq!(gateway.hashed(), 2, "others have a budget of their own");
}

#[tokio::test]
async fn good_keys_cost_their_address_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let settings = KeySettings { wrong_keys_per_minute: 1, ..KeySettings::default() };
    let gateway = Gateway::start(dir.path(), settings).await;
    let new: Vec<NewKey> = (0..20).map(|_| new_key()).collect();
    let snapshot = snapshot(new.iter().map(stored).collect());
    let asked = new.iter().map(|key| gateway.verify(&snapshot, text(key), bob()));
    for caller in futures::future::join_all(asked).await {
        caller.unwrap();
    }
}

#[tokio::test]
async fn first_uses_at_the_same_time_share_one_hash() {
    let (gateway, _dir) = gateway().await;
    let new = new_key();
    let snapshot = snapshot(vec![stored(&new)]);
    let asked = (0..20).map(|_| gateway.verify(&snapshot, text(&new), bob()));
    for caller in futures::future::join_all(asked).await {
        caller.unwrap();
    }
    assert_eq!(gateway.hashed(), 1);
}

/// From many addresses, so that no budget stops them, and with good checksums, which only a stolen master key makes.
#[test]
fn a_crowd_of_unknown_keys_delays_a_new_good_one_by_one_hash() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let dir = tempfile::tempdir().unwrap();
        let gateway = Gateway::start(dir.path(), KeySettings { argon2_at_once: 1, ..KeySettings::default() }).await;
        let good = new_key();
        let snapshot = snapshot(vec![stored(&good)]);
        let unknown: Vec<NewKey> = (0..200).map(|_| new_key()).collect();
        let address = |number: u32| IpAddr::from((0xC633_6400_u32 + number).to_be_bytes());
        let crowd = unknown.iter().zip(0..).map(|(key, number)| gateway.verify(&snapshot, text(key), address(number)));
        // Not held back by the runtime, everybody stands in line after one poll.
        let mut crowd = pin!(unconstrained(futures::future::join_all(crowd)).fuse());
        let mut newcomer = pin!(maybe_done(unconstrained(gateway.verify(&snapshot, text(&good), bob()))));
        // Hashing begins when the test lets it.
        let held = gateway.hold_hashes();
        assert!(futures::poll!(&mut crowd).is_pending() && futures::poll!(&mut newcomer).is_pending());
        assert_eq!(gateway.hashed(), 0, "the first of the crowd is next");
        drop(held);
        let before_newcomer = poll_fn(|context| {
            let before = gateway.hashed();
            let _ = newcomer.as_mut().poll(context);
            if gateway.hashed() > before {
                return Poll::Ready(before);
            }
            let _ = crowd.as_mut().poll(context);
            Poll::Pending
        })
        .await;
        assert_eq!(before_newcomer, 1, "hashes begun before the good key's own");
        let (refused, ()) = futures::join!(crowd, newcomer.as_mut());
        assert!(
            newcomer.take_output().unwrap().is_ok()
                && refused.iter().all(|it| it.as_ref().is_err_and(|code| *code == Code::CredentialsInvalid))
        );
    });
}

#[tokio::test]
async fn when_too_many_wait_known_keys_are_told_so() {
    let dir = tempfile::tempdir().unwrap();
    let settings = KeySettings { argon2_queue: 1, argon2_at_once: 1, ..KeySettings::default() };
    let gateway = Gateway::start(dir.path(), settings).await;
    let new: Vec<NewKey> = (0..10).map(|_| new_key()).collect();
    let snapshot = snapshot(new.iter().map(stored).collect());
    let asked = new.iter().map(|key| gateway.verify(&snapshot, text(key), bob()));
    let outcomes = futures::future::join_all(asked).await;
    let codes: Vec<Code> = outcomes.into_iter().filter_map(Result::err).collect();
    assert!(!codes.is_empty() && codes.iter().all(|code| *code == Code::Overloaded), "{codes:?}");
    for key in &new {
        gateway.verify(&snapshot, text(key), bob()).await.unwrap();
    }
}

#[tokio::test]
async fn after_a_restart_nothing_is_hashed_again_unless_the_master_key_is_another() {
    let (first, dir) = gateway().await;
    let new = new_key();
    let key = stored(&new);
    let snapshot = snapshot(vec![key.clone()]);
    first.verify(&snapshot, text(&new), bob()).await.unwrap();
    first.end().await;
    let second = Gateway::start(dir.path(), KeySettings::default()).await;
    assert_eq!(second.remembered(&snapshot, text(&new), now()), Some(Ok(key.id)));
    second.end().await;
    let other = MasterKey::of("another text of more than 32 characters").unwrap();
    let third = Gateway::start_with(dir.path(), KeySettings::default(), &other).await;
    assert_eq!(
        third.remembered(&snapshot, text(&new), now()),
        Some(Err(Code::CredentialsInvalid)),
        "no key of this fleet"
    );
    third.end().await;
    std::fs::write(dir.path().join("verified-keys"), "torn").unwrap();
    let fourth = Gateway::start(dir.path(), KeySettings::default()).await;
    assert_eq!(fourth.remembered(&snapshot, text(&new), now()), None);
}

#[tokio::test]
async fn the_last_use_is_written_at_the_end_at_the_latest() {
    let (gateway, _dir) = gateway().await;
    let new = new_key();
    let key = stored(&new);
    let snapshot = snapshot(vec![key.clone()]);
    gateway.verify(&snapshot, text(&new), bob()).await.unwrap();
    assert!(gateway.remembered(&snapshot, text(&new), after(7)).unwrap().is_ok());
    gateway.keys.used(key.id);
    let store = gateway.store.clone();
    gateway.end().await;
    assert_eq!(store.key_usage(&[key.id]).await.unwrap().get(&key.id), Some(&after(7)));
}

#[tokio::test]
async fn uses_are_kept_while_the_database_is_away_even_over_a_restart() {
    let (gateway, dir) = gateway().await;
    let new = new_key();
    let key = stored(&new);
    let snapshot = snapshot(vec![key.clone()]);
    gateway.verify(&snapshot, text(&new), bob()).await.unwrap();
    gateway.keys.used(key.id);
    let away = dir.path().join("runtime.db");
    for file in ["runtime.db", "runtime.db-wal", "runtime.db-shm"] {
        let _ = std::fs::remove_file(dir.path().join(file));
    }
    std::fs::create_dir(&away).unwrap();
    let store = gateway.store.clone();
    tokio::time::timeout(Duration::from_secs(30), gateway.end()).await.unwrap();
    drop(store);
    std::fs::remove_dir(&away).unwrap();
    let again = Gateway::start(dir.path(), KeySettings::default()).await;
    let store = again.store.clone();
    again.end().await;
    assert_eq!(store.key_usage(&[key.id]).await.unwrap().get(&key.id), Some(&now()));
}

#[tokio::test]
async fn a_key_changes_itself_for_a_new_one() {
    let (gateway, _dir) = gateway().await;
    let clock: Arc<dyn Clock> = Arc::new(ManualClock::at(now()));
    let changer = gateway_config::change::Changer::new(gateway.store.clone(), clock, ChainKey::of(&master()));
    let put = gateway_config::change::Proposal::put(Kind::Application, "shop", json!({}));
    changer.write("me", &[put]).await.unwrap();
    let old = new_key();
    let hashed = gateway_config::api_key::HashedKey { prefix: old.prefix.clone(), hash: stored(&old).api_key_hash };
    let old_key = changer.issue_key("me", "shop", &hashed, "the till", None).await.unwrap().key;

    let body = gateway.keys.rotate("shop", old_key.id, 60).await.unwrap();
    let told: Value = serde_json::from_slice(&body.body).unwrap();
    assert_eq!((&told["name"], &told["expiresAt"]), (&json!("the till"), &json!(null)));
    assert_eq!(told["replaced"], json!({"prefix": old.prefix, "isActive": true, "expiresAt": after(60)}));
    let snapshot = changer.snapshot().await.unwrap();
    let new = told["key"].as_str().unwrap().as_bytes();
    assert!(gateway.remembered(&snapshot, new, now()).unwrap().is_ok(), "it is known already");
    assert_eq!(gateway.hashed(), 0);

    let refused = gateway.keys.rotate("shop", old_key.id, u64::MAX).await.unwrap_err();
    assert_eq!(
        (refused.code, refused.message.as_deref()),
        (Code::BadRequest, Some("overlapSeconds must be at most 2592000"))
    );
    let refused = gateway.keys.rotate("shop", Id::new(new_id()), 0).await.unwrap_err();
    assert_eq!(refused.code, Code::CredentialsInvalid);
    assert!(!String::from_utf8_lossy(&body.body).contains("argon2"));
}
