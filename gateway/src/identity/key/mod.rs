//! API keys: from a presented key to the application that it belongs to. `verifier` has the rules; the others are what it asks:
//! which keys were good (`memory`, kept on disk by `disk` and `keeper`), which were wrong and whose (`wrong`), and the hashing
//! itself (`lanes`, `flight`).

mod disk;
mod flight;
mod keeper;
mod lanes;
mod memory;
mod rotate;
mod settings;
mod verifier;
mod wrong;

#[cfg(test)]
mod tests;

use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;

use gateway_config::api_key::Hasher;
use gateway_config::change::Changer;
use gateway_config::clock::Clock;
use gateway_config::master_key::MasterKey;
use gateway_config::model::{ApiKey, ChainKey, Id, Timestamp};
use gateway_config::snapshot::{Code, Refusal, Snapshot};
use gateway_config::store::Store;
use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::settings::ServeSettings;
use disk::KeyFile;
use keeper::Keeper;
use rotate::{Renewed, Rotation};
use verifier::Verifier;

pub(crate) use settings::KeySettings;
pub(crate) use verifier::KeyCaller;

/// New keys that are hashed at the same time for their owners.
const ROTATIONS_AT_ONCE: usize = 1;

/// Everything about API keys that outlives a snapshot.
pub(crate) struct Keys {
    verifier: Arc<Verifier>,
    rotation: Arc<Rotation>,
    /// Where a rotation runs: it may compile the whole configuration, which is nothing for a thread that proxies.
    control: Handle,
    keeper: Mutex<Option<JoinHandle<()>>>,
}

impl Keys {
    /// Also starts the task that writes behind; it ends with `stop`. To be called on the control runtime.
    pub(crate) fn open(
        master: &MasterKey,
        settings: &ServeSettings,
        store: Arc<dyn Store>,
        clock: Arc<dyn Clock>,
        stop: CancellationToken,
    ) -> Arc<Self> {
        Self::with(master, &settings.keys, &settings.common.data_dir, store, clock, stop)
    }

    fn with(
        master: &MasterKey,
        settings: &KeySettings,
        data_dir: &Path,
        store: Arc<dyn Store>,
        clock: Arc<dyn Clock>,
        stop: CancellationToken,
    ) -> Arc<Self> {
        let verifier = Arc::new(Verifier::new(master, settings));
        let file = KeyFile::in_dir(data_dir, master);
        let keeper = Keeper { verifier: verifier.clone(), store: store.clone(), file };
        keeper.restore();
        let (changer, hasher) =
            (Changer::new(store, clock, ChainKey::of(master)), Hasher::new(settings.argon2, ROTATIONS_AT_ONCE));
        let rotation = Arc::new(Rotation { verifier: verifier.clone(), changer, hasher });
        let keeper = Mutex::new(Some(tokio::spawn(keeper.run(stop))));
        Arc::new(Self { verifier, rotation, control: Handle::current(), keeper })
    }

    /// The answer for a presented key, if it needs no hash: `None` says to ask [`Self::verify`].
    pub(crate) fn remembered(
        &self,
        snapshot: &Snapshot,
        presented: &[u8],
        now: Timestamp,
    ) -> Option<Result<KeyCaller, Code>> {
        self.verifier.remembered(snapshot, presented, now)
    }

    /// The answer for a presented key, whatever it takes.
    pub(crate) async fn verify(
        &self,
        snapshot: &Snapshot,
        presented: &[u8],
        address: IpAddr,
        now: Timestamp,
    ) -> Result<KeyCaller, Code> {
        self.verifier.verify(snapshot, presented, address, now).await
    }

    /// Notes that the key was used just now; written behind.
    pub(crate) fn used(&self, key: Id<ApiKey>) {
        self.verifier.used(key);
    }

    /// Makes a key in place of this one, which lives on for so many seconds. What is answered shows the new key.
    pub(crate) async fn rotate(
        &self,
        application: &str,
        key: Id<ApiKey>,
        overlap_seconds: u64,
    ) -> Result<Renewed, Refusal> {
        let (rotation, application) = (self.rotation.clone(), application.to_owned());
        // A task of its own: what was begun is finished even if the client leaves.
        let rotating = self.control.spawn(async move { rotation.rotate(&application, key, overlap_seconds).await });
        rotating.await.unwrap_or_else(|_| Err(Refusal::new(Code::Internal)))
    }

    /// Waits until everything is written, after the stop that [`Self::open`] was given.
    pub(crate) async fn finished(&self) {
        let keeper = self.keeper.lock().take();
        if let Some(keeper) = keeper {
            let _ = keeper.await;
        }
    }
}
