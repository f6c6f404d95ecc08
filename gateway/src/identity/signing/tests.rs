//! Signers over a real store and with a clock of the test's own.

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt;

use gateway_config::clock::{Clock, ManualClock};
use gateway_config::model::{Configuration, Id, Item, Kind};
use gateway_config::snapshot::{Code, Token, Verified, compile};
use gateway_config::store::{SigningKeyRow, Store, open};
use jsonwebtoken::jwk::JwkSet;
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header};
use serde_json::{Value, json};
use tempfile::TempDir;
use uuid::Uuid;

use super::key::SigningKey;
use super::*;

const MASTER: &str = "a master key of a test, long enough for all";
const DAY: i64 = 24 * 60 * 60;
const START: i64 = 1_795_000_000;

/// A store, a clock, and signers on both.
struct Scene {
    folder: TempDir,
    store: Arc<dyn Store>,
    clock: ManualClock,
}

impl Scene {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = open(&format!("sqlite://{}", folder.path().join("gateway.db").display())).await.unwrap();
        store.migrate().await.unwrap();
        Self { folder, store, clock: ManualClock::at(Timestamp::from_micros(START * 1_000_000)) }
    }

    fn signer(&self, master: &str) -> Signer {
        let every = Duration::from_secs(u64::try_from(30 * DAY).unwrap());
        Signer::open(MasterKey::of(master).unwrap(), self.folder.path(), every, self.clock.now())
    }

    async fn ready(&self) -> Signer {
        let signer = self.signer(MASTER);
        self.look(&signer).await;
        signer
    }

    async fn look(&self, signer: &Signer) -> Vec<SigningKeyRow> {
        signer.look(&*self.store, &self.clock).await.unwrap()
    }

    fn advance(&self, seconds: i64) {
        self.clock.advance_millis(seconds * 1000);
    }

    fn sign(&self, signer: &Signer, service: &str, caller: &Caller) -> String {
        let value = signer.identity_header(service, caller, self.clock.now()).unwrap();
        value.to_str().unwrap().to_owned()
    }

    /// The id of the key that signs now, for a caller of whom nothing is remembered.
    fn kid(&self, signer: &Signer) -> String {
        kid(&self.sign(signer, &Uuid::from_u128(rand::random()).to_string(), &Caller::Anonymous))
    }
}

fn kid(token: &str) -> String {
    decode_header(token).unwrap().kid.unwrap()
}

fn published(signer: &Signer) -> Vec<String> {
    let keys: JwkSet = serde_json::from_slice(&signer.jwks()).unwrap();
    keys.keys.into_iter().map(|key| key.common.key_id.unwrap()).collect()
}

/// What a backend reads of a token that it verified.
fn claims(signer: &Signer, service: &str, token: &str) -> Value {
    let keys: JwkSet = serde_json::from_slice(&signer.jwks()).unwrap();
    let key = DecodingKey::from_jwk(keys.find(&kid(token)).unwrap()).unwrap();
    let mut validation = Validation::new(Algorithm::ES256);
    validation.set_audience(&[service]);
    validation.set_issuer(&["gatehouse"]);
    // The test's clock stands somewhere else than the library's.
    validation.validate_exp = false;
    decode::<Value>(token, &key, &validation).unwrap().claims
}

fn token(subject: &str, roles: &[&str]) -> Token {
    Token {
        issuer: "idp".into(),
        subject: Some(subject.into()),
        client: None,
        roles: roles.iter().map(|role| (*role).into()).collect(),
        scopes: vec!["orders:read".into()],
        expires_at: None,
    }
}

fn with_token(token: Token) -> Caller {
    Caller::Verified(Verified { token: Some(Arc::new(token)), ..Verified::default() })
}

fn with_key(application: &str, key: u128) -> Caller {
    let mut configuration = Configuration::default();
    configuration.put(Item::from_json(Kind::Application, json!({"name": application})).unwrap());
    let application = compile(&configuration, 1).unwrap().application(application).cloned();
    assert!(application.is_some());
    Caller::Verified(Verified { application, key: Some(Id::new(Uuid::from_u128(key))), token: None })
}

