//! Small random configurations and requests. The alphabets are tiny, so that routes and requests collide all the time.

use std::fmt::Write;
use std::net::{IpAddr, Ipv4Addr};

use gateway_config::model::{Edit, Item, Kind, Timestamp};
use gateway_config::snapshot::{RequestFacts, Snapshot};
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use serde_json::{Value, json};

pub(crate) fn item(kind: Kind, value: Value) -> Item {
    Item::from_json(kind, value).unwrap_or_else(|problem| panic!("{problem}"))
}

/// A request of its own, as [`RequestFacts`] only borrow.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) method: Method,
    pub(crate) host: String,
    pub(crate) path: String,
    pub(crate) query: Option<String>,
    pub(crate) headers: HeaderMap,
    pub(crate) address: IpAddr,
    pub(crate) entropy: u64,
}

impl Request {
    pub(crate) fn get(path: &str) -> Self {
        Self {
            method: Method::GET,
            host: "a.com".to_owned(),
            path: path.to_owned(),
            query: None,
            headers: HeaderMap::new(),
            address: IpAddr::V4(Ipv4Addr::LOCALHOST),
            entropy: 0,
        }
    }

    pub(crate) fn header(mut self, name: &'static str, value: &str) -> Self {
        self.headers.append(name, value.parse().unwrap());
        self
    }

    pub(crate) fn facts(&self) -> RequestFacts<'_> {
        RequestFacts {
            method: &self.method,
            host: &self.host,
            path: &self.path,
            query: self.query.as_deref(),
            target_bytes: self.path.len(),
            headers: &self.headers,
            address: self.address,
            now: Timestamp::default(),
            entropy: self.entropy,
        }
    }
}

const HOSTS: [&str; 5] = ["a.com", "x.a.com", "y.x.a.com", "b.com", ""];
const ROUTE_HOSTS: [&str; 5] = ["a.com", "x.a.com", "*.a.com", "*.com", "*.x.a.com"];
const METHODS: [&str; 4] = ["GET", "POST", "OPTIONS", "PURGE"];

/// Up to three segments of `a`, `b`, a name or, last, a catch-all.
pub(crate) fn pattern() -> impl Strategy<Value = String> {
    let segment = prop_oneof![4 => select(vec!["a", "b"]), 2 => select(vec!["{n}", "{m}"])];
    let last = prop_oneof![3 => Just(None), 2 => Just(Some("{*rest}")), 1 => Just(Some(""))];
    (prop::collection::vec(segment, 0..3), last).prop_map(|(segments, last)| {
        let mut names = 0;
        let mut path = String::new();
        for segment in segments {
            path.push('/');
            // A pattern must not name two parts alike.
            match segment.strip_prefix('{') {
                Some(name) => {
                    names += 1;
                    write!(path, "{{{names}{name}").unwrap();
                }
                None => path.push_str(segment),
            }
        }
        if let Some(last) = last {
            path.push('/');
            path.push_str(last);
        }
        if path.is_empty() { "/".to_owned() } else { path }
    })
}

pub(crate) fn route_value(name: String, services: Vec<&'static str>) -> impl Strategy<Value = Value> {
    let conditions = |name: &'static str| {
        let value = select(vec!["1", "2", "~[12]"]);
        prop_oneof![3 => Just(json!({})), 1 => value.prop_map(move |value| json!({name: value}))]
    };
    let what = (pattern(), subsequence(METHODS.to_vec(), 0..3), conditions("x-a"), conditions("q"), 0..2);
    let any_of = prop_oneof![3 => Just("public"), 2 => Just("api_key")];
    let rest = (subsequence(ROUTE_HOSTS.to_vec(), 0..3), prop::bool::weighted(0.9), select(services), any_of);
    (what, rest).prop_map(move |((path, methods, headers, query, priority), (hosts, active, service, any_of))| {
        json!({
            "name": name, "hosts": hosts, "path": path, "methods": methods, "headers": headers, "query": query,
            "priority": priority, "isActive": active, "target": {"service": service}, "access": {"anyOf": [any_of]},
        })
    })
}

pub(crate) fn request() -> impl Strategy<Value = Request> {
    let path = prop::collection::vec(select(vec!["a", "b", "c"]), 0..4);
    let headers = subsequence(vec![("x-a", "1"), ("x-a", "3"), ("origin", "http://o"), ("x-api-version", "v2")], 0..3);
    let preflight = prop::option::of(select(vec!["GET", "POST", "no method"]));
    (
        (select(METHODS.to_vec()), select(HOSTS.to_vec()), path, any::<bool>(), any::<u64>(), any::<[u8; 4]>()),
        (prop::option::of(select(vec!["q=1", "q=3&q=2", "p=1", ""])), headers, preflight),
    )
        .prop_map(|((method, host, path, slash, entropy, address), (query, lines, preflight))| {
            let mut headers = HeaderMap::new();
            for (name, value) in lines {
                headers.append(HeaderName::from_static(name), HeaderValue::from_static(value));
            }
            if let Some(wanted) = preflight {
                headers.append("access-control-request-method", HeaderValue::from_static(wanted));
            }
            let slash = if slash || path.is_empty() { "/" } else { "" };
            let start = if path.is_empty() { "" } else { "/" };
            Request {
                method: method.parse().unwrap(),
                host: host.to_owned(),
                path: format!("{start}{}{slash}", path.join("/")),
                query: query.map(ToOwned::to_owned),
                headers,
                address: IpAddr::from(address),
                entropy,
            }
        })
}

/// `routes` random routes, each under a name of its own.
pub(crate) fn routes(count: std::ops::Range<usize>) -> impl Strategy<Value = Vec<Item>> {
    count.prop_flat_map(|count| {
        let routes: Vec<_> = (0..count).map(|at| route_value(format!("r{at}"), vec!["s"]).boxed()).collect();
        routes.prop_map(|values| values.into_iter().map(|value| item(Kind::Route, value)).collect())
    })
}

/// The service that all routes of [`routes`] lead to.
pub(crate) fn service() -> Item {
    item(Kind::Service, json!({"serviceName": "s", "defaultUrl": "http://127.0.0.1:1"}))
}

pub(crate) fn put(snapshot: &Snapshot, items: &[Item]) -> Result<Snapshot, Vec<gateway_config::model::Problem>> {
    let edits = items.iter().cloned().map(Edit::Put).collect();
    snapshot.apply(&gateway_config::model::Change { generation: snapshot.generation() + 1, edits })
}
