//! Deciding holds for whatever comes in: no facts make it panic, and who is not let in stays out.

use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use gateway_config::model::{Id, Kind, Timestamp};
use gateway_config::snapshot::{
    BodyFacts, Caller, Code, Outcome, RequestFacts, Snapshot, Token, Verified, decide, match_request, path,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use proptest::prelude::*;
use serde_json::{Value, json};
use smol_str::SmolStr;

use crate::world::{Request, item, put};

proptest! {
    #[test]
    fn no_facts_make_it_panic(
        method in "[A-Z!#~]{1,9}",
        host in prop_oneof![any::<String>(), r"([a-c*]{0,2}\.){0,4}com"],
        path in prop_oneof![any::<String>(), "/(v[12]|[a/%{}*é.]){0,12}"],
        query in prop::option::of(any::<String>()),
        lines in prop::collection::vec((0..4usize, prop::collection::vec(any::<u8>(), 0..12)), 0..6),
        address in any::<u128>(),
        entropy in any::<u64>(),
        key in any::<bool>(),
        token in prop::option::of(token()),
    ) {
        let names = ["x-api-version", "cookie", "x-user", "origin"];
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            if let Ok(value) = HeaderValue::from_bytes(&value) {
                headers.append(HeaderName::from_static(names[name]), value);
            }
        }
        let method: Method = method.parse().unwrap();
        let facts = RequestFacts {
            method: &method,
            host: &host,
            path: &path,
            query: query.as_deref(),
            target_bytes: path.len(),
            headers: &headers,
            address: IpAddr::V6(Ipv6Addr::from_bits(address)),
            now: Timestamp::default(),
            entropy,
        };
        let snapshot = world();
        // Of this snapshot, of another one, and of none.
        let shop = snapshot.application("shop").cloned();
        let stranger = put(&Snapshot::empty(), &[application("gone")]).unwrap().application("gone").cloned();
        let known = |application| Caller::Verified(Verified {
            application, key: key.then(Id::default), token: token.clone().map(Arc::new),
        });
        let rejected = Caller::Rejected(Code::CredentialsInvalid);
        for caller in [Caller::Anonymous, rejected, known(None), known(shop), known(stranger)] {
            let matched = match_request(&snapshot, &facts);
            let decision = decide(&snapshot, &matched, &caller, &BodyFacts::default());
            for step in decision.trail {
                let _ = step.in_words(&snapshot);
            }
        }
    }

    #[test]
    fn a_normalised_path_is_matched_as_it_is_forwarded(raw in "/[a-b/.%26eE5;]{0,14}") {
        let Ok(normal) = path::normalise(raw.as_bytes()) else { return Ok(()) };
        let snapshot = put(&Snapshot::empty(), &[
            item(Kind::Service, json!({"serviceName": "s", "defaultUrl": "http://127.0.0.1:1"})),
            public(json!({"name": "r", "path": "/{*rest}", "rewrite": "/{rest}", "target": {"service": "s"}})),
        ]).unwrap();
        let request = Request::get(&normal);
        let facts = request.facts();
        let matched = match_request(&snapshot, &facts);
        let outcome = decide(&snapshot, &matched, &Caller::Anonymous, &BodyFacts::default()).outcome;
        prop_assert!(matches!(&outcome, Outcome::Forward(to) if to.path.as_deref() == Some(&*normal)), "{outcome:?}");
    }
}

