//! Finding a request's route. Pure: data in, the best match out.

use std::sync::Arc;

use http::{Method, header};
use smallvec::SmallVec;

use super::Snapshot;
use super::code::Code;
use super::decide::Refusal;
use super::facts::RequestFacts;
use super::pattern::Captures;
use super::route::{CompiledRoute, RESERVED};
use super::routing::{HostMatch, Node};
use super::trail::{Mismatch, Step, Trail};
use crate::model::{Access, Target};

/// What a request was matched to.
#[derive(Debug)]
pub struct Match<'a> {
    pub facts: RequestFacts<'a>,
    pub found: Result<Found<'a>, Refusal>,
    pub trail: Trail,
}

#[derive(Debug)]
pub struct Found<'a> {
    pub route: &'a Arc<CompiledRoute>,
    pub captures: Captures,
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

/// Host (exact, then wildcard, then any), then path (literal over named over catch-all), then method, headers, query and
/// priority. A candidate that fails is passed over for the next.
#[must_use]
pub fn match_request<'a>(snapshot: &'a Snapshot, facts: &RequestFacts<'a>) -> Match<'a> {
    if let Some(code) = reserved(facts.path) {
        return Match { facts: *facts, found: Err(Refusal::new(code)), trail: Trail::new() };
    }
    let mut search = Search {
        facts,
        preflight: preflight_method(facts),
        captures: Captures::new(),
        allow: SmallVec::new(),
        trail: Trail::new(),
    };
    let mut hit = None;
    for (host, root) in snapshot.hosts.roots(facts.host) {
        if let Some(route) = search.walk(root, Some(1)) {
            hit = Some((host, route));
            break;
        }
    }
    let Search { captures, allow, mut trail, .. } = search;
    let found = if let Some((host, route)) = hit {
        trail.extend([Step::Host(host), Step::Matched(route.id)]);
        Ok(Found { route, captures })
    } else {
        Err(not_found(&allow))
    };
    Match { facts: *facts, found, trail }
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

struct Search<'f, 'a> {
    facts: &'f RequestFacts<'a>,
    preflight: Option<Method>,
    captures: Captures,
    /// Routes that failed on nothing but the method.
    allow: SmallVec<[&'a CompiledRoute; 4]>,
    trail: Trail,
}

impl<'a> Search<'_, 'a> {
    /// `at` is where the next segment begins; `None` when the path is used up.
    fn walk(&mut self, node: &'a Node, at: Option<usize>) -> Option<&'a Arc<CompiledRoute>> {
        let Some(at) = at else { return self.pick(&node.ends) };
        let path: &'a str = self.facts.path;
        let rest = path.get(at..)?;
        let (segment, next) = match rest.find('/') {
            Some(length) => (rest.get(..length)?, Some(at + length + 1)),
            None => (rest, None),
        };
        if let Some(child) = node.literals.get(segment)
            && let Some(route) = self.walk(child, next)
        {
            return Some(route);
        }
        if let Some(child) = &node.named
            && !segment.is_empty()
        {
            self.capture(at, at + segment.len());
            if let Some(route) = self.walk(child, next) {
                return Some(route);
            }
            self.captures.pop();
        }
        if node.rest.is_empty() {
            return None;
        }
        self.capture(at, path.len());
        let found = self.pick(&node.rest);
        if found.is_none() {
            self.captures.pop();
        }
        found
    }

    #[expect(clippy::cast_possible_truncation, reason = "a request's head is bounded far below 4 GiB")]
    fn capture(&mut self, from: usize, to: usize) {
        self.captures.push((from as u32, to as u32));
    }

    fn pick(&mut self, routes: &'a [Arc<CompiledRoute>]) -> Option<&'a Arc<CompiledRoute>> {
        for route in routes {
            let takes = |method: &Method| route.methods.contain(method);
            let method_fits = takes(self.facts.method) || self.preflight.as_ref().is_some_and(takes);
            if !route.conditions.iter().all(|it| it.holds(self.facts.headers, self.facts.query)) {
                self.trail.push(Step::PassedOver(route.id, Mismatch::Condition));
            } else if method_fits {
                return Some(route);
            } else {
                self.trail.push(Step::PassedOver(route.id, Mismatch::Method));
                self.allow.push(route);
            }
        }
        None
    }
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
