//! Applying a change against compiling what it leads to, over random sequences of changes.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::sync::Arc;

use gateway_config::model::{Change, Configuration, Edit, Kind};
use gateway_config::snapshot::{BodyFacts, Caller, Outcome, Snapshot, compile, decide, match_request};
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::json;

use crate::world::{Request, item, request, route_value};

const SERVICES: [&str; 3] = ["s", "t", "u"];

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
                        prop_assert_eq!(decision(&next, request), decision(&whole, request));
                    }
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
    prop_oneof![8 => put_route, 3 => delete_route, 5 => put_service, 1 => delete_service, 1 => defaults, 1 => reset]
}

/// A decision in words that two snapshots can be compared by.
fn decision(snapshot: &Snapshot, request: &Request) -> String {
    let facts = request.facts();
    let decision = decide(snapshot, &match_request(snapshot, &facts), &Caller::Anonymous, &BodyFacts::default());
    let mut words = format!("{:?} {:?} ", decision.route.map(|route| route.source.name.clone()), decision.trail);
    match decision.outcome {
        Outcome::Forward(to) => {
            write!(words, "{} {:?} {:?} {:?}", to.service.source.service_name, to.version, to.cluster, to.path)
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
    Ok(())
}
