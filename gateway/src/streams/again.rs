//! Who somebody is by another snapshot, as far as that can be told without the secret: what was good is good as long as it is
//! there, unchanged and in time.

use std::sync::Arc;

use gateway_config::model::{ApiKey, Id, JwtIssuer, Timestamp};
use gateway_config::snapshot::{Caller, Code, CompiledApplication, Snapshot, Token, Verified};

pub(super) fn again(snapshot: &Snapshot, caller: &Caller, issuer: Option<&JwtIssuer>, now: Timestamp) -> Caller {
    let Caller::Verified(before) = caller else { return caller.clone() };
    verified_again(snapshot, before, issuer, now).map_or_else(Caller::Rejected, Caller::Verified)
}

fn verified_again(
    snapshot: &Snapshot,
    before: &Verified,
    issuer: Option<&JwtIssuer>,
    now: Timestamp,
) -> Result<Verified, Code> {
    let owner = match before.key {
        Some(key) => Some(owner_of(snapshot, before.application.as_deref(), key, now)?),
        None => None,
    };
    let bound = match &before.token {
        Some(token) => bound_to(snapshot, token, issuer, now)?,
        None => None,
    };
    let application = match (owner, before.token.is_some()) {
        (Some(owner), true) if bound.as_ref().is_none_or(|bound| bound.name != owner.name) => {
            return Err(Code::CredentialsInvalid);
        }
        (Some(owner), _) => Some(owner),
        (None, _) => bound,
    };
    Ok(Verified { application, key: before.key, token: before.token.clone() })
}

/// The application whose key it still is.
fn owner_of(
    snapshot: &Snapshot,
    before: Option<&CompiledApplication>,
    id: Id<ApiKey>,
    now: Timestamp,
) -> Result<Arc<CompiledApplication>, Code> {
    let before = before.ok_or(Code::CredentialsInvalid)?;
    let owner = snapshot.application(&before.name).ok_or(Code::CredentialsInvalid)?;
    let (old, new) = (key_of(before, id), key_of(owner, id));
    let key = new.filter(|new| new.is_active && old.is_some_and(|old| old.api_key_hash == new.api_key_hash));
    let key = key.ok_or(Code::CredentialsInvalid)?;
    if key.expires_at.is_some_and(|end| end <= now) {
        return Err(Code::KeyExpired);
    }
    Ok(owner.clone())
}

/// The application that the token's client is bound to.
fn bound_to(
    snapshot: &Snapshot,
    token: &Token,
    before: Option<&JwtIssuer>,
    now: Timestamp,
) -> Result<Option<Arc<CompiledApplication>>, Code> {
    let issuer = snapshot.issuer(&token.issuer).ok_or(Code::CredentialsInvalid)?;
    // How its tokens are verified may be another now, and this one might not be accepted.
    if before.is_none_or(|before| *before != **issuer) {
        return Err(Code::CredentialsInvalid);
    }
    if token.expires_at.is_some_and(|end| end <= now) {
        return Err(Code::TokenExpired);
    }
    let client = token.client.as_deref();
    Ok(client.and_then(|client| snapshot.application_of_client(issuer, client)).cloned())
}

fn key_of(application: &CompiledApplication, id: Id<ApiKey>) -> Option<&ApiKey> {
    application.source.api_keys.iter().find(|key| key.id == id)
}

/// When the first of somebody's credentials runs out.
pub(super) fn expiry(snapshot: &Snapshot, caller: &Caller) -> Option<Timestamp> {
    let verified = caller.verified()?;
    let token = verified.token.as_ref().and_then(|token| token.expires_at);
    let application = verified.application.as_ref().and_then(|before| snapshot.application(&before.name));
    let key = application.zip(verified.key).and_then(|(application, key)| key_of(application, key)?.expires_at);
    [token, key].into_iter().flatten().min()
}
