//! Keeping a signer's keys in step with the store: reads them, makes the next one when it is due, forgets old ones, and keeps the
//! last known ones on disk.

use std::sync::Arc;
use std::time::Duration;

use gateway_config::clock::Clock;
use gateway_config::store::{SigningKeyRow, Store, StoreError};
use tokio_util::sync::CancellationToken;

use super::Signer;
use super::key::SigningKey;
use super::keyring::{Keyring, forgotten_before};

const LOOK_EVERY: Duration = Duration::from_secs(30);
/// While there is no key at all.
const RETRY: Duration = Duration::from_millis(500);
/// Slots that are tried when others take them, or when one is taken by a row that can't be read.
const ATTEMPTS: usize = 4;

impl Signer {
    /// Follows the store until `stop`.
    pub(crate) async fn keep(self: Arc<Self>, store: Arc<dyn Store>, clock: Arc<dyn Clock>, stop: CancellationToken) {
        let mut on_disk = Vec::new();
        loop {
            match self.look(&*store, &*clock).await {
                Ok(rows) => self.keep_on_disk(rows, &mut on_disk).await,
                // The loss of the database is said by whoever follows it; what that means here only where there is no key.
                Err(error) if self.keyring.load().is_empty() => {
                    tracing::debug!(%error, "could not look for signing keys");
                    let missing = "there is no signing key, and none can be had from the database: backends get unsigned requests";
                    self.tell(Some(missing.to_owned()));
                }
                Err(error) => tracing::debug!(%error, "could not look for signing keys"),
            }
            let rest = if self.keyring.load().is_empty() { RETRY } else { LOOK_EVERY };
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(rest) => {}
            }
        }
    }

    /// One look: the keys as they stand in the store afterwards.
    pub(super) async fn look(&self, store: &dyn Store, clock: &dyn Clock) -> Result<Vec<SigningKeyRow>, StoreError> {
        let mut rows = store.signing_keys().await?;
        let mut keyring = Keyring::open(&self.master, &rows, clock.now());
        let mut tried = 0;
        for _ in 0..ATTEMPTS {
            let now = clock.now();
            let Some(active_from) = keyring.due(self.rotate_micros, now) else { break };
            tried = rows.iter().map(|row| row.slot).max().unwrap_or_default().max(tried).saturating_add(1);
            let Some(row) = SigningKey::generate(&self.master, tried, now, active_from) else { break };
            if store.add_signing_key(&row).await? {
                tracing::info!(kid = row.kid, active_from = %row.active_from, "made the signing key {}", row.kid);
            }
            // Another gateway's, where that was quicker.
            rows = store.signing_keys().await?;
            keyring = Keyring::open(&self.master, &rows, clock.now());
        }
        // Only now: of keys that were withdrawn the last one goes when there is another.
        self.take(keyring);
        self.forget(&mut rows, store, clock).await?;
        Ok(rows)
    }

    /// A key that does not open here may be in use elsewhere: while there is one, nobody knows which are old. One that is still
    /// published stays whatever its row says.
    async fn forget(
        &self,
        rows: &mut Vec<SigningKeyRow>,
        store: &dyn Store,
        clock: &dyn Clock,
    ) -> Result<(), StoreError> {
        let keyring = self.keyring.load_full();
        let published = rows.iter().filter(|row| keyring.publishes(&row.kid)).filter_map(|row| row.retired_at);
        let before = published.chain([forgotten_before(clock.now())]).min().unwrap_or_default();
        let is_old = |row: &SigningKeyRow| row.retired_at.is_some_and(|retired_at| retired_at < before);
        if keyring.trouble.is_some() || !rows.iter().any(is_old) {
            return Ok(());
        }
        store.forget_signing_keys(before).await?;
        rows.retain(|row| !is_old(row));
        Ok(())
    }

    pub(super) async fn keep_on_disk(&self, rows: Vec<SigningKeyRow>, on_disk: &mut Vec<SigningKeyRow>) {
        if rows == *on_disk {
            return;
        }
        let (disk, written) = (self.disk.clone(), rows.clone());
        match tokio::task::spawn_blocking(move || disk.write(written)).await {
            Ok(Ok(())) => *on_disk = rows,
            Ok(Err(error)) => tracing::error!(%error, "could not keep the signing keys on disk"),
            Err(error) => tracing::error!(%error, "keeping the signing keys on disk failed"),
        }
    }
}
