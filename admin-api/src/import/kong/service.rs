//! Services with their upstreams.

use std::collections::BTreeMap;

use gateway_config::model::host;
use serde_json::{Map, Value, json};

use super::super::draft::Draft;
use super::super::foreign::{fields, flag, members, number, text};
use super::plugin::Effect;
use super::world::{Found, Scope, World};

const KNOWN: [&str; 19] = [
    "id",
    "name",
    "tags",
    "created_at",
    "updated_at",
    "url",
    "protocol",
    "host",
    "port",
    "path",
    "connect_timeout",
    "read_timeout",
    "write_timeout",
    "retries",
    "enabled",
    "tls_verify",
    "routes",
    "plugins",
    "ws_id",
];

const UPSTREAM_KNOWN: [&str; 16] = [
    "id",
    "name",
    "tags",
    "created_at",
    "updated_at",
    "algorithm",
    "hash_on",
    "hash_fallback",
    "hash_on_header",
    "hash_on_cookie",
    "hash_on_cookie_path",
    "healthchecks",
    "slots",
    "targets",
    "host_header",
    "use_srv_name",
];

/// The port of a target that names none.
const TARGET_PORT: u16 = 8000;

/// The largest weight that we take.
const MOST_WEIGHT: u64 = 1000;

/// The service as ours, but for its name.
pub(super) fn service(world: &World, at: usize, draft: &mut Draft) -> Option<Value> {
    let found = world.services.get(at)?;
    draft.lose_unknown(found.value, &found.origin, &KNOWN);
    let mut service = Map::new();
    place(world, found, &mut service, draft);
    let timeouts: Map<String, Value> =
        [("connectMs", "connect_timeout"), ("readMs", "read_timeout"), ("writeMs", "write_timeout")]
            .into_iter()
            .filter_map(|(ours, theirs)| {
                Some((ours.to_owned(), json!(number(found.value, theirs).filter(|it| *it > 0)?)))
            })
            .collect();
    if !timeouts.is_empty() {
        service.insert("timeouts".to_owned(), Value::Object(timeouts));
    }
    if let Some(attempts) = number(found.value, "retries") {
        service.insert("retries".to_owned(), json!({"attempts": attempts.min(10)}));
        if attempts > 10 {
            draft.warn(format!("{}/retries", found.origin), "at most 10 retries are made");
        }
    }
    if flag(found.value, "enabled") == Some(false) {
        service.insert("isActive".to_owned(), json!(false));
    }
    if flag(found.value, "tls_verify") == Some(false) {
        service.insert("tls".to_owned(), json!({"verify": false}));
        draft.warn(format!("{}/tls_verify", found.origin), "certificates of this backend are not verified");
    }
    if let Some(maintenance) = maintenance(world, at) {
        service.insert("maintenance".to_owned(), maintenance);
    }
    host_header(world, at, &mut service, draft);
    Some(Value::Object(service))
}

/// A termination of the whole service is the switch that we have for it.
pub(super) fn maintenance(world: &World, at: usize) -> Option<Value> {
    world.plugins_at(Scope::Service(at)).iter().find_map(|plugin| match &plugin.effect {
        Effect::Terminate(end) if end.body.is_none() && (400..=599).contains(&end.status) => {
            let mut maintenance = json!({"statusCode": end.status});
            if let Some(message) = &end.message {
                maintenance["message"] = json!(message);
            }
            Some(maintenance)
        }
        _ => None,
    })
}

