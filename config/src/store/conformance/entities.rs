//! Checks of single entities: what was put reads back, is replaced, listed and deleted.

use serde_json::json;

use crate::clock::new_id;
use crate::model::{Configuration, DEFAULTS_NAME, Item, Kind};
use crate::store::{Page, Result, Since, StoreError};

use super::{Subject, commit, load, sample};

pub(super) async fn every_field_of_every_kind_reads_back(subject: &dyn Subject) -> Result<()> {
    let store = subject.open().await;
    let items = sample::full()?;
    commit(&*store, &items, &[]).await?;
    let loaded = load(&*store).await?;
    assert_eq!(loaded.spoilt, [], "nothing is spoilt");
    let mut expected = Configuration::default();
    for item in &items {
        assert_eq!(store.get(item.kind(), item.name()).await?.as_ref(), Some(item), "get answers what was put");
        assert_eq!(
            store.list(item.kind(), &page(None, None, 10)).await?,
            std::slice::from_ref(item),
            "list answers what was put"
        );
        expected.put(item.clone());
    }
    assert_eq!(loaded.configuration, expected, "load answers what was put");
    assert_eq!(loaded.configuration.digest(), expected.digest(), "and its digest is the same");
    Ok(())
}

pub(super) async fn children_read_back_in_the_order_written(subject: &dyn Subject) -> Result<()> {
    let store = subject.open().await;
    let (a, b, c) = (new_id(), new_id(), new_id());
    for order in [[(c, "c"), (a, "a"), (b, "b")], [(b, "b"), (c, "c"), (a, "a")]] {
        let item = sample::versions("auth", &order)?;
        commit(&*store, std::slice::from_ref(&item), &[]).await?;
        assert_eq!(store.get(Kind::Service, "auth").await?.as_ref(), Some(&item), "get keeps the order");
        let loaded = load(&*store).await?.configuration;
        assert_eq!(loaded.services.get("auth").cloned().map(Item::Service), Some(item), "load keeps the order");
    }
    Ok(())
}

pub(super) async fn children_may_swap_their_names(subject: &dyn Subject) -> Result<()> {
    let store = subject.open().await;
    let (a, b) = (new_id(), new_id());
    commit(&*store, &[sample::versions("auth", &[(a, "v1"), (b, "v2")])?], &[]).await?;
    let swapped = sample::versions("auth", &[(a, "v2"), (b, "v1")])?;
    commit(&*store, std::slice::from_ref(&swapped), &[]).await?;
    assert_eq!(store.get(Kind::Service, "auth").await?, Some(swapped));
    Ok(())
}

pub(super) async fn a_put_replaces_the_entity_of_its_name(subject: &dyn Subject) -> Result<()> {
    let store = subject.open().await;
    commit(&*store, &sample::full()?, &[]).await?;
    // Of the same name, with an id of its own, and with most fields and all children gone.
    let plain = sample::service("auth", "replaced")?;
    commit(&*store, std::slice::from_ref(&plain), &[]).await?;
    assert_eq!(store.get(Kind::Service, "auth").await?, Some(plain));
    assert_eq!(load(&*store).await?.spoilt, []);
    Ok(())
}

pub(super) async fn a_deleted_entity_leaves_nothing(subject: &dyn Subject) -> Result<()> {
    let store = subject.open().await;
    let items = sample::full()?;
    commit(&*store, &items, &[]).await?;
    let gone: Vec<(Kind, &str)> = items.iter().map(|item| (item.kind(), item.name())).collect();
    commit(&*store, &[], &gone).await?;
    assert_eq!(load(&*store).await?.configuration, Configuration::default());
    // Children went with their parents: the same ids can be written again.
    commit(&*store, &items, &[]).await?;
    for item in items {
        assert_eq!(store.get(item.kind(), item.name()).await?.as_ref(), Some(&item));
    }
    Ok(())
}

pub(super) async fn the_defaults_exist_without_a_row(subject: &dyn Subject) -> Result<()> {
    let store = subject.open().await;
    let fresh = Configuration::default().defaults;
    assert_eq!(store.get(Kind::Defaults, DEFAULTS_NAME).await?, Some(Item::Defaults(fresh.clone())));
    assert_eq!(store.get(Kind::Defaults, "other").await?, None);
    assert_eq!(load(&*store).await?.configuration.defaults, fresh);
    commit(&*store, &[], &[(Kind::Defaults, DEFAULTS_NAME)]).await?;
    assert!(matches!(store.load_since(0).await?, Since::Changed { change, .. } if change.edits.len() == 1));
    Ok(())
}

pub(super) async fn pages_follow_each_other_by_name(subject: &dyn Subject) -> Result<()> {
    let store = subject.open().await;
    // Upper case before lower case, and "-" before letters: bytes, not a language's order.
    let names = ["a", "a-b", "ab", "b", "c"];
    let items: Result<Vec<Item>> = names.iter().rev().map(|name| sample::versions(name, &[(new_id(), name)])).collect();
    commit(&*store, &items?, &[]).await?;
    let mut seen = Vec::new();
    let mut after = None;
    loop {
        let items = store.list(Kind::Service, &page(after.as_deref(), None, 2)).await?;
        for item in &items {
            assert_eq!(store.get(Kind::Service, item.name()).await?.as_ref(), Some(item), "with its children");
            seen.push(item.name().to_owned());
        }
        after = seen.last().cloned();
        if items.len() < 2 {
            break;
        }
    }
    assert_eq!(seen, names);
    Ok(())
}

pub(super) async fn a_search_finds_names_and_descriptions_in_any_case(subject: &dyn Subject) -> Result<()> {
    let store = subject.open().await;
    let items = [sample::service("auth", "Signs users in")?, sample::service("billing", "50% off_today")?];
    commit(&*store, &items, &[]).await?;
    for (search, expected) in [
        ("AUT", &["auth"][..]),
        ("SIGNS", &["auth"]),
        ("i", &["auth", "billing"]),
        ("%", &["billing"]),
        ("_", &["billing"]),
    ] {
        let found = store.list(Kind::Service, &page(None, Some(search), 10)).await?;
        let found: Vec<&str> = found.iter().map(Item::name).collect();
        assert_eq!(found, expected, "{search}");
    }
    Ok(())
}

pub(super) async fn what_no_row_can_hold_is_refused(subject: &dyn Subject) -> Result<()> {
    let store = subject.open().await;
    for (field, value) in [("path", json!("/a\0b")), ("maxBodyBytes", json!(u64::MAX)), ("hosts", json!(["a\0b"]))] {
        let route = sample::item(Kind::Route, json!({"id": new_id(), "name": "r", field: value}))?;
        let refused = store.begin().await?.put(&route).await;
        let path = format!("routes/r/{field}");
        assert!(matches!(&refused, Err(StoreError::Spoilt(problem)) if problem.path == path), "{refused:?}");
    }
    Ok(())
}

fn page(after: Option<&str>, search: Option<&str>, limit: u32) -> Page {
    Page { after: after.map(str::to_owned), limit, search: search.map(str::to_owned) }
}
