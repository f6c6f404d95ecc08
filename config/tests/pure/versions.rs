//! Which version serves.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use gateway_config::model::Kind;
use gateway_config::snapshot::{BodyFacts, Caller, Code, Outcome, Snapshot, decide, match_request};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::world::{Request, item, put};

/// `versions` are (version, API version, weight); `more` are further fields of the service.
fn fleet(versions: &[(&str, &str, u16)], more: &Value) -> Snapshot {
    let version = |(name, api, weight): &(&str, &str, u16)| json!({"version": name, "apiVersion": api, "weight": weight, "url": "http://127.0.0.1:1"});
    let mut service = json!({"serviceName": "s", "versions": versions.iter().map(version).collect::<Vec<_>>()});
    for (field, value) in more.as_object().unwrap() {
        service[field] = value.clone();
    }
    let route = |name: &str, path: &str| {
        let access = json!({"anyOf": ["public"]});
        item(Kind::Route, json!({"name": name, "path": path, "target": {"service": "s"}, "access": access}))
    };
    put(&Snapshot::empty(), &[item(Kind::Service, service), route("plain", "/s"), route("pinned", "/{version}/s")])
        .unwrap()
}

/// The version that serves, `""` for `defaultUrl`.
fn serves(snapshot: &Snapshot, request: &Request) -> Result<String, Code> {
    let facts = request.facts();
    match decide(snapshot, &match_request(snapshot, &facts), &Caller::Anonymous, &BodyFacts::default()).outcome {
        Outcome::Forward(to) => Ok(to.version().map_or_else(String::new, ToString::to_string)),
        Outcome::Refuse(refusal) => Err(refusal.code),
        other => panic!("{other:?}"),
    }
}

/// The same dice every time.
fn dice() -> impl Iterator<Item = u64> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    std::iter::repeat_with(move || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    })
}

fn shares(snapshot: &Snapshot, requests: impl Iterator<Item = Request>) -> BTreeMap<String, usize> {
    let mut shares = BTreeMap::new();
    for request in requests {
        *shares.entry(serves(snapshot, &request).unwrap()).or_default() += 1;
    }
    shares
}

fn rolled(count: usize) -> impl Iterator<Item = Request> {
    dice().take(count).map(|entropy| Request { entropy, ..Request::get("/s") })
}

/// 20,000 trials: five standard deviations are at most 354.
#[track_caller]
fn assert_near(found: usize, expected: usize) {
    assert!(found.abs_diff(expected) <= 354, "{found} of 20000, expected {expected}");
}

#[test]
fn each_request_anew_is_shared_out_by_weight() {
    let snapshot = fleet(&[("a", "v1", 90), ("b", "v1", 10), ("c", "v1", 0)], &json!({}));
    let shares = shares(&snapshot, rolled(20_000));
    assert_near(shares["a"], 18_000);
    assert_near(shares["b"], 2_000);
    assert_eq!(shares.get("c"), None);
}

#[test]
fn a_pin_narrows_the_candidates_by_api_version() {
    let snapshot = fleet(&[("a", "v1", 50), ("b", "v1", 50), ("c", "v2", 100), ("d", "v3", 0)], &json!({}));
    let pinned = rolled(20_000).map(|request| Request { path: "/v1/s".to_owned(), ..request });
    let shares = shares(&snapshot, pinned);
    assert_near(shares["a"], 10_000);
    assert_eq!(shares.len(), 2);
    let by_header = Request::get("/s").header("x-api-version", "v2");
    assert_eq!(serves(&snapshot, &by_header).as_deref(), Ok("c"));
    assert_eq!(serves(&snapshot, &Request::get("/v3/s")).as_deref(), Ok("d"), "a pin alone, without weight, serves");
    let path_wins = Request::get("/v2/s").header("x-api-version", "v3");
    assert_eq!(serves(&snapshot, &path_wins).as_deref(), Ok("c"));
}

#[test]
fn a_pin_that_no_active_version_serves_is_unknown() {
    let inactive = json!({"versions": [
        {"version": "v1", "url": "http://127.0.0.1:1"},
        {"version": "v2", "url": "http://127.0.0.1:1", "isActive": false},
    ]});
    let snapshot = fleet(&[], &inactive);
    for pin in ["v2", "v3", "V1"] {
        assert_eq!(serves(&snapshot, &Request::get(&format!("/{pin}/s"))), Err(Code::UnknownVersion), "{pin}");
        assert_eq!(
            serves(&snapshot, &Request::get("/s").header("x-api-version", pin)),
            Err(Code::UnknownVersion),
            "{pin}"
        );
    }
    let mut no_text = Request::get("/s");
    no_text.headers.append("x-api-version", http::HeaderValue::from_bytes(b"\xff").unwrap());
    assert_eq!(serves(&snapshot, &no_text), Err(Code::UnknownVersion));
}

