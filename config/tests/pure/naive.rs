//! A second matcher, written from the design alone: it looks at every route, keeps those that take the request, and sorts them.
//! Slow and plain, so that it can be believed.

use std::cmp::Reverse;
use std::collections::BTreeSet;

use gateway_config::model::Route;
use http::HeaderMap;
use regex::Regex;

use crate::world::Request;

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The route, and what its names stand for in the pattern's order.
    Found(String, Vec<String>),
    NotFound,
    /// With the methods that would have been taken.
    NotAllowed(BTreeSet<String>),
}

pub(crate) fn matched(routes: &[Route], request: &Request) -> Verdict {
    let mut takers = Vec::new();
    let mut allowed = BTreeSet::new();
    for route in routes.iter().filter(|route| route.is_active) {
        let Some(host) = closeness(route, &request.host) else { continue };
        let Some((path, captures)) = fits(&route.path, &request.path) else { continue };
        if !conditions_hold(route, request) {
            continue;
        }
        if takes_method(route, request) {
            let rank = (host, path, route.methods.is_empty(), more_first(route), route.name.clone());
            takers.push((rank, captures));
        } else {
            allowed.extend(route.methods.iter().cloned());
        }
    }
    takers.sort();
    match takers.into_iter().next() {
        Some(((.., name), captures)) => Verdict::Found(name, captures),
        None if allowed.is_empty() => Verdict::NotFound,
        None => Verdict::NotAllowed(allowed),
    }
}

/// Whether some request could be taken by both, with nothing to say which goes first.
pub(crate) fn ambiguous(one: &Route, other: &Route) -> bool {
    let shape = |path: &str| -> Vec<String> {
        let name = |part: &str| if part.starts_with("{*") { "{*}" } else { "{}" }.to_owned();
        path.split('/').map(|part| if part.starts_with('{') { name(part) } else { part.to_owned() }).collect()
    };
    let hosts =
        one.hosts.iter().any(|host| other.hosts.contains(host)) || one.hosts.is_empty() && other.hosts.is_empty();
    let methods = one.methods.iter().any(|method| other.methods.contains(method))
        || one.methods.is_empty() && other.methods.is_empty();
    let same = one.headers == other.headers && one.query == other.query && one.priority == other.priority;
    one.is_active && other.is_active && hosts && methods && same && shape(&one.path) == shape(&other.path)
}

fn more_first(route: &Route) -> (Reverse<usize>, Reverse<usize>, Reverse<i32>) {
    (Reverse(route.headers.len()), Reverse(route.query.len()), Reverse(route.priority))
}

/// The smaller the closer: the exact name, then the longest wildcard, then any.
fn closeness(route: &Route, host: &str) -> Option<(u8, Reverse<usize>)> {
    if route.hosts.is_empty() {
        return Some((2, Reverse(0)));
    }
    let one = |pattern: &String| match pattern.strip_prefix('*') {
        Some(suffix) => (host.len() > suffix.len() && host.ends_with(suffix)).then_some((1, Reverse(suffix.len()))),
        None => (pattern == host).then_some((0, Reverse(0))),
    };
    route.hosts.iter().filter_map(one).min()
}

/// For each segment from the left 0 for a literal, 1 for a name, 2 for a catch-all; and what the names stand for.
pub(crate) fn fits(pattern: &str, path: &str) -> Option<(Vec<u8>, Vec<String>)> {
    let (mut kinds, mut captures) = (Vec::new(), Vec::new());
    let mut path = path.split('/').skip(1).collect::<Vec<_>>();
    for part in pattern.split('/').skip(1) {
        if part.starts_with("{*") {
            if path.is_empty() {
                return None;
            }
            captures.push(path.join("/"));
            kinds.push(2);
            return Some((kinds, captures));
        }
        if path.is_empty() {
            return None;
        }
        let segment = path.remove(0);
        if part.starts_with('{') {
            if segment.is_empty() {
                return None;
            }
            captures.push(segment.to_owned());
            kinds.push(1);
        } else if part == segment {
            kinds.push(0);
        } else {
            return None;
        }
    }
    path.is_empty().then_some((kinds, captures))
}

fn takes_method(route: &Route, request: &Request) -> bool {
    let takes = |method: &str| route.methods.is_empty() || route.methods.iter().any(|it| it == method);
    let header = |name: &str| request.headers.get(name).and_then(|value| value.to_str().ok());
    let is_preflight = request.method == "OPTIONS" && header("origin").is_some();
    takes(request.method.as_str())
        || is_preflight && header("access-control-request-method").is_some_and(|it| !it.contains(' ') && takes(it))
}

fn conditions_hold(route: &Route, request: &Request) -> bool {
    let headers = route.headers.iter().all(|(name, wanted)| values(&request.headers, name).any(|it| meets(wanted, it)));
    let parameters = request.query.as_deref().unwrap_or("").split('&');
    let parameters: Vec<(&str, &str)> = parameters.filter_map(|it| it.split_once('=')).collect();
    let query = |(name, wanted): (&String, &String)| parameters.iter().any(|(n, v)| n == name && meets(wanted, v));
    headers && route.query.iter().all(query)
}

fn values<'h>(headers: &'h HeaderMap, name: &str) -> impl Iterator<Item = &'h str> {
    headers.get_all(name).iter().filter_map(|value| value.to_str().ok())
}

fn meets(wanted: &str, value: &str) -> bool {
    match wanted.strip_prefix('~') {
        Some(expression) => Regex::new(&format!("^({expression})$")).unwrap().is_match(value),
        None => wanted == value,
    }
}
