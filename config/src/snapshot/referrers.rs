//! Who leads where: the routes of each service and queue, and the place at which the routes of a service find it.

use std::sync::Arc;

use super::service::CompiledService;
use super::slots::Slot;
use super::{Snapshot, Table};
use crate::model::Kind;

/// The routes that lead to one service or queue.
#[derive(Clone, Debug)]
pub(super) struct Referrers {
    /// A table, so that a change of one of very many copies a shard of them and not all.
    pub(super) names: Table<()>,
    /// Of a service, as long as some route leads to it.
    slot: Option<Slot>,
}

/// The key of a target among the referrers.
fn reference(kind: Kind, name: &str) -> String {
    format!("{}/{name}", kind.plural())
}

impl Snapshot {
    /// The names of the routes that lead to this service or queue, in no particular order.
    pub fn referrers(&self, kind: Kind, name: &str) -> impl Iterator<Item = &str> {
        let referrers = self.referrers.get(&reference(kind, name));
        referrers.into_iter().flat_map(|referrers| referrers.names.iter().map(|(name, ())| name))
    }

    /// Notes that a route leads there. Of a service it answers where it is found, whether it is there yet or not.
    pub(super) fn refer(&mut self, kind: Kind, target: &str, route: &str) -> Option<Slot> {
        let key = reference(kind, target);
        if self.referrers.get(&key).is_none() {
            let slot = match kind {
                Kind::Service => self.slots.take(self.services.get(target).cloned()),
                _ => None,
            };
            self.referrers.insert(&key, Arc::new(Referrers { names: Table::default(), slot }));
        }
        let referrers = Arc::make_mut(self.referrers.get_mut(&key)?);
        referrers.names.insert(route, ());
        referrers.slot
    }

    pub(super) fn unrefer(&mut self, kind: Kind, target: &str, route: &str) {
        let key = reference(kind, target);
        let Some(referrers) = self.referrers.get_mut(&key).map(Arc::make_mut) else { return };
        referrers.names.remove(route);
        if referrers.names.is_empty() {
            let slot = referrers.slot;
            self.referrers.remove(&key);
            if let Some(slot) = slot {
                self.slots.release(slot);
            }
        }
    }

    /// Lets the routes that lead to a service find this one.
    pub(super) fn lead_to(&mut self, name: &str, service: Option<Arc<CompiledService>>) {
        if let Some(slot) = self.referrers.get(&reference(Kind::Service, name)).and_then(|it| it.slot) {
            self.slots.put(slot, service);
        }
    }
}
