//! Hashing, off the proxy's threads: a few at a time, the others in one of two lines. Whoever is in doubt waits in a line of which
//! only one is let to the others at a time, so a crowd of them delays nobody else by more than one hash.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use gateway_config::api_key::{HashError, verify};
use rustix::process::setpriority_process;
use tokio::sync::{Semaphore, oneshot};

/// A quarter of a core where all of it is wanted: politer, a key that is new here would wait for too long on a busy machine.
const POLITE: i32 = 5;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lane {
    Usual,
    Doubt,
}

/// The line is full, or no thread is to be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Full;

#[derive(Debug)]
pub(super) struct Lanes {
    hashing: Arc<Semaphore>,
    doubt: Arc<Semaphore>,
    waiting: [AtomicUsize; 2],
    longest: usize,
    /// Since the start.
    hashed: AtomicUsize,
}

/// A place in a line, given up however the wait ends.
struct Place<'l>(&'l AtomicUsize);

impl<'l> Place<'l> {
    fn take(waiting: &'l AtomicUsize, longest: usize) -> Result<Self, Full> {
        // Made first: a place that was one too many is given up by its drop.
        let before = waiting.fetch_add(1, Ordering::Relaxed);
        let place = Self(waiting);
        if before < longest { Ok(place) } else { Err(Full) }
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Lanes {
    pub(super) fn new(at_once: usize, longest: usize) -> Self {
        let hashing = Arc::new(Semaphore::new(at_once.clamp(1, Semaphore::MAX_PERMITS)));
        let doubt = Arc::new(Semaphore::new(1));
        Self { hashing, doubt, waiting: Default::default(), longest, hashed: AtomicUsize::new(0) }
    }

    #[cfg(test)]
    pub(super) fn hashed(&self) -> usize {
        self.hashed.load(Ordering::Relaxed)
    }

    /// Nothing is hashed until this is dropped.
    #[cfg(test)]
    pub(super) fn hold(&self) -> tokio::sync::OwnedSemaphorePermit {
        Arc::clone(&self.hashing)
            .try_acquire_many_owned(u32::try_from(self.hashing.available_permits()).unwrap())
            .unwrap()
    }

    /// Whether the stored hash is that of the key.
    pub(super) async fn verify(
        &self,
        lane: Lane,
        key: Box<[u8]>,
        stored: String,
    ) -> Result<Result<bool, HashError>, Full> {
        let [usual, doubt] = &self.waiting;
        let place = Place::take(if lane == Lane::Usual { usual } else { doubt }, self.longest)?;
        // Nobody closes these.
        let turn = match lane {
            Lane::Usual => None,
            Lane::Doubt => Some(Arc::clone(&self.doubt).acquire_owned().await.map_err(|_| Full)?),
        };
        let permit = Arc::clone(&self.hashing).acquire_owned().await.map_err(|_| Full)?;
        drop(place);
        self.hashed.fetch_add(1, Ordering::Relaxed);
        // The permits go along: a caller who leaves does not stop the hash.
        let hashing = move || {
            let verified = verify(&key, &stored);
            drop((permit, turn));
            verified
        };
        let hashed = behind_the_proxy(hashing).await?;
        Ok(hashed.unwrap_or_else(|| Err(HashError::Hashing("the hash was not finished".to_owned()))))
    }
}

/// Runs on a thread of its own, which gives way to those that serve: a hash takes as long as hundreds of requests, and none of them
/// should wait for it where cores are few. To make a thread is nothing beside a hash.
///
/// `None`: the work panicked. An error where no thread is to be had, which says nothing of the key.
async fn behind_the_proxy<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<Option<T>, Full> {
    let (done, doing) = oneshot::channel();
    let run = move || {
        // Where it is not allowed, hashes just take their turn.
        let _ = setpriority_process(None, POLITE);
        let _ = done.send(work());
    };
    if let Err(error) = std::thread::Builder::new().name("hash".to_owned()).spawn(run) {
        tracing::error!(%error, "could not start a thread to verify an API key");
        return Err(Full);
    }
    Ok(doing.await.ok())
}

#[cfg(test)]
mod tests {
    use gateway_config::api_key::{Argon2Settings, hash};

    use super::*;

    const CHEAP: Argon2Settings = Argon2Settings { argon2_memory_kib: 8, argon2_iterations: 1, argon2_parallelism: 1 };

    fn stored() -> String {
        hash(b"key", &CHEAP).unwrap()
    }

    #[tokio::test]
    async fn what_is_hashed_gives_way_and_what_serves_does_not() {
        let nice = || rustix::process::getpriority_process(None).unwrap();
        let before = nice();
        assert_eq!(behind_the_proxy(nice).await, Ok(Some(before.max(POLITE))));
        assert_eq!(nice(), before);
        assert_eq!(behind_the_proxy(|| panic!("told as such")).await, Ok(None::<()>));
    }

    #[tokio::test]
    async fn a_right_key_is_told_from_a_wrong_one_in_either_lane() {
        let lanes = Lanes::new(1, 10);
        for lane in [Lane::Usual, Lane::Doubt] {
            assert_eq!(lanes.verify(lane, b"key"[..].into(), stored()).await, Ok(Ok(true)));
            assert_eq!(lanes.verify(lane, b"kez"[..].into(), stored()).await, Ok(Ok(false)));
        }
        assert_eq!(lanes.hashed(), 4);
        assert_eq!(lanes.hashing.available_permits(), 1);
    }

    #[tokio::test]
    async fn a_full_line_refuses_and_the_other_goes_on() {
        let lanes = Arc::new(Lanes::new(2, 1));
        let hold = Arc::clone(&lanes.doubt).acquire_owned().await.unwrap();
        let first = tokio::spawn({
            let lanes = lanes.clone();
            async move { lanes.verify(Lane::Doubt, b"key"[..].into(), stored()).await }
        });
        while lanes.waiting[1].load(Ordering::Relaxed) == 0 {
            tokio::task::yield_now().await;
        }
        assert_eq!(lanes.verify(Lane::Doubt, b"key"[..].into(), stored()).await, Err(Full));
        assert_eq!(lanes.verify(Lane::Usual, b"key"[..].into(), stored()).await, Ok(Ok(true)));
        drop(hold);
        assert_eq!(first.await.unwrap(), Ok(Ok(true)));
        assert_eq!(lanes.waiting[1].load(Ordering::Relaxed), 0);
    }

    #[tokio::test]
    async fn whoever_leaves_gives_up_the_place() {
        let lanes = Arc::new(Lanes::new(1, 1));
        let hold = Arc::clone(&lanes.hashing).acquire_owned().await.unwrap();
        let gone = tokio::spawn({
            let lanes = lanes.clone();
            async move { lanes.verify(Lane::Usual, b"key"[..].into(), stored()).await.is_ok() }
        });
        while lanes.waiting[0].load(Ordering::Relaxed) == 0 {
            tokio::task::yield_now().await;
        }
        gone.abort();
        assert!(gone.await.unwrap_err().is_cancelled());
        drop(hold);
        assert_eq!(lanes.verify(Lane::Usual, b"key"[..].into(), stored()).await, Ok(Ok(true)));
    }
}
