//! Which limits count a request, and under whose name.

use std::sync::Arc;

use gateway_config::model::{Edit, Id};
use gateway_config::snapshot::{Caller, Counters, Snapshot, Token, Who, counters_of, match_request};
use serde_json::{Value, json};
use uuid::Uuid;

use super::scene::{
    both_of, decided, defaults, key_of, plain_service, rejected, route, shop, token, token_of, verdict, with, world,
};
use crate::world::{Request, put};

const KINDS: [&str; 5] = ["global", "ip", "application", "key", "subject"];

/// One limit of each kind, told apart by their numbers: `of` and 0 to 4.
fn limits(of: u32) -> Value {
    let limit =
        |(at, by): (usize, &str)| json!({"requests": of + u32::try_from(at).unwrap(), "perSeconds": 1, "by": by});
    KINDS.into_iter().enumerate().map(limit).collect()
}

/// The fleet's limits are 10 to 14, the route's 20 to 24, the application's 30 to 34, its entry's is 40.
fn limited(access: &Value) -> Snapshot {
    let entry =
        json!([{"endpointPath": "/{*all}", "allowedMethods": ["GET"], "allowedVersions": ["*"], "rateLimit": 40}]);
    world(&[
        plain_service(),
        defaults(json!({"limits": limits(10)})),
        route(json!({"limits": limits(20), "access": access})),
        shop(json!({"limits": limits(30), "whitelist": entry})),
    ])
}

fn words(counters: &Counters) -> Vec<(u32, Who)> {
    counters.iter().map(|counter| (counter.limit.requests, counter.who.clone())).collect()
}

fn early(snapshot: &Snapshot, request: &Request) -> Vec<(u32, Who)> {
    words(&match_request(snapshot, &request.facts()).counters)
}

fn late(snapshot: &Snapshot, caller: &Caller) -> Vec<(u32, Who)> {
    words(&decided(snapshot, &Request::get("/x"), caller).counters)
}

fn address() -> Who {
    Who::Address(Request::get("/").address)
}

fn the_shop() -> Who {
    Who::Application("shop".into())
}

fn the_key() -> Who {
    Who::Key(Id::new(Uuid::from_u128(1)))
}

fn kim() -> Who {
    Who::Subject("idp".into(), "kim".into())
}

#[test]
fn address_and_global_limits_of_the_fleet_and_the_route_count_before_anything_is_known_of_the_caller() {
    let snapshot = limited(&json!({}));
    let expected = [(10, Who::All), (11, address()), (20, Who::All), (21, address())];
    assert_eq!(early(&snapshot, &Request::get("/x")), expected);
}

#[test]
fn what_leads_nowhere_is_counted_by_the_fleets_limits() {
    let limits = defaults(json!({"limits": limits(10)}));
    let snapshot = world(&[plain_service(), limits, route(json!({"path": "/x", "methods": ["GET"]}))]);
    for request in [Request::get("/nothing"), Request { method: http::Method::PUT, ..Request::get("/x") }] {
        assert_eq!(early(&snapshot, &request), [(10, Who::All), (11, address())]);
    }
}

#[test]
fn a_key_is_counted_by_key_and_application() {
    let snapshot = limited(&json!({}));
    assert_eq!(
        late(&snapshot, &key_of(&snapshot, "shop")),
        [
            (12, the_shop()),
            (13, the_key()),
            (14, the_key()),
            (22, the_shop()),
            (23, the_key()),
            (24, the_key()),
            (30, Who::All),
            (31, address()),
            (32, the_shop()),
            (33, the_key()),
            (34, the_key()),
            (40, the_shop()),
        ]
    );
}

#[test]
fn a_token_is_counted_by_subject_and_application() {
    let snapshot = limited(&json!({}));
    let caller = token_of(&snapshot, Some("shop"), token("kim", &[], &[]));
    let names: Vec<Who> = late(&snapshot, &caller).into_iter().map(|(_, who)| who).collect();
    let own = [the_shop(), kim(), kim()];
    let expected = [&own[..], &own, &[Who::All, address()], &own, &[the_shop()]].concat();
    assert_eq!(names, expected);
}

#[test]
fn with_both_the_key_counts_keys_and_the_subject_subjects() {
    let snapshot = limited(&json!({}));
    let counted = late(&snapshot, &both_of(&snapshot, "shop", token("kim", &[], &[])));
    assert_eq!(counted[..3], [(12, the_shop()), (13, the_key()), (14, kim())]);
}

#[test]
fn whoever_has_no_such_name_is_counted_by_a_wider_one_and_in_the_end_by_the_address() {
    let snapshot = limited(&json!({"anyOf": ["public", "jwt"], "applicationRequired": false}));
    let anonymous =
        [(12, address()), (13, address()), (14, address()), (22, address()), (23, address()), (24, address())];
    assert_eq!(late(&snapshot, &Caller::Anonymous), anonymous);
    let without_subject = |application| {
        let token = Token { subject: None, ..(*token("", &[], &[])).clone() };
        late(&snapshot, &token_of(&snapshot, application, Arc::new(token)))
    };
    assert_eq!(without_subject(None), anonymous);
    assert_eq!(without_subject(Some("shop"))[..3], [(12, the_shop()), (13, the_shop()), (14, the_shop())]);
    let stranger = token_of(&snapshot, None, token("kim", &[], &[]));
    assert_eq!(late(&snapshot, &stranger)[..3], [(12, kim()), (13, kim()), (14, kim())]);
}

