//! Brokers: where accepted requests wait for workers. One contract whatever stands behind; one contract suite for all of them.

mod brokers;
#[cfg(test)]
mod contract;
mod embedded;
mod kafka;
mod keep;
mod rabbitmq;
mod redis;
#[cfg(test)]
mod tests;
mod window;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use gateway_config::model::Queue;
use gateway_config::snapshot::CompiledQueue;
use thiserror::Error;

use super::task::TaskId;

pub(crate) use brokers::Brokers;
pub(crate) use embedded::{Deliverer, DeliverySettings, Embedded};
pub(crate) use redis::Durability;

/// What is published.
#[derive(Clone, Debug)]
pub(crate) struct Message {
    pub(crate) id: TaskId,
    /// Where to.
    pub(crate) queue: Arc<CompiledQueue>,
    /// A CloudEvent in the structured JSON form.
    pub(crate) event: Bytes,
    /// Messages of one key stay in order.
    pub(crate) key: Option<String>,
}

/// Why a message was not, or perhaps not, accepted.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub(crate) enum PublishError {
    /// It certainly was not accepted; later it may be. It may go to the spool.
    #[error("the broker is away: {0}")]
    Unavailable(String),
    /// The broker takes messages faster than it confirms them, or holds as many as it may.
    #[error("the broker is overloaded: {0}")]
    Overloaded(String),
    /// The broker said no, though not for good: it certainly was not accepted. It may go to the spool.
    #[error("the broker refused the message for now")]
    Nacked,
    /// There is no queue, stream or topic that it would reach.
    #[error("the message can't be routed: {0}")]
    Unroutable(String),
    /// The broker will never take this message.
    #[error("the broker refuses the message: {0}")]
    Refused(String),
    /// No confirm came in time: it may have been accepted or not. It may be published again under the same id.
    #[error("the broker did not confirm the message in time")]
    Unconfirmed,
}

impl PublishError {
    /// For metrics.
    pub(crate) fn word(&self) -> &'static str {
        match self {
            Self::Unavailable(_) => "unavailable",
            Self::Overloaded(_) => "overloaded",
            Self::Nacked => "nacked",
            Self::Unroutable(_) => "unroutable",
            Self::Refused(_) => "refused",
            Self::Unconfirmed => "unconfirmed",
        }
    }
}

/// A broker of one kind under one address. Connects by itself, and again when the connection is lost; many messages may be in
/// flight at once.
#[async_trait]
pub(crate) trait Broker: fmt::Debug + Send + Sync {
    /// `Ok` once the broker answers for it: what is accepted survives the broker's end as far as its settings promise.
    async fn publish(&self, message: &Message, patience: Duration) -> Result<(), PublishError>;

    /// Whether it answered when it was last asked.
    fn is_up(&self) -> bool;

    /// Waits until it is connected, or says why it is not: for whoever looks at it before there is anything to publish.
    async fn reach(&self, patience: Duration) -> Result<(), PublishError>;

    /// Messages that wait and consumers that are there, where the broker tells.
    async fn depth(&self, queue: &CompiledQueue) -> Result<Depth, PublishError>;

    /// A channel leads from this queue's topic to clients: sooner or later somebody will follow it, here or on another gateway.
    fn will_be_followed(&self, _queue: &Queue) {}

    /// Everything that comes to the queue's topic from now on, beside whoever else consumes it: nothing is taken from workers.
    async fn follow(&self, _queue: &CompiledQueue) -> Result<Box<dyn Source>, PublishError> {
        Err(PublishError::Unavailable("this broker can't be followed".to_owned()))
    }
}

/// Messages as they come.
#[async_trait]
pub(crate) trait Source: Send {
    /// Waits for the next one; an error ends it. May be dropped and called again.
    async fn next(&mut self) -> Result<Bytes, String>;
}

/// How full a queue is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Depth {
    pub(crate) messages: Option<u64>,
    pub(crate) consumers: Option<u64>,
}
