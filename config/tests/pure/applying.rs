//! Applying a change against compiling what it leads to, over random sequences of changes.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::sync::Arc;

use gateway_config::model::{Change, Configuration, Edit, Id, Item, Kind};
use gateway_config::snapshot::{BodyFacts, Caller, Outcome, Snapshot, Verified, compile, decide, match_request};
use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use serde_json::json;

use crate::world::{Request, item, pattern, request, route_value};

const SERVICES: [&str; 3] = ["s", "t", "u"];
const APPLICATIONS: [&str; 3] = ["x", "y", "z"];
const ISSUERS: [&str; 3] = ["i1", "i2", "i3"];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn a_change_leads_to_what_compiling_its_outcome_leads_to(
        changes in prop::collection::vec(prop::collection::vec(edit(), 1..5), 1..25),
        requests in prop::collection::vec(request(), 12),
    ) {
        let (mut snapshot, mut configuration) = (Snapshot::empty(), Configuration::default());
        for (edits, generation) in changes.into_iter().zip(1..) {
            let mut wanted = configuration.clone();
            for edit in &edits {
                match edit {
                    Edit::Put(item) => drop(wanted.put(item.clone())),
                    Edit::Delete { kind, name } => drop(wanted.remove(*kind, name)),
                }
            }
            let change = Change { generation, edits };
            match (snapshot.apply(&change), compile(&wanted, generation)) {
                (Ok(next), Ok(whole)) => {
                    prop_assert_eq!(next.describe(), whole.describe());
                    prop_assert_eq!((next.digest(), next.generation()), (whole.digest(), generation));
                    prop_assert_eq!(whole.digest(), wanted.digest());
                    prop_assert_eq!(next.configuration(), wanted.clone());
                    for request in &requests {
                        prop_assert_eq!(decisions(&next, request), decisions(&whole, request));
                    }
                    leads_credentials_where_they_belong(&next, &wanted)?;
                    shares_what_it_did_not_touch(&snapshot, &next, &change)?;
                    (snapshot, configuration) = (next, wanted);
                }
                (Err(_), Err(_)) => {
                    // The old one stays as it was.
                    prop_assert_eq!(snapshot.digest(), configuration.digest());
                }
                (applied, compiled) => prop_assert!(
                    false,
                    "{change:?}: applied {:?}, compiled {:?}",
                    applied.map(|it| it.describe()),
                    compiled.map(|it| it.describe())
                ),
            }
        }
    }
}

fn edit() -> impl Strategy<Value = Edit> {
    let put_route = (0..8u8).prop_flat_map(|at| route_value(format!("r{at}"), SERVICES.to_vec()));
    let put_route = put_route.prop_map(|value| Edit::Put(item(Kind::Route, value)));
    let delete_route = (0..8u8).prop_map(|at| Edit::Delete { kind: Kind::Route, name: format!("r{at}") });
    let weight = || select(vec![0, 0, 1, 5]);
    // A bad URL now and then: such a change must be refused as a whole.
    let url = prop_oneof![20 => Just("http://127.0.0.1:7000"), 1 => Just("nonsense")];
    let put_service = (select(SERVICES.to_vec()), any::<bool>(), url, weight(), weight());
    let put_service = put_service.prop_map(|(name, active, url, first, second)| {
        let value = json!({
            "serviceName": name, "defaultUrl": url, "isActive": active,
            "versions": [
                {"version": "v1", "url": "http://127.0.0.1:7001", "weight": first},
                {"version": "v2", "url": "http://127.0.0.1:7002", "weight": second, "isActive": active},
            ],
        });
        Edit::Put(item(Kind::Service, value))
    });
    let delete_service =
        select(SERVICES.to_vec()).prop_map(|name| Edit::Delete { kind: Kind::Service, name: name.to_owned() });
    let defaults = (0..3u32)
        .prop_map(|more| Edit::Put(item(Kind::Defaults, json!({"name": "defaults", "maxUriBytes": 8000 + more}))));
    let reset = Just(Edit::Delete { kind: Kind::Defaults, name: "defaults".to_owned() });
    prop_oneof![
        8 => put_route, 3 => delete_route, 5 => put_service, 1 => delete_service, 1 => defaults, 1 => reset,
        8 => put_application(), 2 => delete(Kind::Application, &APPLICATIONS), 4 => put_issuer(), 1 => delete(Kind::Issuer, &ISSUERS),
    ]
}

