//! A set of instances as it runs: whose turn it is, over all gateways' threads.
//!
//! Our own rotation rather than `pingora-load-balancing`'s: its weighted list serves 1000:1000 as a thousand requests to one and
//! then a thousand to the other, allocates on every choice, and knows addresses only, not names that resolve anew.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use foldhash::fast::FixedState;
use gateway_config::snapshot::{Cluster, ClusterKey, CompiledService, Snapshot};

use super::endpoint::{Endpoint, Endpoints};

#[derive(Debug)]
pub(crate) struct ClusterRuntime {
    pub(crate) endpoints: Vec<Arc<Endpoint>>,
    /// Indices of endpoints in the order of their turns, spread evenly by weight.
    rotation: Vec<u16>,
    turn: AtomicUsize,
}

impl ClusterRuntime {
    fn new(cluster: &Cluster, service: &CompiledService, endpoints: &Endpoints) -> Self {
        let weights: Vec<u16> = cluster.instances.iter().map(|instance| instance.weight).collect();
        let endpoints = cluster.instances.iter().map(|it| endpoints.get(&it.url, &service.source)).collect();
        Self { endpoints, rotation: rotation(&weights), turn: AtomicUsize::new(0) }
    }

    /// The endpoint whose turn it is.
    pub(super) fn next(&self) -> usize {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let at = turn.checked_rem(self.rotation.len()).unwrap_or(0);
        self.rotation.get(at).copied().map_or(0, usize::from)
    }
}

/// Smooth weighted round robin (as in nginx), computed ahead for one whole cycle.
fn rotation(weights: &[u16]) -> Vec<u16> {
    let common = weights.iter().copied().fold(0, greatest_common_divisor).max(1);
    let weights: Vec<i64> = weights.iter().map(|weight| i64::from(weight / common)).collect();
    let total: i64 = weights.iter().sum();
    let mut current = vec![0i64; weights.len()];
    let mut rotation = Vec::new();
    for _ in 0..total {
        for (current, weight) in current.iter_mut().zip(&weights) {
            *current += weight;
        }
        let Some(best) = (0..current.len()).max_by_key(|at| (current.get(*at), std::cmp::Reverse(*at))) else { break };
        if let Some(current) = current.get_mut(best) {
            *current -= total;
        }
        rotation.push(u16::try_from(best).unwrap_or(0));
    }
    rotation
}

fn greatest_common_divisor(a: u16, b: u16) -> u16 {
    if b == 0 { a } else { greatest_common_divisor(b, a % b) }
}

/// The running clusters of a snapshot, by their keys: in shards, so that a change copies one of them and shares the others.
#[derive(Clone, Debug)]
pub(crate) struct Clusters([Arc<Shard>; SHARDS]);

type Shard = HashMap<ClusterKey, Arc<ClusterRuntime>, FixedState>;
const SHARDS: usize = 64;

impl Default for Clusters {
    fn default() -> Self {
        let empty = Arc::new(Shard::default());
        Self(std::array::from_fn(|_| empty.clone()))
    }
}

impl Clusters {
    /// For every cluster of `snapshot`, keeping those that run already.
    pub(crate) fn for_snapshot(snapshot: &Snapshot, before: &Self, endpoints: &Endpoints) -> Self {
        let mut clusters = Self::default();
        for service in snapshot.services() {
            clusters.add(service, before, endpoints);
        }
        clusters
    }

    /// These clusters with `old` replaced by `new`; everything else is shared.
    pub(crate) fn with_service(
        &self,
        old: Option<&CompiledService>,
        new: Option<&CompiledService>,
        endpoints: &Endpoints,
    ) -> Self {
        let mut clusters = self.clone();
        for cluster in old.iter().flat_map(|service| service.clusters()) {
            clusters.shard_mut(cluster.key).remove(&cluster.key);
        }
        if let Some(service) = new {
            clusters.add(service, self, endpoints);
        }
        clusters
    }

    pub(crate) fn get(&self, key: ClusterKey) -> Option<&Arc<ClusterRuntime>> {
        self.0[place(key)].get(&key)
    }

    fn add(&mut self, service: &CompiledService, before: &Self, endpoints: &Endpoints) {
        for cluster in service.clusters() {
            let runtime = before.get(cluster.key).cloned();
            let runtime = runtime.unwrap_or_else(|| Arc::new(ClusterRuntime::new(cluster, service, endpoints)));
            self.shard_mut(cluster.key).insert(cluster.key, runtime);
        }
    }

    fn shard_mut(&mut self, key: ClusterKey) -> &mut Shard {
        Arc::make_mut(&mut self.0[place(key)])
    }
}

/// Keys are hashes, so their last bits do.
fn place(key: ClusterKey) -> usize {
    key.0 as usize % SHARDS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turns_are_spread_by_weight_and_not_in_blocks() {
        assert_eq!(rotation(&[1, 1, 1]), [0, 1, 2]);
        assert_eq!(rotation(&[5, 1, 1]), [0, 0, 1, 0, 2, 0, 0]);
        assert_eq!(rotation(&[1000, 1000]), [0, 1]);
        assert_eq!(rotation(&[10]), [0]);
        assert!(rotation(&[]).is_empty());
    }
}
