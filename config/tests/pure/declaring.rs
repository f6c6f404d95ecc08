//! Documents, over a SQLite file: what applying one writes, what it leaves alone, and what stands in its way.

use gateway_config::api_key::HashedKey;
use gateway_config::change::{Applied, ChangeError, Changer, Diff, Expect, Proposal, Terms, tag};
use gateway_config::document::{Export, Form, declared};
use gateway_config::model::{Item, Kind};
use serde_json::{Value, json};

use crate::changing::{Database, invalid, route, service, version};

/// Enough to be planned before the head is locked.
const LARGE: usize = 250;

fn pruning(kinds: &[Kind]) -> Terms {
    Terms { prune: kinds.to_vec(), ..Terms::default() }
}

/// The words and names of what was done.
fn told(applied: &Applied) -> Vec<String> {
    let Diff { create, update, delete } = Diff::of(applied.changes.iter().cloned());
    let whole = |word: &'static str, list: Vec<gateway_config::change::Whole>| {
        list.into_iter().map(move |it| format!("{word} {} {}", it.kind, it.name)).collect::<Vec<String>>()
    };
    let update: Vec<String> = update.into_iter().map(|it| format!("~ {} {}", it.kind, it.name)).collect();
    [whole("+", create), update, whole("-", delete)].concat()
}

async fn export(changer: &Changer) -> Value {
    Export::new(&changer.snapshot().await.unwrap().configuration(), &Kind::ALL, Form::Json).into_value()
}

fn proposals(document: &Value) -> Vec<Proposal> {
    declared(document.clone()).unwrap().proposals
}

async fn with_key(changer: &Changer, application: &str) {
    changer.write("me", &[Proposal::put(Kind::Application, application, json!({}))]).await.unwrap();
    let key = HashedKey { prefix: format!("gk_{application}"), hash: "$argon2id$canary".to_owned() };
    changer.issue_key("me", application, &key, "ci", None).await.unwrap();
}

#[tokio::test]
async fn an_export_applied_changes_nothing_and_makes_no_generation() {
    let database = Database::new().await;
    let changer = database.changer().await;
    let twice =
        json!([{"endpointPath": "/a", "allowedMethods": ["GET"]}, {"endpointPath": "/a", "allowedMethods": ["PUT"]}]);
    with_key(&changer, "shop").await;
    let shop = Proposal::put(Kind::Application, "shop", json!({"whitelist": twice}));
    let sizes = Proposal::put(Kind::Defaults, "defaults", json!({"maxBodyBytes": 7}));
    changer.write("me", &[service("a"), route("r", "a"), shop, sizes]).await.unwrap();
    let before = database.open().await.load().await.unwrap();
    let document = export(&changer).await;
    let again = database.changer().await;
    let applied = again.write_under("me", &proposals(&document), pruning(&Kind::ALL[..6])).await.unwrap();
    assert_eq!((applied.generation, applied.unchanged(), told(&applied)), (3, 4, Vec::new()));
    let after = database.open().await.load().await.unwrap();
    assert_eq!((after.head, after.configuration), (before.head, before.configuration));
}

#[tokio::test]
async fn an_export_applied_elsewhere_exports_the_same() {
    let (from, to) = (Database::new().await, Database::new().await);
    let (from, to) = (from.changer().await, to.changer().await);
    from.write("me", &[service("a"), route("r", "a"), route("q", "a")]).await.unwrap();
    let document = export(&from).await;
    to.write("me", &[service("b"), route("x", "b")]).await.unwrap();
    let applied = to.write_under("me", &proposals(&document), pruning(&Kind::ALL[..6])).await.unwrap();
    assert_eq!(told(&applied), ["+ service a", "+ route q", "+ route r", "- service b", "- route x"]);
    assert_eq!(export(&to).await, document);
}

