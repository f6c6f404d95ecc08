//! The one thread that writes: what comes while it syncs goes into its next sync.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;

use gateway_config::model::{Id, Queue};
use tokio::sync::{mpsc, oneshot};

use super::{SpoolError, Spooled};

/// Messages that may wait for the disk.
const WAITING: usize = 4096;
/// Of one sync.
const BATCH: usize = 1024;

#[derive(Debug)]
pub(super) struct Writer {
    jobs: mpsc::Sender<Job>,
}

struct Job {
    spooled: Arc<Spooled>,
    frames: Vec<u8>,
    done: oneshot::Sender<Result<(), String>>,
}

impl Writer {
    pub(super) fn start() -> io::Result<Self> {
        let (jobs, waiting) = mpsc::channel(WAITING);
        std::thread::Builder::new().name("spool".to_owned()).spawn(move || run(waiting))?;
        Ok(Self { jobs })
    }

    /// On disk when this returns.
    pub(super) async fn write(&self, spooled: Arc<Spooled>, frames: Vec<u8>) -> Result<(), SpoolError> {
        let (done, outcome) = oneshot::channel();
        self.jobs.try_send(Job { spooled, frames, done }).map_err(|_| SpoolError::Busy)?;
        match outcome.await {
            Ok(written) => written.map_err(SpoolError::Disk),
            Err(_) => Err(SpoolError::Disk("the writer ended".to_owned())),
        }
    }
}

fn run(mut waiting: mpsc::Receiver<Job>) {
    let mut batch = Vec::new();
    while waiting.blocking_recv_many(&mut batch, BATCH) > 0 {
        let mut by_queue: HashMap<Id<Queue>, Vec<Job>> = HashMap::new();
        for job in batch.drain(..) {
            by_queue.entry(job.spooled.queue).or_default().push(job);
        }
        for jobs in by_queue.into_values() {
            write(jobs);
        }
    }
}

fn write(jobs: Vec<Job>) {
    let Some(spooled) = jobs.first().map(|job| job.spooled.clone()) else { return };
    let frames = jobs.iter().flat_map(|job| &job.frames).copied().collect::<Vec<u8>>();
    let written = spooled.log.lock().append(&frames, jobs.len() as u64);
    if let Err(error) = &written {
        tracing::error!(%error, queue = %spooled.queue, "could not write to the spool");
    }
    for job in jobs {
        // Whoever left is not told; what was written for them is published all the same.
        let _ = job.done.send(written.as_ref().copied().map_err(ToString::to_string));
    }
}
