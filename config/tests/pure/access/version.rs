//! Versions narrowed to what the application and its entry allow.

use gateway_config::snapshot::{Code, Snapshot};
use serde_json::{Value, json};

use super::scene::{
    SERVED, choices, key_of, plain_service, route, service, set, shop, verdict, versioned_service, world,
};
use crate::world::Request;

/// Two versions of v1 (a canary), one of v2 and one of v3.
fn allowed(application: &Value, entry: &Value) -> Snapshot {
    let fleet = versioned_service(&[("a", "v1"), ("b", "v1"), ("c", "v2"), ("d", "v3")]);
    let by_path = route(json!({"name": "pinned", "path": "/api/{version}/{*rest}"}));
    let whitelist = json!([{"endpointPath": "/{*all}", "allowedMethods": ["*"], "allowedVersions": entry}]);
    let shop = shop(json!({"allowedVersions": application, "whitelist": whitelist}));
    world(&[fleet, by_path, route(json!({})), shop])
}

fn chosen(snapshot: &Snapshot, request: &Request) -> Result<std::collections::BTreeSet<String>, Code> {
    choices(snapshot, request, &key_of(snapshot, "shop"))
}

#[test]
fn without_a_pin_all_serve_that_application_and_entry_allow() {
    for (application, entry, expected) in [
        (json!(["*"]), json!(["*"]), vec!["a", "b", "c", "d"]),
        (json!(["v1"]), json!(["*"]), vec!["a", "b"]),
        (json!(["*"]), json!(["v2", "v3"]), vec!["c", "d"]),
        (json!(["v1", "v2"]), json!(["v2", "v3"]), vec!["c"]),
    ] {
        let snapshot = allowed(&application, &entry);
        assert_eq!(chosen(&snapshot, &Request::get("/x")), Ok(set(&expected)), "{application} {entry}");
    }
    for (application, entry) in [
        (json!(["v1"]), json!(["v2"])),
        (json!([]), json!(["*"])),
        (json!(["*"]), json!([])),
        // The names of versions are not API versions.
        (json!(["a"]), json!(["a"])),
        (json!(["V1"]), json!(["*"])),
    ] {
        let snapshot = allowed(&application, &entry);
        assert_eq!(chosen(&snapshot, &Request::get("/x")), Err(Code::VersionNotAllowed), "{application} {entry}");
    }
}

#[test]
fn a_pin_must_be_allowed_by_application_and_entry() {
    let snapshot = allowed(&json!(["v1", "v2"]), &json!(["v1", "v3"]));
    for (pin, expected) in [
        ("v1", Ok(set(&["a", "b"]))),
        ("v2", Err(Code::VersionNotAllowed)),
        ("v3", Err(Code::VersionNotAllowed)),
        ("v4", Err(Code::UnknownVersion)),
        ("a", Err(Code::UnknownVersion)),
        ("", Err(Code::UnknownVersion)),
    ] {
        assert_eq!(chosen(&snapshot, &Request::get("/x").header("x-api-version", pin)), expected, "{pin}");
        if !pin.is_empty() {
            assert_eq!(chosen(&snapshot, &Request::get(&format!("/api/{pin}/x"))), expected, "{pin}");
        }
    }
    let by_path = Request::get("/api/v1/x").header("x-api-version", "v3");
    assert_eq!(chosen(&snapshot, &by_path), Ok(set(&["a", "b"])), "the path stands above the header");
}

#[test]
fn a_version_that_is_switched_off_is_unknown_however_much_it_is_allowed() {
    let fleet = service(json!({"serviceName": "s", "versions": [
        {"version": "v1", "url": "http://127.0.0.1:1", "weight": 1},
        {"version": "v2", "url": "http://127.0.0.1:1", "weight": 1, "isActive": false},
    ]}));
    let snapshot = world(&[fleet.clone(), route(json!({})), shop(json!({}))]);
    assert_eq!(chosen(&snapshot, &Request::get("/x").header("x-api-version", "v2")), Err(Code::UnknownVersion));
    assert_eq!(chosen(&snapshot, &Request::get("/x")), Ok(set(&["v1"])));
    let only_the_old = world(&[fleet, route(json!({})), shop(json!({"allowedVersions": ["v2"]}))]);
    assert_eq!(chosen(&only_the_old, &Request::get("/x")), Err(Code::VersionNotAllowed));
}

#[test]
fn a_service_without_versions_ignores_pins_and_allowed_versions() {
    let whitelist = json!([{"endpointPath": "/{*all}", "allowedMethods": ["*"], "allowedVersions": []}]);
    for versions in [json!([]), json!(["v1"]), json!(["*"])] {
        let shop = shop(json!({"allowedVersions": versions, "whitelist": whitelist}));
        let snapshot = world(&[plain_service(), route(json!({})), shop]);
        for request in [Request::get("/x"), Request::get("/x").header("x-api-version", "v7")] {
            assert_eq!(verdict(&snapshot, &request, &key_of(&snapshot, "shop")), SERVED, "{versions}");
        }
    }
}

#[test]
fn weights_and_the_current_version_choose_among_the_allowed_only() {
    let version = |name: &str, weight: u16| json!({"version": name, "url": "http://127.0.0.1:1", "weight": weight});
    let of = |versions: Value, current: Option<&str>, allowed: &[&str]| {
        let fleet = service(json!({"serviceName": "s", "versions": versions, "currentVersion": current}));
        let snapshot = world(&[fleet, route(json!({})), shop(json!({"allowedVersions": allowed}))]);
        chosen(&snapshot, &Request::get("/x")).unwrap()
    };
    let weighed = json!([version("v1", 999), version("v2", 1), version("v3", 0)]);
    assert_eq!(of(weighed.clone(), None, &["v2", "v3"]), set(&["v2"]));
    assert_eq!(of(weighed, Some("v1"), &["v3"]), set(&["v3"]), "the only one serves, also without weight");
    let equal = json!([version("v1", 0), version("v2", 0), version("v3", 0)]);
    assert_eq!(of(equal.clone(), Some("v2"), &["*"]), set(&["v2"]));
    assert_eq!(of(equal, Some("v2"), &["v1", "v3"]), set(&["v1", "v3"]), "the current one is no candidate");
}
