//! What is told of each applied generation: to the fleet, and to the disk.

use std::sync::Arc;
use std::time::Duration;

use gateway_config::clock::Clock;
use gateway_config::model::{FORMAT_VERSION, Node};
use gateway_config::store::Store;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::disk::DiskSnapshot;
use super::status::{Reason, Source, Status};
use crate::live::{Current, Live};
use crate::observe::metrics::Metrics;

/// A node that was not heard of for 5 s counts as silent.
const HEARTBEAT: Duration = Duration::from_secs(1);
/// Writing the whole file for every one of many quick changes would cost more than the changes.
const DISK_REST: Duration = Duration::from_millis(500);
const FAREWELL: Duration = Duration::from_secs(1);

/// Reports what this node serves: at once when it changes, and every second. Says goodbye at `stop`.
pub(crate) async fn report(
    store: Arc<dyn Store>,
    current: Arc<Current>,
    status: Arc<Status>,
    clock: Arc<dyn Clock>,
    (id, address): (Uuid, String),
    stop: CancellationToken,
) {
    let mut moved = status.moved();
    loop {
        moved.mark_unchanged();
        if let Some(live) = current.get() {
            let node = describe(id, address.clone(), Some(&live), &status, &*clock);
            // The loss of the database is said by whoever follows it.
            let _ = store.report_node(&node).await;
        }
        tokio::select! {
            () = stop.cancelled() => break,
            _ = moved.changed() => {}
            () = sleep(HEARTBEAT) => {}
        }
    }
    let _ = timeout(FAREWELL, store.leave_node(id, clock.now())).await;
}

/// This node as the fleet is to see it; without a snapshot it serves no generation.
pub(super) fn describe(id: Uuid, address: String, live: Option<&Live>, status: &Status, clock: &dyn Clock) -> Node {
    Node {
        id,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        format: FORMAT_VERSION,
        address,
        generation: live.map_or(0, |live| live.snapshot.generation()),
        digest: live.map(|live| live.snapshot.digest().to_string()).unwrap_or_default(),
        degraded: status.degraded().into_iter().map(|it| format!("{}: {}", it.reason.word(), it.detail)).collect(),
        last_seen: clock.now(),
        has_left: false,
    }
}

/// Keeps the last good snapshot on disk, never more often than makes sense. Many quick changes are written as one.
pub(crate) async fn keep_on_disk(
    disk: DiskSnapshot,
    current: Arc<Current>,
    status: Arc<Status>,
    metrics: Arc<Metrics>,
    stop: CancellationToken,
) {
    let mut moved = status.moved();
    let mut on_disk = None;
    loop {
        let is_last = tokio::select! {
            () = stop.cancelled() => true,
            changed = moved.changed() => changed.is_err(),
        };
        let live = current.get().filter(|_| status.source() == Source::Database);
        if let Some(live) = live
            && on_disk != Some(live.snapshot.digest())
        {
            let digest = live.snapshot.digest();
            let disk = disk.clone();
            let written = tokio::task::spawn_blocking(move || {
                disk.write(&live.snapshot.configuration(), live.snapshot.generation())
            });
            match written.await {
                Ok(Ok(bytes)) => {
                    on_disk = Some(digest);
                    metrics.snapshot_bytes.set(i64::try_from(bytes).unwrap_or(i64::MAX));
                    status.mend(Reason::SnapshotFile);
                }
                Ok(Err(error)) => {
                    if status.degrade(Reason::SnapshotFile, error.to_string()) {
                        tracing::error!(%error, "could not write the snapshot to disk");
                    }
                }
                Err(error) => tracing::error!(%error, "writing the snapshot to disk failed"),
            }
        }
        if is_last {
            return;
        }
        tokio::select! {
            () = stop.cancelled() => {}
            () = sleep(DISK_REST) => {}
        }
    }
}
