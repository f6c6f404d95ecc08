//! Whitelist entries that let the anonymous in.

use gateway_config::model::Item;
use gateway_config::snapshot::{Access, Caller, Code, Snapshot, Step, Who};
use http::Method;
use serde_json::{Value, json};

use super::scene::{
    SERVED, application, choices, decided, get, key_of, plain_service, route, set, token, token_of, verdict,
    versioned_service, with, world,
};
use crate::world::Request;

/// A public entry for GET and all versions, but for what `more` says.
fn public(path: &str, more: Value) -> Value {
    with(json!({"endpointPath": path, "allowedMethods": ["GET"], "allowedVersions": ["*"], "isPublic": true}), more)
}

fn listing(name: &str, entries: &[Value], more: Value) -> Item {
    application(name, with(json!({"whitelist": entries}), more))
}

fn fleet(applications: &[Item]) -> Snapshot {
    world(&[&[versioned_service(&[("a", "v1"), ("b", "v2")]), route(json!({}))], applications].concat())
}

/// Whose entry let the anonymous in, and what its limit is.
fn accounted(snapshot: &Snapshot, path: &str) -> Option<(String, u32)> {
    let decision = decided(snapshot, &Request::get(path), &Caller::Anonymous);
    let limit = decision.counters.first().map_or(0, |counter| counter.limit.requests);
    decision.application.map(|application| (application.name.to_string(), limit))
}

#[test]
fn a_public_entry_lets_the_anonymous_in_on_its_path_by_its_methods() {
    let snapshot = fleet(&[listing("shop", &[public("/open/{id}", json!({}))], json!({}))]);
    assert!(get(&snapshot, "/open/1", &Caller::Anonymous).is_ok());
    assert_eq!(get(&snapshot, "/open", &Caller::Anonymous), Err(Code::CredentialsMissing));
    for method in [Method::POST, Method::HEAD] {
        let request = Request { method, ..Request::get("/open/1") };
        assert_eq!(verdict(&snapshot, &request, &Caller::Anonymous), Err(Code::CredentialsMissing));
    }
}

#[test]
fn an_entry_that_is_not_public_lets_nobody_in() {
    let snapshot = fleet(&[listing("shop", &[public("/{*all}", json!({"isPublic": false}))], json!({}))]);
    assert_eq!(get(&snapshot, "/x", &Caller::Anonymous), Err(Code::CredentialsMissing));
}

#[test]
fn a_public_entry_grants_no_more_than_its_application_may() {
    for (more, entry) in [
        (json!({"isActive": false}), json!({})),
        (json!({"allowedServices": []}), json!({})),
        (json!({"allowedServices": ["other"]}), json!({})),
        (json!({"allowedVersions": []}), json!({})),
        (json!({"allowedVersions": ["v1"]}), json!({"allowedVersions": ["v2"]})),
        (json!({}), json!({"allowedVersions": []})),
        (json!({}), json!({"allowedMethods": []})),
        (json!({"ipDeny": ["127.0.0.1/32"]}), json!({})),
        (json!({"ipAllow": ["10.0.0.0/8"]}), json!({})),
    ] {
        let snapshot = fleet(&[listing("shop", &[public("/{*all}", entry.clone())], more.clone())]);
        assert_eq!(get(&snapshot, "/x", &Caller::Anonymous), Err(Code::CredentialsMissing), "{more} {entry}");
    }
}

#[test]
fn a_public_entry_narrows_the_versions_and_an_unknown_one_stays_unknown() {
    let entry = public("/{*all}", json!({"allowedVersions": ["v1", "v3"]}));
    let snapshot = fleet(&[listing("shop", &[entry], json!({"allowedVersions": ["v1", "v2"]}))]);
    let pinned = |pin: &str| choices(&snapshot, &Request::get("/x").header("x-api-version", pin), &Caller::Anonymous);
    assert_eq!(choices(&snapshot, &Request::get("/x"), &Caller::Anonymous), Ok(set(&["a"])));
    assert_eq!(pinned("v1"), Ok(set(&["a"])));
    assert_eq!(pinned("v2"), Err(Code::CredentialsMissing));
    assert_eq!(pinned("v9"), Err(Code::UnknownVersion));
}

