//! Checks of admins and their tokens.

use std::collections::HashMap;

use crate::clock::new_id;
use crate::master_key::MasterKey;
use crate::model::{Action, Admin, ChainKey, Id, NewAudit, PersonalToken, Role, Timestamp};
use crate::store::{AdminWritten, Page, Result, Store, StoreError};

use super::Subject;

fn at(micros: i64) -> Timestamp {
    Timestamp::from_micros(micros)
}

fn admin(email: &str, role: Role) -> Admin {
    let (created_at, updated_at) = (at(5), at(6));
    let (email, name) = (email.to_owned(), format!("Name of {email}"));
    Admin { id: Id::new(new_id()), email, name, role, is_active: true, epoch: 0, revision: 1, created_at, updated_at }
}

fn changed(before: &Admin, change: impl FnOnce(&mut Admin)) -> Admin {
    let mut after = Admin { revision: before.revision + 1, ..before.clone() };
    change(&mut after);
    after
}

fn chain() -> Result<ChainKey> {
    let master = MasterKey::of("a master key of more than 32 characters, I think");
    master.map(|master| ChainKey::of(&master)).map_err(|error| StoreError::Refused(error.to_string()))
}

fn deed() -> NewAudit {
    let (summary, changes) = ("a check".to_owned(), Vec::new());
    NewAudit { at: at(7), actor: "test".into(), action: Action::AdminUpdate, summary, generation: None, changes }
}

async fn add(store: &dyn Store, admin: &Admin) -> Result<AdminWritten> {
    store.add_admin(admin, "$argon2id$of the password", false, &deed(), &chain()?).await
}

async fn replace(store: &dyn Store, before: &Admin, after: &Admin) -> Result<AdminWritten> {
    store.replace_admin(before, after, None, &deed(), &chain()?).await
}

pub(super) async fn an_admin_reads_back_by_id_by_email_and_in_pages(subject: &dyn Subject) -> Result<()> {
    let store = subject.open().await;
    assert!(!store.has_admins().await?);
    let (ada, bob) = (admin("ada@a.test", Role::Admin), admin("bob_@a.test", Role::Viewer));
    for admin in [&bob, &ada] {
        assert_eq!(add(&*store, admin).await?, AdminWritten::Done);
    }
    assert!(store.has_admins().await?);
    assert_eq!(store.admin(ada.id).await?.as_ref(), Some(&ada));
    assert_eq!(store.admin_of_email("bob_@a.test").await?.as_ref(), Some(&bob));
    assert_eq!(store.admin_of_email("nobody@a.test").await?, None);
    assert_eq!(store.password_hash(ada.id).await?.as_deref(), Some("$argon2id$of the password"));
    assert_eq!(store.password_hash(Id::new(new_id())).await?, None);

    let page = |after: Option<&str>, search: Option<&str>| Page {
        after: after.map(str::to_owned),
        limit: 1,
        search: search.map(str::to_owned),
    };
    let (only_ada, only_bob) = (vec![ada], vec![bob]);
    assert_eq!(store.admins(&page(None, None)).await?, only_ada);
    assert_eq!(store.admins(&page(Some("ada@a.test"), None)).await?, only_bob);
    assert_eq!(store.admins(&page(None, Some("NAME of b"))).await?, only_bob);
    assert_eq!(store.admins(&page(None, Some("_@"))).await?, only_bob, "no letter stands for another");
    assert_eq!(store.admins(&page(None, Some("%"))).await?, []);
    Ok(())
}

pub(super) async fn a_write_to_admins_leaves_its_entry_and_a_refused_one_none(subject: &dyn Subject) -> Result<()> {
    let store = subject.open().await;
    let ada = admin("ada@a.test", Role::Admin);
    add(&*store, &ada).await?;
    let after = changed(&ada, |admin| "Ada".clone_into(&mut admin.name));
    assert_eq!(store.replace_admin(&ada, &after, Some("another"), &deed(), &chain()?).await?, AdminWritten::Done);
    assert_eq!(store.admin(ada.id).await?.as_ref(), Some(&after));
    assert_eq!(store.password_hash(ada.id).await?.as_deref(), Some("another"));
    assert_eq!(store.audit_head().await?.number, 2);

    assert_eq!(replace(&*store, &ada, &after).await?, AdminWritten::Stale);
    assert_eq!(add(&*store, &admin("ada@a.test", Role::Viewer)).await?, AdminWritten::EmailTaken);
    assert_eq!(store.remove_admin(&after, &deed(), &chain()?).await?, AdminWritten::LastAdmin);
    assert_eq!(store.audit_head().await?.number, 2);
    Ok(())
}

pub(super) async fn of_processes_that_start_at_once_one_makes_the_first_admin(subject: &dyn Subject) -> Result<()> {
    let (here, there) = (subject.open().await, subject.open().await);
    let (mine, theirs) = (admin("mine@a.test", Role::Admin), admin("theirs@a.test", Role::Admin));
    let (deed, chain) = (deed(), chain()?);
    let first = here.add_admin(&mine, "hash", true, &deed, &chain);
    let second = there.add_admin(&theirs, "hash", true, &deed, &chain);
    let (first, second) = futures::join!(first, second);
    let mut became = [first?, second?];
    became.sort_by_key(|written| *written != AdminWritten::Done);
    assert_eq!(became, [AdminWritten::Done, AdminWritten::NotFirst]);
    assert_eq!(here.admins(&Page { limit: 9, ..Page::default() }).await?.len(), 1);
    Ok(())
}

