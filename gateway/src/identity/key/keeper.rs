//! What is written behind: when keys were used, to the database; the memory of verified keys, to the disk. No request waits for
//! either, and while the database is away its part is kept and tried again.

use std::sync::Arc;
use std::time::Duration;

use gateway_config::model::{ApiKey, Id, Timestamp};
use gateway_config::store::{Store, StoreError};
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::disk::KeyFile;
use super::verifier::Verifier;

const EVERY: Duration = Duration::from_secs(3);
/// Uses in one transaction.
const AT_ONCE: usize = 5000;

pub(super) struct Keeper {
    pub(super) verifier: Arc<Verifier>,
    pub(super) store: Arc<dyn Store>,
    pub(super) file: KeyFile,
}

impl Keeper {
    /// A file that can't be used costs some hashes, nothing else.
    pub(super) fn restore(&self) {
        let memory = &self.verifier.memory;
        match self.file.read() {
            Ok(known) => known.into_iter().for_each(|it| memory.insert(it)),
            Err(error) => {
                let path = self.file.path().display();
                tracing::warn!(%path, %error, "the memory of verified keys is not used: keys are verified anew");
                return;
            }
        }
        memory.take_changed();
    }

    /// Until `stop`, and then once more.
    pub(super) async fn run(self, stop: CancellationToken) {
        let mut ticks = interval(EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut is_away = false;
        loop {
            let is_last = tokio::select! {
                () = stop.cancelled() => true,
                _ = ticks.tick() => false,
            };
            // At the end the disk goes first: the database may be away, and what it was not told is told at the next start.
            if is_last {
                self.verifier.memory.keep_again();
                self.keep_on_disk().await;
            }
            let written = self.write_usage().await;
            match &written {
                Ok(()) if is_away => tracing::info!("the last uses of keys are written again"),
                Err(error) if !is_away => {
                    tracing::warn!(%error, "could not write when keys were used; kept, and tried again");
                }
                Ok(()) | Err(_) => {}
            }
            is_away = written.is_err();
            if is_away {
                self.verifier.memory.keep_again();
            }
            if is_last {
                return;
            }
            self.keep_on_disk().await;
        }
    }

    pub(super) async fn write_usage(&self) -> Result<(), StoreError> {
        let memory = &self.verifier.memory;
        for uses in memory.unwritten().chunks(AT_ONCE) {
            let moment =
                |(key, second): &(Id<ApiKey>, i64)| (*key, Timestamp::from_micros(second.saturating_mul(1_000_000)));
            self.store.record_key_usage(&uses.iter().map(moment).collect::<Vec<_>>()).await?;
            memory.wrote(uses);
        }
        Ok(())
    }

    pub(super) async fn keep_on_disk(&self) {
        let Some(known) = self.verifier.memory.take_changed() else { return };
        let file = self.file.clone();
        let written = tokio::task::spawn_blocking(move || file.write(&known).map_err(|error| error.to_string())).await;
        let outcome = written.map_err(|error| error.to_string()).and_then(|written| written);
        if let Err(error) = outcome {
            self.verifier.memory.keep_again();
            let path = self.file.path().display();
            tracing::warn!(%path, error, "could not keep the memory of verified keys on disk");
        }
    }
}