#[test]
fn the_most_specific_entry_is_accounted_then_the_lowest_name() {
    let limited = |path: &str, rate: u32| public(path, json!({"rateLimit": rate}));
    let snapshot = fleet(&[
        listing("c", &[limited("/{*all}", 1), limited("/x/{id}", 2)], json!({})),
        listing("a", &[limited("/{*rest}", 3), limited("/x/{*rest}", 4)], json!({})),
        listing("b", &[limited("/x/{number}", 5), limited("/x/1", 6), limited("/x/1", 7)], json!({})),
        listing("0", &[limited("/x/1", 8)], json!({"isActive": false})),
    ]);
    let by = |name: &str, limit: u32| Some((name.to_owned(), limit));
    assert_eq!(accounted(&snapshot, "/y"), by("a", 3));
    assert_eq!(accounted(&snapshot, "/x/2"), by("b", 5), "of the same pattern the lowest name");
    assert_eq!(
        accounted(&snapshot, "/x/1"),
        by("b", 6),
        "of one application the first; an inactive one is passed over"
    );
    assert_eq!(accounted(&snapshot, "/x/2/3"), by("a", 4));
}

#[test]
fn the_limit_of_a_public_entry_counts_each_address() {
    let entries = [public("/{*all}", json!({"rateLimit": 60}))];
    let own = json!({"limits": [{"requests": 1, "perSeconds": 1, "by": "application"}]});
    let snapshot = fleet(&[listing("shop", &entries, own)]);
    let request = Request { address: "2001:db8:1:2:3::4".parse().unwrap(), ..Request::get("/x") };
    let counters = decided(&snapshot, &request, &Caller::Anonymous).counters;
    let network = Who::Address("2001:db8:1:2::".parse().unwrap());
    let found: Vec<_> = counters.iter().map(|it| (it.limit.requests, it.who.clone())).collect();
    assert_eq!(found, [(60, network)], "and the application's own limits are its callers'");
}

#[test]
fn good_credentials_do_not_keep_out_whom_a_public_entry_lets_in() {
    let nothing = json!({"allowedServices": [], "allowedVersions": []});
    let snapshot = fleet(&[listing("shop", &[public("/open", json!({}))], json!({})), listing("poor", &[], nothing)]);
    let poor = key_of(&snapshot, "poor");
    let stranger = token_of(&snapshot, None, token("kim", &[], &[]));
    for caller in [&poor, &stranger] {
        let decision = decided(&snapshot, &Request::get("/open"), caller);
        assert_eq!(decision.application.unwrap().name.as_ref(), "shop");
        assert!(decision.trail.iter().any(|step| matches!(step, Step::Access(Access::PublicEntry(_)))));
    }
    assert_eq!(get(&snapshot, "/closed", &poor), Err(Code::ServiceNotAllowed));
    assert_eq!(get(&snapshot, "/closed", &stranger), Err(Code::ServiceNotAllowed));
}

#[test]
fn a_caller_on_a_public_route_is_accounted_by_its_own_application() {
    let open = route(json!({"access": {"anyOf": ["public"]}}));
    let snapshot = world(&[plain_service(), open, application("shop", json!({"whitelist": []}))]);
    let decision = decided(&snapshot, &Request::get("/x"), &key_of(&snapshot, "shop"));
    assert_eq!(decision.application.unwrap().name.as_ref(), "shop");
    assert!(decided(&snapshot, &Request::get("/x"), &Caller::Anonymous).application.is_none());
}

#[test]
fn a_caller_whose_own_entry_grants_is_accounted_by_it_rather_than_by_a_public_one() {
    let own = json!({"endpointPath": "/{*all}", "allowedMethods": ["*"], "rateLimit": 5, "allowedVersions": ["*"]});
    let snapshot = world(&[
        plain_service(),
        route(json!({})),
        listing("a", &[public("/x", json!({"rateLimit": 1}))], json!({})),
        listing("shop", &[own], json!({})),
    ]);
    let decision = decided(&snapshot, &Request::get("/x"), &key_of(&snapshot, "shop"));
    assert_eq!(decision.application.unwrap().name.as_ref(), "shop");
    assert_eq!(decision.counters[0].limit.requests, 5);
    assert_eq!(get(&snapshot, "/x", &Caller::Anonymous), SERVED);
}
