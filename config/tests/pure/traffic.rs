//! Samples of traffic: what they keep, and what a change would do to them.

use gateway_config::clock::new_id;
use gateway_config::model::{
    Change, Edit, Id, Item, Kind, Sample, SampledCaller, SampledOutcome, SampledToken, Timestamp,
};
use gateway_config::snapshot::{
    BodyFacts, Caller, Decision, Judged, Keeping, Names, Outcome, Preview, Snapshot, Verified, decide, match_request,
};
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Value, json};

use crate::world::{Request, item, pattern, put, request, route_value, routes, service};

/// What a gateway keeps of a request that it answered under this snapshot.
fn sample(snapshot: &Snapshot, request: &Request, keeping: &Keeping) -> Sample {
    let facts = request.facts();
    let decision = decide(snapshot, &match_request(snapshot, &facts), &Caller::Anonymous, &BodyFacts::default());
    sample_of(snapshot, request, keeping, &decision)
}

fn sample_of(snapshot: &Snapshot, request: &Request, keeping: &Keeping, decision: &Decision) -> Sample {
    let (status, code) = match &decision.outcome {
        Outcome::Refuse(refusal) => (refusal.status, Some(refusal.code.to_string())),
        Outcome::Preflight(_) => (204, None),
        _ => (200, None),
    };
    Sample {
        id: new_id(),
        at: Timestamp::from_micros(1_795_000_000_000_000),
        node: new_id(),
        weight: 1,
        generation: snapshot.generation(),
        request: keeping.asked_by(snapshot).redact(&request.facts(), decision.route.as_deref(), false),
        caller: SampledCaller::Anonymous,
        outcome: SampledOutcome {
            route: decision.route.as_ref().map(|route| route.source.name.clone()),
            status,
            code,
            ..SampledOutcome::default()
        },
    }
}

fn judged(before: &Snapshot, after: &Snapshot, touched: &[(Kind, &str)], sample: &Sample) -> Judged {
    let touched: Vec<_> = touched.iter().map(|(kind, name)| (*kind, (*name).to_owned())).collect();
    Preview::new(before, after, &touched, sample.at).judge(sample)
}

fn differs(route: &str, before: &str, after: &str) -> Judged {
    Judged::Differs { route: Some(route.to_owned()), before: before.to_owned(), after: after.to_owned() }
}

fn world(items: &[Item]) -> Snapshot {
    put(&Snapshot::empty(), items).unwrap()
}

fn orders(more: &Value) -> Item {
    let mut route = json!({"name": "orders", "path": "/orders/{id}", "target": {"service": "s"}});
    route.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    item(Kind::Route, route)
}

fn public(name: &str, path: &str) -> Item {
    item(Kind::Route, json!({"name": name, "path": path, "target": {"service": "s"}, "access": {"anyOf": ["public"]}}))
}

fn shop(paths: &[&str]) -> Item {
    let entry = |path: &&str| json!({"endpointPath": path, "allowedMethods": ["*"], "allowedVersions": ["*"]});
    let whitelist: Vec<Value> = paths.iter().map(entry).collect();
    let shop = json!({"name": "shop", "allowedServices": ["*"], "allowedVersions": ["*"], "whitelist": whitelist});
    item(Kind::Application, shop)
}

/// `GET /orders/7` by the application shop, which was forwarded.
fn order_of_shop(snapshot: &Snapshot) -> Sample {
    let mut sample = sample(snapshot, &Request::get("/orders/7"), &Keeping::default());
    let key = Some(Id::new(new_id()));
    sample.caller = SampledCaller::Verified { application: Some("shop".to_owned()), key, token: None };
    (sample.outcome.status, sample.outcome.code) = (200, None);
    sample
}

// === what is kept ===

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