#[tokio::test]
async fn a_backend_verifies_a_token_and_reads_who_calls() {
    let scene = Scene::new().await;
    let signer = scene.ready().await;
    let read = claims(&signer, "orders", &scene.sign(&signer, "orders", &with_key("shop", 7)));
    assert_eq!(
        read,
        json!({
            "iss": "gatehouse", "aud": "orders", "iat": START, "exp": START + 120, "application": "shop",
            "roles": [], "scopes": [], "anonymous": false
        })
    );
    let read = claims(&signer, "auth", &scene.sign(&signer, "auth", &with_token(token("ann", &["editor"]))));
    assert_eq!(
        read,
        json!({
            "iss": "gatehouse", "aud": "auth", "iat": START, "exp": START + 120, "sub": "ann", "issuer": "idp",
            "roles": ["editor"], "scopes": ["orders:read"], "anonymous": false
        })
    );
    for nobody in [Caller::Anonymous, Caller::Rejected(Code::TokenExpired)] {
        let read = claims(&signer, "auth", &scene.sign(&signer, "auth", &nobody));
        let expected = json!({
            "iss": "gatehouse", "aud": "auth", "iat": START, "exp": START + 120, "roles": [], "scopes": [], "anonymous": true
        });
        assert_eq!(read, expected);
    }
}

#[tokio::test]
async fn a_token_is_signed_once_a_minute_for_each_caller_and_service() {
    let scene = Scene::new().await;
    let signer = scene.ready().await;
    let callers = [
        Caller::Anonymous,
        Caller::Verified(Verified::default()),
        with_key("shop", 1),
        with_key("till", 1),
        with_token(token("ann", &[])),
        with_token(token("ann", &["editor"])),
        with_token(token("bob", &[])),
        with_token(Token { issuer: "other".into(), ..token("ann", &[]) }),
    ];
    // With which of its keys an application calls is nothing to a backend.
    assert_eq!(
        scene.sign(&signer, "orders", &with_key("shop", 1)),
        scene.sign(&signer, "orders", &with_key("shop", 2))
    );
    let all = |service: &str| callers.iter().map(|it| scene.sign(&signer, service, it)).collect::<Vec<_>>();
    let first = all("orders");
    assert_eq!(first.iter().collect::<BTreeSet<_>>().len(), callers.len(), "no two callers share one");
    assert_ne!(all("auth"), first);
    scene.advance(59);
    assert_eq!(all("orders"), first);
    let again = with_token(Token { expires_at: Some(scene.clock.now()), ..token("ann", &["editor"]) });
    assert_eq!(scene.sign(&signer, "orders", &again), first[5], "the same content, verified anew");
    scene.advance(1);
    assert!(all("orders").iter().zip(&first).all(|(new, old)| new != old));
}

#[tokio::test]
async fn a_new_key_is_published_before_it_signs_and_the_old_one_stays_for_its_tokens() {
    let scene = Scene::new().await;
    let signer = scene.ready().await;
    let first = scene.kid(&signer);
    scene.advance(30 * DAY - 301);
    assert_eq!(scene.look(&signer).await.len(), 1, "not due yet");
    scene.advance(1);
    let rows = scene.look(&signer).await;
    let second = rows[1].kid.clone();
    assert_eq!(published(&signer), [first.clone(), second.clone()]);
    assert_eq!(rows[0].retired_at, Some(rows[1].active_from));
    scene.advance(299);
    assert_eq!(scene.kid(&signer), first);
    scene.advance(1);
    assert_eq!(scene.kid(&signer), second, "without another look: the database may be away");

    scene.advance(3599);
    assert_eq!(scene.look(&signer).await.len(), 2);
    assert_eq!(published(&signer), [first, second.clone()]);
    scene.advance(1);
    assert_eq!(scene.look(&signer).await.len(), 2, "the row stays a while longer, for gateways whose clocks differ");
    assert_eq!(published(&signer), std::slice::from_ref(&second));
    scene.advance(3601);
    assert_eq!(scene.look(&signer).await.len(), 1);
    assert_eq!(scene.store.signing_keys().await.unwrap().len(), 1);
    assert_eq!(scene.kid(&signer), second);
}

