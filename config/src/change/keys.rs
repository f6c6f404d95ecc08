//! The life of an API key: issued, renamed, rotated, and in the end revoked or expired, from where nothing brings it back. What an
//! application's own body says of its keys is ignored, so neither a PUT nor a document nor a rollback can do what these do not.
//!
//! Each call makes one generation. A key is read before the write and found unchanged in it by its tag, so two calls at the same
//! moment follow each other; keys that others add meanwhile stay.

use serde_json::{Value, json};
use thiserror::Error;

use super::{Applied, ChangeError, Changer, Expect, Member, Op, Proposal, tag_of_member};
use crate::api_key::HashedKey;
use crate::model::{Actor, ApiKey, Application, Id, Item, Kind, Problem, Timestamp};
use crate::store::StoreError;

/// The longest that an old key may live on beside the one that replaces it: 30 days.
pub const LONGEST_OVERLAP_SECONDS: u64 = 30 * 24 * 60 * 60;

const FIELD: &str = "apiKeys";
const LONGEST_NAME: usize = 128;
/// Keys of one application that are neither revoked nor expired. Every owner of a key may rotate it, and each time there is one more.
const MOST_LIVE_KEYS: usize = 1000;
/// Whoever set no condition doesn't care who was first.
const ATTEMPTS: usize = 10;

