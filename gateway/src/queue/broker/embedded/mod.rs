//! The embedded broker: messages are kept in the gateways' database, and the gateways themselves push them to their workers.
//!
//! `writer` takes messages in, many in one transaction; `deliverer` claims what is due and pushes it (`round` is what it knows, `lane` what it
//! has of one queue, `push` one push). Several gateways share the work over one database.

mod deliverer;
mod lane;
mod push;
mod round;
#[cfg(test)]
mod tests;
mod writer;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use gateway_config::clock::Clock;
use gateway_config::snapshot::CompiledQueue;
use gateway_config::store::{NewMessage, Store};
use prometheus::IntGauge;
use tokio::sync::Notify;

use super::{Broker, Depth, Message, PublishError};
use writer::Writer;

pub(crate) use deliverer::{Deliverer, DeliverySettings};

#[derive(Debug)]
pub(crate) struct Embedded {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    writer: Writer,
    up: IntGauge,
}

impl Embedded {
    /// `accepted` is told of every message that was accepted here. On the runtime of the caller.
    pub(crate) fn start(
        store: Arc<dyn Store>,
        clock: Arc<dyn Clock>,
        accepted: Arc<Notify>,
        up: IntGauge,
    ) -> Arc<Self> {
        let writer = Writer::start(store.clone(), accepted, up.clone());
        Arc::new(Self { store, clock, writer, up })
    }
}

#[async_trait]
impl Broker for Embedded {
    /// Where the database did not answer, the message may be there all the same. That is no harm: the same id is accepted once.
    async fn publish(&self, message: &Message, patience: Duration) -> Result<(), PublishError> {
        let event = std::str::from_utf8(&message.event);
        let event = event.map_err(|_| PublishError::Refused("the event is not UTF-8".to_owned()))?.to_owned();
        let (id, queue) = (message.id.to_string(), message.queue.name().to_owned());
        let answer = self.writer.accept(NewMessage { id, queue, event, accepted_at: self.clock.now() })?;
        let away = || PublishError::Unavailable("the database did not answer in time".to_owned());
        match tokio::time::timeout(patience, answer).await {
            Ok(answered) => answered.unwrap_or_else(|_| Err(away())),
            Err(_) => Err(away()),
        }
    }

    fn is_up(&self) -> bool {
        self.up.get() == 1
    }

    async fn reach(&self, patience: Duration) -> Result<(), PublishError> {
        match tokio::time::timeout(patience, self.store.accept_messages(&[])).await {
            Ok(reached) => reached.map_err(|error| PublishError::Unavailable(error.to_string())),
            Err(_) => Err(PublishError::Unavailable("the database did not answer in time".to_owned())),
        }
    }

    async fn depth(&self, queue: &CompiledQueue) -> Result<Depth, PublishError> {
        let depth = self.store.queue_depth(queue.name(), self.clock.now()).await;
        let depth = depth.map_err(|error| PublishError::Unavailable(error.to_string()))?;
        Ok(Depth { messages: Some(depth.waiting.saturating_add(depth.claimed)), consumers: None })
    }
}
