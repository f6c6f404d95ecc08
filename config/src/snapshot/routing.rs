//! The routing table: hosts, and under each a tree of path segments. A change copies the nodes from the root to the leaf that
//! it touches and shares all others.

use std::cmp::Reverse;
use std::sync::Arc;

use super::pattern::Segment;
use super::route::CompiledRoute;
use super::table::Table;

#[derive(Clone, Debug, Default)]
pub(super) struct Hosts {
    pub(super) exact: Table<Arc<Node>>,
    /// By the part behind `*.`.
    pub(super) wildcard: Table<Arc<Node>>,
    pub(super) any: Arc<Node>,
}

/// How a host was found, the closest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HostMatch {
    Exact,
    Wildcard,
    Any,
}

/// What may follow one path segment.
#[derive(Clone, Debug, Default)]
pub(super) struct Node {
    pub(super) literals: Table<Arc<Node>>,
    pub(super) named: Option<Arc<Node>>,
    /// Routes whose pattern ends in a catch-all here, in order of precedence.
    pub(super) rest: Vec<Arc<CompiledRoute>>,
    /// Routes whose pattern ends here, in order of precedence.
    pub(super) ends: Vec<Arc<CompiledRoute>>,
}

impl Hosts {
    pub(super) fn insert(&mut self, route: &Arc<CompiledRoute>) {
        self.each_root(route, |root| root.insert(route.pattern.segments(), route));
    }

    pub(super) fn remove(&mut self, route: &Arc<CompiledRoute>) {
        self.each_root(route, |root| root.remove(route.pattern.segments(), route));
        for host in &route.source.hosts {
            let (table, key) = self.table(host);
            if table.get(key).is_some_and(|root| root.is_empty()) {
                table.remove(key);
            }
        }
    }

    /// The trees in which a request to `host` may find its route, the closest first.
    pub(super) fn roots<'s>(&'s self, host: &'s str) -> impl Iterator<Item = (HostMatch, &'s Node)> {
        let exact = self.exact.get(host).map(|root| (HostMatch::Exact, &**root)).into_iter();
        let suffixes = if self.wildcard.is_empty() { "" } else { host };
        let parents = suffixes.match_indices('.').filter_map(|(at, _)| suffixes.get(at + 1..));
        let wildcard = parents.filter_map(|parent| Some((HostMatch::Wildcard, &**self.wildcard.get(parent)?)));
        exact.chain(wildcard).chain(std::iter::once((HostMatch::Any, &*self.any)))
    }

    /// The routes that stand beside `route`: same host, same pattern but for the names. `host` is `None` for any.
    pub(super) fn beside(&self, host: Option<&str>, route: &CompiledRoute) -> &[Arc<CompiledRoute>] {
        let root = match host {
            None => Some(&self.any),
            Some(host) => match host.strip_prefix("*.") {
                Some(parent) => self.wildcard.get(parent),
                None => self.exact.get(host),
            },
        };
        root.map_or(&[], |root| root.leaf(route.pattern.segments()))
    }

    fn each_root(&mut self, route: &CompiledRoute, mut edit: impl FnMut(&mut Node)) {
        if route.source.hosts.is_empty() {
            edit(Arc::make_mut(&mut self.any));
        }
        for host in &route.source.hosts {
            let (table, key) = self.table(host);
            edit(child(table, key));
        }
    }

    fn table<'h>(&mut self, host: &'h str) -> (&mut Table<Arc<Node>>, &'h str) {
        match host.strip_prefix("*.") {
            Some(parent) => (&mut self.wildcard, parent),
            None => (&mut self.exact, host),
        }
    }
}

impl Node {
    fn insert(&mut self, segments: &[Segment], route: &Arc<CompiledRoute>) {
        match segments.split_first() {
            None => put(&mut self.ends, route),
            Some((Segment::Rest(_), _)) => put(&mut self.rest, route),
            Some((Segment::Named(_), after)) => Arc::make_mut(self.named.get_or_insert_default()).insert(after, route),
            Some((Segment::Literal(literal), after)) => child(&mut self.literals, literal).insert(after, route),
        }
    }

    fn remove(&mut self, segments: &[Segment], route: &Arc<CompiledRoute>) {
        let is_other = |other: &Arc<CompiledRoute>| other.source.name != route.source.name;
        match segments.split_first() {
            None => self.ends.retain(is_other),
            Some((Segment::Rest(_), _)) => self.rest.retain(is_other),
            Some((Segment::Named(_), after)) => {
                if let Some(named) = &mut self.named {
                    Arc::make_mut(named).remove(after, route);
                }
                self.named.take_if(|named| named.is_empty());
            }
            Some((Segment::Literal(literal), after)) => {
                child(&mut self.literals, literal).remove(after, route);
                if self.literals.get(literal).is_some_and(|node| node.is_empty()) {
                    self.literals.remove(literal);
                }
            }
        }
    }

    fn leaf(&self, segments: &[Segment]) -> &[Arc<CompiledRoute>] {
        let deeper = match segments.split_first() {
            None => return &self.ends,
            Some((Segment::Rest(_), _)) => return &self.rest,
            Some((Segment::Named(_), after)) => self.named.as_ref().map(|node| (node, after)),
            Some((Segment::Literal(literal), after)) => self.literals.get(literal).map(|node| (node, after)),
        };
        deeper.map_or(&[], |(node, after)| node.leaf(after))
    }

    fn is_empty(&self) -> bool {
        self.literals.is_empty() && self.named.is_none() && self.rest.is_empty() && self.ends.is_empty()
    }
}

/// The node under `key`, made if it is missing, and this table's own from now on.
fn child<'t>(table: &'t mut Table<Arc<Node>>, key: &str) -> &'t mut Node {
    if table.get(key).is_none() {
        table.insert(key, Arc::default());
    }
    match table.get_mut(key) {
        Some(node) => Arc::make_mut(node),
        None => unreachable!("it was inserted above"),
    }
}

fn put(leaf: &mut Vec<Arc<CompiledRoute>>, route: &Arc<CompiledRoute>) {
    let at = leaf.partition_point(|other| Reverse(other.precedence()) < Reverse(route.precedence()));
    leaf.insert(at, route.clone());
}
