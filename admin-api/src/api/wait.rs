//! `?wait=`: the answer is held back until every live node serves the generation and none is silent. A node that says
//! nothing may still serve the old configuration to somebody, so it is never counted as done; it may come back or be removed.

use std::time::Duration;

use gateway_config::clock::Clock;
use gateway_config::model::{Node, NodeState, Timestamp};
use gateway_config::store::Store;
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, sleep, timeout_at};
use tokio_util::sync::CancellationToken;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::state::AppState;

const BETWEEN_LOOKS: Duration = Duration::from_millis(10);

/// How far a generation has come.
#[derive(Debug, Default)]
pub(crate) struct Spread {
    /// Live nodes that serve it.
    pub(crate) applied: usize,
    pub(crate) live: usize,
    pub(crate) waiting_for: Vec<WaitingFor>,
    is_known: bool,
}

/// A node that does not serve the generation yet, or that nobody has heard of for a while.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub(crate) struct WaitingFor {
    /// Its id.
    pub(crate) node: Uuid,
    pub(crate) state: NodeState,
    /// That it reported last.
    pub(crate) generation: u64,
}

impl Spread {
    fn of(nodes: &[Node], generation: u64, now: Timestamp) -> Self {
        let mut spread = Self { is_known: true, ..Self::default() };
        for node in nodes {
            let state = node.state(now);
            let serves = node.generation >= generation;
            match state {
                NodeState::Left => continue,
                NodeState::Live => {
                    spread.live += 1;
                    spread.applied += usize::from(serves);
                }
                NodeState::Silent => {}
            }
            if !(serves && state == NodeState::Live) {
                spread.waiting_for.push(WaitingFor { node: node.id, state, generation: node.generation });
            }
        }
        spread
    }

    /// The nodes could be asked at all.
    pub(crate) fn is_known(&self) -> bool {
        self.is_known
    }

    pub(crate) fn is_done(&self) -> bool {
        self.is_known && self.waiting_for.is_empty()
    }
}

/// Looks until it is done, the time is up or the process ends.
pub(crate) async fn wait(state: &AppState, generation: u64, at_most: Duration) -> Spread {
    wait_on(&*state.store, &*state.clock, &state.stopping, generation, at_most).await
}

/// The same without a server.
pub(crate) async fn wait_on(
    store: &dyn Store,
    clock: &dyn Clock,
    stopping: &CancellationToken,
    generation: u64,
    at_most: Duration,
) -> Spread {
    let deadline = Instant::now() + at_most;
    let mut spread = Spread::default();
    loop {
        // With the database away for a moment the last look holds; the first look is given its time even with `wait=0`.
        let until = deadline.max(Instant::now() + Duration::from_millis(if spread.is_known { 0 } else { 250 }));
        if let Ok(Ok(nodes)) = timeout_at(until, store.nodes()).await {
            spread = Spread::of(&nodes, generation, clock.now());
        }
        if spread.is_done() || Instant::now() + BETWEEN_LOOKS > deadline {
            return spread;
        }
        tokio::select! {
            () = sleep(BETWEEN_LOOKS) => {}
            () = stopping.cancelled() => return spread,
        }
    }
}

#[cfg(test)]
mod tests {
    use gateway_config::clock::new_id;

    use super::*;

    fn node(generation: u64, seen_millis: i64, has_left: bool) -> Node {
        Node {
            id: new_id(),
            version: "0".to_owned(),
            format: 1,
            address: String::new(),
            generation,
            digest: String::new(),
            degraded: Vec::new(),
            last_seen: Timestamp::from_micros(seen_millis * 1000),
            has_left,
        }
    }

    #[test]
    fn only_live_nodes_count_and_silent_ones_are_waited_for() {
        let now = Timestamp::from_micros(10_000_000);
        let nodes = [node(7, 10_000, false), node(6, 9_000, false), node(7, 1_000, false), node(1, 1_000, true)];
        let spread = Spread::of(&nodes, 7, now);
        assert_eq!((spread.applied, spread.live, spread.waiting_for.len()), (1, 2, 2));
        assert!(!spread.is_done());
        assert!(Spread::of(&[], 7, now).is_done());
        assert!(!Spread::default().is_done(), "what could not be asked is not done");
    }
}
