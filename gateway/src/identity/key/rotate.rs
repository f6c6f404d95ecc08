//! A key that changes itself for a new one: `POST /.well-known/gateway/me/rotate`.

use std::sync::Arc;

use bytes::Bytes;
use gateway_config::api_key::{Hasher, generate};
use gateway_config::change::{ChangeError, Changer, Expect, Expiry, KeyError, KeyTarget};
use gateway_config::model::{Actor, ApiKey, Id, Item, Timestamp};
use gateway_config::snapshot::{Code, Refusal};
use serde::Serialize;

use super::verifier::Verifier;

pub(super) struct Rotation {
    pub(super) verifier: Arc<Verifier>,
    pub(super) changer: Changer,
    pub(super) hasher: Hasher,
}

/// A new key: the answer that shows it, and where it will be found.
#[derive(Debug)]
pub(crate) struct Renewed {
    pub(crate) body: Bytes,
    pub(crate) prefix: String,
}

/// The only answer that holds the new key.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Rotated<'a> {
    key: &'a str,
    id: Id<ApiKey>,
    prefix: &'a str,
    name: &'a str,
    expires_at: Option<Timestamp>,
    created_at: Timestamp,
    replaced: Replaced<'a>,
}

/// What became of the key that asked.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Replaced<'a> {
    prefix: &'a str,
    is_active: bool,
    expires_at: Option<Timestamp>,
}

impl Rotation {
    pub(super) async fn rotate(&self, application: &str, key: Id<ApiKey>, overlap: u64) -> Result<Renewed, Refusal> {
        let new = generate(&self.verifier.checksum);
        let hashed = self.hasher.hash(&new).await.map_err(|error| {
            tracing::error!(%error, "could not hash a new API key");
            Refusal::new(Code::Internal)
        })?;
        let target = KeyTarget { application: application.to_owned(), key: key.to_string(), expect: Expect::Anything };
        let actor = Actor::from(&*format!("application \"{application}\""));
        let rotated = self.changer.rotate_key(actor, &target, &hashed, overlap, Expiry::Kept).await;
        let change = rotated.map_err(|error| refusal(&error))?;
        self.verifier.remember_new(&change.key, &new, &hashed);
        let standing = change.applied.outcomes.last().and_then(|done| done.item.as_ref());
        let old = match standing {
            Some(Item::Application(it)) => it.api_keys.iter().find(|it| it.id == key),
            _ => None,
        };
        let old = old.ok_or_else(|| Refusal::new(Code::Internal))?;
        let ApiKey { id, prefix, name, expires_at, created_at, .. } = &change.key;
        let replaced = Replaced { prefix: &old.prefix, is_active: old.is_active, expires_at: old.expires_at };
        let (key, id, expires_at, created_at) = (new.text.expose(), *id, *expires_at, *created_at);
        let answer = Rotated { key, id, prefix, name, expires_at, created_at, replaced };
        let body = serde_json::to_vec(&answer).map_err(|_| Refusal::new(Code::Internal))?;
        Ok(Renewed { body: body.into(), prefix: prefix.clone() })
    }
}

fn refusal(error: &KeyError) -> Refusal {
    let told = |code, message: String| Refusal { message: Some(message.into()), ..Refusal::new(code) };
    match error {
        // It was revoked or ran out since the request began.
        KeyError::Dead { .. } | KeyError::Change(ChangeError::NotFound { .. }) => {
            Refusal::new(Code::CredentialsInvalid)
        }
        KeyError::TooMany { .. } => {
            told(Code::RateLimited, "there are too many live keys; an operator must revoke some".to_owned())
        }
        KeyError::Change(ChangeError::Invalid(problems)) => {
            let field = |path: &str| path.rsplit('/').next().unwrap_or_default().to_owned();
            let wrong = problems.iter().map(|problem| format!("{} {}", field(&problem.path), problem.message));
            told(Code::BadRequest, wrong.collect::<Vec<_>>().join("; "))
        }
        KeyError::Change(error) => {
            tracing::warn!(%error, "a key could not be rotated");
            told(Code::Overloaded, "keys can't be changed right now; the old one is good as before".to_owned())
        }
    }
}
