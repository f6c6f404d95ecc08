//! What runs beside the requests: bringing the tables up to date once the database answers, looking for rows that were edited by
//! hand, and forgetting old generations.

use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::{MissedTickBehavior, interval, sleep};

use crate::first_admin::FirstAdmin;
use crate::state::AppState;

const BETWEEN_ATTEMPTS: Duration = Duration::from_secs(1);
const BETWEEN_FORGETTINGS: Duration = Duration::from_mins(1);

/// Migrates and makes the first admin, and tries again until it is done: meanwhile everything that needs the tables is answered
/// 503. `attempted` closes after the first attempt.
pub(crate) async fn prepare(state: AppState, migrates: bool, first: FirstAdmin, attempted: oneshot::Sender<()>) {
    let mut attempted = Some(attempted);
    let mut said = String::new();
    while let Err(error) = prepared(&state, migrates, &first).await {
        drop(attempted.take());
        let why = error.to_string();
        if why != said {
            tracing::warn!(error = why, "could not prepare the database yet; trying again until it is done");
            said = why;
        }
        tokio::select! {
            () = sleep(BETWEEN_ATTEMPTS) => {}
            () = state.stopping.cancelled() => return,
        }
    }
}

async fn prepared(state: &AppState, migrates: bool, first: &FirstAdmin) -> anyhow::Result<()> {
    if migrates {
        state.store.migrate().await?;
        tracing::info!("the database's tables are up to date");
    }
    first.make(state).await
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

/// Forgets generations again and again until the newest `keep` are left, at once and then every minute.
pub(crate) async fn forget(state: AppState, keep: u64) {
    let mut ticks = interval(BETWEEN_FORGETTINGS);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            () = state.stopping.cancelled() => return,
        }
        let mut forgotten = 0;
        loop {
            match state.store.forget_generations(keep).await {
                Ok(0) => break,
                Ok(count) => forgotten += count,
                Err(error) => {
                    tracing::warn!(%error, "could not forget old generations; trying again in a minute");
                    break;
                }
            }
        }
        if forgotten > 0 {
            tracing::info!(forgotten, kept = keep, "old generations were forgotten");
        }
    }
}
