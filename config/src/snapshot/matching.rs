//! Finding a request's route. Pure: data in, the best match out.

use std::sync::Arc;

use http::{Method, header};
use smallvec::SmallVec;

use super::Snapshot;
use super::code::Code;
use super::decide::Refusal;
use super::facts::RequestFacts;
use super::limit::{Counters, early};
use super::pattern::Captures;
use super::route::{CompiledRoute, RESERVED};
use super::trail::{Mismatch, Step, Trail};
use super::tree::Walk;
use crate::model::{Access, Target};

/// What a request was matched to.
#[derive(Debug)]
pub struct Match<'a> {
    pub facts: RequestFacts<'a>,
    pub found: Result<Found<'a>, Refusal>,
    /// Of the address and global group: counted before credentials are looked at, also where nothing was found, but not for
    /// addresses that are denied.
    pub counters: Counters,
    pub trail: Trail,
}

#[derive(Debug)]
pub struct Found<'a> {
    pub route: &'a Arc<CompiledRoute>,
    pub captures: Captures,
    /// A browser asks beforehand whether it may call, and the route has an answer.
    pub preflight: bool,
}

impl Match<'_> {
    /// Which credentials count; none for a refusal.
    #[must_use]
    pub fn access(&self) -> Option<&Access> {
        self.found.as_ref().ok().map(|found| &found.route.source.access)
    }

    /// The whole body must be read before deciding.
    #[must_use]
    pub fn needs_body(&self) -> bool {
        self.found.as_ref().is_ok_and(|found| matches!(found.route.source.target, Target::Queue(_)))
    }
}

/// Addresses and sizes first, then host (exact, then wildcard, then any), then path (literal over named over catch-all), then
/// method, headers, query and priority. A candidate that fails is passed over for the next.
#[must_use]
pub fn match_request<'a>(snapshot: &'a Snapshot, facts: &RequestFacts<'a>) -> Match<'a> {
    let (mut counters, mut trail) = (Counters::new(), Trail::new());
    let found = find(snapshot, facts, &mut counters, |preflight| find_route(snapshot, facts, preflight, &mut trail));
    matched(facts, found, counters, trail)
}

/// The same, where it is known that this route takes the request.
#[must_use]
pub(super) fn match_to<'a>(
    snapshot: &'a Snapshot,
    facts: &RequestFacts<'a>,
    route: &'a Arc<CompiledRoute>,
) -> Match<'a> {
    let mut counters = Counters::new();
    let captures = route.pattern.captures(facts.path).unwrap_or_default();
    let found = find(snapshot, facts, &mut counters, |_| Ok((route, captures)));
    matched(facts, found, counters, Trail::from_slice(&[Step::Matched(route.id)]))
}

/// What refuses a request before anybody looks for its route.
#[must_use]
pub(super) fn refused_early(snapshot: &Snapshot, facts: &RequestFacts<'_>) -> Option<Code> {
    if !snapshot.defaults.address.permit(facts.address) {
        return Some(Code::IpDenied);
    }
    oversized(snapshot, facts).or_else(|| reserved(facts.path))
}

#[inline]
fn matched<'a>(
    facts: &RequestFacts<'a>,
    found: Result<Found<'a>, Refusal>,
    mut counters: Counters,
    trail: Trail,
) -> Match<'a> {
    if found.as_ref().is_err_and(|refusal| refusal.code == Code::IpDenied) {
        // Address rules stand before limits: who may not call at all must not use up what all others are counted by.
        counters.clear();
    }
    Match { facts: *facts, found, counters, trail }
}

fn find<'a>(
    snapshot: &'a Snapshot,
    facts: &RequestFacts<'a>,
    counters: &mut Counters,
    take: impl FnOnce(Option<&Method>) -> Result<(&'a Arc<CompiledRoute>, Captures), Refusal>,
) -> Result<Found<'a>, Refusal> {
    if !snapshot.defaults.address.permit(facts.address) {
        return Err(Refusal::new(Code::IpDenied));
    }
    early(&snapshot.defaults.limits, facts.address, counters);
    if let Some(code) = oversized(snapshot, facts).or_else(|| reserved(facts.path)) {
        return Err(Refusal::new(code));
    }
    let preflight = preflight_method(facts);
    let (route, captures) = take(preflight.as_ref())?;
    early(&route.limits, facts.address, counters);
    if !route.address.permit(facts.address) {
        return Err(Refusal::new(Code::IpDenied));
    }
    Ok(Found { route, captures, preflight: preflight.is_some() && snapshot.cors_of(route).is_some() })
}

