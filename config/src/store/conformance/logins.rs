//! Checks of sessions and of failed logins.

use crate::clock::new_id;
use crate::model::{AdminSession, Id, Timestamp};
use crate::store::{Failures, Renewal, Result};

use super::Subject;

const GRACE_MILLIS: i64 = 10;

fn at(millis: i64) -> Timestamp {
    Timestamp::from_micros(millis * 1000)
}

fn session() -> AdminSession {
    let (id, admin_id) = (Id::new(new_id()), Id::new(new_id()));
    AdminSession { id, admin_id, epoch: 3, created_at: at(100), renewed_at: at(100), expires_at: at(1000) }
}

pub(super) async fn a_session_is_renewed_with_its_newest_secret(subject: &dyn Subject) -> Result<()> {
    let store = subject.open().await;
    let (mine, other) = (session(), session());
    store.begin_session(&mine, "first").await?;
    store.begin_session(&other, "other").await?;
    assert_eq!(store.session(mine.id).await?.as_ref(), Some(&mine));
    assert_eq!(store.renew_session(mine.id, "first", "second", 0, at(200)).await?, Renewal::Done);
    assert_eq!(store.renew_session(mine.id, "second", "third", 0, at(300)).await?, Renewal::Done);
    let renewed = AdminSession { renewed_at: at(300), ..mine };
    assert_eq!(subject.open().await.session(renewed.id).await?.as_ref(), Some(&renewed));

    // The first secret again: it was stolen, or the others were.
    assert_eq!(store.renew_session(renewed.id, "first", "x", GRACE_MILLIS, at(301)).await?, Renewal::Reused);
    assert_eq!(store.renew_session(renewed.id, "third", "x", 0, at(302)).await?, Renewal::Gone);
    assert_eq!(store.session(renewed.id).await?, None);
    assert_eq!(store.session(other.id).await?, Some(other), "nobody else's ends");
    Ok(())
}

pub(super) async fn of_two_who_renew_with_one_secret_one_wins_and_the_other_ends_the_session(
    subject: &dyn Subject,
) -> Result<()> {
    let (here, there) = (subject.open().await, subject.open().await);
    for _ in 0..10 {
        let session = session();
        here.begin_session(&session, "first").await?;
        let mine = here.renew_session(session.id, "first", "mine", 0, at(200));
        let theirs = there.renew_session(session.id, "first", "theirs", 0, at(200));
        let (mine, theirs) = futures::join!(mine, theirs);
        let mut became = [mine?, theirs?];
        became.sort_by_key(|renewal| *renewal != Renewal::Done);
        assert_eq!(became, [Renewal::Done, Renewal::Reused]);
        assert_eq!(here.session(session.id).await?, None);
    }
    Ok(())
}

pub(super) async fn within_the_grace_the_secret_before_does_no_harm(subject: &dyn Subject) -> Result<()> {
    let store = subject.open().await;
    let session = session();
    store.begin_session(&session, "first").await?;
    let known = async |hash: &str, millis| {
        let found = store.session_of_secret(session.id, hash, GRACE_MILLIS, at(millis)).await?;
        Ok::<_, crate::store::StoreError>(found.is_some())
    };
    assert!(known("first", 150).await?);
    assert_eq!(store.renew_session(session.id, "first", "second", GRACE_MILLIS, at(200)).await?, Renewal::Done);
    assert!(known("second", 200).await? && known("first", 209).await?);
    assert!(!known("first", 210).await? && !known("other", 200).await?);
    assert_eq!(store.renew_session(session.id, "first", "x", GRACE_MILLIS, at(209)).await?, Renewal::Raced);
    assert!(known("second", 209).await?, "it lives on as it was");
    assert_eq!(store.renew_session(session.id, "first", "x", GRACE_MILLIS, at(210)).await?, Renewal::Reused);
    assert!(!known("second", 210).await?);
    Ok(())
}

pub(super) async fn a_session_ends_by_logout_by_age_and_when_there_are_too_many(subject: &dyn Subject) -> Result<()> {
    let store = subject.open().await;
    let (ended, expired) = (session(), session());
    store.begin_session(&ended, "a").await?;
    store.begin_session(&expired, "b").await?;
    store.keep_session(expired.id, 4).await?;
    assert_eq!(store.session(expired.id).await?.map(|session| session.epoch), Some(4));
    assert!(store.end_session(ended.id).await?);
    assert!(!store.end_session(ended.id).await?, "once is enough");
    assert_eq!(store.renew_session(expired.id, "b", "x", 0, at(1000)).await?, Renewal::Gone);

    let admin_id = Id::new(new_id());
    let later = |at_millis: i64| AdminSession {
        admin_id,
        created_at: at(at_millis),
        renewed_at: at(at_millis),
        expires_at: at(9000),
        ..session()
    };
    let first = later(2000);
    store.begin_session(&first, "first").await?;
    assert_eq!(store.session(expired.id).await?, None, "a login takes away what has expired");
    let second = later(2001);
    store.begin_session(&second, "second").await?;
    for millis in 0..199 {
        store.begin_session(&later(3000 + millis), "more").await?;
    }
    assert_eq!(store.session(first.id).await?, None, "200 an admin stay");
    assert_eq!(store.session(second.id).await?, Some(second));
    Ok(())
}

pub(super) async fn failed_logins_are_counted_until_they_are_old_or_forgiven(subject: &dyn Subject) -> Result<()> {
    let (here, there) = (subject.open().await, subject.open().await);
    assert_eq!(here.failures(&["email", "address"], at(0)).await?, [Failures::default(); 2]);
    for round in 0..5 {
        let now = at(100 + round);
        let (both, again) = (["email", "address"], ["address", "email"]);
        let mine = here.record_failures(&both, at(0), now);
        let theirs = there.record_failures(&again, at(0), now);
        let (mine, theirs) = futures::join!(mine, theirs);
        mine.and(theirs)?;
    }
    let all = Failures { count: 10, last_at: at(104) };
    assert_eq!(here.failures(&["email", "address"], at(104)).await?, [all; 2]);
    assert_eq!(here.failures(&["email"], at(105)).await?, [Failures::default()], "they are old");

    here.forgive_failures(&["email"]).await?;
    assert_eq!(there.failures(&["email", "address"], at(0)).await?, [Failures::default(), all]);
    here.record_failures(&["email"], at(105), at(200)).await?;
    let one = Failures { count: 1, last_at: at(200) };
    assert_eq!(there.failures(&["email", "address"], at(0)).await?, [one, Failures::default()]);
    Ok(())
}
