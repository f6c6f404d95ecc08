//! Random worlds: the judge against the one written from the design, over any sequence of edits.

use std::collections::{BTreeMap, BTreeSet};

use gateway_config::model::{Access, Application, Change, Edit, Id, Item, Kind};
use gateway_config::snapshot::{Access as AccessStep, Caller, Code, Snapshot, Step, Token, Verified};
use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use serde_json::{Value, json};
use uuid::Uuid;

use super::judge::{Asked, Asker, Known, Verdict, World, judge};
use super::scene::{choices, decided, route, service};
use crate::world::{Request, item, pattern, put};

const NAMES: [&str; 3] = ["a", "b", "c"];
const VERSIONS: [(&str, &str); 4] = [("one", "v1"), ("canary", "v1"), ("two", "v2"), ("three", "v3")];

type Versions = Vec<(&'static str, &'static str, bool)>;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn no_sequence_of_edits_grants_what_no_entry_grants(
        access in access(),
        versions in versions(),
        changes in prop::collection::vec(prop::collection::vec(edit(), 1..4), 1..8),
        calls in prop::collection::vec((request(), asker()), 25),
    ) {
        let mut snapshot = put(&Snapshot::empty(), &[fleet(&versions), route(json!({"access": access}))]).unwrap();
        let access: Access = serde_json::from_value(access).unwrap();
        let mut kept = BTreeMap::<String, Application>::new();
        for edits in changes {
            for edit in &edits {
                match edit {
                    Edit::Put(Item::Application(it)) => drop(kept.insert(it.name.clone(), (**it).clone())),
                    other => drop(kept.remove(other.name())),
                }
            }
            snapshot = snapshot.apply(&Change { generation: snapshot.generation() + 1, edits }).unwrap();
            let applications: Vec<Application> = kept.values().cloned().collect();
            let world = World { access: &access, versions: &versions, applications: &applications };
            for (request, asker) in &calls {
                let asker = existing(asker, &kept);
                let pin = request.headers.get("x-api-version").map(|pin| pin.to_str().unwrap());
                let asked = Asked { path: &request.path, method: request.method.as_str(), pin };
                let expected = judge(&world, &asked, &asker);
                let found = found(&snapshot, request, &caller(&snapshot, &asker), &applications);
                prop_assert_eq!(found, expected, "{:?} {:?}\n{}", request, asker, snapshot.describe());
            }
        }
    }

    #[test]
    fn whoever_shows_good_credentials_may_do_what_the_anonymous_may(
        access in access(),
        versions in versions(),
        applications in prop::collection::vec(application("a").boxed(), 1).prop_flat_map(|first| {
            (Just(first), application("b"), application("c"))
        }),
        calls in prop::collection::vec((request(), known()), 25),
    ) {
        let (mut items, second, third) = applications;
        items.extend([second, third, fleet(&versions), route(json!({"access": access}))]);
        let snapshot = put(&Snapshot::empty(), &items).unwrap();
        for (request, known) in &calls {
            let open = choices(&snapshot, request, &Caller::Anonymous);
            let caller = caller(&snapshot, &Asker::Known(known.clone()));
            let is_off = caller.verified().and_then(|it| it.application.as_ref()).is_some_and(|it| !it.source.is_active);
            match choices(&snapshot, request, &caller) {
                Ok(_) => {}
                Err(Code::ApplicationInactive) => prop_assert!(is_off),
                Err(code) => prop_assert!(open.is_err(), "{:?} is refused {} where the anonymous passes", known, code),
            }
        }
    }
}

/// As a caller of this snapshot; where its application is gone, somebody who belongs to none.
fn existing(asker: &Asker, kept: &BTreeMap<String, Application>) -> Asker {
    match asker {
        Asker::Known(known) => {
            let application = known.application.clone().filter(|name| kept.contains_key(name));
            Asker::Known(Known { application, ..known.clone() })
        }
        other => other.clone(),
    }
}