#[tokio::test]
async fn without_prune_nothing_goes_and_with_it_only_of_its_kinds() {
    let database = Database::new().await;
    let changer = database.changer().await;
    changer.write("me", &[service("a"), service("b"), route("r", "a"), route("s", "a")]).await.unwrap();
    assert_eq!(told(&changer.dry_run(&[route("r", "a")]).await.unwrap()), Vec::<String>::new());
    let applied = changer.write_under("me", &[route("r", "a")], pruning(&[Kind::Route])).await.unwrap();
    assert_eq!((told(&applied), applied.unchanged()), (vec!["- route s".to_owned()], 1));
    let snapshot = changer.snapshot().await.unwrap();
    assert_eq!((snapshot.services().count(), snapshot.routes().count()), (2, 1));
    let applied = changer.write_under("me", &[], pruning(&[Kind::Route, Kind::Service])).await.unwrap();
    assert_eq!(
        told(&applied),
        ["- service a", "- service b", "- route r"],
        "who refers goes as well, so nothing is in the way"
    );
}

#[tokio::test]
async fn what_stays_and_still_refers_is_named_with_all_it_keeps() {
    let database = Database::new().await;
    let changer = database.changer().await;
    changer.write("me", &[service("a"), service("b"), route("r", "a"), route("s", "b")]).await.unwrap();
    let refused = changer.write_under("me", &[], pruning(&[Kind::Service])).await.unwrap_err();
    let problems = invalid(refused);
    let paths: Vec<&str> = problems.iter().map(|problem| problem.path.as_str()).collect();
    assert_eq!(paths, ["services/a", "services/b"]);
    assert_eq!(problems[0].message, "is not in the document, but still used by route \"r\", which stays");
    let moved = [service("c"), route("r", "c"), route("s", "c")];
    let applied = changer.write_under("me", &moved, pruning(&[Kind::Service])).await.unwrap();
    assert_eq!(told(&applied), ["+ service c", "~ route r", "~ route s", "- service a", "- service b"]);
}

#[tokio::test]
async fn an_application_keeps_its_keys_and_goes_with_them_only_when_told() {
    let database = Database::new().await;
    let changer = database.changer().await;
    with_key(&changer, "shop").await;
    with_key(&changer, "cart").await;
    let forged = json!({"description": "new", "apiKeys": []});
    let applied = changer.write("me", &[Proposal::put(Kind::Application, "shop", forged)]).await.unwrap();
    let Some(Item::Application(shop)) = &applied.outcomes[0].item else { panic!("{applied:?}") };
    assert_eq!(shop.api_keys.len(), 1);
    let shop = Proposal::put(Kind::Application, "shop", json!({"description": "new"}));
    let applied = changer.write_under("me", &[shop], pruning(&[Kind::Application])).await.unwrap();
    assert_eq!((told(&applied), applied.warnings.len()), (vec!["- application cart".to_owned()], 1));
    assert_eq!(
        applied.warnings[0].to_string(),
        "applications/cart: is deleted with its API key; nothing brings it back"
    );
}

#[tokio::test]
async fn unreadable_entities_and_dangling_ones_are_told_together() {
    let database = Database::new().await;
    let changer = database.changer().await;
    let bad = Proposal::put(Kind::Service, "bad", json!({"isActive": 7}));
    let proposals = [bad, route("r", "ghost"), route("s", "bad")];
    let problems = invalid(changer.write("me", &proposals).await.unwrap_err());
    let paths: Vec<&str> = problems.iter().map(|problem| problem.path.as_str()).collect();
    assert_eq!(
        paths,
        ["routes/r/target/service", "services/bad/isActive"],
        "that bad is missing follows from the other"
    );
}

#[tokio::test]
async fn terms_on_the_whole_configuration_are_kept() {
    let database = Database::new().await;
    let changer = database.changer().await;
    changer.write("me", &[service("a")]).await.unwrap();
    let seen = tag(changer.snapshot().await.unwrap().digest());
    let terms = |expect: Expect| Terms { expect, ..Terms::default() };
    let expected = Expect::Tags(vec!["other".to_owned(), seen]);
    changer.dry_run_under(&[service("b")], &terms(expected.clone())).await.unwrap();
    changer.write_under("me", &[service("b")], terms(expected.clone())).await.unwrap();
    for proposals in [vec![service("c")], (0..LARGE).map(|at| service(&format!("s{at}"))).collect()] {
        let stale = changer.write_under("me", &proposals, terms(expected.clone())).await;
        assert!(matches!(stale, Err(ChangeError::Stale { .. })), "{stale:?}");
    }
    let stale = changer.write_under("me", &[], Terms { head: Some(1), ..Terms::default() }).await;
    assert!(matches!(stale, Err(ChangeError::Stale { .. })), "{stale:?}");
    assert_eq!(database.generation().await, 2);
}