#[test]
fn an_endpoint_that_is_taken_away_is_shown_for_those_that_used_it() {
    let before = world(&[service(), orders(&json!({})), shop(&["/orders/{id}"])]);
    let after = put(&before, &[shop(&["/other"])]).unwrap();
    let sample = order_of_shop(&before);
    let touched = [(Kind::Application, "shop")];
    assert_eq!(judged(&before, &after, &touched, &sample), differs("orders", "200", "403 endpoint_not_allowed"));
    // Of somebody else nothing changes.
    let mut anonymous = Sample { caller: SampledCaller::Anonymous, ..sample };
    (anonymous.outcome.status, anonymous.outcome.code) = (401, Some("credentials_missing".to_owned()));
    assert_eq!(judged(&before, &after, &touched, &anonymous), Judged::Same);
}

#[test]
fn an_endpoint_that_needs_what_was_kept_back_is_not_guessed() {
    let before = world(&[service(), orders(&json!({})), shop(&["/orders/{id}"])]);
    let sample = order_of_shop(&before);
    let judged = |after: &[&str]| {
        let after = put(&before, &[shop(after)]).unwrap();
        judged(&before, &after, &[(Kind::Application, "shop")], &sample)
    };
    assert_eq!(judged(&["/orders/7"]), Judged::Undecided);
    assert_eq!(judged(&["/orders/{id}", "/orders/8"]), Judged::Same, "allowed already, whatever it is");
    assert_eq!(judged(&["/orders/{*rest}"]), Judged::Same);
}

#[test]
fn an_entry_that_shows_nowhere_in_the_sample_had_its_say() {
    let before = world(&[service(), orders(&json!({})), shop(&["/orders/7"])]);
    // It was let in by what stands under `{id}`: without that nobody knows what a role would change.
    let sample = order_of_shop(&before);
    let after = put(&before, &[orders(&json!({"access": {"roles": ["admin"]}}))]).unwrap();
    assert_eq!(judged(&before, &after, &[(Kind::Route, "orders")], &sample), Judged::Undecided);
}

#[test]
fn a_caller_is_who_it_is_in_the_proposed_configuration() {
    let before = world(&[service(), orders(&json!({})), shop(&["/orders/{id}"])]);
    let sample = order_of_shop(&before);
    let mut inactive = shop(&["/orders/{id}"]).to_json();
    inactive["isActive"] = json!(false);
    let after = put(&before, &[item(Kind::Application, inactive)]).unwrap();
    let touched = [(Kind::Application, "shop")];
    assert_eq!(judged(&before, &after, &touched, &sample), differs("orders", "200", "403 application_inactive"));
    let gone = world(&[service(), orders(&json!({}))]);
    assert_eq!(judged(&before, &gone, &touched, &sample), differs("orders", "200", "401 credentials_invalid"));
}

#[test]
fn roles_are_those_that_the_token_had() {
    let open = json!({"access": {"anyOf": ["jwt"], "applicationRequired": false, "roles": ["user"]}});
    let before = world(&[service(), orders(&open)]);
    let closed = json!({"access": {"anyOf": ["jwt"], "applicationRequired": false, "roles": ["admin"]}});
    let after = put(&before, &[orders(&closed)]).unwrap();
    let with = |roles: &[&str]| {
        let roles = roles.iter().map(|role| (*role).to_owned()).collect();
        let token = SampledToken { issuer: "idp".to_owned(), roles, ..SampledToken::default() };
        let caller = SampledCaller::Verified { application: None, key: None, token: Some(token) };
        Sample { caller, ..order_of_shop(&before) }
    };
    let touched = [(Kind::Route, "orders")];
    assert_eq!(judged(&before, &after, &touched, &with(&["user"])), differs("orders", "200", "403 role_missing"));
    assert_eq!(judged(&before, &after, &touched, &with(&["user", "admin"])), Judged::Same);
}