/// The key that is meant.
#[derive(Clone, Debug)]
pub struct KeyTarget {
    pub application: String,
    /// Its id, or its prefix.
    pub key: String,
    pub expect: Expect,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expiry {
    /// As it is; a key that replaces another lives as long as that one was given at first.
    Kept,
    Never,
    At(Timestamp),
}

/// What a write did to a key.
#[derive(Debug)]
pub struct KeyChange {
    pub applied: Applied,
    /// The new one, where one was made.
    pub key: ApiKey,
}

#[derive(Debug, Error)]
pub enum KeyError {
    #[error(transparent)]
    Change(#[from] ChangeError),
    #[error("key \"{key}\" of application \"{application}\" {how}, and nothing brings it back; issue a new one")]
    Dead { application: String, key: String, how: &'static str },
    #[error("application \"{application}\" has {MOST_LIVE_KEYS} live keys already; revoke some first")]
    TooMany { application: String },
}

impl Changer {
    /// Gives the application a further key.
    pub async fn issue_key(
        &self,
        actor: impl Into<Actor> + Send,
        application: &str,
        fresh: &HashedKey,
        name: &str,
        expires_at: Option<Timestamp>,
    ) -> Result<KeyChange, KeyError> {
        let place = format!("applications/{application}/{FIELD}/?");
        let now = self.clock.now();
        let mut problems = Vec::new();
        check_name(name, &place, &mut problems);
        check_expiry(expires_at, now, &place, &mut problems);
        refuse(problems)?;
        self.application(application).await.and_then(|it| check_room(&it, now))?;
        let proposals = [added(application, fresh, name, expires_at)];
        let applied = self.write(actor, &proposals).await?;
        changed(applied, application, |key| key.prefix == fresh.prefix)
    }

    /// Gives the application a key in place of another one, which lives on for `overlap_seconds`; for none it is revoked at once.
    pub async fn rotate_key(
        &self,
        actor: impl Into<Actor> + Send,
        target: &KeyTarget,
        fresh: &HashedKey,
        overlap_seconds: u64,
        expiry: Expiry,
    ) -> Result<KeyChange, KeyError> {
        let place = format!("applications/{}/{FIELD}/{}", target.application, target.key);
        let plan = |application: &Application, old: &ApiKey, tag: Expect| {
            let now = self.clock.now();
            refuse_dead(old, now, target)?;
            check_room(application, now)?;
            let expires_at = match expiry {
                Expiry::Never => None,
                Expiry::At(moment) => Some(moment),
                Expiry::Kept => {
                    old.expires_at.map(|end| later(now, end.micros().saturating_sub(old.created_at.micros())))
                }
            };
            let mut problems = Vec::new();
            check_expiry(expires_at, now, &place, &mut problems);
            if overlap_seconds > LONGEST_OVERLAP_SECONDS {
                let message = format!("must be at most {LONGEST_OVERLAP_SECONDS}");
                problems.push(Problem::new(format!("{place}/overlapSeconds"), message));
            }
            refuse(problems)?;
            let end = later(now, i64::try_from(overlap_seconds).unwrap_or(i64::MAX).saturating_mul(1_000_000));
            let end = old.expires_at.map_or(end, |sooner| sooner.min(end));
            let patch = if overlap_seconds == 0 { json!({"isActive": false}) } else { json!({"expiresAt": end}) };
            Ok(vec![
                added(&target.application, fresh, &old.name, expires_at),
                patched(&target.application, old, patch, tag),
            ])
        };
        let applied = self.change_key(&actor.into(), target, plan).await?;
        changed(applied, &target.application, |key| key.prefix == fresh.prefix)
    }

    /// Ends a key for good. Doing so twice changes nothing more.
    pub async fn revoke_key(&self, actor: impl Into<Actor> + Send, target: &KeyTarget) -> Result<KeyChange, KeyError> {
        let plan = |_: &Application, key: &ApiKey, tag: Expect| {
            Ok(vec![patched(&target.application, key, json!({"isActive": false}), tag)])
        };
        let applied = self.change_key(&actor.into(), target, plan).await?;
        changed(applied, &target.application, |key| is_meant(key, target))
    }

    /// Renames a key, or moves its end, unless that has come.
    pub async fn update_key(
        &self,
        actor: impl Into<Actor> + Send,
        target: &KeyTarget,
        name: Option<&str>,
        expiry: Expiry,
    ) -> Result<KeyChange, KeyError> {
        let place = format!("applications/{}/{FIELD}/{}", target.application, target.key);
        let plan = |_: &Application, key: &ApiKey, tag: Expect| {
            let now = self.clock.now();
            let expires_at = match expiry {
                Expiry::Kept => key.expires_at,
                Expiry::Never => None,
                Expiry::At(moment) => Some(moment),
            };
            let mut problems = Vec::new();
            if let Some(name) = name {
                check_name(name, &place, &mut problems);
            }
            if expires_at != key.expires_at {
                refuse_dead(key, now, target)?;
                check_expiry(expires_at, now, &place, &mut problems);
            }
            refuse(problems)?;
            let patch = json!({"name": name.unwrap_or(&key.name), "expiresAt": expires_at});
            Ok(vec![patched(&target.application, key, patch, tag)])
        };
        let applied = self.change_key(&actor.into(), target, plan).await?;
        changed(applied, &target.application, |key| is_meant(key, target))
    }

    /// Reads the key, plans, and writes what is planned if the key is still as it was read.
    async fn change_key(
        &self,
        actor: &Actor,
        target: &KeyTarget,
        plan: impl Fn(&Application, &ApiKey, Expect) -> Result<Vec<Proposal>, KeyError> + Sync,
    ) -> Result<Applied, KeyError> {
        for _ in 1..ATTEMPTS {
            match self.attempt(actor, target, &plan).await {
                Err(KeyError::Change(ChangeError::Stale { .. })) if target.expect == Expect::Anything => {}
                done => return done,
            }
        }
        self.attempt(actor, target, &plan).await
    }

    async fn attempt(
        &self,
        actor: &Actor,
        target: &KeyTarget,
        plan: &(impl Fn(&Application, &ApiKey, Expect) -> Result<Vec<Proposal>, KeyError> + Sync),
    ) -> Result<Applied, KeyError> {
        let application = self.application(&target.application).await?;
        let what = || format!("key \"{}\" of application \"{}\"", target.key, target.application);
        let key = application.api_keys.iter().find(|key| is_meant(key, target));
        let key = key.ok_or_else(|| ChangeError::NotFound { what: what() })?;
        let tag = tag_of_key(key);
        match &target.expect {
            Expect::Absent => return Err(ChangeError::Exists { what: what() }.into()),
            Expect::Tags(tags) if !tags.is_empty() && !tags.contains(&tag) => {
                return Err(ChangeError::Stale { what: what() }.into());
            }
            Expect::Anything | Expect::Tags(_) => {}
        }
        let proposals = plan(&application, key, Expect::Tags(vec![tag]))?;
        Ok(self.write(actor, &proposals).await?)
    }

    async fn application(&self, name: &str) -> Result<Application, KeyError> {
        let not_found = || ChangeError::NotFound { what: format!("application \"{name}\"") };
        match self.store.get(Kind::Application, name).await {
            Ok(Some(Item::Application(application))) => Ok((*application).clone()),
            // A name that the database can't even compare is nobody's.
            Ok(_) | Err(StoreError::Refused(_)) => Err(not_found().into()),
            Err(error) => Err(ChangeError::Store(error).into()),
        }
    }
}

/// The tag by which a reader proves what it read of a key.
#[must_use]
pub fn tag_of_key(key: &ApiKey) -> String {
    tag_of_member(Kind::Application, &serde_json::to_value(key).unwrap_or_default())
}

fn is_meant(key: &ApiKey, target: &KeyTarget) -> bool {
    key.prefix == target.key || key.id.to_string() == target.key
}

fn added(application: &str, fresh: &HashedKey, name: &str, expires_at: Option<Timestamp>) -> Proposal {
    let key = ApiKey {
        id: Id::default(),
        name: name.to_owned(),
        prefix: fresh.prefix.clone(),
        api_key_hash: fresh.hash.clone(),
        expires_at,
        ..ApiKey::default()
    };
    let value = serde_json::to_value(&key).unwrap_or_default();
    member(Op::Put, application, &fresh.prefix, value, Expect::Absent)
}

fn patched(application: &str, key: &ApiKey, patch: Value, expect: Expect) -> Proposal {
    member(Op::Patch, application, &key.prefix, patch, expect)
}

fn member(op: Op, application: &str, prefix: &str, value: Value, expect: Expect) -> Proposal {
    let member = Some(Member { field: FIELD, key: prefix.to_owned() });
    Proposal { op, kind: Kind::Application, name: application.to_owned(), value, member, expect }
}

/// The key as it stands after the write.
fn changed(applied: Applied, application: &str, is_it: impl Fn(&ApiKey) -> bool) -> Result<KeyChange, KeyError> {
    let standing = applied.outcomes.last().and_then(|done| done.item.as_ref());
    let key = match standing {
        Some(Item::Application(it)) => it.api_keys.iter().find(|key| is_it(key)).cloned(),
        _ => None,
    };
    let what = || format!("key of application \"{application}\"");
    let key = key.ok_or_else(|| ChangeError::NotFound { what: what() })?;
    Ok(KeyChange { applied, key })
}

fn refuse_dead(key: &ApiKey, now: Timestamp, target: &KeyTarget) -> Result<(), KeyError> {
    let how = match key.expires_at {
        _ if !key.is_active => "was revoked",
        Some(end) if end <= now => "has expired",
        _ => return Ok(()),
    };
    Err(KeyError::Dead { application: target.application.clone(), key: target.key.clone(), how })
}

fn check_room(application: &Application, now: Timestamp) -> Result<(), KeyError> {
    let is_live = |key: &&ApiKey| key.is_active && key.expires_at.is_none_or(|end| end > now);
    if application.api_keys.iter().filter(is_live).count() < MOST_LIVE_KEYS {
        return Ok(());
    }
    Err(KeyError::TooMany { application: application.name.clone() })
}

fn check_name(name: &str, path: &str, problems: &mut Vec<Problem>) {
    let length = name.chars().count();
    if !(1..=LONGEST_NAME).contains(&length) || name.chars().any(char::is_control) || name.trim() != name {
        let message = format!("must be 1 to {LONGEST_NAME} characters, without blanks around them");
        problems.push(Problem::new(format!("{path}/name"), message));
    }
}

fn check_expiry(expires_at: Option<Timestamp>, now: Timestamp, path: &str, problems: &mut Vec<Problem>) {
    if expires_at.is_some_and(|end| end <= now) {
        problems.push(Problem::new(format!("{path}/expiresAt"), "must be in the future"));
    }
}

fn refuse(problems: Vec<Problem>) -> Result<(), KeyError> {
    if problems.is_empty() { Ok(()) } else { Err(ChangeError::Invalid(problems).into()) }
}

fn later(now: Timestamp, micros: i64) -> Timestamp {
    Timestamp::from_micros(now.micros().saturating_add(micros))
}