#[test]
fn who_is_not_let_in_by_name_stays_out() {
    let snapshot = put(
        &Snapshot::empty(),
        &[
            item(Kind::Route, json!({"name": "default", "path": "/default", "target": {"respond": {}}})),
            item(
                Kind::Route,
                json!({"name": "none", "path": "/none", "access": {"anyOf": []}, "target": {"respond": {}}}),
            ),
            public(json!({"name": "public", "path": "/public", "target": {"respond": {}}})),
            item(
                Kind::Route,
                json!({
                    "name": "lax", "path": "/lax", "target": {"respond": {}},
                    "access": {"anyOf": ["public"], "invalidCredentials": "ignore"},
                }),
            ),
        ],
    )
    .unwrap();
    let refused = |path: &str, caller: Caller| {
        let request = Request::get(path);
        let facts = request.facts();
        match decide(&snapshot, &match_request(&snapshot, &facts), &caller, &BodyFacts::default()).outcome {
            Outcome::Refuse(refusal) => Some(refusal.code),
            _ => None,
        }
    };
    let bad = || Caller::Rejected(Code::CredentialsInvalid);
    assert_eq!(refused("/default", Caller::Anonymous), Some(Code::CredentialsMissing));
    assert_eq!(refused("/none", Caller::Anonymous), Some(Code::CredentialsMissing));
    assert_eq!(refused("/default", bad()), Some(Code::CredentialsInvalid));
    assert_eq!(refused("/public", Caller::Anonymous), None);
    assert_eq!(refused("/public", bad()), Some(Code::CredentialsInvalid));
    assert_eq!(refused("/lax", bad()), None);
}

fn token() -> impl Strategy<Value = Token> {
    let text = || any::<String>().prop_map(SmolStr::from);
    let texts = || prop::collection::vec(prop_oneof![text(), Just(SmolStr::from("clerk"))], 0..3);
    (text(), prop::option::of(text()), prop::option::of(text()), texts(), texts()).prop_map(
        |(issuer, subject, client, roles, scopes)| Token {
            issuer: issuer.as_str().into(),
            subject,
            client,
            roles,
            scopes,
            expires_at: None,
        },
    )
}

fn application(name: &str) -> gateway_config::model::Item {
    let entry = |path: &str, public: bool| json!({"endpointPath": path, "allowedMethods": ["GET"], "allowedVersions": ["v1"], "isPublic": public, "rateLimit": 1});
    let limit = |by: &str| json!({"requests": 1, "perSeconds": 1, "by": by});
    let value = json!({
        "name": name, "allowedServices": ["*"], "allowedVersions": ["v1"], "ipDeny": ["10.0.0.0/8"],
        "whitelist": [entry("/{a}/{*rest}", true), entry("/v1/a/{*rest}", false)],
        "limits": [limit("global"), limit("ip"), limit("key"), limit("subject")],
    });
    item(Kind::Application, value)
}

fn public(mut value: Value) -> gateway_config::model::Item {
    value["access"] = json!({"anyOf": ["public"]});
    item(Kind::Route, value)
}

fn world() -> Snapshot {
    let version =
        |name: &str, port: u16| json!({"version": name, "url": format!("http://127.0.0.1:{port}"), "weight": 1});
    let service = |name: &str, sticky: &str| {
        let versions = [version("v1", 1), version("v2", 2)];
        item(Kind::Service, json!({"serviceName": name, "stickyOn": sticky, "versions": versions}))
    };
    put(
        &Snapshot::empty(),
        &[
            service("caller", "caller"),
            service("header", "header:x-user"),
            service("cookie", "cookie:user"),
            public(json!({"name": "a", "path": "/{version}/a/{*rest}", "rewrite": "/{rest}", "target": {"service": "caller"}})),
            public(json!({"name": "b", "hosts": ["*.com"], "path": "/{a}/{b}", "target": {"service": "header"}})),
            public(json!({"name": "c", "path": "/{*all}", "query": {"q": "~.*"}, "target": {"service": "cookie"}})),
            public(json!({"name": "d", "path": "/{*all}", "target": {"redirect": {"location": "/x/{all}"}}})),
            item(Kind::Route, json!({
                "name": "e", "path": "/v1/{*all}", "target": {"service": "caller"}, "cors": {"allowOrigins": ["*"]},
                "access": {"roles": ["clerk"], "invalidCredentials": "ignore"},
            })),
            item(Kind::Route, json!({"name": "f", "path": "/{version}/{*all}", "priority": 1, "target": {"service": "caller"}})),
            application("shop"),
        ],
    )
    .unwrap()
}
