//! Small worlds in few words, and who calls in them.

use std::collections::BTreeSet;
use std::sync::Arc;

use gateway_config::model::{Id, Item, Kind};
use gateway_config::snapshot::{
    BodyFacts, Caller, Code, Decision, Outcome, Snapshot, Token, Verified, decide, match_request,
};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::world::{Request, item, put};

pub(super) fn world(items: &[Item]) -> Snapshot {
    put(&Snapshot::empty(), items).unwrap_or_else(|problems| panic!("{problems:?}"))
}

pub(super) fn service(value: Value) -> Item {
    item(Kind::Service, value)
}

/// The service `s` without versions.
pub(super) fn plain_service() -> Item {
    service(json!({"serviceName": "s", "defaultUrl": "http://127.0.0.1:1"}))
}

/// The service `s`; `versions` are (version, API version), all of the same weight.
pub(super) fn versioned_service(versions: &[(&str, &str)]) -> Item {
    let version = |(name, api): &(&str, &str)| json!({"version": name, "apiVersion": api, "weight": 1, "url": "http://127.0.0.1:1"});
    service(json!({"serviceName": "s", "versions": versions.iter().map(version).collect::<Vec<_>>()}))
}

/// A route for everything on every host, to the service `s`, but for what `more` says.
pub(super) fn route(more: Value) -> Item {
    item(Kind::Route, with(json!({"name": "r", "path": "/{*rest}", "target": {"service": "s"}}), more))
}

/// The application `shop`, which may do everything, but for what `more` says.
pub(super) fn shop(more: Value) -> Item {
    application("shop", more)
}

pub(super) fn application(name: &str, more: Value) -> Item {
    let all = json!({
        "name": name, "allowedServices": ["*"], "allowedVersions": ["*"],
        "whitelist": [{"endpointPath": "/{*all}", "allowedMethods": ["*"], "allowedVersions": ["*"]}],
    });
    item(Kind::Application, with(all, more))
}

pub(super) fn defaults(more: Value) -> Item {
    item(Kind::Defaults, with(json!({"name": "defaults"}), more))
}

pub(super) fn with(mut value: Value, more: Value) -> Value {
    let Value::Object(more) = more else { panic!("{more} is no object") };
    for (field, part) in more {
        value[field] = part;
    }
    value
}

/// Somebody with a good key of this application.
pub(super) fn key_of(snapshot: &Snapshot, application: &str) -> Caller {
    numbered_key_of(snapshot, application, 1)
}

pub(super) fn numbered_key_of(snapshot: &Snapshot, application: &str, number: u128) -> Caller {
    let application = snapshot.application(application).cloned();
    assert!(application.is_some());
    Caller::Verified(Verified { application, key: Some(Id::new(Uuid::from_u128(number))), token: None })
}

/// What a token says of its subject, its roles and its scopes.
pub(super) fn token(subject: &str, roles: &[&str], scopes: &[&str]) -> Arc<Token> {
    let boxed = |names: &[&str]| names.iter().map(|name| (*name).into()).collect();
    Arc::new(Token {
        issuer: "idp".into(),
        subject: Some(subject.into()),
        client: None,
        roles: boxed(roles),
        scopes: boxed(scopes),
        expires_at: None,
    })
}

/// Somebody with a good token that is bound to this application, or to none.
pub(super) fn token_of(snapshot: &Snapshot, application: Option<&str>, token: Arc<Token>) -> Caller {
    let found = application.and_then(|name| snapshot.application(name)).cloned();
    assert_eq!(found.is_some(), application.is_some());
    Caller::Verified(Verified { application: found, key: None, token: Some(token) })
}

/// Somebody with both.
pub(super) fn both_of(snapshot: &Snapshot, application: &str, token: Arc<Token>) -> Caller {
    let Caller::Verified(verified) = key_of(snapshot, application) else { panic!("not verified") };
    Caller::Verified(Verified { token: Some(token), ..verified })
}

pub(super) fn rejected() -> Caller {
    Caller::Rejected(Code::CredentialsInvalid)
}

pub(super) fn decided(snapshot: &Snapshot, request: &Request, caller: &Caller) -> Decision {
    let facts = request.facts();
    decide(snapshot, &match_request(snapshot, &facts), caller, &BodyFacts::default())
}

/// The version that serves, `""` for `defaultUrl` and for what needs no service; or the code of the refusal.
pub(super) fn verdict(snapshot: &Snapshot, request: &Request, caller: &Caller) -> Result<String, Code> {
    match decided(snapshot, request, caller).outcome {
        Outcome::Forward(to) => Ok(to.version().map_or_else(String::new, ToString::to_string)),
        Outcome::Refuse(refusal) => Err(refusal.code),
        Outcome::Publish(_)
        | Outcome::Subscribe(..)
        | Outcome::Respond(_)
        | Outcome::Redirect { .. }
        | Outcome::Preflight(_) => Ok(String::new()),
    }
}

/// The same for `GET path`.
pub(super) fn get(snapshot: &Snapshot, path: &str, caller: &Caller) -> Result<String, Code> {
    verdict(snapshot, &Request::get(path), caller)
}

/// Every version that the dice may choose, where all weigh the same and there are at most four.
pub(super) fn choices(snapshot: &Snapshot, request: &Request, caller: &Caller) -> Result<BTreeSet<String>, Code> {
    let rolls = (0..12u64).map(|at| at * (u64::MAX / 12) + 99);
    rolls.map(|entropy| verdict(snapshot, &Request { entropy, ..request.clone() }, caller)).collect()
}

pub(super) fn set(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

/// Served, by `defaultUrl`.
pub(super) const SERVED: Result<String, Code> = Ok(String::new());