#[tokio::test]
async fn a_key_that_is_overdue_signs_on_until_the_next_is_known_everywhere() {
    let scene = Scene::new().await;
    let first = scene.kid(&scene.ready().await);
    scene.advance(300 * DAY);
    let signer = scene.ready().await;
    assert_eq!(scene.kid(&signer), first);
    assert_eq!(published(&signer).len(), 2);
    scene.advance(300);
    assert_eq!(scene.kid(&signer), published(&signer)[1]);
}

#[tokio::test]
async fn gateways_that_make_a_key_at_once_agree_on_one() {
    let scene = Scene::new().await;
    let signers: Vec<Signer> = (0..4).map(|_| scene.signer(MASTER)).collect();
    for round in 1..=2 {
        futures::future::join_all(signers.iter().map(|signer| scene.look(signer))).await;
        let newest = published(&signers[0]).pop().unwrap();
        scene.advance(300);
        for signer in &signers {
            assert_eq!(published(signer), published(&signers[0]));
            assert_eq!(scene.kid(signer), newest);
        }
        assert_eq!(scene.store.signing_keys().await.unwrap().len(), round);
        scene.advance(30 * DAY - 600);
    }
}

#[tokio::test]
async fn a_key_under_another_master_key_is_told_and_neither_used_nor_deleted() {
    let scene = Scene::new().await;
    let (ours, theirs) = (scene.ready().await, scene.signer("another master key that is as long as ours"));
    scene.look(&theirs).await;
    assert_ne!(scene.kid(&ours), scene.kid(&theirs));
    assert_eq!(published(&theirs), [scene.kid(&theirs)]);
    let trouble = theirs.trouble().borrow().clone().unwrap();
    assert!(trouble.contains(&scene.kid(&ours)) && trouble.contains("sealed under another master key"), "{trouble}");

    scene.look(&ours).await;
    assert_eq!(published(&ours), [scene.kid(&ours)]);
    assert!(ours.trouble().borrow().is_some());
    scene.advance(DAY);
    for signer in [&ours, &theirs] {
        assert_eq!(scene.look(signer).await.len(), 2, "whose rows are wrong, no gateway can tell");
    }

    // The operator deletes the stranger's row. Ours was noted as retired by it, and signs on all the same.
    let kept = scene.store.signing_keys().await.unwrap().into_iter().filter(|row| row.kid == scene.kid(&ours));
    let kept: Vec<SigningKeyRow> = kept.collect();
    assert!(kept[0].retired_at.is_some());
    let other = Scene::new().await;
    other.store.add_signing_key(&kept[0]).await.unwrap();
    other.advance(DAY);
    assert_eq!(other.look(&ours).await, kept);
    assert_eq!(other.kid(&ours), kept[0].kid);
    assert_eq!(*ours.trouble().borrow(), None);
}

