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
use super::routing::HostMatch;
use super::trail::{Mismatch, Step, Trail};
use super::tree::Walk;
use crate::model::{Access, Target};

/// What a request was matched to.
#[derive(Debug)]
pub struct Match<'a> {
    pub facts: RequestFacts<'a>,
    pub found: Result<Found<'a>, Refusal>,
    /// Of the address and global group: counted before credentials are looked at, also where nothing was found.
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

/// Sizes and addresses first, then host (exact, then wildcard, then any), then path (literal over named over catch-all), then
/// method, headers, query and priority. A candidate that fails is passed over for the next.
#[must_use]
pub fn match_request<'a>(snapshot: &'a Snapshot, facts: &RequestFacts<'a>) -> Match<'a> {
    let mut counters = Counters::new();
    early(snapshot.defaults.limits.iter(), facts.address, &mut counters);
    if let Some(code) = unacceptable(snapshot, facts).or_else(|| reserved(facts.path)) {
        return Match { facts: *facts, found: Err(Refusal::new(code)), counters, trail: Trail::new() };
    }
    let preflight = preflight_method(facts);
    let (mut allow, mut trail) = (SmallVec::<[&CompiledRoute; 4]>::new(), Trail::new());
    let mut walk = Walk::new(facts.path, |routes: &'a [Arc<CompiledRoute>]| {
        pick(facts, preflight.as_ref(), routes, &mut allow, &mut trail)
    });
    let hit = snapshot.hosts.roots(facts.host).find_map(|(host, root)| Some((host, walk.walk(root, Some(1))?)));
    let captures = walk.captures;
    let found = match hit {
        None => Err(not_found(&allow)),
        Some((host, route)) => {
            trail.extend([Step::Host(host), Step::Matched(route.id)]);
            early(route.limits.iter(), facts.address, &mut counters);
            if route.address.permit(facts.address) {
                let preflight = preflight.is_some() && snapshot.cors_of(route).is_some();
                Ok(Found { route, captures, preflight })
            } else {
                Err(Refusal::new(Code::IpDenied))
            }
        }
    };
    Match { facts: *facts, found, counters, trail }
}

/// What is refused whatever it asks for.
fn unacceptable(snapshot: &Snapshot, facts: &RequestFacts<'_>) -> Option<Code> {
    let defaults = &snapshot.defaults;
    if facts.target_bytes > defaults.source.max_uri_bytes as usize {
        return Some(Code::UriTooLong);
    }
    let lines = facts.headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4);
    if lines.sum::<usize>() > defaults.source.max_header_bytes as usize {
        return Some(Code::HeadersTooLarge);
    }
    (!defaults.address.permit(facts.address)).then_some(Code::IpDenied)
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

/// The host under which a path would be looked up, for warnings.
#[must_use]
pub(super) fn would_match<'a>(
    snapshot: &'a Snapshot,
    facts: &RequestFacts<'a>,
) -> Option<(HostMatch, &'a CompiledRoute)> {
    let found = match_request(snapshot, facts);
    let host = found.trail.iter().find_map(|step| match step {
        Step::Host(host) => Some(*host),
        _ => None,
    });
    Some((host?, found.found.ok()?.route))
}
