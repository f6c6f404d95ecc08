//! The whitelist: paths, methods, versions, and which of several entries is accounted.

use gateway_config::snapshot::{Code, Snapshot};
use http::Method;
use serde_json::{Value, json};

use super::scene::{SERVED, choices, decided, get, key_of, plain_service, route, set, shop, versioned_service, world};
use crate::world::Request;

/// The application `shop` with these entries, before a service with the API versions v1 and v2.
fn listed(entries: &Value) -> Snapshot {
    world(&[
        versioned_service(&[("a", "v1"), ("b", "v2")]),
        route(json!({})),
        shop(json!({"allowedServices": ["s"], "whitelist": entries})),
    ])
}

fn entry(path: &str, methods: &[&str], versions: &[&str]) -> Value {
    json!({"endpointPath": path, "allowedMethods": methods, "allowedVersions": versions})
}

fn allowed(snapshot: &Snapshot, method: Method, path: &str) -> Result<(), Code> {
    let request = Request { method, ..Request::get(path) };
    choices(snapshot, &request, &key_of(snapshot, "shop")).map(drop)
}

#[test]
fn an_entry_allows_the_paths_that_its_pattern_fits_and_no_other() {
    for (pattern, inside, outside) in [
        ("/orders", vec!["/orders"], vec!["/orders/", "/orders/1", "/Orders", "/order", "/"]),
        ("/orders/", vec!["/orders/"], vec!["/orders"]),
        (
            "/orders/{id}",
            vec!["/orders/1", "/orders/%20"],
            vec!["/orders", "/orders/", "/orders/1/", "/orders/1/items"],
        ),
        ("/{a}/items", vec!["/1/items"], vec!["/items", "/1/2/items", "/1/items/"]),
        ("/orders/{*rest}", vec!["/orders/", "/orders/1/2/3"], vec!["/orders", "/other/1"]),
        ("/{*all}", vec!["/", "/a/b/"], vec![]),
    ] {
        let snapshot = listed(&json!([entry(pattern, &["*"], &["*"])]));
        for path in inside {
            assert_eq!(allowed(&snapshot, Method::GET, path), Ok(()), "{pattern} {path}");
        }
        for path in outside {
            assert_eq!(allowed(&snapshot, Method::GET, path), Err(Code::EndpointNotAllowed), "{pattern} {path}");
        }
    }
}

#[test]
fn an_entry_allows_exactly_its_methods_and_none_if_it_lists_none() {
    let snapshot = listed(&json!([entry("/{*all}", &["GET", "PURGE"], &["*"])]));
    assert_eq!(allowed(&snapshot, Method::GET, "/x"), Ok(()));
    assert_eq!(allowed(&snapshot, "PURGE".parse().unwrap(), "/x"), Ok(()));
    for method in ["HEAD", "POST", "OPTIONS", "get", "PURGED"] {
        assert_eq!(allowed(&snapshot, method.parse().unwrap(), "/x"), Err(Code::EndpointNotAllowed), "{method}");
    }
    let snapshot = listed(&json!([entry("/{*all}", &[], &["*"])]));
    assert_eq!(allowed(&snapshot, Method::GET, "/x"), Err(Code::EndpointNotAllowed));
    let snapshot = listed(&json!([entry("/{*all}", &["GET", "*"], &["*"])]));
    assert_eq!(allowed(&snapshot, Method::DELETE, "/x"), Ok(()));
}

#[test]
fn entries_add_up_and_do_not_take_from_each_other() {
    let snapshot = listed(&json!([
        entry("/orders/{id}", &["GET"], &["*"]),
        entry("/orders/{*rest}", &["POST"], &["*"]),
        entry("/orders/1", &[], &[]),
        entry("/orders/{number}", &["PUT"], &["*"]),
    ]));
    for method in [Method::GET, Method::POST, Method::PUT] {
        assert_eq!(allowed(&snapshot, method.clone(), "/orders/1"), Ok(()), "{method}");
    }
    assert_eq!(allowed(&snapshot, Method::DELETE, "/orders/1"), Err(Code::EndpointNotAllowed));
    assert_eq!(allowed(&snapshot, Method::GET, "/orders/1/items"), Err(Code::EndpointNotAllowed));
    assert_eq!(allowed(&snapshot, Method::POST, "/orders/1/items"), Ok(()));
}

