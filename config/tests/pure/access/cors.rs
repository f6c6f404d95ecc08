//! What browsers ask beforehand.

use gateway_config::snapshot::{Caller, Code, Outcome, match_request};
use http::Method;
use serde_json::{Value, json};

use super::scene::{application, decided, defaults, key_of, plain_service, rejected, route, verdict, world};
use crate::world::Request;

fn preflight(path: &str, wanted: &str) -> Request {
    let request = Request { method: Method::OPTIONS, ..Request::get(path) };
    request.header("origin", "https://shop.example").header("access-control-request-method", wanted)
}

fn policy() -> Value {
    json!({"allowOrigins": ["https://shop.example"]})
}

/// The value of a header of the answer to a preflight.
fn told(outcome: &Outcome, name: &str) -> Option<String> {
    let Outcome::Preflight(headers) = outcome else { panic!("{outcome:?} is no preflight") };
    let (_, value) = headers.iter().find(|(it, _)| it.as_str() == name)?;
    Some(value.to_str().unwrap().to_owned())
}

#[test]
fn a_preflight_is_matched_by_the_method_that_it_asks_for_and_answered_without_credentials() {
    let routes = [("read", "GET"), ("write", "PUT")].map(|(name, method)| {
        route(json!({"name": name, "path": "/x", "methods": [method], "cors": policy(), "access": {"anyOf": []}}))
    });
    let snapshot = world(&[&[plain_service()], &routes[..]].concat());
    for (wanted, name) in [("GET", "read"), ("PUT", "write")] {
        for caller in [Caller::Anonymous, rejected()] {
            let decision = decided(&snapshot, &preflight("/x", wanted), &caller);
            assert_eq!(decision.route.unwrap().source.name, name);
            assert_eq!(told(&decision.outcome, "access-control-allow-methods").as_deref(), Some(wanted));
            assert!(decision.counters.is_empty(), "no identity is counted");
        }
    }
    assert_eq!(verdict(&snapshot, &preflight("/x", "DELETE"), &Caller::Anonymous), Err(Code::MethodNotAllowed));
    assert_eq!(verdict(&snapshot, &preflight("/y", "GET"), &Caller::Anonymous), Err(Code::RouteNotFound));
}

#[test]
fn a_preflight_is_judged_after_addresses_and_counted_by_address_and_global_limits() {
    let limits = json!([
        {"requests": 1, "perSeconds": 1, "by": "ip"}, {"requests": 2, "perSeconds": 1, "by": "global"},
        {"requests": 3, "perSeconds": 1, "by": "key"},
    ]);
    for (fleet, by_route) in [
        (json!({"ipDeny": ["127.0.0.0/8"]}), json!({"cors": policy()})),
        (json!({}), json!({"cors": policy(), "ipDeny": ["127.0.0.0/8"]})),
    ] {
        let snapshot = world(&[plain_service(), defaults(fleet), route(by_route)]);
        assert_eq!(verdict(&snapshot, &preflight("/x", "GET"), &Caller::Anonymous), Err(Code::IpDenied));
    }
    let by_route = json!({"cors": policy(), "limits": limits});
    let snapshot = world(&[plain_service(), defaults(json!({"limits": limits})), route(by_route)]);
    let request = preflight("/x", "GET");
    let matched = match_request(&snapshot, &request.facts());
    assert_eq!(matched.counters.iter().map(|it| it.limit.requests).collect::<Vec<_>>(), [1, 2, 1, 2]);
}

#[test]
fn a_route_without_a_policy_judges_a_preflight_like_any_other_request() {
    let whitelist = json!([{"endpointPath": "/{*all}", "allowedMethods": ["GET"], "allowedVersions": ["*"]}]);
    let shop = application("shop", json!({"whitelist": whitelist}));
    let snapshot = world(&[plain_service(), route(json!({})), shop]);
    let request = preflight("/x", "GET");
    assert_eq!(verdict(&snapshot, &request, &Caller::Anonymous), Err(Code::CredentialsMissing));
    // What is asked for is OPTIONS, whatever the preflight is about.
    assert_eq!(verdict(&snapshot, &request, &key_of(&snapshot, "shop")), Err(Code::EndpointNotAllowed));
    let open = world(&[plain_service(), route(json!({"access": {"anyOf": ["public"]}}))]);
    assert!(matches!(decided(&open, &request, &Caller::Anonymous).outcome, Outcome::Forward(_)));
}

#[test]
fn the_fleets_policy_holds_where_a_route_has_none() {
    let fleet = defaults(json!({"cors": {"allowOrigins": ["*"]}}));
    let snapshot = world(&[plain_service(), fleet.clone(), route(json!({}))]);
    let outcome = decided(&snapshot, &preflight("/x", "GET"), &Caller::Anonymous).outcome;
    assert_eq!(told(&outcome, "access-control-allow-origin").as_deref(), Some("*"));
    let own = route(json!({"cors": {"allowOrigins": ["https://other.example"]}}));
    let snapshot = world(&[plain_service(), fleet, own]);
    let outcome = decided(&snapshot, &preflight("/x", "GET"), &Caller::Anonymous).outcome;
    assert_eq!(told(&outcome, "access-control-allow-origin"), None, "the route's own stands above it");
}

#[test]
fn what_is_not_quite_a_preflight_needs_credentials() {
    let snapshot = world(&[plain_service(), route(json!({"cors": policy()}))]);
    let options = || Request { method: Method::OPTIONS, ..Request::get("/x") };
    for request in [
        options(),
        options().header("origin", "https://shop.example"),
        options().header("access-control-request-method", "GET"),
        options().header("origin", "https://shop.example").header("access-control-request-method", "no method"),
        Request { method: Method::GET, ..preflight("/x", "GET") },
        Request { method: Method::POST, ..preflight("/x", "GET") },
    ] {
        assert_eq!(verdict(&snapshot, &request, &Caller::Anonymous), Err(Code::CredentialsMissing), "{request:?}");
    }
}

#[test]
fn a_star_is_spelt_out_for_browsers_that_send_credentials() {
    let cors = json!({
        "allowOrigins": ["https://shop.example"], "allowCredentials": true,
        "allowMethods": ["*"], "allowHeaders": ["*", "x-b"],
    });
    let snapshot = world(&[plain_service(), route(json!({"cors": cors}))]);
    let request = preflight("/x", "PUT").header("access-control-request-headers", "authorization, x-a");
    let outcome = decided(&snapshot, &request, &Caller::Anonymous).outcome;
    assert_eq!(told(&outcome, "access-control-allow-methods").as_deref(), Some("PUT"));
    assert_eq!(told(&outcome, "access-control-allow-headers").as_deref(), Some("authorization, x-a"));
}
