//! The attempts of one request to reach its backend: each instance and each of its addresses once, then the fallback.

use std::sync::Arc;
use std::time::{Duration, Instant};

use gateway_config::snapshot::{Code, Forward};
use pingora::upstreams::peer::HttpPeer;
use smallvec::SmallVec;

use super::cluster::{ClusterRuntime, Clusters};
use super::endpoint::Endpoint;

/// However large the cluster: a client does not wait for a tour of it.
const MAX_ATTEMPTS: usize = 16;

#[derive(Debug)]
pub(crate) struct Attempt {
    cluster: Arc<ClusterRuntime>,
    fallback: Option<Arc<ClusterRuntime>>,
    /// Endpoint and address that could not be reached.
    failed: SmallVec<[(u16, u16); 2]>,
    made: usize,
    current: Option<(Arc<Endpoint>, u16, u16)>,
    pub(crate) used_fallback: bool,
    /// How the last attempt ended.
    pub(crate) last_failure: Option<Code>,
    /// When the whole request must be over.
    pub(crate) deadline: Option<Instant>,
}

impl Attempt {
    /// `None` when nothing runs for the cluster, which a snapshot and its clusters that are swapped together rule out.
    pub(crate) fn begin(forward: &Forward, clusters: &Clusters, started: Instant) -> Option<Self> {
        let fallback = forward.service.fallback.as_ref().and_then(|cluster| clusters.get(cluster.key)).cloned();
        let total = forward.timeouts.total_ms.map(|ms| Duration::from_millis(u64::from(ms)));
        Some(Self {
            cluster: clusters.get(forward.cluster()?.key)?.clone(),
            fallback,
            failed: SmallVec::new(),
            made: 0,
            current: None,
            used_fallback: false,
            last_failure: None,
            deadline: total.and_then(|total| started.checked_add(total)),
        })
    }

    /// The next peer to try; `None` when there is nothing left to try.
    pub(crate) fn next_peer(&mut self, forward: &Forward) -> Option<Box<HttpPeer>> {
        let left = self.deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        if left.is_some_and(|left| left.is_zero()) {
            self.last_failure = Some(Code::UpstreamTimeout);
            return None;
        }
        let (endpoint_at, address_at) = self.choose()?;
        let endpoint = self.cluster.endpoints.get(usize::from(endpoint_at))?.clone();
        let address = endpoint.address(usize::from(address_at))?;
        let peer = endpoint.peer(address, &forward.timeouts, left);
        self.made += 1;
        self.current = Some((endpoint, endpoint_at, address_at));
        Some(peer)
    }

    /// The endpoint that is being talked to.
    pub(crate) fn endpoint(&self) -> Option<&Arc<Endpoint>> {
        self.current.as_ref().map(|(endpoint, ..)| endpoint)
    }

    /// The endpoint is not to be tried again for this request. Answers whether there is another, and time left for it.
    pub(crate) fn give_up_current(&mut self, code: Code) -> bool {
        self.last_failure = Some(code);
        if let Some((_, endpoint, address)) = &self.current {
            self.failed.push((*endpoint, *address));
        }
        let in_time = self.deadline.is_none_or(|deadline| Instant::now() < deadline);
        in_time && self.made < MAX_ATTEMPTS && self.has_choice()
    }

    /// How many attempts were made.
    pub(crate) fn made(&self) -> usize {
        self.made
    }

    fn has_choice(&self) -> bool {
        self.fallback.is_some() || (0..self.cluster.endpoints.len()).any(|at| self.address_of(at).is_some())
    }

    fn choose(&mut self) -> Option<(u16, u16)> {
        let count = self.cluster.endpoints.len();
        let first = self.cluster.next();
        // Whoever's turn it is, and if it failed before, the ones behind it.
        let chosen = (0..count).map(|step| (first + step) % count.max(1)).find_map(|at| self.address_of(at));
        if chosen.is_some() {
            return chosen;
        }
        self.cluster = self.fallback.take()?;
        self.used_fallback = true;
        self.failed.clear();
        self.choose()
    }

    fn address_of(&self, endpoint: usize) -> Option<(u16, u16)> {
        let count = self.cluster.endpoints.get(endpoint)?.address_count();
        let endpoint = u16::try_from(endpoint).ok()?;
        let count = u16::try_from(count).unwrap_or(u16::MAX);
        (0..count).map(|address| (endpoint, address)).find(|pair| !self.failed.contains(pair))
    }
}
