//! What a token tells a backend of its caller. Not with which of its keys an application called: a backend has no use for it, and a
//! hundred thousand keys would need as many signatures a minute.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use gateway_config::model::Timestamp;
use gateway_config::snapshot::{Token, Verified};
use serde::Serialize;
use smol_str::SmolStr;

/// For how long a token is good.
pub(super) const GOOD_FOR_SECONDS: i64 = 120;

#[derive(Debug, Serialize)]
pub(super) struct Claims<'a> {
    iss: &'static str,
    aud: &'a str,
    iat: i64,
    exp: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    sub: Option<&'a str>,
    /// Which of the configured issuers named the subject: two issuers may use the same one for two people.
    #[serde(skip_serializing_if = "Option::is_none")]
    issuer: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    application: Option<&'a str>,
    roles: &'a [SmolStr],
    scopes: &'a [SmolStr],
    anonymous: bool,
}

/// All of a caller that a token depends on: two callers that are equal here may share one.
#[derive(Debug)]
pub(super) enum Who {
    Nobody,
    Known { application: Option<Arc<str>>, token: Option<Arc<Token>> },
}

impl<'a> Claims<'a> {
    pub(super) fn new(service: &'a str, caller: Option<&'a Verified>, now: Timestamp) -> Self {
        let issued = now.micros().div_euclid(1_000_000);
        let token = caller.and_then(|it| it.token.as_deref());
        Self {
            iss: "gatehouse",
            aud: service,
            iat: issued,
            exp: issued.saturating_add(GOOD_FOR_SECONDS),
            sub: token.and_then(|it| it.subject.as_deref()),
            issuer: token.map(|it| &*it.issuer),
            application: caller.and_then(application).map(|it| &**it),
            roles: token.map_or(&[], |it| &it.roles),
            scopes: token.map_or(&[], |it| &it.scopes),
            anonymous: caller.is_none(),
        }
    }
}

impl Who {
    pub(super) fn of(caller: Option<&Verified>) -> Self {
        let Some(caller) = caller else { return Self::Nobody };
        Self::Known { application: application(caller).cloned(), token: caller.token.clone() }
    }

    /// A token may be verified anew for each request, so its content is compared, not its place.
    pub(super) fn is(&self, caller: Option<&Verified>) -> bool {
        let (Self::Known { application: mine, token }, Some(caller)) = (self, caller) else {
            return matches!(self, Self::Nobody) && caller.is_none();
        };
        let same_token = match (token, &caller.token) {
            (Some(mine), Some(theirs)) => Arc::ptr_eq(mine, theirs) || is_same(mine, theirs),
            (None, None) => true,
            (Some(_), None) | (None, Some(_)) => false,
        };
        same_token && mine.as_ref() == application(caller)
    }

    /// About how much memory it holds.
    pub(super) fn weight(&self) -> usize {
        let texts = |texts: &[SmolStr]| texts.iter().map(|text| text.len() + size_of::<SmolStr>()).sum::<usize>();
        let Self::Known { token: Some(token), .. } = self else { return 0 };
        let named = token.subject.as_ref().map_or(0, SmolStr::len);
        size_of::<Token>() + named + texts(&token.roles) + texts(&token.scopes)
    }
}

/// Feeds what [`Who::is`] compares.
pub(super) fn hash(service: &str, caller: Option<&Verified>, state: &mut impl Hasher) {
    service.hash(state);
    caller.is_some().hash(state);
    let Some(caller) = caller else { return };
    application(caller).hash(state);
    if let Some(token) = &caller.token {
        token.issuer.hash(state);
        token.subject.hash(state);
        token.roles.hash(state);
        token.scopes.hash(state);
    }
}

/// As far as a backend is told: when the caller's own token expires is not.
fn is_same(one: &Token, other: &Token) -> bool {
    one.subject == other.subject && one.issuer == other.issuer && one.roles == other.roles && one.scopes == other.scopes
}

fn application(caller: &Verified) -> Option<&Arc<str>> {
    caller.application.as_ref().map(|it| &it.name)
}