#[test]
fn a_new_route_that_may_take_it_is_not_guessed_and_one_that_does_is() {
    let before = world(&[service(), public("orders", "/orders/{id}")]);
    let seen = sample(&before, &Request::get("/orders/7"), &Keeping::default());
    let with = |name: &str, path: &str| {
        let after = put(&before, &[public(name, path)]).unwrap();
        judged(&before, &after, &[(Kind::Route, name)], &seen)
    };
    assert_eq!(with("seven", "/orders/7"), Judged::Undecided);
    assert_eq!(with("other", "/other/7"), Judged::Same);
    assert_eq!(with("deeper", "/orders/{id}/{more}"), Judged::Same);
    assert_eq!(with("all", "/{*rest}"), Judged::Same, "less specific");
    let mut priority = public("vip", "/orders/{id}").to_json();
    priority["priority"] = json!(5);
    let after = put(&before, &[item(Kind::Route, priority)]).unwrap();
    let expected = differs("orders", "s by route orders", "s by route vip");
    assert_eq!(judged(&before, &after, &[(Kind::Route, "vip")], &seen), expected);
    let mut query = public("paged", "/orders/{id}").to_json();
    query["query"] = json!({"page": "2"});
    let after = put(&before, &[item(Kind::Route, query)]).unwrap();
    assert_eq!(judged(&before, &after, &[(Kind::Route, "paged")], &seen), Judged::Same, "there was no such parameter");
    let mut paged = Request::get("/orders/7");
    paged.query = Some("page=2".to_owned());
    let hidden = sample(&before, &paged, &Keeping::default());
    assert_eq!(judged(&before, &after, &[(Kind::Route, "paged")], &hidden), Judged::Undecided);
    let shown = sample(&before, &paged, &Keeping::new(Names::None, Names::All));
    let expected = differs("orders", "s by route orders", "s by route paged");
    assert_eq!(judged(&before, &after, &[(Kind::Route, "paged")], &shown), expected);
}

#[test]
fn what_nobody_took_may_be_taken_by_a_new_route() {
    let before = world(&[service()]);
    let after = put(&before, &[public("new", "/new/{id}")]).unwrap();
    let seen = sample(&before, &Request::get("/new/7"), &Keeping::default());
    let touched = [(Kind::Route, "new")];
    assert_eq!(judged(&before, &after, &touched, &seen), differs("new", "404 route_not_found", "s"));
    // Credentials came with it that nobody looked at.
    let closed =
        put(&before, &[item(Kind::Route, json!({"name": "new", "path": "/new/{id}", "target": {"service": "s"}}))]);
    let unverified = Sample { caller: SampledCaller::Unverified, ..seen };
    assert_eq!(judged(&before, &closed.unwrap(), &touched, &unverified), Judged::Undecided);
}

#[test]
fn who_stands_behind_a_route_that_goes_is_not_guessed_where_that_was_kept_back() {
    let mut first = public("first", "/u/{id}").to_json();
    first["hosts"] = json!(["a.com"]);
    let before = world(&[service(), item(Kind::Route, first), public("me", "/u/me"), public("deep", "/u/{id}/x")]);
    let without = |more: &[Item]| {
        let change =
            Change { generation: 2, edits: vec![Edit::Delete { kind: Kind::Route, name: "first".to_owned() }] };
        put(&before.apply(&change).unwrap(), more).unwrap()
    };
    // It may have been /u/me, which another host's route takes now.
    let seen = sample(&before, &Request::get("/u/7"), &Keeping::default());
    let touched = [(Kind::Route, "first"), (Kind::Route, "me")];
    assert_eq!(judged(&before, &without(&[]), &touched[..1], &seen), Judged::Undecided);
    let mut elsewhere = public("me", "/u/me").to_json();
    elsewhere["hosts"] = json!(["b.com"]);
    let after = without(&[item(Kind::Route, elsewhere)]);
    assert_eq!(judged(&before, &after, &touched, &seen), differs("first", "200", "404 route_not_found"));
}

