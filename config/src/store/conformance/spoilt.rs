//! Checks of rows that were edited by hand and can't be read.

use crate::model::{Edit, Kind};
use crate::store::{Page, Result, Since, StoreError};

use super::{Subject, commit, load, sample};

pub(super) async fn a_spoilt_row_costs_only_its_entity(subject: &dyn Subject) -> Result<()> {
    let store = subject.open().await;
    let spoil: [(&str, &str, &'static str); 6] = [
        ("services/auth/protocol", "gateway_service_config", "UPDATE gateway_service_config SET protocol = 'smoke'"),
        (
            "services/auth/versions/0/weight",
            "gateway_service_version",
            "UPDATE gateway_service_version SET weight = -1",
        ),
        ("routes/auth/ipAllow", "gateway_route", "UPDATE gateway_route SET ip_allow = '[\"moon\"]'"),
        ("queues/orders/concurrency", "gateway_queue", "UPDATE gateway_queue SET concurrency = 5000000000"),
        ("issuers/idp/clientSecret", "gateway_jwt_issuer", "UPDATE gateway_jwt_issuer SET client_secret = 'hunter2'"),
        ("certificates/shop/hosts", "gateway_certificate", "UPDATE gateway_certificate SET hosts = '7'"),
    ];
    for (path, table, statement) in spoil {
        let generation = commit(&*store, &sample::full()?, &[]).await?;
        subject.execute(statement).await;
        let loaded = load(&*store).await?;
        assert_eq!(loaded.configuration.items().count(), 6, "{path}: the other five and the defaults stand");
        let [problem] = loaded.spoilt.as_slice() else { return Err(unexpected(path)) };
        assert!(problem.path.starts_with(path), "{problem}");
        assert!(problem.message.contains(table), "{problem}");
        assert!(!problem.message.contains("hunter2"), "{problem}");

        let (kind, name) = kind_and_name(path)?;
        let got = store.get(kind, name).await;
        assert!(matches!(&got, Err(StoreError::Spoilt(found)) if found == problem), "{got:?}");
        assert_eq!(store.list(kind, &Page { limit: 10, ..Page::default() }).await?, []);
        let Since::Changed { change, spoilt, .. } = store.load_since(generation - 1).await? else {
            return Err(unexpected(path));
        };
        assert_eq!((change.edits.len(), spoilt.as_slice()), (6, loaded.spoilt.as_slice()), "{path}");
    }
    Ok(())
}

pub(super) async fn a_spoilt_entity_can_be_replaced_and_deleted(subject: &dyn Subject) -> Result<()> {
    let store = subject.open().await;
    commit(&*store, &sample::full()?, &[]).await?;
    subject.execute("UPDATE gateway_service_version SET instances = '{}'").await;
    subject.execute("UPDATE gateway_route SET target = '[]'").await;
    assert_eq!(load(&*store).await?.spoilt.len(), 2);
    let mended = sample::versions("auth", &[(crate::clock::new_id(), "v1")])?;
    let generation = commit(&*store, std::slice::from_ref(&mended), &[(Kind::Route, "auth")]).await?;
    assert_eq!(load(&*store).await?.spoilt, []);
    let Since::Changed { change, .. } = store.load_since(generation - 1).await? else { return Err(unexpected("auth")) };
    assert_eq!(change.edits, [Edit::Put(mended), Edit::Delete { kind: Kind::Route, name: "auth".to_owned() }]);
    Ok(())
}

pub(super) async fn a_row_of_a_later_format_is_not_read(subject: &dyn Subject) -> Result<()> {
    let store = subject.open().await;
    commit(&*store, &sample::full()?, &[]).await?;
    subject.execute("UPDATE gateway_queue SET format_version = 99").await;
    let loaded = load(&*store).await?;
    assert_eq!(loaded.configuration.queues.len(), 0);
    assert!(loaded.spoilt.iter().any(|problem| problem.message.contains("format 99")), "{:?}", loaded.spoilt);
    Ok(())
}

fn kind_and_name(path: &str) -> Result<(Kind, &str)> {
    let mut parts = path.split('/');
    let kind = parts.next().and_then(|plural| Kind::ALL.into_iter().find(|kind| kind.plural() == plural));
    kind.zip(parts.next()).ok_or_else(|| unexpected(path))
}

fn unexpected(path: &str) -> StoreError {
    StoreError::Refused(format!("{path}: the store did not answer as the check expects"))
}