#[test]
fn methods_and_versions_of_different_entries_do_not_mix() {
    let snapshot = listed(&json!([entry("/{*all}", &["GET"], &["v1"]), entry("/{*rest}", &["POST"], &["v2"])]));
    let caller = key_of(&snapshot, "shop");
    let request = |method, pin: &str| Request { method, ..Request::get("/x").header("x-api-version", pin) };
    assert_eq!(choices(&snapshot, &request(Method::GET, "v1"), &caller), Ok(set(&["a"])));
    assert_eq!(choices(&snapshot, &request(Method::POST, "v2"), &caller), Ok(set(&["b"])));
    assert_eq!(choices(&snapshot, &request(Method::GET, "v2"), &caller), Err(Code::VersionNotAllowed));
    assert_eq!(choices(&snapshot, &request(Method::POST, "v1"), &caller), Err(Code::VersionNotAllowed));
    assert_eq!(choices(&snapshot, &request(Method::PUT, "v1"), &caller), Err(Code::EndpointNotAllowed));
}

#[test]
fn a_less_specific_entry_grants_the_version_that_a_more_specific_one_does_not() {
    let snapshot = listed(&json!([entry("/{*all}", &["GET"], &["v2"]), entry("/x", &["GET"], &["v1"])]));
    let caller = key_of(&snapshot, "shop");
    let pinned = |pin: &str| choices(&snapshot, &Request::get("/x").header("x-api-version", pin), &caller);
    assert_eq!(pinned("v1"), Ok(set(&["a"])));
    assert_eq!(pinned("v2"), Ok(set(&["b"])));
    // Not pinned, the most specific entry that grants something narrows.
    assert_eq!(choices(&snapshot, &Request::get("/x"), &caller), Ok(set(&["a"])));
}

#[test]
fn the_most_specific_entry_that_grants_is_accounted_and_its_limit_counts() {
    let limited = |path: &str, methods: &[&str], rate: u32| {
        let mut value = entry(path, methods, &["*"]);
        value["rateLimit"] = json!(rate);
        value
    };
    let snapshot = listed(&json!([
        limited("/{*all}", &["*"], 1),
        limited("/orders/{*rest}", &["*"], 2),
        limited("/{any}/{id}", &["*"], 3),
        limited("/orders/{id}", &["*"], 4),
        limited("/orders/list", &["POST"], 5),
        limited("/orders/free", &["*"], 0),
    ]));
    let counted = |method: Method, path: &str| {
        let request = Request { method, ..Request::get(path) };
        let decision = decided(&snapshot, &request, &key_of(&snapshot, "shop"));
        decision.counters.iter().map(|it| (it.limit.requests, it.limit.per_seconds)).collect::<Vec<_>>()
    };
    assert_eq!(counted(Method::GET, "/a"), [(1, 60)]);
    assert_eq!(counted(Method::GET, "/orders/1/items"), [(2, 60)]);
    assert_eq!(counted(Method::GET, "/other/1"), [(3, 60)]);
    assert_eq!(counted(Method::GET, "/orders/1"), [(4, 60)]);
    assert_eq!(counted(Method::POST, "/orders/list"), [(5, 60)]);
    assert_eq!(counted(Method::GET, "/orders/list"), [(4, 60)], "an entry that does not grant is not accounted");
    assert_eq!(counted(Method::GET, "/orders/free"), [], "0 is no limit of its own");
}

#[test]
fn entries_of_one_path_count_apart() {
    let limited = |method: &str, rate: u32| {
        let mut value = entry("/orders", &[method], &["*"]);
        value["rateLimit"] = json!(rate);
        value
    };
    let id = |snapshot: &Snapshot, method: Method| {
        let request = Request { method, ..Request::get("/orders") };
        decided(snapshot, &request, &key_of(snapshot, "shop")).counters[0].limit.id
    };
    let before = listed(&json!([limited("GET", 100), limited("POST", 10)]));
    assert_ne!(id(&before, Method::GET), id(&before, Method::POST));
    let after = listed(&json!([entry("/", &[], &[]), limited("GET", 200), limited("POST", 20)]));
    for method in [Method::GET, Method::POST] {
        assert_eq!(id(&before, method.clone()), id(&after, method), "what was counted survives an edit");
    }
}

#[test]
fn the_path_is_the_clients_and_not_the_rewritten_one() {
    let rewritten = route(json!({"path": "/api/{*rest}", "rewrite": "/inside/{rest}"}));
    let of = |pattern: &str| {
        let shop = shop(json!({"whitelist": [entry(pattern, &["*"], &[])]}));
        let snapshot = world(&[plain_service(), rewritten.clone(), shop]);
        get(&snapshot, "/api/x", &key_of(&snapshot, "shop"))
    };
    assert_eq!(of("/api/{*rest}"), SERVED, "and of a service without versions the entry's do not matter");
    assert_eq!(of("/inside/{*rest}"), Err(Code::EndpointNotAllowed));
}
