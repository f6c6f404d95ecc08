//! Checks of transactions and generations: all or nothing, one after the other, and a history that can be followed.

use std::sync::Arc;

use futures::future::try_join_all;
use serde_json::json;

use crate::clock::new_id;
use crate::model::{Change, Configuration, Edit, FORMAT_VERSION, Item, Kind};
use crate::store::{Head, HistoryPage, Result, Since, StoreError};

use super::{Subject, commit, finish, sample};

/// Writers at a time.
const WRITERS: usize = 20;

pub(super) async fn a_fresh_database_is_generation_zero(subject: &dyn Subject) -> Result<()> {
    let store = subject.open().await;
    let fresh = Configuration::default();
    assert_eq!(store.head().await?, Head { generation: 0, digest: fresh.digest(), format: 1 });
    let loaded = store.load().await?;
    assert_eq!((loaded.head.generation, loaded.configuration), (0, fresh));
    assert!(matches!(store.load_since(0).await?, Since::UpToDate));
    // A second migration finds nothing to do.
    store.migrate().await
}

pub(super) async fn an_uncommitted_transaction_leaves_nothing(subject: &dyn Subject) -> Result<()> {
    let store = subject.open().await;
    let before = store.head().await?;
    let mut transaction = store.begin().await?;
    transaction.put(&sample::route("r")?).await?;
    assert!(transaction.get(Kind::Route, "r").await?.is_some(), "the transaction sees its own write");
    drop(transaction);
    assert_eq!(store.get(Kind::Route, "r").await?, None);
    assert_eq!(store.head().await?, before);
    // And it holds no lock: the next writer gets through.
    assert_eq!(commit(&*store, &[sample::route("r")?], &[]).await?, 1);
    Ok(())
}

pub(super) async fn a_failed_statement_spoils_its_transaction(subject: &dyn Subject) -> Result<()> {
    let store = subject.open().await;
    let version = new_id();
    let mut transaction = store.begin().await?;
    transaction.put(&sample::route("r")?).await?;
    let twice = sample::versions("auth", &[(version, "v1"), (new_id(), "v1")])?;
    let refused = transaction.put(&twice).await;
    assert!(matches!(&refused, Err(StoreError::Refused(_))), "{refused:?}");
    let refused = finish(transaction, Configuration::default().digest(), Vec::new()).await;
    assert!(refused.is_err(), "a commit behind a failed statement is no commit");
    assert_eq!(store.get(Kind::Route, "r").await?, None);
    assert_eq!(store.head().await?.generation, 0);
    Ok(())
}

pub(super) async fn readers_see_the_old_state_until_the_commit(subject: &dyn Subject) -> Result<()> {
    let (writer, reader) = (subject.open().await, subject.open().await);
    let mut transaction = writer.begin().await?;
    transaction.put(&sample::route("r")?).await?;
    assert_eq!(reader.load().await?.configuration, Configuration::default());
    let digest = transaction.load().await?.configuration.digest();
    finish(transaction, digest, vec![super::change(Kind::Route, "r")]).await?;
    let loaded = reader.load().await?;
    assert_eq!((loaded.head.generation, loaded.configuration.routes.len()), (1, 1));
    Ok(())
}

pub(super) async fn a_generation_that_does_not_follow_is_refused(subject: &dyn Subject) -> Result<()> {
    let store = subject.open().await;
    for number in [0, 2, u64::MAX] {
        let mut transaction = store.begin().await?;
        transaction.put(&sample::route("r")?).await?;
        let new = crate::store::NewGeneration {
            number,
            digest: Configuration::default().digest(),
            created_at: crate::model::Timestamp::default(),
            actor: String::new(),
            summary: String::new(),
            changes: Vec::new(),
        };
        assert!(matches!(transaction.commit(&new).await, Err(StoreError::Refused(_))), "{number}");
    }
    assert_eq!(store.get(Kind::Route, "r").await?, None);
    Ok(())
}