/// Where it is: a URL, or a version with the instances of an upstream.
fn place(world: &World, found: &Found, service: &mut Map<String, Value>, draft: &mut Draft) {
    let value = found.value;
    let (scheme, rest) = match text(value, "url").and_then(|url| url.split_once("://")) {
        Some((scheme, rest)) => (scheme.to_owned(), rest.to_owned()),
        None => {
            let scheme = text(value, "protocol").unwrap_or("http").to_owned();
            let port = number(value, "port").map(|port| format!(":{port}")).unwrap_or_default();
            let path = text(value, "path").unwrap_or_default();
            (scheme, format!("{}{port}{path}", text(value, "host").unwrap_or_default()))
        }
    };
    let (scheme, protocol) = match scheme.as_str() {
        "grpc" => ("http", Some("h2c")),
        "grpcs" => ("https", Some("http2")),
        "http" | "https" => (scheme.as_str(), None),
        other => {
            draft.lose(
                format!("{}/protocol", found.origin),
                format!("{other:?} is not proxied; the service leads nowhere"),
            );
            return;
        }
    };
    if let Some(protocol) = protocol {
        service.insert("protocol".to_owned(), json!(protocol));
    }
    if scheme == "https" && value.get("tls_verify").is_none_or(Value::is_null) {
        draft.warn(
            &found.origin,
            "the backend's certificate is verified here; Kong does not do so unless it is told to",
        );
    }
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let name = host::split_port(authority).map_or(authority, |(name, _)| name);
    match world.upstreams.get(name) {
        Some(upstream) => balance(world, upstream, (scheme, path), service, draft),
        None => drop(service.insert("defaultUrl".to_owned(), json!(format!("{scheme}://{authority}{path}")))),
    }
}

fn balance(
    world: &World,
    upstream: &Found,
    (scheme, path): (&str, &str),
    service: &mut Map<String, Value>,
    draft: &mut Draft,
) {
    draft.lose_unknown(upstream.value, &upstream.origin, &UPSTREAM_KNOWN);
    let weights = targets(world, upstream);
    let largest = weights.values().copied().max().unwrap_or(0);
    if largest == 0 {
        draft.lose(&upstream.origin, "the upstream has no target with a weight; the service leads nowhere");
        return;
    }
    let scaled = |weight: u64| {
        let fits = largest <= MOST_WEIGHT || weight == 0;
        if fits { weight } else { (weight.saturating_mul(MOST_WEIGHT) / largest).max(1) }
    };
    let instances: Vec<Value> = weights
        .iter()
        .map(|(target, weight)| json!({"url": format!("{scheme}://{target}{path}"), "weight": scaled(*weight)}))
        .collect();
    service.insert("versions".to_owned(), json!([{"version": "v1", "instances": instances}]));
    service.insert("currentVersion".to_owned(), json!("v1"));
    service.insert("loadBalancing".to_owned(), load_balancing(upstream, draft));
    if let Some(host) = text(upstream.value, "host_header") {
        service.insert("hostHeader".to_owned(), json!(host));
    }
    health(upstream, service, draft);
}

/// By host and port; of a target that stands twice the last weight counts.
fn targets(world: &World, upstream: &Found) -> BTreeMap<String, u64> {
    let name = text(upstream.value, "name").unwrap_or_default();
    let apart = world.targets.get(name).into_iter().flatten().map(|found| found.value);
    let mut targets = BTreeMap::new();
    for target in members(upstream.value, "targets").iter().chain(apart) {
        let Some(address) = text(target, "target").map(str::to_ascii_lowercase) else { continue };
        let has_port = host::split_port(&address).is_some_and(|(_, port)| port.is_some());
        let address = if has_port { address } else { format!("{address}:{TARGET_PORT}") };
        targets.insert(address, number(target, "weight").unwrap_or(100));
    }
    targets
}

fn load_balancing(upstream: &Found, draft: &mut Draft) -> Value {
    let value = upstream.value;
    let by = text(value, "hash_on").unwrap_or("none");
    let named = |kind: &str, field: &str| text(value, field).map(|name| format!("{kind}:{name}"));
    let hash_on = match by {
        "none" => None,
        "ip" => Some("ip".to_owned()),
        "consumer" => Some("application".to_owned()),
        "header" => named("header", "hash_on_header"),
        "cookie" => named("cookie", "hash_on_cookie"),
        other => {
            draft.lose(format!("{}/hash_on", upstream.origin), format!("hashing on {other} has no counterpart"));
            None
        }
    };
    if text(value, "hash_fallback").is_some_and(|it| it != "none") {
        draft.lose(format!("{}/hash_fallback", upstream.origin), "has no counterpart");
    }
    match (text(value, "algorithm").unwrap_or("round-robin"), hash_on) {
        ("consistent-hashing", hash_on) => {
            json!({"algorithm": "consistent_hash", "hashOn": hash_on.unwrap_or_else(|| "ip".to_owned())})
        }
        // Before Kong 1.0 the hash alone said so.
        (_, Some(hash_on)) => json!({"algorithm": "consistent_hash", "hashOn": hash_on}),
        ("least-connections", None) => json!({"algorithm": "least_connections"}),
        ("round-robin", None) => json!({"algorithm": "weighted"}),
        (other, None) => {
            draft.lose(
                format!("{}/algorithm", upstream.origin),
                format!("{other:?} has no counterpart; by weight instead"),
            );
            json!({"algorithm": "weighted"})
        }
    }
}