#[test]
fn a_service_without_versions_ignores_pins() {
    let snapshot = fleet(&[], &json!({"defaultUrl": "http://127.0.0.1:1"}));
    assert_eq!(serves(&snapshot, &Request::get("/v7/s")).as_deref(), Ok(""));
    assert_eq!(serves(&snapshot, &Request::get("/s").header("x-api-version", "v7")).as_deref(), Ok(""));
}

#[test]
fn without_weights_the_current_version_serves_and_else_all_equally() {
    let versions = [("a", "v1", 0), ("b", "v1", 0), ("c", "v2", 0)];
    let current = fleet(&versions, &json!({"currentVersion": "b"}));
    assert_eq!(shares(&current, rolled(1000)), BTreeMap::from([("b".to_owned(), 1000)]));
    let pinned = Request::get("/v2/s");
    assert_eq!(serves(&current, &pinned).as_deref(), Ok("c"), "the current version is no candidate");
    let shares = shares(&fleet(&versions, &json!({})), rolled(20_000));
    for name in ["a", "b", "c"] {
        assert_near(shares[name], 6_667);
    }
}

#[test]
fn weights_stand_before_the_current_version() {
    let snapshot = fleet(&[("a", "v1", 1), ("b", "v1", 0)], &json!({"currentVersion": "b"}));
    assert_eq!(shares(&snapshot, rolled(100)), BTreeMap::from([("a".to_owned(), 100)]));
}

#[test]
fn an_inactive_service_and_one_under_maintenance_are_refused() {
    let versions = [("a", "v1", 1)];
    let asleep = fleet(&versions, &json!({"isActive": false}));
    assert_eq!(serves(&asleep, &Request::get("/s")), Err(Code::ServiceInactive));
    let under = fleet(&versions, &json!({"maintenance": {"retryAfterSeconds": 7}}));
    assert_eq!(serves(&under, &Request::get("/s")), Err(Code::Maintenance));
}

#[test]
fn sticky_callers_are_shared_out_by_weight_too() {
    for (sticky, caller) in kinds_of_callers() {
        let snapshot = fleet(&[("a", "v1", 75), ("b", "v1", 25)], &json!({"stickyOn": sticky}));
        let shares = shares(&snapshot, (0..20_000).map(caller));
        assert_near(shares["a"], 15_000);
        assert_near(shares["b"], 5_000);
    }
}

#[test]
fn a_sticky_caller_stays_whatever_the_dice_say() {
    for (sticky, caller) in kinds_of_callers() {
        let snapshot = fleet(&[("a", "v1", 50), ("b", "v1", 50)], &json!({"stickyOn": sticky}));
        for number in 0..100 {
            let first = serves(&snapshot, &caller(number)).unwrap();
            for entropy in dice().take(20) {
                let again = Request { entropy, ..caller(number) };
                assert_eq!(serves(&snapshot, &again).as_deref(), Ok(&*first), "{sticky} {number}");
            }
        }
    }
}

#[test]
fn what_lacks_the_sticky_value_is_shared_out_by_the_dice() {
    let snapshot = fleet(&[("a", "v1", 50), ("b", "v1", 50)], &json!({"stickyOn": "cookie:user"}));
    assert_near(shares(&snapshot, rolled(20_000))["a"], 10_000);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn raising_a_weight_only_moves_callers_towards_it(
        weights in prop::array::uniform3(0..1000u16),
        raised in 0..3usize,
        by in 1..1000u16,
    ) {
        let names = ["a", "b", "c"];
        let versions = |weights: &[u16]| -> Vec<(&str, &str, u16)> {
            names.iter().zip(weights).map(|(name, weight)| (*name, "v1", *weight)).collect()
        };
        let sticky = json!({"stickyOn": "header:x-user"});
        let before = fleet(&versions(&weights), &sticky);
        let mut more = weights;
        more[raised] = (more[raised] + by).min(1000);
        let after = fleet(&versions(&more), &sticky);
        // Without any weight all serve equally: nobody is sticky then.
        prop_assume!(weights.iter().any(|weight| *weight > 0));
        for number in 0..300 {
            let caller = Request::get("/s").header("x-user", &number.to_string());
            let (was, is) = (serves(&before, &caller).unwrap(), serves(&after, &caller).unwrap());
            prop_assert!(is == was || is == names[raised], "{} moved from {} to {}", number, was, is);
        }
    }
}

/// The request of the caller of this number.
type Numbered = fn(u32) -> Request;

/// Ways to be sticky, each with requests that differ in nothing but the caller.
fn kinds_of_callers() -> [(&'static str, Numbered); 3] {
    [
        ("caller", |number| Request {
            address: IpAddr::V4(Ipv4Addr::from_bits(0x0a00_0000 + number)),
            ..Request::get("/s")
        }),
        ("header:x-user", |number| Request::get("/s").header("x-user", &format!("user-{number}"))),
        ("cookie:user", |number| Request::get("/s").header("cookie", &format!("theme=dark; user={number}; x=y"))),
    ]
}