#[tokio::test]
async fn an_altered_row_is_not_used() {
    let scene = Scene::new().await;
    scene.ready().await;
    let good = scene.store.signing_keys().await.unwrap().remove(0);
    let foreign = SigningKey::generate(&MasterKey::of(MASTER).unwrap(), 9, good.created_at, good.active_from).unwrap();
    let mut spoilt = good.sealed_private_key.clone();
    spoilt[20] ^= 1;
    let not_a_key = MasterKey::of(MASTER).unwrap().seal("signing keys", b"no key");
    for (altered, words) in [
        (SigningKeyRow { sealed_private_key: spoilt, ..good.clone() }, "was altered"),
        (SigningKeyRow { sealed_private_key: Vec::new(), ..good.clone() }, "was altered"),
        (SigningKeyRow { sealed_private_key: not_a_key, ..good.clone() }, "no P-256 key"),
        (
            SigningKeyRow { sealed_private_key: foreign.sealed_private_key.clone(), ..good.clone() },
            "belongs to another",
        ),
        (SigningKeyRow { public_jwk: foreign.public_jwk.clone(), ..good.clone() }, "belongs to another"),
        (SigningKeyRow { kid: foreign.kid.clone(), ..good.clone() }, "belongs to another"),
    ] {
        let signer = Scene::new().await.signer(MASTER);
        signer.take(Keyring::open(&signer.master, &[altered], scene.clock.now()));
        assert_eq!(signer.identity_header("orders", &Caller::Anonymous, scene.clock.now()), None);
        assert!(published(&signer).is_empty());
        let trouble = signer.trouble().borrow().clone().unwrap();
        assert!(trouble.contains(words), "{trouble}");
    }
}

#[tokio::test]
async fn tokens_of_a_key_that_was_taken_away_are_signed_anew() {
    let scene = Scene::new().await;
    let signer = scene.ready().await;
    let before = scene.sign(&signer, "orders", &Caller::Anonymous);
    let empty = Scene::new().await;
    empty.look(&signer).await;
    let after = scene.sign(&signer, "orders", &Caller::Anonymous);
    assert_ne!(kid(&after), kid(&before));
    assert_eq!(published(&signer), [kid(&after)]);
}

#[tokio::test]
async fn a_start_without_the_database_signs_with_the_keys_kept_on_disk() {
    let scene = Scene::new().await;
    let signer = scene.signer(MASTER);
    assert_eq!(signer.identity_header("orders", &Caller::Anonymous, scene.clock.now()), None, "nothing on disk yet");
    assert_eq!(&signer.jwks()[..], br#"{"keys":[]}"#);
    let rows = scene.look(&signer).await;
    signer.keep_on_disk(rows, &mut Vec::new()).await;

    let again = scene.signer(MASTER);
    assert_eq!(scene.kid(&again), scene.kid(&signer));
    assert_eq!(again.jwks(), signer.jwks());
    let path = scene.folder.path().join("signing_keys.json");
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);

    let stranger = scene.signer("another master key that is as long as ours");
    assert!(published(&stranger).is_empty());
    assert!(stranger.trouble().borrow().is_some());
    std::fs::write(&path, "torn").unwrap();
    assert!(published(&scene.signer(MASTER)).is_empty(), "it starts, and waits for the database");
}

#[tokio::test]
async fn the_keeper_makes_the_first_key_as_soon_as_the_database_is_there() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&format!("sqlite://{}", folder.path().join("gateway.db").display())).await.unwrap();
    let clock: Arc<dyn Clock> = Arc::new(ManualClock::at(Timestamp::from_micros(START * 1_000_000)));
    let master = MasterKey::of(MASTER).unwrap();
    let signer = Arc::new(Signer::open(master, folder.path(), Duration::from_secs(1_000_000), clock.now()));
    let (stop, mut trouble) = (tokio_util::sync::CancellationToken::new(), signer.trouble());
    let keeper = tokio::spawn(signer.clone().keep(store.clone(), clock.clone(), stop.clone()));
    trouble.wait_for(Option::is_some).await.unwrap();
    store.migrate().await.unwrap();
    trouble.wait_for(Option::is_none).await.unwrap();
    while signer.identity_header("orders", &Caller::Anonymous, clock.now()).is_none() {
        tokio::task::yield_now().await;
    }
    stop.cancel();
    keeper.await.unwrap();
}

#[tokio::test]
async fn nothing_secret_is_shown() {
    let scene = Scene::new().await;
    let signer = scene.ready().await;
    let token = signer.identity_header("orders", &Caller::Anonymous, scene.clock.now()).unwrap();
    let shown = format!("{signer:?} {token:?} {:?}", scene.store.signing_keys().await.unwrap());
    assert!(!shown.contains("sealed_private_key") && !shown.contains("eyJ"), "{shown}");
}