fn caller(snapshot: &Snapshot, asker: &Asker) -> Caller {
    let known = match asker {
        Asker::Anonymous => return Caller::Anonymous,
        Asker::Rejected(code) => return Caller::Rejected(*code),
        Asker::Known(known) => known,
    };
    let boxed = |names: &[&str]| names.iter().map(|name| (*name).into()).collect();
    let token = Token {
        issuer: "idp".into(),
        subject: Some("kim".into()),
        client: None,
        roles: boxed(&known.roles),
        scopes: boxed(&known.scopes),
        expires_at: None,
    };
    Caller::Verified(Verified {
        application: known.application.as_deref().and_then(|name| snapshot.application(name)).cloned(),
        key: known.has_key.then(|| Id::new(Uuid::from_u128(1))),
        token: known.has_token.then(|| token.into()),
    })
}

fn found(snapshot: &Snapshot, request: &Request, caller: &Caller, applications: &[Application]) -> Verdict {
    let versions = choices(snapshot, request, caller)?;
    let decision = decided(snapshot, request, caller);
    let entry = decision.trail.iter().rev().find_map(|step| match step {
        Step::Endpoint(id) | Step::Access(AccessStep::PublicEntry(id)) => Some(*id),
        _ => None,
    });
    let place = |application: &Application| {
        let at = application.whitelist.iter().position(|it| Some(it.id) == entry)?;
        Some((application.name.clone(), at))
    };
    let accounted = entry.and_then(|_| applications.iter().find_map(place));
    assert!(
        accounted.is_none()
            || accounted.as_ref().map(|it| &*it.0) == decision.application.as_deref().map(|it| &*it.name)
    );
    Ok((versions, accounted))
}

fn fleet(versions: &Versions) -> Item {
    let version = |(name, api, active): &(&str, &str, bool)| json!({"version": name, "apiVersion": api, "isActive": active, "weight": 1, "url": "http://127.0.0.1:1"});
    let versions: Vec<Value> = versions.iter().map(version).collect();
    service(json!({"serviceName": "s", "defaultUrl": "http://127.0.0.1:1", "versions": versions}))
}

fn versions() -> impl Strategy<Value = Versions> {
    let some = subsequence(VERSIONS.to_vec(), 0..=4);
    let active = prop::collection::vec(prop::bool::weighted(0.85), 4);
    (some, active)
        .prop_map(|(some, active)| some.into_iter().zip(active).map(|((name, api), on)| (name, api, on)).collect())
}

fn access() -> impl Strategy<Value = Value> {
    let any_of = subsequence(vec!["api_key", "jwt"], 0..=2);
    let sometimes = |name: &'static str| prop_oneof![4 => Just(vec![]), 1 => subsequence(vec![name, "other"], 1..=2)];
    let flags = (prop::bool::weighted(0.15), prop::bool::weighted(0.8), any::<bool>());
    (any_of, flags, sometimes("clerk"), sometimes("read")).prop_map(|(mut any_of, flags, roles, scopes)| {
        let (public, application_required, ignore) = flags;
        if public {
            any_of.push("public");
        }
        json!({
            "anyOf": any_of, "applicationRequired": application_required, "roles": roles, "scopes": scopes,
            "invalidCredentials": if ignore { "ignore" } else { "refuse" },
        })
    })
}

/// Often all, sometimes some, seldom none.
fn grants(names: &'static [&'static str]) -> impl Strategy<Value = Vec<&'static str>> {
    prop_oneof![3 => Just(vec!["*"]), 4 => subsequence(names, 1..=names.len()), 1 => Just(vec![])]
}

fn entry() -> impl Strategy<Value = Value> {
    let lists = (grants(&["GET", "POST"]), grants(&["v1", "v2", "v3"]));
    (pattern(), lists, prop::bool::weighted(0.3), any::<u128>()).prop_map(|(path, (methods, versions), public, id)| {
        json!({
            "id": Uuid::from_u128(id), "endpointPath": path, "allowedMethods": methods, "allowedVersions": versions,
            "isPublic": public,
        })
    })
}

