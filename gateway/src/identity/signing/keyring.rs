//! The keys in use: which one signs, which are published, and when the next is due. Pure: rows and the time come in.

use std::sync::Arc;

use bytes::Bytes;
use gateway_config::master_key::MasterKey;
use gateway_config::model::Timestamp;
use gateway_config::store::SigningKeyRow;
use serde_json::json;

use super::key::SigningKey;

const MINUTE: i64 = 60 * 1_000_000;
/// A new key is published for this long before it signs: by then all gateways have it, and all that keep the public keys.
const PUBLISHED_BEFORE: i64 = 5 * MINUTE;
/// How long a key stays published after its last signature, which is good for two minutes.
const PUBLISHED_AFTER: i64 = 60 * MINUTE;

#[derive(Debug)]
pub(super) struct Keyring {
    /// In the order of their slots, the published ones only.
    keys: Vec<Arc<SigningKey>>,
    pub(super) jwks: Bytes,
    /// Why some rows are not used; `None` when all are.
    pub(super) trouble: Option<String>,
}

impl Keyring {
    /// Of the rows that can be used.
    pub(super) fn open(master: &MasterKey, rows: &[SigningKeyRow], now: Timestamp) -> Self {
        let mut keys = Vec::new();
        let mut troubles = Vec::new();
        let mut rows: Vec<&SigningKeyRow> = rows.iter().collect();
        rows.sort_by_key(|row| row.slot);
        for row in rows {
            match SigningKey::open(master, row) {
                Ok(key) => keys.push(Arc::new(key)),
                Err(why) => troubles.push(format!("the signing key {} is not used: {why}", row.kid)),
            }
        }
        let successors: Vec<Timestamp> = keys.iter().skip(1).map(|key| key.active_from).collect();
        let mut successors = successors.into_iter();
        keys.retain(|_| successors.next().is_none_or(|since| later(since, PUBLISHED_AFTER) > now));
        let jwks = json!({"keys": keys.iter().map(|key| &key.jwk).collect::<Vec<_>>()}).to_string().into();
        let trouble = (!troubles.is_empty()).then(|| {
            let advice = "all gateways need the same GATEWAY_MASTER_KEY; if it was changed on purpose, delete these \
                          rows of gateway_signing_key";
            format!("{} ({advice})", troubles.join("; "))
        });
        Self { keys, jwks, trouble }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// The newest whose time has come. The very first may lie ahead by what two clocks differ.
    pub(super) fn current(&self, now: Timestamp) -> Option<&SigningKey> {
        let newest = self.keys.iter().rev().find(|key| key.active_from <= now);
        newest.or(self.keys.first()).map(AsRef::as_ref)
    }

    /// From when a new key must sign, if it is time to make one: at once when there is none.
    pub(super) fn due(&self, rotate_micros: i64, now: Timestamp) -> Option<Timestamp> {
        let Some(newest) = self.keys.last() else { return Some(now) };
        let rotate = rotate_micros.max(2 * PUBLISHED_BEFORE);
        let next = later(newest.active_from, rotate);
        (later(now, PUBLISHED_BEFORE) >= next).then(|| later(now, PUBLISHED_BEFORE))
    }

    /// Whether every key of `other` is here, too.
    pub(super) fn holds_all_of(&self, other: &Self) -> bool {
        other.keys.iter().all(|old| self.publishes(&old.jwk.kid))
    }

    pub(super) fn publishes(&self, kid: &str) -> bool {
        self.keys.iter().any(|key| key.jwk.kid == kid)
    }
}

/// Keys retired before this moment are nobody's any more: published an hour more than needed, for clocks that disagree.
pub(super) fn forgotten_before(now: Timestamp) -> Timestamp {
    later(now, -2 * PUBLISHED_AFTER)
}

fn later(moment: Timestamp, micros: i64) -> Timestamp {
    Timestamp::from_micros(moment.micros().saturating_add(micros))
}
