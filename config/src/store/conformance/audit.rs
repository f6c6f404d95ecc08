//! Checks of the audit: no entry without its write and no write without its entry, one chain whoever writes, and whatever is done
//! to its rows by hand shows.

use std::sync::Arc;

use futures::future::try_join_all;
use serde_json::json;

use crate::master_key::MasterKey;
use crate::model::{Action, Actor, AuditChange, ChainKey, Configuration, Kind, NewAudit, Timestamp};
use crate::store::{AuditHead, AuditQuery, Audited, Result, Store, StoreError, verify_audit};

use super::{Subject, change, finish, sample};

/// Writers at a time.
const WRITERS: usize = 20;
const AT: i64 = 1_795_000_000_000_000;

fn chain() -> Result<ChainKey> {
    let master = MasterKey::of("a text of more than 32 characters, I think");
    master.map(|master| ChainKey::of(&master)).map_err(|error| StoreError::Refused(error.to_string()))
}

/// Something that `actor` did to `name`, `at` seconds after the first.
fn deed(actor: &str, name: &str, at: i64) -> NewAudit {
    let after = Some(json!({"b": 1, "a": [1.5, "Ünïcödé \"quoted\"", null, 9_007_199_254_740_993_u64]}));
    let actor = Actor {
        name: actor.to_owned(),
        address: Some([192, 0, 2, 7].into()),
        request_id: Some(format!("Request-{at}")),
    };
    NewAudit {
        at: Timestamp::from_micros(AT + at * 1_000_000),
        actor,
        action: Action::NodeRemove,
        summary: format!("remove {name}"),
        generation: None,
        changes: vec![AuditChange { kind: "node".to_owned(), name: name.to_owned(), before: None, after }],
    }
}

/// A generation that puts a route of this name, with its entry.
async fn write(store: &dyn Store, name: &str) -> Result<u64> {
    let mut transaction = store.begin().await?;
    transaction.put(&sample::route(name)?).await?;
    let digest = transaction.load().await?.configuration.digest();
    let changes = vec![change(Kind::Route, name)];
    let entry = NewAudit {
        action: Action::ConfigWrite,
        generation: Some(transaction.head().generation + 1),
        changes: changes.iter().map(Into::into).collect(),
        ..deed("Ann", name, 0)
    };
    transaction.audit(&entry, &chain()?).await?;
    finish(transaction, digest, changes).await
}

async fn verdict(store: &dyn Store, expected: Option<&AuditHead>) -> Result<Audited> {
    verify_audit(store, &chain()?, expected).await
}

#[track_caller]
fn broken(verdict: Audited) -> String {
    match verdict {
        Audited::Broken(why) => why,
        Audited::Unbroken(head) => format!("unbroken up to {}", head.number),
    }
}

pub(super) async fn the_audit_is_one_chain_under_concurrent_writers(subject: &dyn Subject) -> Result<()> {
    let shared = subject.open().await;
    let mut stores = Vec::with_capacity(WRITERS);
    for writer in 0..WRITERS {
        stores.push(if writer % 2 == 0 { Arc::clone(&shared) } else { subject.open().await });
    }
    let (before, key) = (shared.audit_head().await?, chain()?);
    assert_eq!(before, AuditHead { number: 0, hash: String::new() });
    // Deeds alone, and writes with theirs.
    let writes = stores.iter().zip(0_i64..).map(|(store, at)| async move {
        match at % 3 {
            0 => store.record(&deed("Bob", "n", at), &chain()?).await,
            _ => write(&**store, &format!("r{at}")).await,
        }
    });
    try_join_all(writes).await?;
    let head = shared.audit_head().await?;
    assert_eq!((head.number, verdict(&*shared, None).await?), (20, Audited::Unbroken(head.clone())));
    let mut before = String::new();
    for (entry, number) in shared.audit_behind(0, 100).await?.into_iter().zip(1_u64..) {
        let entry = entry.map_err(StoreError::Refused)?;
        assert_eq!((entry.number, key.hash(&before, &entry)), (number, entry.hash.clone()));
        before = entry.hash;
    }
    assert_eq!(before, head.hash);
    let other = ChainKey::of(
        &MasterKey::of("another text of more than 32 characters").map_err(|_| StoreError::Refused(String::new()))?,
    );
    assert_eq!(
        broken(verify_audit(&*shared, &other, None).await?),
        "entry 1 was altered",
        "it takes the key to make one"
    );
    Ok(())
}