fn application(name: &'static str) -> impl Strategy<Value = Item> {
    let lists = (grants(&["s", "t"]), grants(&["v1", "v2", "v3"]));
    let entries = prop::collection::vec(entry(), 0..6);
    (lists, prop::bool::weighted(0.85), entries).prop_map(move |((services, versions), active, whitelist)| {
        let value = json!({
            "name": name, "allowedServices": services, "allowedVersions": versions, "isActive": active,
            "whitelist": whitelist,
        });
        item(Kind::Application, value)
    })
}

fn edit() -> impl Strategy<Value = Edit> {
    let put = select(NAMES.to_vec()).prop_flat_map(application).prop_map(Edit::Put);
    let delete =
        select(NAMES.to_vec()).prop_map(|name| Edit::Delete { kind: Kind::Application, name: name.to_owned() });
    prop_oneof![4 => put, 1 => delete]
}

fn request() -> impl Strategy<Value = Request> {
    let path = prop::collection::vec(select(vec!["a", "b", "c"]), 0..4);
    let pin = prop_oneof![3 => Just(None), 4 => select(vec!["v1", "v2", "v3"]).prop_map(Some), 1 => Just(Some("v9"))];
    (path, any::<bool>(), select(vec!["GET", "POST", "PUT"]), pin).prop_map(|(segments, slash, method, pin)| {
        let slash = if slash || segments.is_empty() { "/" } else { "" };
        let start = if segments.is_empty() { "" } else { "/" };
        let path = format!("{start}{}{slash}", segments.join("/"));
        let request = Request { method: method.parse().unwrap(), ..Request::get(&path) };
        pin.map_or(request.clone(), |pin| request.header("x-api-version", pin))
    })
}

fn known() -> impl Strategy<Value = Known> {
    let application = prop_oneof![5 => select(NAMES.to_vec()).prop_map(|name| Some(name.to_owned())), 1 => Just(None)];
    let names = |name: &'static str| prop_oneof![Just(vec![]), subsequence(vec![name, "other"], 1..=2)];
    (application, 0..3u8, names("clerk"), names("read")).prop_map(|(application, kind, roles, scopes)| {
        // A key always belongs to an application, and brings no roles.
        let has_key = kind != 0 && application.is_some();
        let has_token = kind != 1 || !has_key;
        let of_token = |names: Vec<&'static str>| if has_token { names } else { vec![] };
        Known { application, has_key, has_token, roles: of_token(roles), scopes: of_token(scopes) }
    })
}

fn asker() -> impl Strategy<Value = Asker> {
    prop_oneof![
        2 => Just(Asker::Anonymous),
        1 => select(vec![Code::CredentialsInvalid, Code::TokenExpired]).prop_map(Asker::Rejected),
        5 => known().prop_map(Asker::Known),
    ]
}

#[test]
fn random_worlds_hold_refusals_of_every_kind_and_grants() {
    // The property above would prove little of a world in which nobody is ever let in.
    use proptest::strategy::ValueTree;
    use proptest::test_runner::TestRunner;
    let mut runner = TestRunner::deterministic();
    let mut seen = BTreeMap::<String, usize>::new();
    for _ in 0..400 {
        let what = (access(), versions(), [application("a"), application("b")], request(), asker());
        let (access, versions, [a, b], request, asker) = what.new_tree(&mut runner).unwrap().current();
        let snapshot = put(&Snapshot::empty(), &[fleet(&versions), route(json!({"access": access})), a, b]).unwrap();
        let asker = match asker {
            Asker::Known(known) if known.application.as_deref() == Some("c") => Asker::Anonymous,
            other => other,
        };
        let outcome = choices(&snapshot, &request, &caller(&snapshot, &asker));
        *seen.entry(outcome.map_or_else(|code| code.to_string(), |_| "served".to_owned())).or_default() += 1;
    }
    let wanted = [
        "served",
        "application_inactive",
        "credentials_invalid",
        "credentials_missing",
        "endpoint_not_allowed",
        "role_missing",
        "scope_missing",
        "service_not_allowed",
        "unknown_version",
        "version_not_allowed",
    ];
    let missing: BTreeSet<&str> = wanted.into_iter().filter(|code| !seen.contains_key(*code)).collect();
    assert!(missing.is_empty(), "{missing:?} of {seen:?}");
    assert!(seen["served"] >= 40, "{seen:?}");
}
