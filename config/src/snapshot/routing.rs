//! The routing table: hosts, and under each a tree of path segments.

use std::cmp::Reverse;
use std::sync::Arc;

use super::route::CompiledRoute;
use super::table::Table;
use super::tree::{self, child};

pub(super) type Node = tree::Node<Arc<CompiledRoute>>;

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

impl Hosts {
    pub(super) fn insert(&mut self, route: &Arc<CompiledRoute>) {
        self.each_root(route, |root| root.edit(route.pattern.segments(), |leaf| put(leaf, route)));
    }

    pub(super) fn remove(&mut self, route: &Arc<CompiledRoute>) {
        let is_other = |other: &Arc<CompiledRoute>| other.source.name != route.source.name;
        self.each_root(route, |root| root.edit(route.pattern.segments(), |leaf| leaf.retain(is_other)));
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

fn put(leaf: &mut Vec<Arc<CompiledRoute>>, route: &Arc<CompiledRoute>) {
    let at = leaf.partition_point(|other| Reverse(other.precedence()) < Reverse(route.precedence()));
    leaf.insert(at, route.clone());
}
