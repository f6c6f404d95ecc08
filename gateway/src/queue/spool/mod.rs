//! The spool: where messages are kept on this gateway's disk while their broker is away. A message is accepted once it is synced;
//! messages that come at the same moment share a sync. When the broker is back they are published in order, before whatever comes
//! after them.

mod frame;
mod log;
mod replay;
#[cfg(test)]
mod tests;
mod writer;

use std::collections::HashMap;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use gateway_config::model::{Id, Queue};
use parking_lot::Mutex;
use thiserror::Error;
use tokio::sync::{Notify, watch};
use uuid::Uuid;

use super::task::TaskId;
use log::Log;
use writer::Writer;

pub(crate) use replay::{Outlet, Sent};

/// A message as it is kept; its id says which queue it is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) id: TaskId,
    pub(crate) key: Option<String>,
    pub(crate) event: Bytes,
}

#[derive(Debug, Error)]
pub(crate) enum SpoolError {
    #[error("the spool holds as much as it may")]
    Full,
    #[error("the spool takes messages more slowly than they come")]
    Busy,
    #[error("the message is too large for the spool")]
    TooLarge,
    #[error("the spool could not be written: {0}")]
    Disk(String),
}

#[derive(Debug)]
pub(crate) struct Spool {
    dir: PathBuf,
    most_bytes: u64,
    queues: Mutex<HashMap<Id<Queue>, Arc<Spooled>>>,
    /// A queue that is new here.
    added: watch::Sender<()>,
    writer: Writer,
}

/// What is kept of one queue.
#[derive(Debug)]
pub(super) struct Spooled {
    queue: Id<Queue>,
    log: Mutex<Log>,
    /// Messages that wait, those on their way to the disk too.
    waiting: AtomicU64,
    bytes: AtomicU64,
    arrived: Notify,
}

impl Spool {
    /// Opens the folder and what earlier runs left in it.
    pub(crate) fn open(dir: &Path, most_bytes: u64) -> io::Result<Arc<Self>> {
        fs::create_dir_all(dir)?;
        // The folder must be as durable as what stands in it.
        for above in dir.ancestors().skip(1).take(2) {
            File::open(above)?.sync_all()?;
        }
        let mut queues = HashMap::new();
        for entry in fs::read_dir(dir)? {
            let entry = entry?;
            let queue = entry.file_name().to_str().and_then(|name| name.parse::<Uuid>().ok()).map(Id::new);
            if let Some(queue) = queue.filter(|_| entry.path().is_dir()) {
                queues.insert(queue, Arc::new(Spooled::open(&entry.path(), queue)?));
            }
        }
        let (queues, added) = (Mutex::new(queues), watch::Sender::new(()));
        Ok(Arc::new(Self { dir: dir.to_owned(), most_bytes, queues, added, writer: Writer::start()? }))
    }

    /// Keeps the message; it is on disk when this returns.
    pub(crate) async fn keep(&self, record: Record) -> Result<(), SpoolError> {
        let mut frames = Vec::with_capacity(record.event.len() + 128);
        frame::encode(&record, &mut frames).ok_or(SpoolError::TooLarge)?;
        if self.bytes() + frames.len() as u64 > self.most_bytes {
            return Err(SpoolError::Full);
        }
        let spooled = self.of(record.id.queue())?;
        // Counted before it is on disk, so that nothing that comes later overtakes it.
        let kept = Counted::new(&spooled, frames.len() as u64);
        self.writer.write(spooled.clone(), frames).await?;
        kept.stays();
        spooled.arrived.notify_one();
        Ok(())
    }

    /// Whether messages of the queue wait: what comes now must wait behind them.
    pub(crate) fn holds(&self, queue: Id<Queue>) -> bool {
        self.queues.lock().get(&queue).is_some_and(|spooled| spooled.waiting() > 0)
    }

    /// How many messages wait, by queue.
    pub(crate) fn backlog(&self) -> Vec<(Id<Queue>, u64)> {
        self.queues.lock().values().map(|spooled| (spooled.queue, spooled.waiting())).collect()
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.queues.lock().values().map(|spooled| spooled.bytes.load(Ordering::Relaxed)).sum()
    }

    fn of(&self, queue: Id<Queue>) -> Result<Arc<Spooled>, SpoolError> {
        let mut queues = self.queues.lock();
        if let Some(known) = queues.get(&queue) {
            return Ok(known.clone());
        }
        let dir = self.dir.join(queue.to_string());
        let spooled = Spooled::open(&dir, queue).map_err(|error| SpoolError::Disk(error.to_string()))?;
        let spooled = Arc::new(spooled);
        queues.insert(queue, spooled.clone());
        self.added.send_replace(());
        Ok(spooled)
    }

    fn all(&self) -> Vec<Arc<Spooled>> {
        self.queues.lock().values().cloned().collect()
    }
}

impl Spooled {
    fn open(dir: &Path, queue: Id<Queue>) -> io::Result<Self> {
        let (log, troubles) = Log::open(dir)?;
        for trouble in troubles {
            tracing::warn!(%queue, trouble, "the spool of queue {queue} had a torn end; it was cut off and kept beside it");
        }
        let (waiting, bytes) = (AtomicU64::new(log.waiting()), AtomicU64::new(log.bytes()));
        Ok(Self { queue, log: Mutex::new(log), waiting, bytes, arrived: Notify::new() })
    }

    fn waiting(&self) -> u64 {
        self.waiting.load(Ordering::Acquire)
    }
}

/// Takes its count back unless the message stays.
struct Counted<'a> {
    spooled: &'a Spooled,
    bytes: u64,
    stays: bool,
}

impl<'a> Counted<'a> {
    fn new(spooled: &'a Spooled, bytes: u64) -> Self {
        spooled.waiting.fetch_add(1, Ordering::AcqRel);
        spooled.bytes.fetch_add(bytes, Ordering::Relaxed);
        Self { spooled, bytes, stays: false }
    }

    fn stays(mut self) {
        self.stays = true;
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        if !self.stays {
            self.spooled.waiting.fetch_sub(1, Ordering::AcqRel);
            self.spooled.bytes.fetch_sub(self.bytes, Ordering::Relaxed);
        }
    }
}
