//! What an application may reach: everything is denied that is not granted.

use gateway_config::model::Kind;
use gateway_config::snapshot::{Caller, Code, Outcome};
use serde_json::{Value, json};

use super::scene::{
    SERVED, application, decided, get, key_of, plain_service, route, shop, token, token_of, verdict, versioned_service,
    world,
};
use crate::world::{Request, item};

#[test]
fn an_application_that_is_granted_nothing_may_do_nothing() {
    for (denied, code) in [
        (json!({"allowedServices": []}), Code::ServiceNotAllowed),
        (json!({"allowedServices": ["other", "S", "s2"]}), Code::ServiceNotAllowed),
        (json!({"allowedVersions": []}), Code::VersionNotAllowed),
        (json!({"whitelist": []}), Code::EndpointNotAllowed),
    ] {
        let snapshot = world(&[versioned_service(&[("a", "v1")]), route(json!({})), shop(denied.clone())]);
        assert_eq!(get(&snapshot, "/x", &key_of(&snapshot, "shop")), Err(code), "{denied}");
        let by_token = token_of(&snapshot, Some("shop"), token("kim", &[], &[]));
        assert_eq!(get(&snapshot, "/x", &by_token), Err(code), "{denied}");
    }
    let empty = item(Kind::Application, json!({"name": "shop"}));
    let snapshot = world(&[plain_service(), route(json!({})), empty]);
    assert_eq!(get(&snapshot, "/x", &key_of(&snapshot, "shop")), Err(Code::ServiceNotAllowed));
}

#[test]
fn a_star_grants_all_and_a_name_only_what_it_names() {
    for granted in [json!({}), json!({"allowedServices": ["s"]}), json!({"allowedServices": ["other", "*"]})] {
        let snapshot = world(&[plain_service(), route(json!({})), shop(granted.clone())]);
        assert_eq!(get(&snapshot, "/x", &key_of(&snapshot, "shop")), SERVED, "{granted}");
    }
}

#[test]
fn an_inactive_application_is_refused_wherever_it_goes() {
    let accesses = [
        json!({}),
        json!({"anyOf": ["jwt"]}),
        json!({"anyOf": []}),
        json!({"anyOf": ["public"]}),
        json!({"anyOf": ["public"], "invalidCredentials": "ignore"}),
        json!({"anyOf": ["api_key"], "applicationRequired": false}),
        json!({"roles": ["clerk"]}),
    ];
    for access in accesses {
        let route = route(json!({"access": access}));
        let snapshot = world(&[plain_service(), route, shop(json!({"isActive": false, "allowedServices": []}))]);
        assert_eq!(get(&snapshot, "/x", &key_of(&snapshot, "shop")), Err(Code::ApplicationInactive), "{access}");
        let by_token = token_of(&snapshot, Some("shop"), token("kim", &["clerk"], &[]));
        assert_eq!(get(&snapshot, "/x", &by_token), Err(Code::ApplicationInactive), "{access}");
    }
}

#[test]
fn a_queue_is_allowed_by_its_name_and_has_no_versions() {
    let queue = item(Kind::Queue, json!({"name": "mail", "destination": {"deliverTo": "http://127.0.0.1:1"}}));
    let target = route(json!({"target": {"queue": "mail"}}));
    let outcome = |allowed: &str| {
        let shop = shop(json!({"allowedServices": [allowed], "allowedVersions": []}));
        let snapshot = world(&[queue.clone(), target.clone(), shop]);
        decided(&snapshot, &Request::get("/x"), &key_of(&snapshot, "shop")).outcome
    };
    assert!(matches!(outcome("mail"), Outcome::Publish(_)));
    assert!(matches!(outcome("s"), Outcome::Refuse(refusal) if refusal.code == Code::ServiceNotAllowed));
}