/// Active checks that are switched on, and ejection after failures of real requests.
fn health(upstream: &Found, service: &mut Map<String, Value>, draft: &mut Draft) {
    let Some(checks) = upstream.value.get("healthchecks") else { return };
    let origin = format!("{}/healthchecks", upstream.origin);
    let at = |path: &str| checks.pointer(path).and_then(Value::as_f64).filter(|it| *it > 0.0);
    let millis = |seconds: f64| std::time::Duration::try_from_secs_f64(seconds).ok().map(|it| it.as_millis());
    let intervals = [at("/active/healthy/interval"), at("/active/unhealthy/interval")];
    if let Some(interval) = intervals.into_iter().flatten().reduce(f64::min).and_then(millis) {
        let kind = checks.pointer("/active/type").and_then(Value::as_str).unwrap_or("http");
        if kind.starts_with("http") {
            let path = checks.pointer("/active/http_path").and_then(Value::as_str).unwrap_or("/");
            let mut check = json!({"path": path, "intervalMs": u64::try_from(interval).unwrap_or(u64::MAX)});
            let fields =
                [("healthyAfter", "/active/healthy/successes"), ("unhealthyAfter", "/active/unhealthy/http_failures")];
            for (ours, theirs) in fields {
                if let Some(count) = checks.pointer(theirs).and_then(Value::as_u64).filter(|it| *it > 0) {
                    check[ours] = json!(count);
                }
            }
            if let Some(timeout) = at("/active/timeout").and_then(millis) {
                check["timeoutMs"] = json!(u64::try_from(timeout).unwrap_or(u64::MAX));
            }
            service.insert("healthCheck".to_owned(), check);
        } else {
            draft.lose(format!("{origin}/active"), format!("checks of type {kind} have no counterpart"));
        }
    }
    if let Some(failures) =
        checks.pointer("/passive/unhealthy/http_failures").and_then(Value::as_u64).filter(|it| *it > 0)
    {
        service.insert("ejection".to_owned(), json!({"consecutiveFailures": failures}));
        draft.warn(format!("{origin}/passive"), "an instance that failed is tried again after 10 seconds");
    }
    for (name, _) in fields(checks).filter(|(name, _)| !["active", "passive", "threshold"].contains(name)) {
        draft.lose(format!("{origin}/{name}"), "has no counterpart");
    }
}

/// Kong says it for each route, we for each service.
fn host_header(world: &World, at: usize, service: &mut Map<String, Value>, draft: &mut Draft) {
    let places = world.routes_of.get(&at).into_iter().flatten();
    let routes: Vec<&Found> = places.filter_map(|at| world.routes.get(*at)).map(|(route, _)| route).collect();
    let keeps = |route: &&&Found| flag(route.value, "preserve_host") == Some(true);
    let keeping = routes.iter().filter(keeps).count();
    if keeping > 0 && keeping == routes.len() {
        service.insert("hostHeader".to_owned(), json!("keep"));
        return;
    }
    service.entry("hostHeader").or_insert_with(|| json!("upstream"));
    for route in routes.iter().filter(keeps) {
        let path = format!("{}/preserve_host", route.origin);
        draft.lose(path, "other routes of the service do not keep the host, and all of a service do or none");
    }
}
