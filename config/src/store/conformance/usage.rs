//! Checks of the last use of API keys.

use std::collections::HashMap;

use crate::clock::new_id;
use crate::model::{ApiKey, Id, Timestamp};
use crate::store::Result;

use super::Subject;

fn key() -> Id<ApiKey> {
    Id::new(new_id())
}

fn at(micros: i64) -> Timestamp {
    Timestamp::from_micros(micros)
}

pub(super) async fn the_last_use_of_a_key_only_moves_forward(subject: &dyn Subject) -> Result<()> {
    let store = subject.open().await;
    let (first, second, never) = (key(), key(), key());
    store.record_key_usage(&[(first, at(5)), (second, at(6)), (first, at(7)), (first, at(4))]).await?;
    let asked = [first, second, never];
    assert_eq!(store.key_usage(&asked).await?, HashMap::from([(first, at(7)), (second, at(6))]));
    // Another gateway writes later what it saw earlier.
    subject.open().await.record_key_usage(&[(first, at(6)), (second, at(9))]).await?;
    assert_eq!(store.key_usage(&asked).await?, HashMap::from([(first, at(7)), (second, at(9))]));
    assert_eq!(store.key_usage(&[first]).await?, HashMap::from([(first, at(7))]), "only what was asked for");
    store.record_key_usage(&[]).await?;
    assert_eq!(store.key_usage(&[]).await?, HashMap::new());
    Ok(())
}

pub(super) async fn the_uses_of_many_keys_are_recorded_at_once(subject: &dyn Subject) -> Result<()> {
    let store = subject.open().await;
    // More than one statement of each size.
    let uses: HashMap<_, _> = (0..1057).map(|micros| (key(), at(micros + 1))).collect();
    let listed: Vec<_> = uses.iter().map(|(key, moment)| (*key, *moment)).collect();
    store.record_key_usage(&listed).await?;
    let keys: Vec<_> = uses.keys().copied().collect();
    assert_eq!(store.key_usage(&keys).await?, uses);
    Ok(())
}

pub(super) async fn gateways_that_record_the_same_keys_do_not_get_in_each_others_way(
    subject: &dyn Subject,
) -> Result<()> {
    let (one, other) = (subject.open().await, subject.open().await);
    let keys: Vec<_> = (0..300).map(|_| key()).collect();
    for round in 1..=5 {
        let forwards: Vec<_> = keys.iter().map(|key| (*key, at(round))).collect();
        let backwards: Vec<_> = forwards.iter().rev().copied().collect();
        let (first, second) = futures::join!(one.record_key_usage(&forwards), other.record_key_usage(&backwards));
        first.and(second)?;
    }
    let read = one.key_usage(&keys).await?;
    assert!(read.len() == 300 && read.values().all(|moment| *moment == at(5)));
    Ok(())
}
