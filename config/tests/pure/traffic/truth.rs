//! What a preview says is held against deciding the whole request, over random changes.

use gateway_config::model::{Id, Item, Kind, SampledCaller};
use gateway_config::snapshot::{
    BodyFacts, Caller, Judged, Keeping, Names, Outcome, Snapshot, Verified, decide, match_request,
};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::{judged, sample, sample_of};
use crate::world::{Request, item, pattern, put, request, route_value, routes, service};

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
