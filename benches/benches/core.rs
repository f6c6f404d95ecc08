//! The pure core: matching, deciding, compiling and applying, at growing sizes and the same path depth. The requests are spread
//! over all routes, so that at 10,000 routes the figures hold the cache misses that real traffic has.

#![expect(clippy::unwrap_used, reason = "a bench fails by panicking")]

use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use benches::consumers::{Consumers, KEYS_EACH, application, prefix};
use benches::fleet;
use criterion::{BatchSize, BenchmarkId, Criterion, criterion_group, criterion_main};
use gateway_config::model::{Application, Change, Edit, Item, Kind, Timestamp};
use gateway_config::snapshot::{
    BodyFacts, Caller, Outcome, RequestFacts, Snapshot, Verified, compile, decide, match_request,
};
use http::{HeaderMap, Method, header};
use serde_json::json;

// As in the gateway.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const SIZES: [usize; 3] = [10, 1_000, 10_000];
/// So few that what a batch prepares is still in the nearest cache when it is timed.
const FEW_AT_ONCE: BatchSize = BatchSize::NumIterations(64);
const URL: &str = "http://127.0.0.1:1";

fn snapshot(routes: usize) -> Snapshot {
    compile(&fleet::configuration(routes, routes.div_ceil(10), URL).unwrap(), 1).unwrap()
}

/// Paths of all routes, in an order that no prefetcher foresees.
fn paths(routes: usize) -> Vec<String> {
    let step = 7919;
    (0..routes).map(|number| fleet::path(number * step % routes)).collect()
}

fn headers() -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in [
        (header::HOST, "shop.example.com"),
        (header::USER_AGENT, "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"),
        (header::ACCEPT, "application/json"),
        (header::ACCEPT_ENCODING, "gzip, deflate, br"),
        (header::ACCEPT_LANGUAGE, "en-GB,en;q=0.7"),
        (header::REFERER, "https://shop.example.com/"),
        (header::COOKIE, "session=0123456789abcdef"),
        (header::CONNECTION, "keep-alive"),
    ] {
        headers.insert(name, value.parse().unwrap());
    }
    headers
}

fn facts<'a>(path: &'a str, headers: &'a HeaderMap) -> RequestFacts<'a> {
    RequestFacts {
        method: &Method::GET,
        host: "shop.example.com",
        path,
        query: Some("page=2"),
        target_bytes: path.len() + 7,
        headers,
        address: IpAddr::V4(Ipv4Addr::LOCALHOST),
        now: Timestamp::default(),
        entropy: 0x9e37_79b9_7f4a_7c15,
    }
}

fn judging(criterion: &mut Criterion) {
    let headers = headers();
    let mut group = criterion.benchmark_group("judge");
    for routes in SIZES {
        let snapshot = snapshot(routes);
        let paths = paths(routes);
        let mut at = paths.iter().cycle();
        // The path is copied outside of what is timed: a request's own bytes were read just before, its route's were not.
        let mut path = || at.next().unwrap().clone();
        group.bench_function(BenchmarkId::new("match", routes), |bench| {
            bench.iter_batched_ref(
                &mut path,
                |path| {
                    let facts = facts(path, &headers);
                    black_box(match_request(&snapshot, &facts).found.is_ok())
                },
                FEW_AT_ONCE,
            );
        });
        group.bench_function(BenchmarkId::new("match and decide", routes), |bench| {
            bench.iter_batched_ref(
                &mut path,
                |path| {
                    let facts = facts(path, &headers);
                    let matched = match_request(&snapshot, &facts);
                    black_box(decide(&snapshot, &matched, &Caller::Anonymous, &BodyFacts::default())).route.is_some()
                },
                FEW_AT_ONCE,
            );
        });
    }
    group.finish();
}

/// One request in everything that a route and a service can ask of it.
fn the_long_way(criterion: &mut Criterion) {
    let versions = [("v1", 90), ("v1-canary", 10)]
        .map(|(version, weight)| json!({"version": version, "apiVersion": "v1", "weight": weight, "url": URL}));
    let service = json!({"serviceName": "s", "stickyOn": "cookie:session", "versions": versions});
    let route = json!({
        "name": "r", "hosts": ["*.example.com"], "path": "/api/{version}/{area}/{*rest}", "rewrite": "/{area}/{rest}",
        "methods": ["GET"], "headers": {"accept": "~application/.*"}, "query": {"page": "2"},
        "target": {"service": "s"}, "access": {"anyOf": ["public"]},
    });
    let put = |kind, value| Edit::Put(Item::from_json(kind, value).unwrap());
    let edits = vec![put(Kind::Service, service), put(Kind::Route, route)];
    let snapshot = Snapshot::empty().apply(&Change { generation: 1, edits }).unwrap();
    let headers = headers();
    let facts = facts("/api/v1/shop/items/17", &headers);
    criterion.bench_function("match and decide, the long way", |bench| {
        bench.iter(|| {
            let matched = match_request(&snapshot, &facts);
            black_box(decide(&snapshot, &matched, &Caller::Anonymous, &BodyFacts::default()))
        });
    });
}

