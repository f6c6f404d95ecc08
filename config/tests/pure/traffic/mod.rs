//! Samples of traffic: what they keep (`keeping`), what a change would do to them (`previewing`), and whether what is said of it is
//! true (`truth`). Here is what these share.

mod keeping;
mod previewing;
mod truth;

use gateway_config::clock::new_id;
use gateway_config::model::{Id, Item, Kind, Sample, SampledCaller, SampledOutcome, Timestamp};
use gateway_config::snapshot::{
    BodyFacts, Caller, Decision, Judged, Keeping, Outcome, Preview, Snapshot, decide, match_request,
};
use serde_json::{Value, json};

use crate::world::{Request, item, put};

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