pub(super) async fn somebody_always_manages_admins(subject: &dyn Subject) -> Result<()> {
    let (here, there) = (subject.open().await, subject.open().await);
    let (ada, bob) = (admin("ada@a.test", Role::Admin), admin("bob@a.test", Role::Admin));
    let idle = Admin { is_active: false, ..admin("idle@a.test", Role::Admin) };
    for admin in [&ada, &bob, &idle, &admin("op@a.test", Role::Operator)] {
        add(&*here, admin).await?;
    }
    // Each takes the other's role at the same moment, again and again: what is to be found is a race.
    let demoted = |before: &Admin| changed(before, |admin| admin.role = Role::Viewer);
    let mut managing = [ada, bob];
    for _ in 0..10 {
        let [ada, bob] = &managing;
        let (no_ada, no_bob) = (demoted(ada), demoted(bob));
        let (first, second) = futures::join!(replace(&*here, ada, &no_ada), replace(&*there, bob, &no_bob));
        let (left, gone, other) = match (first?, second?) {
            (AdminWritten::LastAdmin, other) => (ada, no_bob, other),
            (other, _) => (bob, no_ada, other),
        };
        assert_eq!(other, AdminWritten::Done);
        assert_eq!(here.admin(left.id).await?.as_ref(), Some(left));
        let back = changed(&gone, |admin| admin.role = Role::Admin);
        assert_eq!(replace(&*here, &gone, &back).await?, AdminWritten::Done);
        managing = [left.clone(), back];
    }
    let [left, other] = &managing;
    assert_eq!(here.remove_admin(other, &deed(), &chain()?).await?, AdminWritten::Done);

    let inactive = changed(left, |admin| admin.is_active = false);
    assert_eq!(replace(&*here, left, &inactive).await?, AdminWritten::LastAdmin);
    assert_eq!(replace(&*here, left, &demoted(left)).await?, AdminWritten::LastAdmin);
    assert_eq!(here.remove_admin(left, &deed(), &chain()?).await?, AdminWritten::LastAdmin);
    let renamed = changed(left, |admin| "x".clone_into(&mut admin.name));
    assert_eq!(replace(&*here, left, &renamed).await?, AdminWritten::Done);
    assert_eq!(here.remove_admin(&idle, &deed(), &chain()?).await?, AdminWritten::Done);
    assert_eq!(here.admin(idle.id).await?, None);
    Ok(())
}

fn token(of: &Admin) -> PersonalToken {
    let (name, role) = ("ci".to_owned(), Role::Operator);
    let (created_at, expires_at) = (at(8), Some(at(9)));
    PersonalToken { id: Id::new(new_id()), admin_id: of.id, name, role, created_at, expires_at, revoked_at: None }
}

pub(super) async fn a_token_is_found_by_its_hash_and_goes_with_its_admin(subject: &dyn Subject) -> Result<()> {
    let store = subject.open().await;
    let (ada, bob) = (admin("ada@a.test", Role::Admin), admin("bob@a.test", Role::Viewer));
    add(&*store, &ada).await?;
    add(&*store, &bob).await?;
    let (deed, chain) = (deed(), chain()?);
    let (first, second) = (token(&bob), PersonalToken { expires_at: None, ..token(&bob) });
    assert_eq!(store.add_token(&first, "one", &deed, &chain).await?, AdminWritten::Done);
    assert_eq!(store.add_token(&second, "two", &deed, &chain).await?, AdminWritten::Done);
    let nobodys = token(&admin("gone@a.test", Role::Viewer));
    assert_eq!(store.add_token(&nobodys, "three", &deed, &chain).await?, AdminWritten::Stale);

    let known = store.token_of_hash("one").await?;
    assert_eq!(known.map(|known| (known.token, known.admin)), Some((first.clone(), bob.clone())));
    assert!(store.token_of_hash("three").await?.is_none());
    assert_eq!(store.revoke_token(first.id, at(10), &deed, &chain).await?, AdminWritten::Done);
    assert_eq!(store.revoke_token(first.id, at(11), &deed, &chain).await?, AdminWritten::Stale, "once is enough");
    let revoked = PersonalToken { revoked_at: Some(at(10)), ..first };
    assert_eq!(store.tokens(bob.id).await?, [revoked, second.clone()]);
    assert_eq!(store.tokens(ada.id).await?, []);
    assert_eq!(store.audit_head().await?.number, 5);

    assert_eq!(store.remove_admin(&bob, &deed, &chain).await?, AdminWritten::Done);
    assert!(store.token_of_hash("two").await?.is_none());
    Ok(())
}

pub(super) async fn the_last_use_of_a_token_only_moves_forward(subject: &dyn Subject) -> Result<()> {
    let store = subject.open().await;
    let (used, never): (Id<PersonalToken>, Id<PersonalToken>) = (Id::new(new_id()), Id::new(new_id()));
    for micros in [5, 7, 6] {
        store.record_token_use(used, at(micros)).await?;
    }
    assert_eq!(store.token_uses(&[used, never]).await?, HashMap::from([(used, at(7))]));
    Ok(())
}
