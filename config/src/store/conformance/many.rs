//! Checks of many entities at once: they come out as if each had been written by itself.

use std::collections::BTreeMap;

use uuid::Uuid;

use crate::clock::new_id;
use crate::model::{Configuration, Item, Kind};
use crate::store::{Result, Store};

use super::{Subject, change, commit, finish, load, sample};

/// So many that all children are read at once, and no multiple of what one statement takes.
const MANY: usize = 1_030;

pub(super) async fn many_entities_are_written_as_each_would_be(subject: &dyn Subject) -> Result<()> {
    let store = subject.open().await;
    let stranger = sample::versions("stranger", &[(new_id(), "v1")])?;
    commit(&*store, std::slice::from_ref(&stranger), &[]).await?;
    let ids: Vec<[Uuid; 3]> = (0..MANY).map(|_| [new_id(), new_id(), new_id()]).collect();
    let services = |of: fn([Uuid; 3]) -> Vec<(Uuid, &'static str)>| -> Result<Vec<Item>> {
        ids.iter().enumerate().map(|(at, ids)| sample::versions(&format!("s{at}"), &of(*ids))).collect()
    };
    // Made, then: a name swapped, one gone, one new, then all of them gone.
    let steps = [
        services(|[a, b, _]| vec![(a, "v1"), (b, "v2")])?,
        services(|[a, b, c]| vec![(c, "v0"), (b, "v1"), (a, "v2")])?,
        services(|[_, _, c]| vec![(c, "v0")])?,
        services(|_| Vec::new())?,
    ];
    for (step, items) in steps.into_iter().enumerate() {
        write(&*store, &items).await?;
        let mut expected: Configuration = Configuration::default();
        for item in items.into_iter().chain([stranger.clone()]) {
            expected.put(item);
        }
        let loaded = load(&*store).await?;
        assert_eq!(loaded.spoilt, []);
        assert!(loaded.configuration.services == expected.services, "step {step}");
    }
    Ok(())
}

pub(super) async fn many_entities_mend_what_was_spoilt(subject: &dyn Subject) -> Result<()> {
    let store = subject.open().await;
    let ids: Vec<Uuid> = (0..MANY).map(|_| new_id()).collect();
    let items: Result<Vec<Item>> =
        ids.iter().enumerate().map(|(at, id)| sample::versions(&format!("s{at}"), &[(*id, "v1")])).collect();
    let items = items?;
    write(&*store, &items).await?;
    subject.execute("UPDATE gateway_service_version SET instances = '{}'").await;
    assert_eq!(load(&*store).await?.spoilt.len(), MANY);
    write(&*store, &items).await?;
    let loaded = load(&*store).await?;
    assert_eq!((loaded.spoilt.len(), loaded.configuration.services.len()), (0, MANY));
    Ok(())
}

pub(super) async fn many_names_are_deleted_and_no_other(subject: &dyn Subject) -> Result<()> {
    let store = subject.open().await;
    let items: Result<Vec<Item>> =
        (0..150).map(|at| sample::versions(&format!("s{at}"), &[(new_id(), "v1")])).collect();
    write(&*store, &items?).await?;
    let names: Vec<String> = (0..150).filter(|at| at % 10 != 0).map(|at| format!("s{at}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).chain(["nobody"]).collect();
    let mut transaction = store.begin().await?;
    transaction.delete_all(Kind::Service, &names).await?;
    let digest = transaction.load().await?.configuration.digest();
    finish(transaction, digest, names.iter().map(|name| change(Kind::Service, name)).collect()).await?;
    let left = load(&*store).await?.configuration.services;
    assert_eq!(left.len(), 15, "{:?}", left.keys());
    Ok(())
}

pub(super) async fn a_reader_sees_one_state_and_keeps_nobody_from_writing(subject: &dyn Subject) -> Result<()> {
    let store = subject.open().await;
    let (one, two) = (sample::service("one", "before")?, sample::service("two", "before")?);
    commit(&*store, std::slice::from_ref(&one), &[]).await?;
    let mut reader = store.read().await?;
    assert_eq!(reader.get(Kind::Service, "one").await?.as_ref(), Some(&one));
    commit(&*store, &[sample::service("one", "after")?, two], &[]).await?;
    assert_eq!((reader.head().generation, store.head().await?.generation), (1, 2));
    assert_eq!(reader.get(Kind::Service, "one").await?.as_ref(), Some(&one));
    assert_eq!(reader.all(Kind::Service).await?.0, [one]);
    assert_eq!(reader.load().await?.configuration.services.len(), 1);
    reader.end().await?;
    let after: BTreeMap<_, _> = load(&*store).await?.configuration.services;
    assert_eq!(after.len(), 2);
    Ok(())
}

async fn write(store: &dyn Store, items: &[Item]) -> Result<()> {
    let mut transaction = store.begin().await?;
    transaction.put_all(&items.iter().collect::<Vec<&Item>>()).await?;
    let digest = transaction.load().await?.configuration.digest();
    let changes = items.iter().map(|item| change(item.kind(), item.name())).collect();
    finish(transaction, digest, changes).await.map(drop)
}