pub(super) async fn an_audit_entry_stands_and_falls_with_its_write(subject: &dyn Subject) -> Result<()> {
    let store = subject.open().await;
    let mut transaction = store.begin().await?;
    transaction.put(&sample::route("r")?).await?;
    transaction.audit(&deed("Ann", "r", 0), &chain()?).await?;
    drop(transaction);
    assert_eq!(store.audit_behind(0, 10).await?, []);
    let mut transaction = store.begin().await?;
    transaction.audit(&deed("Ann", "r", 0), &chain()?).await?;
    let refused = transaction.put(&sample::versions("a", &[(uuid::Uuid::nil(), "v"), (uuid::Uuid::max(), "v")])?).await;
    assert!(refused.is_err());
    assert!(finish(transaction, Configuration::default().digest(), Vec::new()).await.is_err());
    assert_eq!((store.audit_head().await?.number, store.head().await?.generation), (0, 0));
    assert_eq!(write(&*store, "r").await?, 1);
    let entries = store.audit_behind(0, 10).await?;
    assert!(matches!(entries.as_slice(), [Ok(entry)] if entry.generation == Some(1)), "{entries:?}");
    Ok(())
}

pub(super) async fn an_altered_audit_entry_is_found(subject: &dyn Subject) -> Result<()> {
    let store = subject.open().await;
    for name in ["a", "b", "c"] {
        write(&*store, name).await?;
    }
    let head = store.audit_head().await?;
    for (harm, mend, said) in [
        (
            "UPDATE audit_entry SET actor = 'eve' WHERE number = 2",
            "UPDATE audit_entry SET actor = 'Ann' WHERE number = 2",
            "entry 2 was altered",
        ),
        (
            "UPDATE audit_entry SET at = at + 1 WHERE number = 3",
            "UPDATE audit_entry SET at = at - 1 WHERE number = 3",
            "entry 3 was altered",
        ),
        (
            "UPDATE audit_entry SET generation = NULL WHERE number = 1",
            "UPDATE audit_entry SET generation = 1 WHERE number = 1",
            "entry 1 was altered",
        ),
        (
            "UPDATE audit_entry SET action = 'nonsense' WHERE number = 1",
            "UPDATE audit_entry SET action = 'config.write' WHERE number = 1",
            "audit_entry 1: unknown variant",
        ),
        (
            "UPDATE audit_entry SET number = CASE number WHEN 2 THEN 30 ELSE 20 END WHERE number > 1;
             UPDATE audit_entry SET number = number / 10 WHERE number > 3",
            "UPDATE audit_entry SET number = CASE number WHEN 2 THEN 30 ELSE 20 END WHERE number > 1;
             UPDATE audit_entry SET number = number / 10 WHERE number > 3",
            "entry 2 was altered",
        ),
        (
            "UPDATE audit_head SET number = 2, hash = (SELECT hash FROM audit_entry WHERE number = 2)",
            "UPDATE audit_head SET number = 3, hash = (SELECT hash FROM audit_entry WHERE number = 3)",
            "entry 3 stands behind the newest, 2",
        ),
        (
            "UPDATE audit_head SET hash = 'x'",
            "UPDATE audit_head SET hash = (SELECT hash FROM audit_entry WHERE number = 3)",
            "the newest entry is 3, and the head says 3",
        ),
        ("UPDATE audit_head SET number = 4", "UPDATE audit_head SET number = 3", "entry 4 is missing"),
        ("UPDATE config_head SET generation = 4", "UPDATE config_head SET generation = 3", "generation 4 has no entry"),
    ] {
        subject.execute(harm).await;
        let why = broken(verdict(&*store, None).await?);
        assert!(why.starts_with(said), "{harm}: {why}");
        subject.execute(mend).await;
        assert_eq!(verdict(&*store, None).await?, Audited::Unbroken(head.clone()), "{mend}");
    }
    subject.execute("UPDATE audit_entry SET changes = '[]' WHERE number = 2").await;
    assert_eq!(broken(verdict(&*store, None).await?), "entry 2 was altered");
    subject.execute("DELETE FROM audit_entry WHERE number = 2").await;
    assert_eq!(broken(verdict(&*store, None).await?), "entry 2 is missing");
    Ok(())
}

