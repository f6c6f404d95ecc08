//! Takes messages in. What comes while a transaction is being written goes into the next one together: a sync to disk costs the same
//! for one message as for hundreds.

use std::sync::Arc;
use std::time::Duration;

use gateway_config::store::{NewMessage, Store, StoreError};
use prometheus::IntGauge;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

use super::PublishError;

/// Messages that may wait for their turn.
const WAITING: usize = 20_000;
const WAITING_BYTES: usize = 64 * 1024 * 1024;
/// Messages in one transaction.
const AT_ONCE: usize = 500;
const AT_ONCE_BYTES: usize = 8 * 1024 * 1024;
/// How often a database that is away is looked for.
const PROBE: Duration = Duration::from_millis(500);

type Outcome = Result<(), PublishError>;

#[derive(Debug)]
pub(super) struct Writer {
    inbox: mpsc::Sender<Pending>,
    room: Arc<Semaphore>,
}

struct Pending {
    message: NewMessage,
    answer: oneshot::Sender<Outcome>,
    /// Held until it is answered.
    room: OwnedSemaphorePermit,
}

impl Writer {
    pub(super) fn start(store: Arc<dyn Store>, accepted: Arc<Notify>, up: IntGauge) -> Self {
        up.set(1);
        let (inbox, waiting) = mpsc::channel(WAITING);
        tokio::spawn(Writing { store, accepted, up, waiting }.run());
        Self { inbox, room: Arc::new(Semaphore::new(WAITING_BYTES)) }
    }

    /// Whoever drops the answer before the message's turn takes it back.
    pub(super) fn accept(&self, message: NewMessage) -> Result<oneshot::Receiver<Outcome>, PublishError> {
        let bytes = u32::try_from(message.event.len().min(WAITING_BYTES)).unwrap_or(u32::MAX);
        let full = || PublishError::Overloaded("more messages wait for the database than may".to_owned());
        let room = self.room.clone().try_acquire_many_owned(bytes).map_err(|_| full())?;
        let (answer, answered) = oneshot::channel();
        self.inbox.try_send(Pending { message, answer, room }).map_err(|_| full())?;
        Ok(answered)
    }
}

struct Writing {
    store: Arc<dyn Store>,
    accepted: Arc<Notify>,
    up: IntGauge,
    waiting: mpsc::Receiver<Pending>,
}

impl Writing {
    /// Until nobody is left who could publish.
    async fn run(mut self) {
        while let Some(first) = self.waiting.recv().await {
            let batch = self.gather(first);
            if let Err(error) = self.write(batch).await {
                tracing::warn!(%error, "embedded queues take no messages: the database is away");
                self.up.set(0);
                self.until_back().await;
                self.up.set(1);
                tracing::info!("embedded queues take messages again");
            }
        }
    }

    fn gather(&mut self, first: Pending) -> Vec<Pending> {
        let mut bytes = first.message.event.len();
        let mut batch = vec![first];
        while batch.len() < AT_ONCE && bytes < AT_ONCE_BYTES {
            let Ok(next) = self.waiting.try_recv() else { break };
            bytes = bytes.saturating_add(next.message.event.len());
            batch.push(next);
        }
        batch.retain(|pending| !pending.answer.is_closed());
        batch
    }

    /// An error: the database is away.
    async fn write(&self, batch: Vec<Pending>) -> Result<(), StoreError> {
        let (messages, answers): (Vec<_>, Vec<_>) =
            batch.into_iter().map(|Pending { message, answer, room }| (message, (answer, room))).unzip();
        let outcome = match self.store.accept_messages(&messages).await {
            Ok(()) => Ok(()),
            // One of them can't be stored; the others can.
            Err(StoreError::Refused(_)) => {
                for (message, (answer, _)) in messages.iter().zip(answers) {
                    let accepted = self.store.accept_messages(std::slice::from_ref(message)).await;
                    let _ = answer.send(accepted.map_err(|error| refusal(&error)));
                }
                self.accepted.notify_one();
                return Ok(());
            }
            Err(error) => Err(error),
        };
        if outcome.is_ok() {
            self.accepted.notify_one();
        }
        for (answer, _) in answers {
            let _ = answer.send(outcome.as_ref().map_err(refusal).copied());
        }
        outcome
    }

    /// Nobody is kept waiting meanwhile.
    async fn until_back(&mut self) {
        let store = self.store.clone();
        let back = async move {
            while store.accept_messages(&[]).await.is_err() {
                tokio::time::sleep(PROBE).await;
            }
        };
        tokio::pin!(back);
        loop {
            tokio::select! {
                () = &mut back => return,
                pending = self.waiting.recv() => match pending {
                    None => return,
                    Some(pending) => {
                        let away = PublishError::Unavailable("the database is away".to_owned());
                        let _ = pending.answer.send(Err(away));
                    }
                },
            }
        }
    }
}

fn refusal(error: &StoreError) -> PublishError {
    match error {
        StoreError::Refused(why) => PublishError::Refused(why.clone()),
        error => PublishError::Unavailable(error.to_string()),
    }
}