fn delete(kind: Kind, names: &[&'static str]) -> impl Strategy<Value = Edit> + use<> {
    select(names.to_vec()).prop_map(move |name| Edit::Delete { kind, name: name.to_owned() })
}

/// Few prefixes, clients and patterns for all of them, so that they move between applications and collide now and then.
fn put_application() -> impl Strategy<Value = Edit> {
    let keys = subsequence(vec!["k1", "k2", "k3", "k4", "k5", "k6"], 0..2);
    let by = prop_oneof![4 => select(ISSUERS.to_vec()), 1 => Just("https://idp-1"), 1 => Just("ghost")];
    let client = (by, select(vec!["web", "mobile", "desk", "till", "robot"]));
    let clients = prop::collection::vec(client, 0..2);
    let entry = (pattern(), any::<bool>(), 0..3u32);
    let entries = prop::collection::vec(entry, 0..4);
    (select(APPLICATIONS.to_vec()), prop::bool::weighted(0.9), keys, clients, entries).prop_map(
        |(name, active, keys, clients, entries)| {
            let key = |prefix: &&str| json!({"name": prefix, "prefix": prefix});
            let client = |(issuer, id): &(&str, &str)| json!({"issuer": issuer, "clientId": id});
            let entry = |(path, public, rate): &(String, bool, u32)| {
                let all = json!(["*"]);
                json!({"endpointPath": path, "allowedMethods": all, "allowedVersions": all, "isPublic": public, "rateLimit": rate})
            };
            let value = json!({
                "name": name, "isActive": active, "allowedServices": ["*"], "allowedVersions": ["*"],
                "apiKeys": keys.iter().map(key).collect::<Vec<_>>(),
                "jwtClients": clients.iter().map(client).collect::<Vec<_>>(),
                "whitelist": entries.iter().map(entry).collect::<Vec<_>>(),
            });
            Edit::Put(item(Kind::Application, value))
        },
    )
}

fn put_issuer() -> impl Strategy<Value = Edit> {
    let iss = select(vec!["https://idp-1", "https://idp-2", "https://idp-3", "https://idp-4", "i2"]);
    (select(ISSUERS.to_vec()), iss).prop_map(|(name, iss)| {
        let keys = "https://idp.example/keys";
        let value = json!({"name": name, "issuer": iss, "algorithms": ["RS256"], "jwksUrl": keys});
        Edit::Put(item(Kind::Issuer, value))
    })
}

/// Looks every key, issuer and client up, against a look at the whole configuration.
fn leads_credentials_where_they_belong(
    snapshot: &Snapshot,
    configuration: &Configuration,
) -> Result<(), TestCaseError> {
    let (mut keys, mut clients) = (BTreeMap::new(), BTreeMap::new());
    let mut issuers = BTreeMap::new();
    for item in configuration.items() {
        match item {
            Item::Issuer(it) => drop(issuers.insert(it.name.clone(), it.issuer.clone())),
            Item::Application(it) => {
                keys.extend(it.api_keys.iter().map(|key| (key.prefix.clone(), it.name.clone())));
                clients.extend(
                    it.jwt_clients.iter().map(|to| ((to.issuer.clone(), to.client_id.clone()), it.name.clone())),
                );
            }
            _ => {}
        }
    }
    for prefix in ["k1", "k2", "k3", "k4", "k5", "k6"] {
        let found = snapshot.key(prefix);
        prop_assert!(found.is_none_or(|found| found.key.prefix == prefix));
        let is_whole = found.is_none_or(|it| {
            snapshot.application(&it.application.name).is_some_and(|own| Arc::ptr_eq(own, it.application))
        });
        prop_assert!(is_whole, "{} leads to an application that is gone", prefix);
        prop_assert_eq!(found.map(|it| it.application.name.to_string()), keys.get(prefix).cloned());
    }
    prop_assert_eq!(snapshot.issuers().count(), issuers.len());
    for (name, iss) in &issuers {
        let issuer = snapshot.issuer(name).unwrap();
        prop_assert_eq!(&snapshot.issuer_of(iss).unwrap().name, name);
        for client in ["web", "mobile", "desk", "till", "robot"] {
            let bound = |by: &String| clients.get(&(by.clone(), client.to_owned()));
            let found = snapshot.application_of_client(issuer, client).map(|it| it.name.to_string());
            prop_assert_eq!(found.as_ref(), bound(name).or_else(|| bound(iss)));
        }
    }
    Ok(())
}

/// What follows for the anonymous and for a caller of each application, in words that two snapshots can be compared by.
fn decisions(snapshot: &Snapshot, request: &Request) -> String {
    let known = APPLICATIONS.iter().filter_map(|name| snapshot.application(name).cloned()).map(|application| {
        Caller::Verified(Verified { application: Some(application), key: Some(Id::default()), token: None })
    });
    std::iter::once(Caller::Anonymous).chain(known).map(|caller| decision(snapshot, request, &caller)).collect()
}

fn decision(snapshot: &Snapshot, request: &Request, caller: &Caller) -> String {
    let facts = request.facts();
    let decision = decide(snapshot, &match_request(snapshot, &facts), caller, &BodyFacts::default());
    let mut words = format!("{:?} {:?} ", decision.route.map(|route| route.source.name.clone()), decision.trail);
    write!(words, "{:?} {:?} ", decision.application.map(|it| it.name.clone()), decision.counters).unwrap();
    match decision.outcome {
        Outcome::Forward(to) => {
            write!(words, "{} {:?} {:?} {:?}", to.service.source.service_name, to.version(), to.cluster(), to.path)
                .unwrap();
        }
        other => write!(words, "{other:?}").unwrap(),
    }
    words
}

fn shares_what_it_did_not_touch(before: &Snapshot, after: &Snapshot, change: &Change) -> Result<(), TestCaseError> {
    let touched: BTreeSet<(Kind, &str)> = change.edits.iter().map(|edit| (edit.kind(), edit.name())).collect();
    for route in before.routes().filter(|route| !touched.contains(&(Kind::Route, &route.source.name))) {
        prop_assert!(after.route(&route.source.name).is_some_and(|it| Arc::ptr_eq(it, route)));
    }
    for service in before.services().filter(|it| !touched.contains(&(Kind::Service, &it.source.service_name))) {
        prop_assert!(after.service(&service.source.service_name).is_some_and(|it| Arc::ptr_eq(it, service)));
    }
    for application in before.applications().filter(|it| !touched.contains(&(Kind::Application, &it.source.name))) {
        prop_assert!(after.application(&application.name).is_some_and(|it| Arc::ptr_eq(it, application)));
    }
    Ok(())
}
