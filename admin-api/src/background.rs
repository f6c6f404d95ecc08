//! What runs beside the requests: bringing the tables up to date once the database answers, and looking for rows that were
//! edited by hand.

use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::{MissedTickBehavior, interval, sleep};

use crate::state::AppState;

const BETWEEN_ATTEMPTS: Duration = Duration::from_secs(1);

/// Migrates, and tries again until it is done: meanwhile everything that needs the tables is answered 503. `attempted` closes
/// after the first attempt.
pub(crate) async fn migrate(state: AppState, attempted: oneshot::Sender<()>) {
    let mut attempted = Some(attempted);
    let mut said = String::new();
    while let Err(error) = state.store.migrate().await {
        drop(attempted.take());
        let why = error.to_string();
        if why != said {
            tracing::warn!(error = why, "could not migrate the database yet; trying again until it is done");
            said = why;
        }
        tokio::select! {
            () = sleep(BETWEEN_ATTEMPTS) => {}
            () = state.stopping.cancelled() => return,
        }
    }
    tracing::info!("the database's tables are up to date");
}

/// Reads the whole configuration again and again, at once and then every `every`.
pub(crate) async fn reconcile(state: AppState, every: Duration) {
    let mut ticks = interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            () = state.stopping.cancelled() => return,
        }
        match state.changer.reconcile().await {
            Ok(true) => {
                state.metrics.found_hand_edit();
                tracing::warn!("the database holds rows that were edited by hand; they were read again");
            }
            Ok(false) => {}
            Err(error) => tracing::warn!(%error, "could not compare the configuration with the database"),
        }
        if let Ok(head) = state.store.head().await {
            state.metrics.head_is(head.generation);
        }
    }
}