#[tokio::test]
async fn a_large_document_sees_rows_that_were_edited_by_hand() {
    let database = Database::new().await;
    let changer = database.changer().await;
    let large: Vec<Proposal> = (0..LARGE).map(|at| service(&format!("s{at}"))).collect();
    let applied = changer.write("me", &large).await.unwrap();
    assert_eq!((applied.generation, applied.changes.len()), (1, LARGE));
    assert_eq!(changer.write("me", &large).await.unwrap().generation, 1);
    database.execute("UPDATE gateway_service_config SET description = 'by hand' WHERE service_name = 's7'").await;
    let mended = changer.write("me", &large).await.unwrap();
    assert_eq!((mended.generation, told(&mended)), (2, vec!["~ service s7".to_owned()]));
    database.execute("UPDATE gateway_service_config SET protocol = 'smoke' WHERE service_name = 's8'").await;
    assert_eq!(changer.write("me", &large).await.unwrap().generation, 3);
    let loaded = database.open().await.load().await.unwrap();
    assert_eq!((loaded.spoilt.len(), loaded.configuration.services["s7"].description.as_str()), (0, ""));
    assert_eq!(loaded.head.digest, loaded.configuration.digest());
}

#[tokio::test]
async fn what_can_not_be_read_is_pruned_by_name_only() {
    let database = Database::new().await;
    let changer = database.changer().await;
    changer.write("me", &[service("a"), service("b")]).await.unwrap();
    database.execute("UPDATE gateway_service_config SET protocol = 'smoke' WHERE service_name = 'a'").await;
    for changer in [changer, database.changer().await] {
        let refused = changer.write_under("me", &[service("b")], pruning(&[Kind::Service])).await.unwrap_err();
        assert_eq!(invalid(refused)[0].path, "services/a/protocol");
    }
    let fresh = database.changer().await;
    let applied = fresh.write_under("me", &[service("a")], pruning(&[Kind::Service])).await.unwrap();
    assert_eq!(applied.snapshot.services().count(), 1);
}

/// On a busy machine those who wait may be told to come again.
async fn insist(changer: &Changer, proposals: &[Proposal]) {
    loop {
        match changer.write("me", proposals).await {
            Ok(_) => return,
            Err(ChangeError::Store(error)) if error.is_unavailable() => {}
            Err(error) => panic!("{error}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn large_documents_and_small_writes_at_once_lose_nothing() {
    let database = Database::new().await;
    database.changer().await.write("me", &[service("a")]).await.unwrap();
    let mut writers = tokio::task::JoinSet::new();
    for writer in 0..3 {
        let changer = database.changer().await;
        writers.spawn(async move {
            for round in 0..3 {
                let own = (0..LARGE).map(|at| route(&format!("w{writer}-{round}-{at}"), "a"));
                insist(&changer, &own.collect::<Vec<_>>()).await;
            }
        });
    }
    let changer = database.changer().await;
    for number in 0..20 {
        let value = json!({"defaultUrl": "http://127.0.0.1:1", "versions": [version(&format!("v{number}"), 1)]});
        insist(&changer, &[Proposal::put(Kind::Service, &format!("b{number}"), value)]).await;
    }
    while let Some(done) = writers.join_next().await {
        done.unwrap();
    }
    let snapshot = database.changer().await.snapshot().await.unwrap();
    assert_eq!((snapshot.routes().count(), snapshot.services().count()), (9 * LARGE, 21));
    let head = database.open().await.head().await.unwrap();
    assert_eq!((head.generation, head.digest), (1 + 9 + 20, snapshot.digest()));
}
