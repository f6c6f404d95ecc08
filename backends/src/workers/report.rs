//! Tells the gateway, and so whoever asked for the work, how a task is getting on.

use std::{sync::Arc, time::Duration};

use anyhow::{Context, Result};
use reqwest::{Client, StatusCode, redirect::Policy};
use serde_json::json;
use tokio::{
    sync::Notify,
    time::{interval, sleep},
};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use super::{
    event::Event,
    store::{Owed, Store},
    worker::Report,
};

const PATIENCE: Duration = Duration::from_secs(5);
/// The work does not wait longer to be announced.
const ANNOUNCEMENT: Duration = Duration::from_secs(1);
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
const TIDY: Duration = Duration::from_mins(10);

#[derive(Clone, Debug)]
pub(super) struct Reporter {
    client: Client,
    /// There is something to report.
    pub(super) owed: Arc<Notify>,
}

impl Reporter {
    pub(super) fn new() -> Result<Self> {
        Ok(Self { client: client(PATIENCE)?, owed: Arc::default() })
    }

    /// Says that the work begins. Nothing depends on it, so it is said once and not for long.
    pub(super) async fn announce(&self, event: &Event) {
        let sending = self.client.post(&event.statusurl).bearer_auth(&event.tasktoken).timeout(ANNOUNCEMENT);
        if let Err(cause) = sending.json(&json!({"status": "running"})).send().await {
            debug!(task = event.id, cause = %cause.without_url(), "could not report that a task runs");
        }
    }

    /// Reports the ends of tasks, until `stop`: what can't be reported now is reported later, also after a new start.
    pub(super) async fn run(self, store: Store, stop: CancellationToken) {
        let mut pause = FIRST_PAUSE;
        let mut tidy = interval(TIDY);
        loop {
            let settled = self.report_all(&store).await;
            tokio::select! {
                () = stop.cancelled() => {
                    // What was done a moment ago.
                    self.report_all(&store).await;
                    return;
                }
                () = self.owed.notified(), if settled => pause = FIRST_PAUSE,
                () = sleep(pause), if !settled => pause = (pause * 2).min(LONGEST_PAUSE),
                _ = tidy.tick() => if let Err(cause) = store.tidy().await {
                    warn!(%cause, "could not forget old tasks");
                },
            }
        }
    }

    /// Whether nothing is left.
    async fn report_all(&self, store: &Store) -> bool {
        loop {
            let owed = match store.to_report().await {
                Ok(owed) if owed.is_empty() => return true,
                Ok(owed) => owed,
                Err(cause) => {
                    warn!(%cause, "could not look for what is to be reported");
                    return false;
                }
            };
            let sent = futures::future::join_all(owed.iter().map(|owed| self.send(owed))).await;
            for (owed, _) in owed.iter().zip(&sent).filter(|(_, sent)| **sent) {
                if let Err(cause) = store.reported(owed).await {
                    warn!(%cause, "could not remember what was reported");
                    return false;
                }
            }
            if sent.contains(&false) {
                return false;
            }
        }
    }

    /// Whether that is settled: told, or there is no use in telling it again.
    async fn send(&self, owed: &Owed) -> bool {
        let Report { status, .. } = &*owed.report;
        let sending = self.client.post(&owed.status_url).bearer_auth(&owed.task_token).json(&owed.report);
        match sending.send().await.map(|answer| answer.status()) {
            // 409: it was over already.
            Ok(answer) if answer.is_success() || answer == StatusCode::CONFLICT => true,
            Ok(answer) if answer.is_client_error() && !is_for_later(answer) => {
                warn!(task = owed.id, status, answer = answer.as_u16(), "the gateway does not want a task's report");
                true
            }
            Ok(answer) => {
                debug!(task = owed.id, answer = answer.as_u16(), "could not report a task; it is tried again");
                false
            }
            Err(cause) => {
                debug!(task = owed.id, cause = %cause.without_url(), "could not report a task; it is tried again");
                false
            }
        }
    }
}

/// Whether a refusal may be another answer in a moment.
pub(super) fn is_for_later(status: StatusCode) -> bool {
    matches!(status, StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_EARLY | StatusCode::TOO_MANY_REQUESTS)
        || status.is_server_error()
}

pub(super) fn client(patience: Duration) -> Result<Client> {
    // The HTTP client does not choose a TLS provider by itself. Another one of this process may have been first.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = Client::builder().no_proxy().redirect(Policy::none()).timeout(patience).build();
    client.context("could not make an HTTP client")
}
