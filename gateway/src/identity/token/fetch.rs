//! Fetches for tokens' sake, counted.

use std::sync::Arc;

use bytes::Bytes;
use http::HeaderValue;
use prometheus::IntCounterVec;

use crate::identity::egress::{Egress, EgressError};

#[derive(Clone, Copy, Debug)]
pub(super) enum Fetched {
    KeySet,
    Introspection,
}

#[derive(Debug)]
pub(super) struct Fetcher {
    egress: Arc<Egress>,
    /// By what was fetched and how it ended.
    counts: IntCounterVec,
}

impl Fetcher {
    pub(super) fn new(egress: Arc<Egress>, counts: IntCounterVec) -> Self {
        Self { egress, counts }
    }

    pub(super) async fn get(&self, what: Fetched, url: &str) -> Result<Bytes, EgressError> {
        let outcome = self.egress.get(url).await;
        self.count(what, outcome.is_ok());
        outcome
    }

    pub(super) async fn post_form(
        &self,
        what: Fetched,
        url: &str,
        form: String,
        authorization: Option<HeaderValue>,
    ) -> Result<Bytes, EgressError> {
        let outcome = self.egress.post_form(url, form, authorization).await;
        self.count(what, outcome.is_ok());
        outcome
    }

    fn count(&self, what: Fetched, is_good: bool) {
        let what = match what {
            Fetched::KeySet => "jwks",
            Fetched::Introspection => "introspection",
        };
        self.counts.with_label_values(&[what, if is_good { "ok" } else { "failed" }]).inc();
    }
}
