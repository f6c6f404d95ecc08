//! Checks of the fleet's signing keys.

use crate::model::Timestamp;
use crate::store::{Result, SigningKeyRow};

use super::Subject;

fn key(kid: &str, slot: i64) -> SigningKeyRow {
    SigningKeyRow {
        kid: kid.to_owned(),
        slot,
        public_jwk: r#"{"kty":"EC"}"#.to_owned(),
        sealed_private_key: vec![0, 1, 0x7f, 0x80, 0xff, slot.to_le_bytes()[0]],
        created_at: Timestamp::from_micros(slot * 1000),
        active_from: Timestamp::from_micros(slot * 1000 + 5),
        retired_at: None,
    }
}

pub(super) async fn a_signing_key_reads_back_until_it_is_forgotten(subject: &dyn Subject) -> Result<()> {
    let store = subject.open().await;
    assert_eq!(store.signing_keys().await?, []);
    let (first, second, third) = (key("a", 1), key("b", 2), key("c", 3));
    for key in [&first, &second, &third] {
        assert!(store.add_signing_key(key).await?);
    }
    let first = SigningKeyRow { retired_at: Some(second.active_from), ..first };
    let second = SigningKeyRow { retired_at: Some(third.active_from), ..second };
    assert_eq!(subject.open().await.signing_keys().await?, [first, second.clone(), third.clone()]);

    store.forget_signing_keys(third.active_from).await?;
    assert_eq!(store.signing_keys().await?, [second, third.clone()], "only what was retired before");
    store.forget_signing_keys(Timestamp::from_micros(i64::MAX)).await?;
    assert_eq!(store.signing_keys().await?, [third], "one that was never retired stays");
    Ok(())
}

pub(super) async fn a_slot_holds_one_signing_key(subject: &dyn Subject) -> Result<()> {
    let (here, there) = (subject.open().await, subject.open().await);
    let (mine, theirs) = (key("mine", 7), key("theirs", 7));
    let (first, second) = futures::join!(here.add_signing_key(&mine), there.add_signing_key(&theirs));
    assert_ne!(first?, second?, "one of both");
    let kept = here.signing_keys().await?;
    assert_eq!(kept.len(), 1);
    assert!(kept == [mine.clone()] || kept == [theirs]);
    assert_eq!(there.signing_keys().await?, kept);

    assert!(!here.add_signing_key(&key(&kept[0].kid, 8)).await?, "a key's id is taken once, too");
    assert_eq!(here.signing_keys().await?, kept, "and a refused key retires nobody");
    Ok(())
}
