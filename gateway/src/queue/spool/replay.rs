//! Publishing what was spooled, in order, once its broker is back.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use async_trait::async_trait;
use futures::StreamExt;
use futures::stream;
use tokio_util::sync::CancellationToken;

use super::log::Entry;
use super::{Record, Spool, Spooled};

/// Read at once.
const BATCH: usize = 256;
const BATCH_BYTES: usize = 4 << 20;
/// On their way to the broker at once. They are sent in order.
const WINDOW: usize = 32;
const SHORTEST_PAUSE: Duration = Duration::from_millis(100);
/// Recovery must show within five seconds.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// What became of an attempt to publish.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Sent {
    Done,
    /// Again later; everything behind it waits.
    Later(String),
    /// No broker will ever take it. It is put aside.
    Never(String),
}

/// Where spooled messages go.
#[async_trait]
pub(crate) trait Outlet: Send + Sync {
    async fn publish(&self, record: &Record) -> Sent;
}

impl Spool {
    /// Replays until `stop`, each queue by itself.
    pub(crate) async fn replay(self: Arc<Self>, outlet: Arc<dyn Outlet>, stop: CancellationToken) {
        let mut added = self.added.subscribe();
        let mut running = std::collections::HashSet::new();
        loop {
            for spooled in self.all() {
                if running.insert(spooled.queue) {
                    let task = replay(spooled, outlet.clone());
                    let stop = stop.clone();
                    tokio::spawn(async move { stop.run_until_cancelled(task).await });
                }
            }
            tokio::select! {
                () = stop.cancelled() => return,
                changed = added.changed() => if changed.is_err() { return },
            }
        }
    }
}

async fn replay(spooled: Arc<Spooled>, outlet: Arc<dyn Outlet>) {
    let mut pause = SHORTEST_PAUSE;
    loop {
        if spooled.waiting() == 0 {
            spooled.arrived.notified().await;
            continue;
        }
        match pass(&spooled, &outlet).await {
            Ok(()) => pause = SHORTEST_PAUSE,
            Err(why) => {
                tracing::debug!(queue = %spooled.queue, why, "spooled messages wait");
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
        }
    }
}

/// Publishes a batch as far as it goes.
async fn pass(spooled: &Arc<Spooled>, outlet: &Arc<dyn Outlet>) -> Result<(), String> {
    let reading = spooled.clone();
    let read = tokio::task::spawn_blocking(move || {
        let (reader, start) = {
            let log = reading.log.lock();
            (log.reader(), log.start())
        };
        reader.read(start, BATCH, BATCH_BYTES)
    });
    let entries = read.await.map_err(|error| error.to_string())?.map_err(|error| error.to_string())?;
    if entries.is_empty() {
        // It is counted, but not on disk yet.
        return Err("on their way to the disk".to_owned());
    }
    let sending = entries.into_iter().map(|entry| send(entry, outlet.clone()));
    let mut sending = stream::iter(sending).buffered(WINDOW);
    let (mut last, mut count, mut bytes, mut failed) = (None, 0, 0, None);
    while let Some((entry, sent)) = sending.next().await {
        match sent {
            Ok(()) => {
                last = Some(entry.next);
                count += 1;
                bytes += entry.bytes;
            }
            Err(why) => {
                failed = Some(why);
                break;
            }
        }
    }
    drop(sending);
    if let Some(last) = last {
        let advancing = spooled.clone();
        let advanced = tokio::task::spawn_blocking(move || advancing.log.lock().advance(last, count, bytes));
        let outcome = advanced.await.map_err(|error| error.to_string())?;
        spooled.waiting.fetch_sub(count, Ordering::AcqRel);
        spooled.bytes.fetch_sub(bytes, Ordering::Relaxed);
        // Published all the same: after a crash they would be published once more.
        outcome.map_err(|error| format!("the spool's cursor could not be written: {error}"))?;
    }
    failed.map_or(Ok(()), Err)
}

async fn send(entry: Entry, outlet: Arc<dyn Outlet>) -> (Entry, Result<(), String>) {
    let sent = match outlet.publish(&entry.record).await {
        Sent::Done => Ok(()),
        Sent::Later(why) => Err(why),
        Sent::Never(why) => {
            tracing::error!(task = %entry.record.id, why, "a spooled message can't be published and was dropped");
            Ok(())
        }
    };
    (entry, sent)
}
