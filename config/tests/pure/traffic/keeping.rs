//! What a sample keeps of a request, and what it keeps back.

use gateway_config::model::{Item, Kind};
use gateway_config::snapshot::{Keeping, Names, Snapshot};
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::json;

use super::{public, sample, world};
use crate::world::{Request, item, put, routes, service};

#[test]
fn what_a_route_captured_is_kept_back_unless_its_name_is_allowed() {
    let path = "/api/{version}/orders/{id}/{*rest}";
    let snapshot = world(&[service(), public("orders", path)]);
    let request = Request::get("/api/v1/orders/7/a//");
    let kept = |names: &[&str]| {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        sample(&snapshot, &request, &Keeping::new(Names::new(&names), Names::None)).request.path
    };
    assert_eq!(kept(&[]), "/api/v1/orders/{id}/{rest}//");
    assert_eq!(kept(&["id"]), "/api/v1/orders/7/{rest}//");
    assert_eq!(kept(&["rest"]), "/api/v1/orders/{id}/a//");
    assert_eq!(kept(&["*"]), "/api/v1/orders/7/a//");
}

#[test]
fn of_a_request_that_no_route_took_only_the_first_segment_is_kept() {
    let kept =
        |names| sample(&Snapshot::empty(), &Request::get("/a/b/c/"), &Keeping::new(names, Names::None)).request.path;
    assert_eq!(kept(Names::None), "/a/{}/{}/");
    assert_eq!(kept(Names::All), "/a/b/c/");
}

#[test]
fn of_a_query_names_are_kept_and_values_where_they_are_allowed() {
    let mut request = Request::get("/");
    request.query = Some("page=2&token=canary&canary&a%20b=c&page=3&ca!nary=1&empty=".to_owned());
    let kept = |names: &[&str]| {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let keeping = Keeping::new(Names::None, Names::new(&names));
        serde_json::to_value(sample(&Snapshot::empty(), &request, &keeping).request.query).unwrap()
    };
    assert_eq!(kept(&[]), json!({"page": null, "token": null, "empty": null, "?": null}));
    assert_eq!(kept(&["page", "empty"]), json!({"page": ["2", "3"], "token": null, "empty": [""], "?": null}));
    let all = kept(&["*"]);
    assert_eq!((&all["token"], &all["canary"], &all["a b"]), (&json!(["canary"]), &json!([""]), &json!(["c"])));
}

#[test]
fn of_headers_only_those_are_kept_that_conditions_ask_for_and_never_credentials() {
    let conditions = json!({"x-tier": "gold", "cookie": "~.*a.*", "authorization": "~.*", "x-api-key": "~.+"});
    let route = json!({"name": "r", "path": "/{*rest}", "headers": conditions, "target": {"service": "s"}});
    let snapshot = world(&[service(), item(Kind::Route, route)]);
    let request = ["cookie", "authorization", "proxy-authorization", "x-api-key", "x-other"].into_iter();
    let request = request.fold(Request::get("/"), |request, name| request.header(name, "canary"));
    let request = request.header("x-tier", "gold").header("x-tier", "tin").header("x-api-version", "v1");
    let headers = sample(&snapshot, &request, &Keeping::default()).request.headers;
    let expected = json!({
        "cookie": null, "authorization": null, "proxy-authorization": null, "x-api-key": null, "x-other": null,
        "x-tier": ["gold", "tin"], "x-api-version": ["v1"],
    });
    assert_eq!(serde_json::to_value(headers).unwrap(), expected);
}

/// A path that the pattern matches, each name filled with this.
fn filled(pattern: &str, canary: &str) -> String {
    let segment = |segment: &str| match segment.strip_prefix('{') {
        Some(name) if name.starts_with('*') => format!("{canary}/{canary}"),
        Some(_) => canary.to_owned(),
        None => segment.to_owned(),
    };
    pattern.split('/').map(segment).collect::<Vec<_>>().join("/")
}

proptest! {
    #[test]
    fn no_secret_gets_through(
        routes in routes(1..6),
        at in any::<prop::sample::Index>(),
        query in select(vec!["x=CANARY", "CANARY", "x=CANARY&x=CANARY", "q=1&CANARY=1&y=CANARY"]),
        header in select(vec!["cookie", "authorization", "x-api-key", "x-b"]),
    ) {
        let Item::Route(route) = at.get(&routes) else { panic!("no route") };
        let path = filled(&route.path, "CANARY");
        let others = routes.iter().filter(|it| it.name() == route.name).cloned();
        let Ok(snapshot) = put(&Snapshot::empty(), &[vec![service()], others.collect()].concat()) else { return Ok(()) };
        let mut request = Request { query: Some(query.to_owned()), ..Request::get(&path) };
        request = request.header("x-a", "1").header(header, "CANARY");
        request.host = route.hosts.first().map_or("a.com".to_owned(), |host| host.replace('*', "w"));
        let sample = sample(&snapshot, &request, &Keeping::default());
        // Of a path that nobody knows the first segment stays, and a name is what stands before a `=`.
        let text = serde_json::to_string(&sample).unwrap().replace("\"path\":\"/CANARY", "").replace("\"CANARY\":null", "");
        prop_assert!(!text.contains("CANARY"), "{text}");
    }
}

// === what a change does ===