#[test]
fn an_applications_limits_follow_it_onto_public_routes() {
    let snapshot = limited(&json!({"anyOf": ["public"]}));
    let counted = late(&snapshot, &key_of(&snapshot, "shop"));
    assert_eq!(
        counted.iter().map(|(requests, _)| *requests).collect::<Vec<_>>(),
        [12, 13, 14, 22, 23, 24, 30, 31, 32, 33, 34]
    );
}

#[test]
fn a_refused_request_has_no_identity_counters() {
    let snapshot = limited(&json!({"roles": ["clerk"]}));
    let no_get = Request { method: http::Method::PUT, ..Request::get("/x") };
    let refused = [
        (Request::get("/x"), Caller::Anonymous),
        (Request::get("/x"), rejected()),
        (Request::get("/x"), key_of(&snapshot, "shop")),
        (no_get, token_of(&snapshot, Some("shop"), token("kim", &["clerk"], &[]))),
    ];
    for (request, caller) in refused {
        assert!(verdict(&snapshot, &request, &caller).is_err());
        assert!(decided(&snapshot, &request, &caller).counters.is_empty(), "{caller:?}");
    }
    let closed = super::scene::service(json!({"serviceName": "s", "isActive": false}));
    let snapshot = put(&snapshot, &[closed]).unwrap();
    let clerk = token_of(&snapshot, Some("shop"), token("kim", &["clerk"], &[]));
    assert!(decided(&snapshot, &Request::get("/x"), &clerk).counters.is_empty(), "nor where the service is closed");
}

#[test]
fn what_was_counted_survives_reloads_and_edits_of_numbers() {
    let before = limited(&json!({}));
    let ids = |snapshot: &Snapshot| {
        let request = Request::get("/x");
        let early = match_request(snapshot, &request.facts()).counters;
        let late = decided(snapshot, &request, &key_of(snapshot, "shop")).counters;
        early.into_iter().chain(late).map(|it| it.limit.id).collect::<Vec<u64>>()
    };
    let entry = json!([{"endpointPath": "/{*all}", "allowedMethods": ["*"], "allowedVersions": ["*"], "rateLimit": 7}]);
    let after = put(
        &before,
        &[
            defaults(json!({"limits": limits(110), "maxUriBytes": 999})),
            route(json!({"limits": limits(120), "priority": 3})),
            shop(json!({"limits": limits(130), "whitelist": entry, "description": "edited"})),
        ],
    )
    .unwrap();
    assert_eq!(ids(&before), ids(&after));
    let distinct: std::collections::BTreeSet<u64> = ids(&before).into_iter().collect();
    assert_eq!(distinct.len(), ids(&before).len(), "and no two limits share a count");
}

#[test]
fn limits_hold_under_other_names_for_other_owners() {
    let two = |name: &str| {
        let route = route(json!({"name": name, "path": format!("/{name}"), "limits": limits(20)}));
        let snapshot = put(&limited(&json!({})), &[route]).unwrap();
        early_ids(&snapshot, &format!("/{name}"))
    };
    assert_ne!(two("a")[2..], two("b")[2..]);
    assert_eq!(two("a")[..2], two("b")[..2], "the fleet's count all together");
}

fn early_ids(snapshot: &Snapshot, path: &str) -> Vec<u64> {
    let request = Request::get(path);
    match_request(snapshot, &request.facts()).counters.iter().map(|it| it.limit.id).collect()
}

#[test]
fn burst_is_the_number_of_requests_unless_it_is_given() {
    let limits = json!([
        {"requests": 5, "perSeconds": 2, "by": "ip"},
        {"requests": 5, "perSeconds": 2, "burst": 1, "by": "ip", "shared": true, "onStoreError": "deny"},
    ]);
    let snapshot = world(&[plain_service(), route(json!({"limits": limits}))]);
    let request = Request::get("/x");
    let counters = match_request(&snapshot, &request.facts()).counters;
    let numbers: Vec<_> = counters
        .iter()
        .map(|it| (it.limit.requests, it.limit.per_seconds, it.limit.burst, it.limit.shared, &*it.limit.name))
        .collect();
    assert_eq!(numbers, [(5, 2, 5, false, "r-1"), (5, 2, 1, true, "r-2")]);
}

#[test]
fn what_counts_a_caller_wherever_it_goes_is_what_its_requests_are_counted_by() {
    let snapshot = limited(&json!({}));
    let caller = key_of(&snapshot, "shop");
    let everywhere = words(&counters_of(&snapshot, caller.verified().unwrap(), Request::get("/").address));
    let counted = late(&snapshot, &caller);
    assert_eq!(everywhere.len(), 8, "three of the fleet's, five of the application's");
    assert!(everywhere.iter().all(|counter| counted.contains(counter)));
}

#[test]
fn limits_of_nothing_and_of_no_time_are_refused() {
    let bad = json!([{"requests": 0, "perSeconds": 1}, {"requests": 1, "perSeconds": 0}, {"requests": 1, "perSeconds": 1, "burst": 0}]);
    for item in
        [route(with(json!({}), json!({"limits": bad}))), shop(json!({"limits": bad})), defaults(json!({"limits": bad}))]
    {
        let change =
            gateway_config::model::Change { generation: 1, edits: vec![Edit::Put(plain_service()), Edit::Put(item)] };
        let problems = Snapshot::empty().apply(&change).unwrap_err();
        assert_eq!(problems.len(), 3, "{problems:?}");
    }
}
