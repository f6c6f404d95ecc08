//! The routing table: hosts, and under each a tree of path segments.

use std::cmp::Reverse;
use std::sync::Arc;

use super::route::CompiledRoute;
use super::table::Table;
use super::tree::{Tree, Values, edit_in};

pub(super) type Root = Tree<Arc<CompiledRoute>>;

#[derive(Clone, Debug, Default)]
pub(super) struct Hosts {
    pub(super) exact: Table<Root>,
    /// By the part behind `*.`.
    pub(super) wildcard: Table<Root>,
    pub(super) any: Root,
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
        self.edit(route, |leaf| put(leaf, route));
    }

    pub(super) fn remove(&mut self, route: &Arc<CompiledRoute>) {
        self.edit(route, |leaf| leaf.retain(|other| other.source.name != route.source.name));
    }

    /// The trees in which a request to `host` may find its route, the closest first.
    pub(super) fn roots<'s>(&'s self, host: &'s str) -> impl Iterator<Item = (HostMatch, &'s Root)> {
        let exact = self.exact.get(host).map(|root| (HostMatch::Exact, root)).into_iter();
        let suffixes = if self.wildcard.is_empty() { "" } else { host };
        let parents = suffixes.match_indices('.').filter_map(|(at, _)| suffixes.get(at + 1..));
        let wildcard = parents.filter_map(|parent| Some((HostMatch::Wildcard, self.wildcard.get(parent)?)));
        exact.chain(wildcard).chain(std::iter::once((HostMatch::Any, &self.any)))
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
        root.map_or(&[], |root| root.under(route.pattern.skeleton()))
    }

    /// Edits what stands where the route does, under each of its hosts.
    fn edit(&mut self, route: &CompiledRoute, edit: impl Fn(&mut Values<Arc<CompiledRoute>>)) {
        let skeleton = route.pattern.skeleton();
        if route.source.hosts.is_empty() {
            self.any.edit(skeleton, &edit);
        }
        for host in &route.source.hosts {
            let (table, key) = self.table(host);
            edit_in(table, key, skeleton, &edit);
        }
    }

    fn table<'h>(&mut self, host: &'h str) -> (&mut Table<Root>, &'h str) {
        match host.strip_prefix("*.") {
            Some(parent) => (&mut self.wildcard, parent),
            None => (&mut self.exact, host),
        }
    }
}

fn put(leaf: &mut Values<Arc<CompiledRoute>>, route: &Arc<CompiledRoute>) {
    let at = leaf.partition_point(|other| Reverse(other.precedence()) < Reverse(route.precedence()));
    leaf.insert(at, route.clone());
}
