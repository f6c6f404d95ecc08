//! Which addresses may call: the fleet's rules, the route's, the application's, in this order.

use std::net::IpAddr;

use gateway_config::model::Item;
use gateway_config::snapshot::{Caller, Code, match_request};
use serde_json::json;

use super::scene::{SERVED, defaults, key_of, plain_service, rejected, route, shop, token, token_of, verdict, world};
use crate::world::Request;

fn from(address: &str, path: &str) -> Request {
    Request { address: address.parse::<IpAddr>().unwrap(), ..Request::get(path) }
}

fn guarded(fleet: serde_json::Value, by_route: serde_json::Value, application: serde_json::Value) -> Vec<Item> {
    let path = super::scene::with(json!({"path": "/x"}), by_route);
    vec![plain_service(), defaults(fleet), route(path), shop(application)]
}

#[test]
fn the_fleets_rules_stand_before_everything_else() {
    let fleet = json!({"ipDeny": ["10.0.0.0/8"], "maxUriBytes": 256});
    let snapshot = world(&guarded(fleet, json!({}), json!({})));
    let long = format!("/{}", "x".repeat(300));
    for path in ["/x", "/nothing", "/tasks/1", "/.well-known/gateway/jwks.json", &long] {
        for caller in [Caller::Anonymous, rejected(), key_of(&snapshot, "shop")] {
            assert_eq!(verdict(&snapshot, &from("10.1.2.3", path), &caller), Err(Code::IpDenied), "{path}");
        }
    }
    assert_eq!(verdict(&snapshot, &from("11.0.0.1", "/x"), &key_of(&snapshot, "shop")), SERVED);
    assert_eq!(verdict(&snapshot, &from("11.0.0.1", "/nothing"), &rejected()), Err(Code::RouteNotFound));
}

#[test]
fn a_routes_rules_hold_for_it_alone_and_stand_before_credentials() {
    let mut items = guarded(json!({}), json!({"ipAllow": ["192.0.2.0/24"]}), json!({}));
    items.push(route(json!({"name": "other", "path": "/y", "access": {"anyOf": ["public"]}})));
    let snapshot = world(&items);
    for caller in [Caller::Anonymous, rejected(), key_of(&snapshot, "shop")] {
        assert_eq!(verdict(&snapshot, &from("10.0.0.1", "/x"), &caller), Err(Code::IpDenied));
    }
    assert_eq!(verdict(&snapshot, &from("192.0.2.9", "/x"), &Caller::Anonymous), Err(Code::CredentialsMissing));
    assert_eq!(verdict(&snapshot, &from("10.0.0.1", "/y"), &Caller::Anonymous), SERVED);
    assert_eq!(verdict(&snapshot, &from("10.0.0.1", "/z"), &Caller::Anonymous), Err(Code::RouteNotFound));
}

#[test]
fn an_applications_rules_hold_for_its_callers_wherever_they_go() {
    for access in [json!({}), json!({"anyOf": ["public"]}), json!({"anyOf": ["jwt"], "applicationRequired": false})] {
        let by_route = json!({"access": access});
        let application = json!({"ipAllow": ["10.0.0.0/8"], "ipDeny": ["10.0.0.1/32"]});
        let snapshot = world(&guarded(json!({}), by_route, application));
        let caller = token_of(&snapshot, Some("shop"), token("kim", &[], &[]));
        assert_eq!(verdict(&snapshot, &from("10.0.0.2", "/x"), &caller), SERVED, "{access}");
        for denied in ["10.0.0.1", "11.0.0.1", "2001:db8::1"] {
            assert_eq!(verdict(&snapshot, &from(denied, "/x"), &caller), Err(Code::IpDenied), "{access} {denied}");
        }
    }
}

#[test]
fn an_ipv4_rule_holds_also_for_the_address_written_as_ipv6() {
    let mapped = from("::ffff:10.0.0.1", "/x");
    for (fleet, by_route, application) in [
        (json!({"ipDeny": ["10.0.0.0/8"]}), json!({}), json!({})),
        (json!({}), json!({"ipDeny": ["10.0.0.0/8"]}), json!({})),
        (json!({}), json!({}), json!({"ipDeny": ["10.0.0.0/8"]})),
        (json!({"ipAllow": ["11.0.0.0/8"]}), json!({}), json!({})),
    ] {
        let snapshot = world(&guarded(fleet, by_route, application));
        assert_eq!(verdict(&snapshot, &mapped, &key_of(&snapshot, "shop")), Err(Code::IpDenied));
    }
    let snapshot = world(&guarded(json!({"ipAllow": ["10.0.0.0/8"]}), json!({}), json!({})));
    assert_eq!(verdict(&snapshot, &mapped, &key_of(&snapshot, "shop")), SERVED);
}

#[test]
fn who_is_denied_uses_up_nobodys_limits() {
    let limits =
        json!([{"requests": 1, "perSeconds": 1, "by": "global"}, {"requests": 1, "perSeconds": 1, "by": "ip"}]);
    let counted = |fleet_denies: &[&str], route_denies: &[&str]| {
        let fleet = json!({"limits": limits, "ipDeny": fleet_denies});
        let snapshot = world(&guarded(fleet, json!({"limits": limits, "ipDeny": route_denies}), json!({})));
        let request = from("10.0.0.1", "/x");
        match_request(&snapshot, &request.facts()).counters.len()
    };
    assert_eq!(counted(&[], &[]), 4);
    assert_eq!(counted(&["10.0.0.0/8"], &[]), 0);
    assert_eq!(counted(&[], &["10.0.0.0/8"]), 0);
}

#[test]
fn a_warning_of_what_matches_instead_does_not_depend_on_addresses() {
    let only_from_far = json!({"ipAllow": ["192.0.2.0/24"]});
    let off = route(json!({"name": "off", "path": "/x/y", "isActive": false}));
    let snapshot = world(&[
        plain_service(),
        defaults(only_from_far.clone()),
        route(super::scene::with(json!({"path": "/{*rest}"}), only_from_far)),
        off.clone(),
    ]);
    let warnings = snapshot.warnings(&[gateway_config::model::Edit::Put(off)]);
    assert!(warnings.iter().any(|it| it.to_string().contains("go to route \"r\"")), "{warnings:?}");
}