fn find_route<'a>(
    snapshot: &'a Snapshot,
    facts: &RequestFacts<'a>,
    preflight: Option<&Method>,
    trail: &mut Trail,
) -> Result<(&'a Arc<CompiledRoute>, Captures), Refusal> {
    let mut allow = SmallVec::<[&CompiledRoute; 4]>::new();
    let mut walk =
        Walk::new(facts.path, |routes: &'a [Arc<CompiledRoute>]| pick(facts, preflight, routes, &mut allow, trail));
    let hit = snapshot.hosts.roots(facts.host).find_map(|(host, root)| Some((host, walk.walk(root, Some(1))?)));
    let captures = walk.captures;
    let Some((host, route)) = hit else { return Err(not_found(&allow)) };
    trail.extend([Step::Host(host), Step::Matched(route.id)]);
    Ok((route, captures))
}

/// As many as Pingora reads of a request of HTTP/1.
const MOST_HEADERS: usize = 256;

/// What is too large, whatever it asks for.
fn oversized(snapshot: &Snapshot, facts: &RequestFacts<'_>) -> Option<Code> {
    let defaults = &snapshot.defaults.source;
    if facts.target_bytes > defaults.max_uri_bytes as usize {
        return Some(Code::UriTooLong);
    }
    if facts.headers.len() > MOST_HEADERS {
        return Some(Code::HeadersTooLarge);
    }
    let lines = facts.headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4);
    (lines.sum::<usize>() > defaults.max_header_bytes as usize).then_some(Code::HeadersTooLarge)
}

/// What the gateway keeps for itself on every host is never a backend's, not even behind a catch-all.
fn reserved(path: &str) -> Option<Code> {
    if path.starts_with(RESERVED[0]) {
        return Some(Code::TaskNotFound);
    }
    path.starts_with(RESERVED[1]).then_some(Code::RouteNotFound)
}

fn not_found(allow: &[&CompiledRoute]) -> Refusal {
    if allow.is_empty() {
        return Refusal::new(Code::RouteNotFound);
    }
    let mut methods: Vec<&str> = allow.iter().flat_map(|route| route.methods.iter()).map(Method::as_str).collect();
    methods.sort_unstable();
    methods.dedup();
    Refusal { allow: Some(methods.join(", ").into()), ..Refusal::new(Code::MethodNotAllowed) }
}

/// A CORS preflight asks on behalf of this method.
fn preflight_method(facts: &RequestFacts<'_>) -> Option<Method> {
    if *facts.method != Method::OPTIONS || !facts.headers.contains_key(header::ORIGIN) {
        return None;
    }
    let wanted = facts.headers.get(header::ACCESS_CONTROL_REQUEST_METHOD)?;
    Method::from_bytes(wanted.as_bytes()).ok()
}

/// The first of the routes under one pattern that takes the request.
fn pick<'a>(
    facts: &RequestFacts<'_>,
    preflight: Option<&Method>,
    routes: &'a [Arc<CompiledRoute>],
    allow: &mut SmallVec<[&'a CompiledRoute; 4]>,
    trail: &mut Trail,
) -> Option<&'a Arc<CompiledRoute>> {
    for route in routes {
        let takes = |method: &Method| route.methods.contain(method);
        if !route.conditions.iter().all(|it| it.holds(facts.headers, facts.query)) {
            trail.push(Step::PassedOver(route.id, Mismatch::Condition));
        } else if takes(facts.method) || preflight.is_some_and(takes) {
            return Some(route);
        } else {
            trail.push(Step::PassedOver(route.id, Mismatch::Method));
            allow.push(route);
        }
    }
    None
}

/// The route alone.
#[must_use]
pub(super) fn would_match<'a>(snapshot: &'a Snapshot, facts: &RequestFacts<'a>) -> Option<&'a Arc<CompiledRoute>> {
    find_route(snapshot, facts, preflight_method(facts).as_ref(), &mut Trail::new()).ok().map(|(route, _)| route)
}
