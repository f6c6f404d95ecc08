//! Which credentials a route takes, and what becomes of bad ones.

use gateway_config::snapshot::{Access, Caller, Code, Snapshot, Step};
use serde_json::{Value, json};

use super::scene::{
    SERVED, both_of, decided, get, key_of, plain_service, rejected, route, shop, token, token_of, world,
};
use crate::world::Request;

fn open(access: &Value) -> Snapshot {
    world(&[plain_service(), route(json!({"access": access})), shop(json!({}))])
}

/// Whether an API key, a token, both, and nothing are let in.
fn let_in(any_of: &Value) -> [Option<Code>; 4] {
    let snapshot = open(&json!({"anyOf": any_of}));
    let kim = || token("kim", &[], &[]);
    let callers = [
        key_of(&snapshot, "shop"),
        token_of(&snapshot, Some("shop"), kim()),
        both_of(&snapshot, "shop", kim()),
        Caller::Anonymous,
    ];
    callers.map(|caller| get(&snapshot, "/x", &caller).err())
}

#[test]
fn a_route_takes_the_credentials_that_it_lists() {
    let missing = Some(Code::CredentialsMissing);
    assert_eq!(let_in(&json!(["api_key", "jwt"])), [None, None, None, missing]);
    assert_eq!(let_in(&json!(["api_key"])), [None, missing, None, missing]);
    assert_eq!(let_in(&json!(["jwt"])), [missing, None, None, missing]);
    assert_eq!(let_in(&json!([])), [missing; 4]);
    assert_eq!(let_in(&json!(["public"])), [None; 4]);
    assert_eq!(let_in(&json!(["public", "jwt"])), [None; 4]);
}

#[test]
fn a_route_that_says_nothing_takes_keys_and_tokens() {
    let snapshot = world(&[plain_service(), route(json!({})), shop(json!({}))]);
    assert_eq!(get(&snapshot, "/x", &Caller::Anonymous), Err(Code::CredentialsMissing));
    assert_eq!(get(&snapshot, "/x", &key_of(&snapshot, "shop")), SERVED);
    assert_eq!(get(&snapshot, "/x", &token_of(&snapshot, Some("shop"), token("kim", &[], &[]))), SERVED);
}

#[test]
fn which_credentials_count_holds_also_where_no_application_is_needed() {
    for (any_of, key, by_token) in [
        (json!(["jwt"]), Err(Code::CredentialsMissing), SERVED),
        (json!(["api_key"]), SERVED, Err(Code::CredentialsMissing)),
        (json!([]), Err(Code::CredentialsMissing), Err(Code::CredentialsMissing)),
    ] {
        let snapshot = open(&json!({"anyOf": any_of, "applicationRequired": false}));
        assert_eq!(get(&snapshot, "/x", &key_of(&snapshot, "shop")), key);
        assert_eq!(get(&snapshot, "/x", &token_of(&snapshot, None, token("kim", &[], &[]))), by_token);
    }
}

#[test]
fn bad_credentials_are_refused_with_their_code_also_on_a_public_route() {
    for any_of in [json!(["api_key"]), json!(["public"]), json!([])] {
        let snapshot = open(&json!({"anyOf": any_of}));
        for code in [Code::CredentialsInvalid, Code::KeyExpired, Code::TokenExpired] {
            assert_eq!(get(&snapshot, "/x", &Caller::Rejected(code)), Err(code), "{any_of}");
        }
    }
    let entry = json!([{"endpointPath": "/{*all}", "allowedMethods": ["*"], "isPublic": true}]);
    let snapshot = world(&[plain_service(), route(json!({})), shop(json!({"whitelist": entry}))]);
    assert_eq!(get(&snapshot, "/x", &Caller::Anonymous), SERVED);
    assert_eq!(get(&snapshot, "/x", &rejected()), Err(Code::CredentialsInvalid), "nor by a public entry");
}

#[test]
fn a_public_route_may_ignore_bad_credentials_and_the_trail_says_so() {
    let snapshot = open(&json!({"anyOf": ["public"], "invalidCredentials": "ignore"}));
    let decision = decided(&snapshot, &Request::get("/x"), &rejected());
    assert!(decision.application.is_none());
    assert!(decision.trail.contains(&Step::Access(Access::Ignored(Code::CredentialsInvalid))));
    assert_eq!(get(&snapshot, "/x", &rejected()), SERVED);
}

#[test]
fn a_public_entry_lets_in_whose_bad_credentials_the_route_ignores() {
    let entry = json!([{"endpointPath": "/open", "allowedMethods": ["GET"], "isPublic": true}]);
    let access = json!({"access": {"invalidCredentials": "ignore"}});
    let snapshot = world(&[plain_service(), route(access), shop(json!({"whitelist": entry}))]);
    assert_eq!(get(&snapshot, "/open", &rejected()), SERVED);
    assert_eq!(get(&snapshot, "/closed", &rejected()), Err(Code::CredentialsInvalid));
}

#[test]
fn what_is_ignored_does_not_open_a_route_that_is_not_public() {
    let snapshot = open(&json!({"anyOf": ["api_key", "jwt"], "invalidCredentials": "ignore"}));
    for code in [Code::CredentialsInvalid, Code::KeyExpired, Code::TokenExpired] {
        assert_eq!(get(&snapshot, "/x", &Caller::Rejected(code)), Err(code));
    }
}

#[test]
fn where_nothing_is_served_nobodys_credentials_matter() {
    let snapshot = world(&[plain_service(), route(json!({"path": "/x"})), shop(json!({}))]);
    for caller in [Caller::Anonymous, rejected(), key_of(&snapshot, "shop")] {
        assert_eq!(get(&snapshot, "/y", &caller), Err(Code::RouteNotFound));
    }
}
