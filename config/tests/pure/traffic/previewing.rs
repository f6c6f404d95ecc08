//! What a change would do to the requests that were kept.

use gateway_config::model::{Change, Edit, Item, Kind, Sample, SampledCaller, SampledToken};
use gateway_config::snapshot::{Judged, Keeping, Names};
use serde_json::json;

use super::{differs, judged, order_of_shop, orders, public, sample, shop, world};
use crate::world::{Request, item, put, service};

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
