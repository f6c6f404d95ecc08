//! Matching against the naive matcher, over random routes and requests.

use gateway_config::model::{Item, Route};
use gateway_config::snapshot::{Code, Snapshot, match_request};
use proptest::prelude::*;

use crate::naive::{Verdict, ambiguous, matched};
use crate::world::{Request, put, request, routes, service};

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn matching_finds_what_a_look_at_every_route_finds(
        routes in routes(1..14),
        requests in prop::collection::vec(request(), 40),
    ) {
        let (snapshot, kept) = compiled(&routes)?;
        for request in &requests {
            prop_assert_eq!(found(&snapshot, request), matched(&kept, request), "{:?}\n{}", request, snapshot.describe());
        }
    }
}

/// The routes put one by one; those are left out that must be, for another stands where they would.
fn compiled(routes: &[Item]) -> Result<(Snapshot, Vec<Route>), TestCaseError> {
    let mut snapshot = put(&Snapshot::empty(), &[service()]).unwrap();
    let mut kept: Vec<Route> = Vec::new();
    for item in routes {
        let Item::Route(route) = item else { continue };
        let collides = kept.iter().any(|other| ambiguous(other, route));
        match put(&snapshot, std::slice::from_ref(item)) {
            Ok(next) => {
                prop_assert!(!collides, "{:?} was taken beside {:?}", route, kept);
                snapshot = next;
                kept.push((**route).clone());
            }
            Err(problems) => prop_assert!(collides, "{:?}", problems),
        }
    }
    Ok((snapshot, kept))
}

fn found(snapshot: &Snapshot, request: &Request) -> Verdict {
    let facts = request.facts();
    match match_request(snapshot, &facts).found {
        Ok(found) => {
            let part = |(from, to): &(u32, u32)| request.path[*from as usize..*to as usize].to_owned();
            Verdict::Found(found.route.source.name.clone(), found.captures.iter().map(part).collect())
        }
        Err(refusal) if refusal.code == Code::RouteNotFound => Verdict::NotFound,
        Err(refusal) => {
            assert_eq!(refusal.code, Code::MethodNotAllowed);
            Verdict::NotAllowed(refusal.allow.unwrap().split(", ").map(ToOwned::to_owned).collect())
        }
    }
}
