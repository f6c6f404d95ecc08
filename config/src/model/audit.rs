//! The audit: who did what, when and from where, with what stood there before and after. Entries are only ever added, and each
//! carries a keyed hash over itself and the one before it, so that an entry changed or taken out by hand shows.

use std::fmt;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::digest::feed;
use super::{Actor, EntityChange, Timestamp};
use crate::master_key::MasterKey;

/// What was done, in two words that scripts may compare.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
pub enum Action {
    #[serde(rename = "config.write")]
    ConfigWrite,
    #[serde(rename = "node.remove")]
    NodeRemove,
    #[serde(rename = "auth.login")]
    AuthLogin,
    #[serde(rename = "auth.login_failed")]
    AuthLoginFailed,
    #[serde(rename = "auth.logout")]
    AuthLogout,
    #[serde(rename = "auth.refresh_reused")]
    AuthRefreshReused,
    #[serde(rename = "auth.password")]
    AuthPassword,
    #[serde(rename = "admin.create")]
    AdminCreate,
    #[serde(rename = "admin.update")]
    AdminUpdate,
    #[serde(rename = "admin.delete")]
    AdminDelete,
    #[serde(rename = "token.create")]
    TokenCreate,
    #[serde(rename = "token.revoke")]
    TokenRevoke,
    #[serde(rename = "backup.restore")]
    BackupRestore,
    #[serde(rename = "queue.replay")]
    QueueReplay,
    #[serde(rename = "queue.discard")]
    QueueDiscard,
    #[serde(rename = "queue.test")]
    QueueTest,
    #[serde(rename = "secret.read")]
    SecretRead,
}

/// Something that was done, before it has a place in the audit.
#[derive(Clone, Debug)]
pub struct NewAudit {
    pub at: Timestamp,
    pub actor: Actor,
    pub action: Action,
    /// One line for people.
    pub summary: String,
    /// The generation that it made.
    pub generation: Option<u64>,
    pub changes: Vec<AuditChange>,
}

/// A thing before and after; never with anything secret.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct AuditChange {
    /// A kind of entity, or another word such as `admin`.
    #[schema(example = "service")]
    pub kind: String,
    pub name: String,
    #[schema(value_type = Option<Object>)]
    pub before: Option<Value>,
    #[schema(value_type = Option<Object>)]
    pub after: Option<Value>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct AuditEntry {
    /// Without gaps.
    pub number: u64,
    #[schema(value_type = String)]
    pub at: Timestamp,
    pub actor: String,
    #[schema(value_type = Option<String>)]
    pub address: Option<IpAddr>,
    pub request_id: Option<String>,
    pub action: Action,
    pub summary: String,
    pub generation: Option<u64>,
    pub changes: Vec<AuditChange>,
    /// Over all of the above and the hash of the entry before.
    pub hash: String,
}

/// The key of the chain. Without the master key nobody can compute what an altered entry's hash would have to be.
#[derive(Clone)]
pub struct ChainKey([u8; 32]);

impl ChainKey {
    #[must_use]
    pub fn of(master: &MasterKey) -> Self {
        Self(master.derive("the audit's chain"))
    }

    /// The entry that follows the one of this hash.
    #[must_use]
    pub fn link(&self, before: &str, number: u64, new: &NewAudit) -> AuditEntry {
        let mut entry = AuditEntry {
            number,
            at: new.at,
            actor: new.actor.name.replace('\0', ""),
            address: new.actor.address,
            request_id: new.actor.request_id.clone(),
            action: new.action,
            summary: new.summary.replace('\0', ""),
            generation: new.generation,
            changes: new.changes.clone(),
            hash: String::new(),
        };
        entry.hash = self.hash(before, &entry);
        entry
    }

    /// The hash that the entry must carry behind the one of hash `before`.
    #[must_use]
    pub fn hash(&self, before: &str, entry: &AuditEntry) -> String {
        let AuditEntry { number, at, actor, address, request_id, action, summary, generation, changes, hash: _ } =
            entry;
        let mut hasher = blake3::Hasher::new_keyed(&self.0);
        let content = json!([before, number, at, actor, address, request_id, action, summary, generation, changes]);
        feed(&mut hasher, &content, None);
        hasher.finalize().to_hex().to_string()
    }
}

impl fmt::Debug for ChainKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ChainKey(…)")
    }
}

impl From<&EntityChange> for AuditChange {
    fn from(change: &EntityChange) -> Self {
        let EntityChange { kind, name, before, after } = change.clone();
        Self { kind: kind.word().to_owned(), name, before, after }
    }
}