pub(super) async fn generations_are_gapless_under_concurrent_writers(subject: &dyn Subject) -> Result<()> {
    // Half of the writers share a handle with others, as in one process; the rest have their own, as in several.
    let shared = subject.open().await;
    let mut stores = Vec::with_capacity(WRITERS);
    for writer in 0..WRITERS {
        stores.push(if writer % 2 == 0 { Arc::clone(&shared) } else { subject.open().await });
    }
    let writes = stores.iter().enumerate().map(|(at, store)| async move {
        let route = sample::route(&format!("r{at}"))?;
        commit(&**store, &[route], &[]).await
    });
    let mut numbers = try_join_all(writes).await?;
    numbers.sort_unstable();
    let expected: Vec<u64> = (1..).take(WRITERS).collect();
    assert_eq!(numbers, expected);
    let loaded = shared.load().await?;
    assert_eq!((loaded.head.generation, loaded.configuration.routes.len()), (20, WRITERS));
    assert!(matches!(shared.load_since(0).await?, Since::Changed { change, .. } if change.edits.len() == WRITERS));
    Ok(())
}

pub(super) async fn the_head_carries_the_digest_of_its_generation(subject: &dyn Subject) -> Result<()> {
    let store = subject.open().await;
    for item in sample::full()? {
        let number = commit(&*store, &[item], &[]).await?;
        let digest = store.load().await?.configuration.digest();
        assert_eq!(store.head().await?, Head { generation: number, digest, format: FORMAT_VERSION });
        assert_eq!(store.load().await?.head.digest, digest);
        assert_eq!(store.begin().await?.head().digest, digest);
    }
    Ok(())
}

pub(super) async fn what_changed_since_is_told_once_an_entity(subject: &dyn Subject) -> Result<()> {
    let store = subject.open().await;
    commit(&*store, &[sample::route("a")?, sample::route("b")?], &[]).await?;
    let versions = sample::versions("auth", &[(new_id(), "v1")])?;
    let last = sample::route("a")?;
    commit(&*store, &[sample::route("a")?, versions.clone()], &[]).await?;
    commit(&*store, std::slice::from_ref(&last), &[(Kind::Route, "b")]).await?;
    let gone = Edit::Delete { kind: Kind::Route, name: "b".to_owned() };

    let edits =
        |items: [Item; 2], gone: &Edit| items.into_iter().map(Edit::Put).chain([gone.clone()]).collect::<Vec<_>>();
    assert_eq!(changed(store.load_since(1).await?), Some(edits([versions, last.clone()], &gone)));
    assert_eq!(changed(store.load_since(2).await?), Some(vec![Edit::Put(last), gone]));
    assert!(matches!(store.load_since(3).await?, Since::UpToDate));
    let mut transaction = store.begin().await?;
    assert!(changed(transaction.load_since(2).await?).is_some(), "a transaction answers the same");
    Ok(())
}

/// A reader that mixed two generations would see a configuration that never was.
pub(super) async fn a_load_sees_one_generation(subject: &dyn Subject) -> Result<()> {
    let (writer, reader) = (subject.open().await, subject.open().await);
    let write = async {
        for turn in 0..30 {
            // Kinds that are read first and last, so that a commit in between would show.
            let service = sample::service(&format!("s{turn}"), "")?;
            let certificate = json!({"id": new_id(), "name": turn.to_string(), "hosts": [], "certificatePem": "", "privateKey": "file:a"});
            commit(&*writer, &[service, sample::item(Kind::Certificate, certificate)?], &[]).await?;
        }
        Ok(())
    };
    let read = async {
        loop {
            let loaded = reader.load().await?;
            assert_eq!(loaded.configuration.digest(), loaded.head.digest, "at generation {}", loaded.head.generation);
            assert_eq!(loaded.configuration.services.len(), loaded.configuration.certificates.len());
            if loaded.head.generation == 30 {
                return Ok(());
            }
        }
    };
    futures::try_join!(write, read).map(drop)
}

/// The edits, when they lead to the head and nothing is spoilt.
fn changed(since: Since) -> Option<Vec<Edit>> {
    match since {
        Since::Changed { head, change: Change { generation, edits }, spoilt } => {
            (head.generation == generation && spoilt.is_empty()).then_some(edits)
        }
        Since::UpToDate | Since::Reload => None,
    }
}

