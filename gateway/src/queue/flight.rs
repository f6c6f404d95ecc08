//! Requests of one `Idempotency-Key` that are here at once: the first is published, and the others hear what came of it.

use std::collections::HashMap;

use gateway_config::snapshot::{Code, Refusal};
use parking_lot::Mutex;
use tokio::sync::watch;

use super::task::TaskId;

/// The task's status, or why there is no 202.
pub(super) type Outcome = Result<&'static str, Refusal>;

/// What is being published just now, by task. Gateways do not know of one another's: the claim in the database tells them apart.
#[derive(Debug, Default)]
pub(super) struct Flights(Mutex<HashMap<TaskId, Flight>>);

#[derive(Debug)]
struct Flight {
    body_hash: String,
    /// None as long as it lasts.
    outcome: watch::Receiver<Option<Outcome>>,
}

impl Flights {
    /// Publishes, unless that is being done.
    pub(super) async fn one(&self, id: TaskId, body_hash: &str, publishing: impl Future<Output = Outcome>) -> Outcome {
        let teller = {
            let mut under_way = self.0.lock();
            match under_way.get(&id) {
                Some(flight) if flight.body_hash != body_hash => return Err(Refusal::new(Code::IdempotencyMismatch)),
                Some(flight) => Err(flight.outcome.clone()),
                None => {
                    let (teller, outcome) = watch::channel(None);
                    under_way.insert(id, Flight { body_hash: body_hash.to_owned(), outcome });
                    Ok(teller)
                }
            }
        };
        match teller {
            Ok(teller) => {
                let _landing = Landing { flights: self, id };
                let outcome = publishing.await;
                teller.send_replace(Some(outcome.clone()));
                outcome
            }
            Err(mut outcome) => {
                let heard = outcome.wait_for(Option::is_some).await.ok().and_then(|heard| heard.clone());
                heard.unwrap_or_else(|| Err(Refusal::new(Code::Internal)))
            }
        }
    }
}

/// It is over, however it ended.
struct Landing<'a> {
    flights: &'a Flights,
    id: TaskId,
}

impl Drop for Landing<'_> {
    fn drop(&mut self) {
        self.flights.0.lock().remove(&self.id);
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use gateway_config::clock::new_id;
    use gateway_config::master_key::MasterKey;
    use gateway_config::model::Id;
    use tokio::sync::oneshot;

    use super::*;
    use crate::queue::task::TaskKeys;

    fn task() -> TaskId {
        let keys = TaskKeys::of(&MasterKey::of("a text of more than 32 characters, I think").unwrap());
        keys.fresh(Id::default(), Id::new(new_id()))
    }

    fn never() -> impl Future<Output = Outcome> {
        poll_fn(|_| panic!("it is published already"))
    }

    #[tokio::test]
    async fn the_others_hear_what_came_of_the_first_and_the_next_is_a_first_again() {
        for expected in [Ok("queued"), Err(Refusal::new(Code::QueueUnavailable))] {
            let (flights, id) = (Flights::default(), task());
            let (land, landed) = oneshot::channel();
            let first = flights.one(id, "a", async { landed.await.unwrap() });
            let second = flights.one(id, "a", never());
            let other_body = async {
                let other = flights.one(id, "b", never()).await;
                assert_eq!(other, Err(Refusal::new(Code::IdempotencyMismatch)));
                let elsewhere = flights.one(task(), "b", async { Ok("queued") }).await;
                assert_eq!(elsewhere, Ok("queued"));
                land.send(expected.clone()).unwrap();
            };
            let (first, second, ()) = tokio::join!(first, second, other_body);
            assert_eq!((first, second), (expected.clone(), expected));
            assert_eq!(flights.one(id, "b", async { Ok("running") }).await, Ok("running"));
            assert!(flights.0.lock().is_empty());
        }
    }

    #[tokio::test]
    async fn who_waits_for_one_that_breaks_down_is_told() {
        let (flights, id) = (Flights::default(), task());
        let first = async {
            // Dropped in the middle.
            let _ = tokio::time::timeout(
                std::time::Duration::from_millis(50),
                flights.one(id, "a", std::future::pending()),
            )
            .await;
        };
        let ((), second) = tokio::join!(first, flights.one(id, "a", never()));
        assert_eq!(second, Err(Refusal::new(Code::Internal)));
    }
}