/// Who deletes the newest entries and moves the head back leaves a chain that fits.
pub(super) async fn a_deleted_end_of_the_audit_is_found(subject: &dyn Subject) -> Result<()> {
    const CUT: &str = "DELETE FROM audit_entry WHERE number = (SELECT max(number) FROM audit_entry);
        UPDATE audit_head SET number = number - 1,
        hash = (SELECT hash FROM audit_entry WHERE number = (SELECT max(number) FROM audit_entry))";
    let store = subject.open().await;
    for name in ["a", "b"] {
        write(&*store, name).await?;
    }
    store.record(&deed("Bob", "n", 0), &chain()?).await?;
    let noted = store.audit_head().await?;
    assert_eq!(verdict(&*store, Some(&noted)).await?, Audited::Unbroken(noted.clone()));
    let other = AuditHead { number: 2, ..noted.clone() };
    assert_eq!(broken(verdict(&*store, Some(&other)).await?), "entry 2 is not the one that was expected");

    subject.execute(CUT).await;
    assert_eq!(broken(verdict(&*store, Some(&noted)).await?), "entry 3 is missing: the newest is 2");
    assert_eq!(broken(verdict(&*store, None).await?), "unbroken up to 2", "only who noted it can tell");
    subject.execute(CUT).await;
    assert_eq!(broken(verdict(&*store, None).await?), "generation 2 has no entry");
    subject.execute("DELETE FROM audit_entry; UPDATE audit_head SET number = 0, hash = ''").await;
    assert_eq!(broken(verdict(&*store, None).await?), "generation 1 has no entry");
    Ok(())
}

pub(super) async fn audit_entries_are_found_by_who_what_and_when(subject: &dyn Subject) -> Result<()> {
    let store = subject.open().await;
    for (actor, name, at) in [("Ann", "n1", 0), ("Bob", "n2", 1), ("Ann", "n1", 2)] {
        store.record(&deed(actor, name, at), &chain()?).await?;
    }
    write(&*store, "n1").await?;
    let many = (0..250).flat_map(|at| deed("Bulk", &format!("m{at}"), 0).changes).collect();
    store.record(&NewAudit { changes: many, ..deed("Bulk", "m", 3) }, &chain()?).await?;

    let all = AuditQuery { limit: 10, ..AuditQuery::default() };
    let time = |seconds: i64| Some(Timestamp::from_micros(AT + seconds * 1_000_000));
    let text = |text: &str| Some(text.to_owned());
    for (query, expected) in [
        (all.clone(), &[5, 4, 3, 2, 1][..]),
        (AuditQuery { before: Some(4), ..all.clone() }, &[3, 2, 1]),
        (AuditQuery { actor: text("Ann"), ..all.clone() }, &[4, 3, 1]),
        (AuditQuery { actor: text("ann"), ..all.clone() }, &[]),
        (AuditQuery { search: text("REMOVE N2"), ..all.clone() }, &[2]),
        (AuditQuery { search: text("bOb"), ..all.clone() }, &[2]),
        (AuditQuery { search: text("request-1"), ..all.clone() }, &[2]),
        (AuditQuery { search: text("192.0.2."), ..all.clone() }, &[5, 4, 3, 2, 1]),
        (AuditQuery { search: text("100%"), ..all.clone() }, &[]),
        (AuditQuery { action: Some(Action::ConfigWrite), ..all.clone() }, &[4]),
        (AuditQuery { name: text("n1"), ..all.clone() }, &[4, 3, 1]),
        (AuditQuery { name: text("n1"), kind: text("route"), ..all.clone() }, &[4]),
        (AuditQuery { kind: text("node"), actor: text("Ann"), ..all.clone() }, &[3, 1]),
        (AuditQuery { name: text("m249"), ..all.clone() }, &[5]),
        (AuditQuery { since: time(1), until: time(3), ..all.clone() }, &[3, 2]),
    ] {
        let found = store.audit_search(&query).await?;
        let numbers: Vec<u64> = found.entries.iter().map(|entry| entry.number).collect();
        assert_eq!((numbers.as_slice(), found.next), (expected, None), "{query:?}");
    }
    let page = store.audit_search(&AuditQuery { limit: 2, ..all.clone() }).await?;
    assert_eq!((page.entries.len(), page.next), (2, Some(4)));
    let page = store.audit_search(&AuditQuery { limit: 3, before: page.next, ..all }).await?;
    assert_eq!((page.entries.len(), page.next), (3, None));
    Ok(())
}
