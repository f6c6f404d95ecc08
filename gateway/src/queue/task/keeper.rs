//! Writes records behind, in batches, and forgets those that have expired. While the database is away they wait.

use std::sync::Arc;
use std::time::Duration;

use gateway_config::clock::Clock;
use gateway_config::model::Task;
use gateway_config::store::{Store, StoreError};
use prometheus::IntCounter;
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

/// How long others are waited for, to be written together.
const GATHER: Duration = Duration::from_millis(50);
/// Records in one transaction.
const AT_ONCE: usize = 500;
const AGAIN: Duration = Duration::from_secs(1);
const FORGET_EVERY: Duration = Duration::from_mins(1);
const FORGOTTEN_AT_ONCE: u32 = 1000;

pub(super) struct Keeper {
    pub(super) store: Arc<dyn Store>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) dropped: IntCounter,
    pub(super) waiting: mpsc::Receiver<Task>,
}

impl Keeper {
    /// Until `stop`, and then what is left, once.
    pub(super) async fn run(mut self, stop: CancellationToken) {
        let mut forget = interval(FORGET_EVERY);
        forget.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut batch = Vec::new();
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                _ = forget.tick() => self.forget().await,
                came = self.waiting.recv_many(&mut batch, AT_ONCE) => {
                    if came == 0 {
                        return;
                    }
                    // Where many come there are enough already.
                    if batch.len() < AT_ONCE {
                        let () = stop.run_until_cancelled(tokio::time::sleep(GATHER)).await.unwrap_or_default();
                    }
                    while batch.len() < AT_ONCE && let Ok(task) = self.waiting.try_recv() {
                        batch.push(task);
                    }
                    self.write_all(&mut batch, &stop).await;
                }
            }
        }
        self.waiting.close();
        while let Some(task) = self.waiting.recv().await {
            batch.push(task);
        }
        for tasks in batch.chunks(AT_ONCE) {
            if self.write(tasks).await.is_err() {
                self.dropped.inc_by(tasks.len() as u64);
            }
        }
    }

    /// Until it is written, or `stop`.
    async fn write_all(&self, batch: &mut Vec<Task>, stop: &CancellationToken) {
        let mut is_away = false;
        loop {
            match self.write(batch).await {
                Ok(()) => {
                    if is_away {
                        tracing::info!("the records of tasks are written again");
                    }
                    return batch.clear();
                }
                Err(error) if !is_away => {
                    tracing::warn!(%error, "could not write the records of tasks; kept, and tried again");
                    is_away = true;
                }
                Err(_) => {}
            }
            if stop.run_until_cancelled(tokio::time::sleep(AGAIN)).await.is_none() {
                return;
            }
        }
    }

    /// An error: the database is away. What can't be stored is dropped.
    async fn write(&self, tasks: &[Task]) -> Result<(), StoreError> {
        let Err(error) = self.store.note_tasks(tasks).await else { return Ok(()) };
        if !matches!(error, StoreError::Refused(_)) {
            return Err(error);
        }
        for task in tasks {
            match self.store.note_tasks(std::slice::from_ref(task)).await {
                Err(StoreError::Refused(why)) => {
                    tracing::warn!(task = task.id, why, "the record of a task can't be stored");
                    self.dropped.inc();
                }
                other => other?,
            }
        }
        Ok(())
    }

    async fn forget(&self) {
        while let Ok(gone) = self.store.expire_tasks(self.clock.now(), FORGOTTEN_AT_ONCE).await
            && gone >= u64::from(FORGOTTEN_AT_ONCE)
        {}
    }
}