#[test]
fn what_the_gateway_answers_itself_needs_an_entry_and_no_service() {
    let route = route(json!({"target": {"respond": {"statusCode": 204}}}));
    for (more, expected) in [
        (json!({"allowedServices": [], "allowedVersions": []}), SERVED),
        (json!({"whitelist": []}), Err(Code::EndpointNotAllowed)),
    ] {
        let snapshot = world(&[route.clone(), shop(more)]);
        assert_eq!(get(&snapshot, "/x", &key_of(&snapshot, "shop")), expected);
    }
}

#[test]
fn whoever_has_a_token_without_an_application_may_not_use_a_service() {
    let snapshot = world(&[plain_service(), route(json!({})), shop(json!({}))]);
    let stranger = token_of(&snapshot, None, token("kim", &["admin"], &["all"]));
    assert_eq!(get(&snapshot, "/x", &stranger), Err(Code::ServiceNotAllowed));
}

#[test]
fn where_no_application_is_needed_every_verified_caller_is_let_in_and_nobody_else() {
    let access = json!({"anyOf": ["api_key", "jwt"], "applicationRequired": false});
    let nothing = json!({"allowedServices": [], "allowedVersions": [], "whitelist": []});
    let snapshot = world(&[versioned_service(&[("a", "v1")]), route(json!({"access": access})), shop(nothing)]);
    let stranger = token_of(&snapshot, None, token("kim", &[], &[]));
    let known = token_of(&snapshot, Some("shop"), token("kim", &[], &[]));
    for caller in [stranger, known, key_of(&snapshot, "shop")] {
        assert_eq!(get(&snapshot, "/x", &caller).as_deref(), Ok("a"));
        assert_eq!(get(&snapshot, "/x", &Caller::Anonymous), Err(Code::CredentialsMissing));
    }
}

/// Puts one thing right of an application, a route's access, and a token's roles and scopes.
type Mend<'a> = &'a dyn Fn(&mut Value, &mut Value, &mut (Vec<&'static str>, Vec<&'static str>));

#[test]
fn of_several_reasons_to_refuse_the_first_of_the_designs_order_is_told() {
    // Everything is wrong at first, then one thing after the other is put right.
    let mut shop = json!({
        "isActive": false, "ipDeny": ["127.0.0.0/8"], "allowedServices": [], "allowedVersions": ["v9"],
        "whitelist": [{"endpointPath": "/else", "allowedMethods": ["*"], "allowedVersions": ["*"]}],
    });
    let mut access = json!({"anyOf": ["api_key"], "roles": ["clerk"], "scopes": ["write"]});
    let mut token_says = (vec![], vec![]);
    let all = json!([{"endpointPath": "/{*all}", "allowedMethods": ["*"], "allowedVersions": ["*"]}]);
    let steps: [(Code, Mend<'_>); 9] = [
        (Code::ApplicationInactive, &|shop, _, _| shop["isActive"] = json!(true)),
        (Code::IpDenied, &|shop, _, _| shop["ipDeny"] = json!([])),
        (Code::CredentialsMissing, &|_, access, _| access["anyOf"] = json!(["jwt"])),
        (Code::ServiceNotAllowed, &|shop, _, _| shop["allowedServices"] = json!(["s"])),
        (Code::VersionNotAllowed, &|shop, _, _| shop["allowedVersions"] = json!(["v1"])),
        (Code::EndpointNotAllowed, &|shop, _, _| shop["whitelist"] = all.clone()),
        (Code::RoleMissing, &|_, _, token| token.0.push("clerk")),
        (Code::ScopeMissing, &|_, _, token| token.1.push("write")),
        (Code::UnknownVersion, &|_, _, _| ()),
    ];
    for (code, mend) in steps {
        let route = route(json!({"access": access}));
        let snapshot = world(&[versioned_service(&[("a", "v1")]), route, application("shop", shop.clone())]);
        let caller = token_of(&snapshot, Some("shop"), token("kim", &token_says.0, &token_says.1));
        // Nobody serves v7, but that is told only to those who may use the service.
        let request = Request::get("/x").header("x-api-version", "v7");
        assert_eq!(verdict(&snapshot, &request, &caller), Err(code));
        mend(&mut shop, &mut access, &mut token_says);
    }
}
