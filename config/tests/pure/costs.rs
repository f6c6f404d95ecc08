//! How costs grow. The bounds are wide, for the machine is shared and the build a debug one: they catch what grows with the size
//! of the configuration, which would be a hundred times dearer. The figures themselves are `benches/`' business.

use std::hint::black_box;
use std::time::{Duration, Instant};

use gateway_config::model::{Change, Configuration, Edit, Item, Kind};
use gateway_config::snapshot::{BodyFacts, Caller, Snapshot, compile, decide, match_request};
use serde_json::json;

use crate::world::{Request, item};

const FEW: usize = 100;
const MANY: usize = 10_000;

/// All routes lead to one service: the harder case for whoever must know who leads where.
fn snapshot(routes: usize) -> Snapshot {
    let mut configuration = Configuration::default();
    configuration.put(item(Kind::Service, json!({"serviceName": "s", "defaultUrl": "http://127.0.0.1:1"})));
    for number in 0..routes {
        configuration.put(route(number, 0));
    }
    compile(&configuration, 1).unwrap()
}

fn route(number: usize, priority: usize) -> Item {
    let path = format!("/api/resource-{number}/{{id}}");
    let access = json!({"anyOf": ["public"]});
    item(
        Kind::Route,
        json!({
            "name": format!("r{number}"), "path": path, "priority": priority, "target": {"service": "s"}, "access": access,
        }),
    )
}

/// The quickest of many tries: noise only ever adds.
fn quickest(mut run: impl FnMut(usize)) -> Duration {
    let timed = |number| {
        let start = Instant::now();
        run(number);
        start.elapsed()
    };
    (0..300).map(timed).min().unwrap()
}

#[test]
fn a_change_costs_the_same_in_a_small_and_in_a_large_configuration() {
    let cost = |routes: usize| {
        let snapshot = snapshot(routes);
        quickest(|number| {
            let edits = vec![Edit::Put(route(number * 17 % routes, number + 1))];
            drop(black_box(snapshot.apply(&Change { generation: 2, edits }).unwrap()));
        })
    };
    let (small, large) = (cost(FEW), cost(MANY));
    assert!(large < small * 3, "{small:?} among {FEW} routes, {large:?} among {MANY}");
}

#[test]
fn deciding_costs_the_same_in_a_small_and_in_a_large_configuration() {
    let cost = |routes: usize| {
        let snapshot = snapshot(routes);
        quickest(|number| {
            let request = Request::get(&format!("/api/resource-{}/7", number % routes));
            let facts = request.facts();
            let matched = match_request(&snapshot, &facts);
            assert!(black_box(decide(&snapshot, &matched, &Caller::Anonymous, &BodyFacts::default())).route.is_some());
        })
    };
    let (small, large) = (cost(FEW), cost(MANY));
    assert!(large < small * 3, "{small:?} among {FEW} routes, {large:?} among {MANY}");
}
