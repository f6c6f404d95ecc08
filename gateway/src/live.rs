//! What the proxy serves by: a snapshot, and beside it what runs for it. Both are swapped together, and a request keeps the
//! pair that it began with.

use std::sync::Arc;

use arc_swap::ArcSwapOption;
use gateway_config::snapshot::Snapshot;
use tokio::sync::watch;

use crate::observe::metrics::RouteSeries;
use crate::upstream::Clusters;

#[derive(Debug)]
pub(crate) struct Live {
    pub(crate) snapshot: Arc<Snapshot>,
    pub(crate) clusters: Clusters,
    pub(crate) series: RouteSeries,
}

/// The current pair; none until the first snapshot is in.
#[derive(Debug, Default)]
pub(crate) struct Current {
    live: ArcSwapOption<Live>,
    swapped: watch::Sender<()>,
}

impl Current {
    pub(crate) fn get(&self) -> Option<Arc<Live>> {
        self.live.load_full()
    }

    pub(crate) fn swap(&self, live: Arc<Live>) {
        self.live.store(Some(live));
        self.swapped.send_replace(());
    }

    /// Hears of every swap from now on.
    pub(crate) fn swaps(&self) -> watch::Receiver<()> {
        self.swapped.subscribe()
    }
}
