//! One piece of work for all who wait for the same. It runs as a task of its own, so that a client that goes away does not take it
//! from the others.

use std::collections::HashMap;
use std::fmt;
use std::hash::Hash;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::watch;

pub(crate) struct Flights<K, V> {
    under_way: Arc<Mutex<HashMap<K, watch::Receiver<Option<V>>>>>,
}

impl<K, V> Flights<K, V>
where
    K: Clone + Eq + Hash + Send + 'static,
    V: Clone + Send + Sync + 'static,
{
    /// Waits for the work that is under way for `key`, or for that which `start` gives. None: there is nothing to wait for, or
    /// it broke off.
    pub(crate) async fn join<W>(&self, key: K, start: impl FnOnce() -> Option<W>) -> Option<V>
    where
        W: Future<Output = V> + Send + 'static,
    {
        let mut landing = {
            let mut under_way = self.under_way.lock();
            match under_way.get(&key) {
                Some(landing) => landing.clone(),
                None => {
                    let work = start()?;
                    let (sender, landing) = watch::channel(None);
                    under_way.insert(key.clone(), landing.clone());
                    let end = End { under_way: self.under_way.clone(), key };
                    tokio::spawn(async move {
                        let value = work.await;
                        drop(end);
                        let _ = sender.send(Some(value));
                    });
                    landing
                }
            }
        };
        // An error means that the task is gone without a result.
        landing.wait_for(Option::is_some).await.ok()?.clone()
    }
}

/// Takes the work off the list however it ends.
struct End<K: Eq + Hash, V> {
    under_way: Arc<Mutex<HashMap<K, watch::Receiver<Option<V>>>>>,
    key: K,
}

impl<K: Eq + Hash, V> Drop for End<K, V> {
    fn drop(&mut self) {
        self.under_way.lock().remove(&self.key);
    }
}

impl<K, V> Default for Flights<K, V> {
    fn default() -> Self {
        Self { under_way: Arc::default() }
    }
}

impl<K, V> fmt::Debug for Flights<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Flights").field("under_way", &self.under_way.lock().len()).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::sync::Semaphore;

    use super::*;

    #[tokio::test]
    async fn those_who_ask_meanwhile_share_the_result_and_who_leaves_takes_nothing_along() {
        let flights = Arc::new(Flights::<u8, usize>::default());
        let started = Arc::new(AtomicUsize::new(0));
        let gate = Arc::new(Semaphore::new(0));
        let ask = || {
            let (flights, started, gate) = (flights.clone(), started.clone(), gate.clone());
            async move {
                let work = || {
                    let number = started.fetch_add(1, Ordering::SeqCst);
                    Some(async move {
                        let _ = gate.acquire().await;
                        number
                    })
                };
                flights.join(7, work).await
            }
        };
        // Polled once, and gone.
        assert!(futures::FutureExt::now_or_never(ask()).is_none());
        let waiting: Vec<_> = (0..10).map(|_| tokio::spawn(ask())).collect();
        tokio::task::yield_now().await;
        gate.add_permits(1);
        for one in waiting {
            assert_eq!(one.await.unwrap(), Some(0));
        }
        assert_eq!(started.load(Ordering::SeqCst), 1);
        assert_eq!(ask().await, Some(1), "what has landed is not joined");
        assert_eq!(flights.join(8, || None::<std::future::Ready<usize>>).await, None);
    }

    #[tokio::test]
    async fn work_that_breaks_off_leaves_nobody_waiting() {
        let flights = Flights::<u8, ()>::default();
        let broken = || Some(async { panic!("as the test wants it") });
        assert_eq!(flights.join(1, broken).await, None);
        assert_eq!(flights.join(1, || Some(async {})).await, Some(()));
    }
}