#[test]
fn whether_another_method_would_do_is_not_guessed_where_the_path_was_kept_back() {
    let getting = |name: &str, path: &str| {
        let mut route = public(name, path).to_json();
        route["methods"] = json!(["GET"]);
        item(Kind::Route, route)
    };
    let request = Request { method: http::Method::POST, ..Request::get("/u/7") };
    let judged = |others: &[Item]| {
        let before = world(&[vec![service(), getting("all", "/u/{id}")], others.to_vec()].concat());
        let change = Change { generation: 2, edits: vec![Edit::Delete { kind: Kind::Route, name: "all".to_owned() }] };
        let seen = sample(&before, &request, &Keeping::default());
        judged(&before, &before.apply(&change).unwrap(), &[(Kind::Route, "all")], &seen)
    };
    assert_eq!(judged(&[getting("me", "/u/me")]), Judged::Undecided);
    let expected = Judged::Differs {
        route: None,
        before: "405 method_not_allowed".to_owned(),
        after: "404 route_not_found".to_owned(),
    };
    assert_eq!(judged(&[]), expected);
}

#[test]
fn a_version_that_serves_instead_is_shown() {
    let versions = |weights: [u16; 2]| {
        let version = |name: &str, weight| json!({"version": name, "apiVersion": "v1", "url": "http://127.0.0.1:1", "weight": weight});
        let versions = json!([version("a", weights[0]), version("b", weights[1])]);
        item(Kind::Service, json!({"serviceName": "s", "versions": versions}))
    };
    let before = world(&[versions([1, 0]), public("orders", "/orders/{id}")]);
    let after = put(&before, &[versions([0, 1])]).unwrap();
    let seen = sample(&before, &Request::get("/orders/7"), &Keeping::default());
    assert_eq!(judged(&before, &after, &[(Kind::Service, "s")], &seen), differs("orders", "s a", "s b"));
}

#[test]
fn what_was_limited_is_not_called_allowed() {
    let before = world(&[service(), orders(&json!({})), shop(&["/orders/{id}"])]);
    let after = put(&before, &[shop(&[])]).unwrap();
    let mut sample = order_of_shop(&before);
    (sample.outcome.status, sample.outcome.code) = (429, Some("rate_limited".to_owned()));
    let expected = differs("orders", "429 rate_limited", "403 endpoint_not_allowed");
    assert_eq!(judged(&before, &after, &[(Kind::Application, "shop")], &sample), expected);
}

#[test]
fn a_sample_from_before_the_last_write_is_decided_as_things_stand() {
    let first = world(&[service(), orders(&json!({})), shop(&["/orders/{id}"])]);
    let sample = order_of_shop(&first);
    let before =
        put(&first, &[item(Kind::Queue, json!({"name": "q", "destination": {"deliverTo": "http://127.0.0.1:1/"}}))]);
    let before = before.unwrap();
    let after = put(&before, &[shop(&["/other"])]).unwrap();
    let expected = differs("orders", "200", "403 endpoint_not_allowed");
    assert_eq!(judged(&before, &after, &[(Kind::Application, "shop")], &sample), expected);
    let denied = put(&first, &[shop(&["/other"])]).unwrap();
    let after = put(&denied, &[shop(&["/orders/{id}"])]).unwrap();
    let expected = differs("orders", "403 endpoint_not_allowed", "s");
    assert_eq!(judged(&denied, &after, &[(Kind::Application, "shop")], &sample), expected);
}

/// What decides a request, in words.
fn truth(snapshot: &Snapshot, request: &Request, caller: &Caller) -> (Option<String>, Option<String>) {
    let facts = request.facts();
    let decision = decide(snapshot, &match_request(snapshot, &facts), caller, &BodyFacts::default());
    let code = match &decision.outcome {
        Outcome::Refuse(refusal) => Some(refusal.code.to_string()),
        _ => None,
    };
    (decision.route.map(|route| route.source.name.clone()), code)
}

fn touched_by(edits: &[Item]) -> Vec<(Kind, &str)> {
    edits.iter().map(|edit| (edit.kind(), edit.name())).collect()
}

