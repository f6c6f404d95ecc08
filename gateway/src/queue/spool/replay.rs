//! Publishing what was spooled, in order, once its broker is back.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt;
use futures::stream;
use tokio::task::unconstrained;
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

    /// It was put aside.
    async fn gave_up(&self, record: &Record);
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
    let is_broken = Arc::<AtomicBool>::default();
    // A budget that ran out in the middle would wake those that it stopped the last first, and they would begin in that order.
    let begin = |entry| unconstrained(send(spooled.clone(), entry, outlet.clone(), is_broken.clone()));
    let mut sending = entries.into_iter().map(begin);
    // One goes ahead: many that wait for a connection would be woken in any order.
    let first = stream::iter(sending.next()).buffered(1);
    let mut sending = first.chain(stream::iter(sending).buffered(WINDOW));
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

/// Begun in order. Behind one that is known to have failed nothing is begun any more: it would overtake that one.
async fn send(
    spooled: Arc<Spooled>,
    entry: Entry,
    outlet: Arc<dyn Outlet>,
    is_broken: Arc<AtomicBool>,
) -> (Entry, Result<(), String>) {
    if is_broken.load(Ordering::Relaxed) {
        return (entry, Err("one before it waits".to_owned()));
    }
    let sent = match outlet.publish(&entry.record).await {
        Sent::Done => Ok(()),
        Sent::Later(why) => {
            is_broken.store(true, Ordering::Relaxed);
            Err(why)
        }
        Sent::Never(why) => {
            let aside = put_aside(spooled, entry.record.event.clone()).await;
            if aside.is_ok() {
                tracing::error!(task = %entry.record.id, why, "a spooled message can't be published and was put aside");
                outlet.gave_up(&entry.record).await;
            } else {
                is_broken.store(true, Ordering::Relaxed);
            }
            aside
        }
    };
    (entry, sent)
}

async fn put_aside(spooled: Arc<Spooled>, event: Bytes) -> Result<(), String> {
    let writing = tokio::task::spawn_blocking(move || spooled.log.lock().put_aside(&event));
    let written = writing.await.map_err(|error| error.to_string())?;
    written.map_err(|error| format!("a message that no broker takes could not be put aside: {error}"))
}
