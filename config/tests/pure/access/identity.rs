//! Where keys and clients lead, and that none of them leads to two applications.

use gateway_config::model::{Change, Edit, Item, Kind};
use gateway_config::snapshot::Snapshot;
use serde_json::{Value, json};

use super::scene::{application, world};
use crate::world::{item, put};

fn keyed(name: &str, prefixes: &[&str]) -> Item {
    let keys: Vec<Value> = prefixes.iter().map(|prefix| json!({"name": "key", "prefix": prefix})).collect();
    application(name, json!({"apiKeys": keys}))
}

fn issuer(name: &str) -> Item {
    let (iss, keys) = (format!("https://{name}.example"), "https://idp.example/keys");
    item(Kind::Issuer, json!({"name": name, "issuer": iss, "algorithms": ["RS256"], "jwksUrl": keys}))
}

fn client(name: &str, issuer: &str) -> Item {
    application(name, json!({"jwtClients": [{"issuer": issuer, "clientId": "web"}]}))
}

fn paths(snapshot: &Snapshot, edits: Vec<Edit>) -> Vec<String> {
    let problems = snapshot.apply(&Change { generation: 9, edits }).unwrap_err();
    problems.into_iter().map(|problem| problem.path).collect()
}

#[test]
fn two_keys_of_one_prefix_are_refused_where_the_second_stands() {
    let snapshot = world(&[keyed("one", &["p1", "p2"])]);
    assert_eq!(paths(&snapshot, vec![Edit::Put(keyed("two", &["p3", "p2"]))]), ["applications/two/apiKeys/1/prefix"]);
    assert_eq!(paths(&snapshot, vec![Edit::Put(keyed("one", &["p1", "p1"]))]), ["applications/one/apiKeys/1/prefix"]);
}

#[test]
fn keys_may_change_places_in_one_change() {
    let snapshot = world(&[keyed("one", &["p1"]), keyed("two", &["p2"])]);
    let swapped = put(&snapshot, &[keyed("one", &["p2"]), keyed("two", &["p1"])]).unwrap();
    assert_eq!(&*swapped.key("p1").unwrap().application.name, "two");
    assert_eq!(&*swapped.key("p2").unwrap().application.name, "one");
    let without = put(&swapped, &[keyed("two", &[])]).unwrap();
    assert!(without.key("p1").is_none());
    assert!(without.key("p2").is_some());
}

#[test]
fn an_issuer_whose_clients_are_bound_can_not_go() {
    let snapshot = world(&[issuer("idp")]);
    let bound = put(&snapshot, &[client("one", "idp")]).unwrap();
    let gone = Edit::Delete { kind: Kind::Issuer, name: "idp".to_owned() };
    assert_eq!(paths(&bound, vec![gone.clone()]), ["applications/one/jwtClients/0/issuer"]);
    let by_iss = put(&snapshot, &[client("one", "https://idp.example")]).unwrap();
    assert_eq!(paths(&by_iss, vec![gone.clone()]), ["applications/one/jwtClients/0/issuer"]);
    let with_its_client = vec![gone, Edit::Delete { kind: Kind::Application, name: "one".to_owned() }];
    assert!(bound.apply(&Change { generation: 9, edits: with_its_client }).is_ok());
}

#[test]
fn a_client_is_found_by_its_issuers_name_or_iss_and_only_at_that_issuer() {
    for by in ["idp", "https://idp.example"] {
        let snapshot = world(&[issuer("idp"), issuer("other"), client("one", by)]);
        let found = |issuer: &str, client: &str| {
            let issuer = snapshot.issuer(issuer).unwrap();
            snapshot.application_of_client(issuer, client).map(|it| it.name.to_string())
        };
        assert_eq!(found("idp", "web").as_deref(), Some("one"));
        assert_eq!(found("idp", "Web"), None);
        assert_eq!(found("other", "web"), None, "another issuer's client of the same id is somebody else");
    }
}

#[test]
fn a_client_can_not_be_bound_twice_by_its_issuers_two_names() {
    let snapshot = world(&[issuer("idp"), client("one", "idp")]);
    let twice = vec![Edit::Put(client("two", "https://idp.example"))];
    assert_eq!(paths(&snapshot, twice), ["applications/two/jwtClients/0"]);
}

#[test]
fn an_iss_that_is_another_issuers_name_is_refused() {
    let snapshot = world(&[issuer("idp")]);
    let keys = "https://evil.example/keys";
    let evil = json!({"name": "evil", "issuer": "idp", "algorithms": ["RS256"], "jwksUrl": keys});
    assert_eq!(paths(&snapshot, vec![Edit::Put(item(Kind::Issuer, evil))]), ["issuers/evil/issuer"]);
}
