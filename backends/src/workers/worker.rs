//! What is the same for every worker and every broker: a message is worked on once, its end is remembered and reported, and what can't be
//! done is tried again, so many times and no more.

use std::{
    collections::HashSet,
    panic::AssertUnwindSafe,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures::FutureExt;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::{sync::Notify, time::timeout};
use tracing::{debug, info, warn};

use super::{Work, event::Event, report::Reporter, settings::Settings, store::Store};
use crate::services::Name;

/// What came of the work on a message.
#[derive(Debug)]
pub(super) enum Outcome {
    /// With what it brought.
    Done(Value),
    /// It can't be done, now or ever.
    Failed(String),
    /// Not now.
    Again(String),
}

/// What the source of a message does with it.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is over: acknowledge.
    Over,
    /// Deliver again after this time.
    Later(Duration),
    /// Put aside.
    Dead(String),
}

/// What is reported at the end.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Report {
    pub(super) status: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) result: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) error: Option<String>,
}

#[derive(Debug)]
pub(super) struct Worker {
    pub(super) name: Name,
    pub(super) work: Work,
    pub(super) store: Store,
    pub(super) reporter: Reporter,
    pub(super) settings: Settings,
    pub(super) under_way: UnderWay,
}

impl Worker {
    /// Sees to one message; `told`: which attempt it is by what the broker knows, 1 where it knows nothing. It must be run to its end.
    pub(super) async fn attend(&self, message: &[u8], told: u32) -> Verdict {
        let event = match Event::read(message) {
            Ok(event) => event,
            Err(why) => {
                warn!(worker = %self.name, why, "a message can't be read");
                return Verdict::Dead(why);
            }
        };
        // The same task twice at once: the second finds out what the first did.
        let _turn = self.under_way.enter(&event.id).await;
        self.see_to(&event, told).await.unwrap_or_else(|cause| {
            warn!(worker = %self.name, task = event.id, %cause, "the worker's memory can't be used");
            Verdict::Later(self.settings.pause_after(told))
        })
    }

    async fn see_to(&self, event: &Event, told: u32) -> sqlx::Result<Verdict> {
        if let Some(report) = self.store.done(&event.id).await? {
            debug!(worker = %self.name, task = event.id, "a task came again that is done; it is reported again");
            return self.end(event, &report).await;
        }
        let attempt = self.store.begin(&event.id, told).await?;
        if attempt > self.settings.max_attempts {
            // The attempts before were not even survived.
            return self.give_up(event, attempt - 1, "the worker died of it").await;
        }
        let (outcome, ()) = tokio::join!(self.try_it(event), self.reporter.announce(event));
        match outcome {
            Outcome::Done(result) => {
                info!(worker = %self.name, task = event.id, attempt, "done");
                self.end(event, &Report::succeeded(result)).await
            }
            Outcome::Failed(error) => {
                info!(worker = %self.name, task = event.id, attempt, error, "failed");
                self.end(event, &Report::failed(error)).await
            }
            Outcome::Again(error) if attempt < self.settings.max_attempts => {
                let pause = self.settings.pause_after(attempt);
                let pause_ms = pause.as_millis();
                info!(worker = %self.name, task = event.id, attempt, error, pause_ms, "failed for now");
                Ok(Verdict::Later(pause))
            }
            Outcome::Again(error) => self.give_up(event, attempt, &error).await,
        }
    }

    /// A panic and a work without end are failures like others.
    async fn try_it(&self, event: &Event) -> Outcome {
        let patience = self.settings.timeout();
        let working = AssertUnwindSafe(self.work.handle(event)).catch_unwind();
        match timeout(patience, working).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(_)) => Outcome::Again("the worker has a fault".to_owned()),
            Err(_) => Outcome::Again(format!("it took longer than {} s", patience.as_secs())),
        }
    }

    async fn end(&self, event: &Event, report: &Report) -> sqlx::Result<Verdict> {
        self.store.end(event, report).await?;
        self.reporter.owed.notify_one();
        Ok(Verdict::Over)
    }

    async fn give_up(&self, event: &Event, attempts: u32, error: &str) -> sqlx::Result<Verdict> {
        warn!(worker = %self.name, task = event.id, attempts, error, "given up: the message is a dead letter");
        let error = format!("given up after {attempts} attempts: {error}");
        self.store.give_up(event, &Report::failed(error.clone())).await?;
        self.reporter.owed.notify_one();
        Ok(Verdict::Dead(error))
    }
}

/// The tasks that this process works on just now.
#[derive(Debug, Default)]
pub(super) struct UnderWay {
    ids: Mutex<HashSet<String>>,
    left: Notify,
}

impl UnderWay {
    async fn enter(&self, id: &str) -> Turn<'_> {
        loop {
            let left = self.left.notified();
            tokio::pin!(left);
            // Before the look, or a leave between the two would be missed.
            left.as_mut().enable();
            if self.ids.lock().unwrap_or_else(PoisonError::into_inner).insert(id.to_owned()) {
                return Turn { under_way: self, id: id.to_owned() };
            }
            left.await;
        }
    }

    /// Waits until nothing is worked on.
    pub(super) async fn emptied(&self) {
        loop {
            let left = self.left.notified();
            tokio::pin!(left);
            left.as_mut().enable();
            if self.ids.lock().unwrap_or_else(PoisonError::into_inner).is_empty() {
                return;
            }
            left.await;
        }
    }
}

/// Held while a task is worked on.
struct Turn<'u> {
    under_way: &'u UnderWay,
    id: String,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.under_way.ids.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.id);
        self.under_way.left.notify_waiters();
    }
}

/// Runs a message's work as a task of its own, so that it goes on to its end whatever becomes of whoever delivered it.
pub(super) async fn to_its_end(worker: &Arc<Worker>, message: Vec<u8>, told: u32) -> Verdict {
    let (working, pause) = (worker.clone(), worker.settings.pause_after(told));
    let attending = tokio::spawn(async move { working.attend(&message, told).await });
    attending.await.unwrap_or(Verdict::Later(pause))
}