/// The application shop with a key, where it may use these paths.
fn whitelisted(entries: &[(String, bool)], is_active: bool) -> Item {
    let entry = |(path, is_public): &(String, bool)| json!({"endpointPath": path, "allowedMethods": ["GET", "POST"], "allowedVersions": ["*"], "isPublic": is_public});
    let whitelist: Vec<Value> = entries.iter().map(entry).collect();
    item(
        Kind::Application,
        json!({
            "name": "shop", "allowedServices": ["*"], "allowedVersions": ["*"], "whitelist": whitelist, "isActive": is_active,
        }),
    )
}

fn key_of_shop(snapshot: &Snapshot) -> Caller {
    let application = snapshot.application("shop").cloned();
    Caller::Verified(Verified { application, key: Some(Id::default()), token: None })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn what_is_said_of_whitelists_is_true(
        routes in routes(1..5),
        entries in prop::collection::vec((pattern(), prop::bool::weighted(0.2)), 0..4),
        changed in prop::collection::vec((pattern(), prop::bool::weighted(0.2)), 0..4),
        is_active in prop::bool::weighted(0.8),
        moves in prop::option::weighted(0.3, route_value("r0".to_owned(), vec!["s"])),
        request in request(),
        has_key in any::<bool>(),
    ) {
        let items = [vec![service(), whitelisted(&entries, true)], routes].concat();
        let Ok(before) = put(&Snapshot::empty(), &items) else { return Ok(()) };
        // The first is taken away, the others are added.
        let kept: Vec<_> = entries.iter().skip(1).chain(&changed).cloned().collect();
        let mut edits = vec![whitelisted(&kept, is_active)];
        edits.extend(moves.map(|value| item(Kind::Route, value)));
        let Ok(after) = put(&before, &edits) else { return Ok(()) };
        let caller = |snapshot: &Snapshot| if has_key { key_of_shop(snapshot) } else { Caller::Anonymous };
        let facts = request.facts();
        let matched = match_request(&before, &facts);
        let matters = matched.found.as_ref().is_ok_and(|found| !found.preflight);
        let decision = decide(&before, &matched, &caller(&before), &BodyFacts::default());
        let mut sample = sample_of(&before, &request, &Keeping::default(), &decision);
        sample.caller = match (has_key, matters) {
            (false, _) => SampledCaller::Anonymous,
            (true, false) => SampledCaller::Unverified,
            (true, true) => {
                SampledCaller::Verified { application: Some("shop".to_owned()), key: Some(Id::default()), token: None }
            }
        };
        sample.outcome.application = decision.application.as_ref().map(|it| it.name.to_string());
        let (was, is) = (truth(&before, &request, &caller(&before)), truth(&after, &request, &caller(&after)));
        match judged(&before, &after, &touched_by(&edits), &sample) {
            Judged::Same => prop_assert_eq!(was, is, "{:?}", sample),
            Judged::Differs { .. } => prop_assert_ne!(was, is, "{:?}", sample),
            Judged::Undecided => {}
        }
    }

    #[test]
    fn what_is_not_called_undecided_is_true(
        routes in routes(1..6),
        edits in prop::collection::vec((0..8u8).prop_flat_map(|at| route_value(format!("r{at}"), vec!["s"])), 1..3),
        request in request(),
        shows in any::<bool>(),
    ) {
        let Ok(before) = put(&Snapshot::empty(), &[vec![service()], routes].concat()) else { return Ok(()) };
        let edits: Vec<Item> = edits.into_iter().map(|value| item(Kind::Route, value)).collect();
        let Ok(after) = put(&before, &edits) else { return Ok(()) };
        let names = || if shows { Names::All } else { Names::None };
        let sample = sample(&before, &request, &Keeping::new(names(), names()));
        let (was, is) = (truth(&before, &request, &Caller::Anonymous), truth(&after, &request, &Caller::Anonymous));
        match judged(&before, &after, &touched_by(&edits), &sample) {
            Judged::Same => prop_assert_eq!(was, is, "{:?}", sample),
            Judged::Differs { .. } => prop_assert_ne!(was, is, "{:?}", sample),
            Judged::Undecided => {},
        }
    }
}