fn compiling(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("compile");
    group.sample_size(10);
    for routes in SIZES {
        let configuration = fleet::configuration(routes, routes.div_ceil(10), URL).unwrap();
        group.bench_function(BenchmarkId::from_parameter(routes), |bench| {
            bench.iter(|| black_box(compile(&configuration, 1).unwrap()));
        });
    }
    group.finish();
}

/// Changes of one entity, with the drop of the old snapshot: the gateway pays both.
fn applying(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("apply");
    for routes in SIZES {
        let before = snapshot(routes);
        let all_on_one = {
            let mut configuration = fleet::configuration(routes, 1, URL).unwrap();
            configuration.put(Item::from_json(Kind::Service, fleet::service(1, URL)).unwrap());
            compile(&configuration, 1).unwrap()
        };
        let mut number = 0;
        let mut change = move |kind: Kind| {
            number = (number + 7919) % routes;
            let services = routes.div_ceil(10);
            let value = match kind {
                Kind::Route => {
                    let mut route = fleet::route(number, services);
                    route["priority"] = json!(number + 1);
                    route["target"] = json!({"service": fleet::service_name(0)});
                    route
                }
                _ => fleet::service(number % services, "http://127.0.0.1:2"),
            };
            Change { generation: 2, edits: vec![Edit::Put(Item::from_json(kind, value).unwrap())] }
        };
        for (what, before, kind) in [
            ("a route", &before, Kind::Route),
            ("a service", &before, Kind::Service),
            ("a route, all lead to one service", &all_on_one, Kind::Route),
        ] {
            let held = Arc::new(before.clone());
            group.bench_function(BenchmarkId::new(what, routes), |bench| {
                bench.iter_batched(
                    || change(kind),
                    |change| black_box(held.apply(&change).unwrap()).generation(),
                    BatchSize::SmallInput,
                );
            });
        }
    }
    group.finish();
}

/// A caller with a key of an application with a whitelist and a limit, on a route with a limit: all but the counting.
fn access(criterion: &mut Criterion) {
    let headers = headers();
    let mut group = criterion.benchmark_group("access");
    for entries in [10, 1_000] {
        let mut consumers = Consumers::new(1).unwrap();
        let Some(Item::Application(made)) = consumers.applications.pop() else { return };
        let own = application(0, (0..entries).map(|number| format!("/api/resource-{number}/items/{{id}}")));
        let own = Application { api_keys: made.api_keys.clone(), ..own };
        consumers.applications.push(Item::Application(Arc::new(own)));
        let snapshot = compile(&consumers.configuration(URL).unwrap(), 1).unwrap();
        let found = snapshot.key(prefix(&consumers.keys[0]).unwrap()).unwrap();
        let verified = Verified { application: Some(found.application.clone()), key: Some(found.key.id), token: None };
        let caller = Caller::Verified(verified);
        let path = fleet::path(entries / 2);
        group.bench_function(BenchmarkId::new("match and decide with a key, by whitelist", entries), |bench| {
            bench.iter(|| {
                let facts = facts(&path, &headers);
                let matched = match_request(&snapshot, &facts);
                let decision = decide(&snapshot, &matched, &caller, &BodyFacts::default());
                assert!(matches!(decision.outcome, Outcome::Forward(_)));
                black_box(decision)
            });
        });
    }
    group.finish();
}

/// By the number of keys, ten for each application. Made anew for each size: hashing 100,000 takes some seconds.
fn consumers(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("keys");
    group.sample_size(20);
    for applications in [1, 10_000] {
        let consumers = Consumers::new(applications).unwrap();
        let configuration = consumers.configuration(URL).unwrap();
        let keys = applications * KEYS_EACH;
        group.bench_function(BenchmarkId::new("compile", keys), |bench| {
            bench.iter(|| black_box(compile(&configuration, 1).unwrap()));
        });
        let snapshot = compile(&configuration, 1).unwrap();
        let mut at = consumers.spread().cycle();
        // Copied outside of what is timed: a request's own bytes were read just before.
        let mut presented = || prefix(at.next().unwrap()).unwrap().to_owned();
        group.bench_function(BenchmarkId::new("find", keys), |bench| {
            let find = |prefix: &mut String| black_box(snapshot.key(prefix).unwrap().key.is_active);
            bench.iter_batched_ref(&mut presented, find, FEW_AT_ONCE);
        });
        let mut number = 0;
        let mut change = || {
            number = (number + 7919) % applications;
            let Item::Application(before) = &consumers.applications[number] else { unreachable!() };
            let changed = Application { description: "changed".to_owned(), ..(**before).clone() };
            Change { generation: 2, edits: vec![Edit::Put(Item::Application(Arc::new(changed)))] }
        };
        group.bench_function(BenchmarkId::new("apply an application", keys), |bench| {
            bench.iter_batched(
                &mut change,
                |change| black_box(snapshot.apply(&change).unwrap()).generation(),
                BatchSize::SmallInput,
            );
        });
    }
    group.finish();
}

criterion_group!(core, judging, the_long_way, compiling, applying, access, consumers);
criterion_main!(core);