pub(super) async fn a_history_that_can_not_tell_says_reload(subject: &dyn Subject) -> Result<()> {
    let store = subject.open().await;
    for name in ["a", "b", "c"] {
        commit(&*store, &[sample::route(name)?], &[]).await?;
    }
    assert!(matches!(store.load_since(4).await?, Since::Reload), "ahead of the head");
    subject.execute("DELETE FROM config_generation WHERE number = 2").await;
    assert!(matches!(store.load_since(0).await?, Since::Reload), "a gap");
    assert!(matches!(store.load_since(1).await?, Since::Reload), "the first is missing");
    assert!(changed(store.load_since(2).await?).is_some(), "behind the gap it can tell");
    subject.execute("UPDATE config_generation SET touched = '[[\"ghost\", \"x\"]]' WHERE number = 3").await;
    assert!(matches!(store.load_since(2).await?, Since::Reload), "a kind of a later format");
    subject.execute("UPDATE config_head SET generation = 2000").await;
    assert!(matches!(store.load_since(3).await?, Since::Reload), "too far behind");
    Ok(())
}

pub(super) async fn generations_are_listed_the_newest_first(subject: &dyn Subject) -> Result<()> {
    let store = subject.open().await;
    for name in ["a", "b", "c", "d"] {
        commit(&*store, &[sample::route(name)?], &[]).await?;
    }
    subject.execute("UPDATE config_generation SET actor = 'Ann', summary = '100% of \u{dc}' WHERE number = 2").await;
    let page = HistoryPage { limit: 3, ..HistoryPage::default() };
    let listed = store.generations(&page).await?;
    assert_eq!(listed.iter().map(|it| it.number).collect::<Vec<_>>(), [4, 3, 2]);
    assert_eq!((listed[0].actor.as_str(), listed[0].summary.as_str()), ("test", "a check"));
    assert_eq!(listed[0].created_at.micros(), 1_795_000_000_000_000);
    let rest = store.generations(&HistoryPage { before: Some(2), ..page.clone() }).await?;
    assert_eq!(rest.iter().map(|it| it.number).collect::<Vec<_>>(), [1]);
    for (search, found) in [("aNN", 1), ("100%", 1), ("1%0", 0), ("A CHECK", 3), ("_", 0), ("\u{dc}", 1)] {
        let page = HistoryPage { search: Some(search.to_owned()), ..page.clone() };
        assert_eq!(store.generations(&page).await?.len(), found, "{search}");
    }
    Ok(())
}

pub(super) async fn a_generation_reads_back_with_its_changes(subject: &dyn Subject) -> Result<()> {
    let store = subject.open().await;
    assert_eq!(store.oldest_generation().await?, None);
    for name in ["a", "b", "c"] {
        commit(&*store, &[sample::route(name)?], &[(Kind::Route, "x")]).await?;
    }
    let second = store.generation(2).await?;
    let touched = second.iter().flat_map(|it| it.changes.iter().map(|change| change.name.as_str()));
    assert_eq!(touched.collect::<Vec<_>>(), ["b", "x"]);
    for number in [0, 4, u64::MAX] {
        assert_eq!(store.generation(number).await?, None);
    }
    let behind = store.generations_behind(1, 3, 10).await?;
    assert_eq!(behind.iter().map(|it| it.number).collect::<Vec<_>>(), [2, 3]);
    assert_eq!(store.generations_behind(0, 2, 1).await?.len(), 1);
    subject.execute("UPDATE config_generation SET changes = '[7]' WHERE number = 2").await;
    let spoilt = store.generation(2).await;
    assert!(matches!(&spoilt, Err(StoreError::Spoilt(problem)) if problem.path == "config_generation/2"), "{spoilt:?}");
    Ok(())
}

pub(super) async fn old_generations_are_forgotten_and_the_newest_never(subject: &dyn Subject) -> Result<()> {
    let store = subject.open().await;
    assert_eq!(store.forget_generations(0).await?, 0);
    for name in ["a", "b", "c", "d"] {
        commit(&*store, &[sample::route(name)?], &[]).await?;
    }
    for (keep, forgotten, oldest) in [(u64::MAX, 0, 1), (4, 0, 1), (2, 2, 3), (2, 0, 3), (0, 1, 4), (0, 0, 4)] {
        assert_eq!(store.forget_generations(keep).await?, forgotten, "{keep}");
        assert_eq!(store.oldest_generation().await?, Some(oldest), "{keep}");
    }
    let loaded = store.load().await?;
    assert_eq!((loaded.head.generation, loaded.configuration.routes.len()), (4, 4), "the configuration stays");
    assert!(matches!(store.load_since(2).await?, Since::Reload), "a reader that is behind starts again");
    assert!(matches!(store.load_since(3).await?, Since::Changed { .. }));
    assert_eq!(commit(&*store, &[sample::route("e")?], &[]).await?, 5);
    Ok(())
}
