//! Requests that come with the same key while it is being verified wait for that one verification.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::OnceCell;

use super::wrong::Sign;

#[derive(Debug)]
pub(super) struct Flights<T>(Mutex<HashMap<Sign, Arc<OnceCell<T>>>>);

/// A seat in a flight; whoever leaves last ends it.
struct Seat<'f, T> {
    flights: &'f Flights<T>,
    sign: Sign,
    cell: Arc<OnceCell<T>>,
}

impl<T> Default for Flights<T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<T: Copy> Flights<T> {
    /// The outcome of `work`, which only one of those does who ask at the same time. If that one leaves, the next takes over.
    pub(super) async fn share(&self, sign: Sign, work: impl Future<Output = T>) -> T {
        let cell = self.0.lock().entry(sign).or_default().clone();
        let seat = Seat { flights: self, sign, cell };
        *seat.cell.get_or_init(|| work).await
    }
}

impl<T> Drop for Seat<'_, T> {
    fn drop(&mut self) {
        let mut flights = self.flights.0.lock();
        // The map's and this one's.
        if Arc::strong_count(&self.cell) <= 2 {
            flights.remove(&self.sign);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::sync::Semaphore;

    use super::*;

    #[tokio::test]
    async fn those_who_come_together_share_one_run_and_leave_nothing() {
        let (flights, runs, gate) = (Flights::default(), AtomicUsize::new(0), Semaphore::new(0));
        let work = || async {
            let _ = gate.acquire().await;
            runs.fetch_add(1, Ordering::Relaxed) + 1
        };
        let together = futures::future::join_all((0..10).map(|_| flights.share([1; 16], work())));
        let (outcomes, ()) = futures::join!(together, async { gate.add_permits(1) });
        assert_eq!(outcomes, [1; 10]);
        assert!(flights.0.lock().is_empty());
        gate.add_permits(1);
        assert_eq!(flights.share([1; 16], work()).await, 2, "who comes later begins anew");
    }

    #[tokio::test]
    async fn when_the_one_who_runs_leaves_the_next_takes_over() {
        let flights = Arc::new(Flights::default());
        let gone = tokio::spawn({
            let flights = flights.clone();
            async move { flights.share([1; 16], std::future::pending::<u8>()).await }
        });
        while flights.0.lock().is_empty() {
            tokio::task::yield_now().await;
        }
        let waiting = tokio::spawn({
            let flights = flights.clone();
            async move { flights.share([1; 16], async { 7 }).await }
        });
        tokio::task::yield_now().await;
        gone.abort();
        assert_eq!(waiting.await.unwrap(), 7);
        assert!(gone.await.is_err() && flights.0.lock().is_empty());
    }
}
