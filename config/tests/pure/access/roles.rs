//! Roles and scopes.

use gateway_config::snapshot::{Caller, Code};
use serde_json::{Value, json};

use super::scene::{SERVED, both_of, get, key_of, plain_service, rejected, route, shop, token, token_of, world};

fn code(access: &Value, roles: &[&str], scopes: &[&str]) -> Option<Code> {
    let snapshot = world(&[plain_service(), route(json!({"access": access})), shop(json!({}))]);
    let caller = token_of(&snapshot, Some("shop"), token("kim", roles, scopes));
    get(&snapshot, "/x", &caller).err()
}

#[test]
fn any_of_the_roles_is_enough() {
    let access = json!({"roles": ["clerk", "boss"]});
    assert_eq!(code(&access, &["clerk"], &[]), None);
    assert_eq!(code(&access, &["guest", "boss"], &[]), None);
    for none in [&[][..], &["guest"], &["Clerk"], &["clerk "], &["clerkboss"]] {
        assert_eq!(code(&access, none, &["clerk", "boss"]), Some(Code::RoleMissing), "{none:?}");
    }
}

#[test]
fn all_of_the_scopes_are_needed() {
    let access = json!({"scopes": ["read", "write"]});
    assert_eq!(code(&access, &[], &["write", "other", "read"]), None);
    for some in [&[][..], &["read"], &["write"], &["read", "Write"]] {
        assert_eq!(code(&access, &["read", "write"], some), Some(Code::ScopeMissing), "{some:?}");
    }
}

#[test]
fn roles_are_told_before_scopes_and_both_are_needed() {
    let access = json!({"roles": ["clerk"], "scopes": ["read"]});
    assert_eq!(code(&access, &["clerk"], &["read"]), None);
    assert_eq!(code(&access, &[], &["read"]), Some(Code::RoleMissing));
    assert_eq!(code(&access, &[], &[]), Some(Code::RoleMissing));
    assert_eq!(code(&access, &["clerk"], &[]), Some(Code::ScopeMissing));
}

#[test]
fn where_no_application_is_needed_roles_and_scopes_decide() {
    let access = json!({"anyOf": ["jwt"], "applicationRequired": false, "roles": ["clerk"], "scopes": ["read"]});
    let snapshot = world(&[plain_service(), route(json!({"access": access}))]);
    let verdict =
        |roles: &[&str], scopes: &[&str]| get(&snapshot, "/x", &token_of(&snapshot, None, token("kim", roles, scopes)));
    assert_eq!(verdict(&["clerk"], &["read"]), SERVED);
    assert_eq!(verdict(&["guest"], &["read"]), Err(Code::RoleMissing));
    assert_eq!(verdict(&["clerk"], &[]), Err(Code::ScopeMissing));
}

#[test]
fn an_api_key_has_neither_roles_nor_scopes_but_a_token_beside_it_does() {
    for (access, missing) in
        [(json!({"roles": ["clerk"]}), Code::RoleMissing), (json!({"scopes": ["read"]}), Code::ScopeMissing)]
    {
        let snapshot = world(&[plain_service(), route(json!({"access": access})), shop(json!({}))]);
        assert_eq!(get(&snapshot, "/x", &key_of(&snapshot, "shop")), Err(missing));
        assert_eq!(get(&snapshot, "/x", &both_of(&snapshot, "shop", token("kim", &["clerk"], &["read"]))), SERVED);
    }
}

#[test]
fn the_anonymous_is_asked_for_credentials_where_roles_or_scopes_are_needed() {
    for needed in [json!({"roles": ["clerk"]}), json!({"scopes": ["read"]})] {
        let access = super::scene::with(json!({"anyOf": ["public", "jwt"]}), needed);
        let snapshot = world(&[plain_service(), route(json!({"access": access})), shop(json!({}))]);
        assert_eq!(get(&snapshot, "/x", &Caller::Anonymous), Err(Code::CredentialsMissing));
        let entry = json!([{"endpointPath": "/{*all}", "allowedMethods": ["*"], "isPublic": true}]);
        let listed = json!({"access": super::scene::with(access.clone(), json!({"anyOf": []}))});
        let snapshot = world(&[plain_service(), route(listed), shop(json!({"whitelist": entry}))]);
        assert_eq!(get(&snapshot, "/x", &Caller::Anonymous), Err(Code::CredentialsMissing), "nor a public entry");
    }
}

#[test]
fn ignored_credentials_give_their_own_code_where_roles_are_needed() {
    let access = json!({"anyOf": ["public"], "invalidCredentials": "ignore", "roles": ["clerk"]});
    let snapshot = world(&[plain_service(), route(json!({"access": access}))]);
    assert_eq!(get(&snapshot, "/x", &rejected()), Err(Code::CredentialsInvalid));
    assert_eq!(get(&snapshot, "/x", &Caller::Rejected(Code::TokenExpired)), Err(Code::TokenExpired));
}
