//! One push of one message, and what becomes of the message by its outcome.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use gateway_config::clock::Clock;
use gateway_config::snapshot::CompiledQueue;
use gateway_config::store::{ClaimedMessage, Settlement};
use gateway_config::webhook::WebhookSecret;

use super::deliverer::away;
use crate::identity::egress::{Egress, Post, Reach};
use crate::observe::metrics::QueueMetrics;
use crate::queue::event::EVENT_TYPE;
use crate::queue::task::Tasks;
use crate::queue::webhook::{Pushed, delay, headers, later};

/// What one push needs.
pub(super) struct Parts {
    pub(super) egress: Arc<Egress>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) tasks: Arc<Tasks>,
    pub(super) metrics: QueueMetrics,
    pub(super) timeout: Duration,
}

pub(super) async fn push(
    parts: Parts,
    queue: Arc<CompiledQueue>,
    message: ClaimedMessage,
    secret: WebhookSecret,
) -> Settlement {
    if message.is_replayed()
        && let Err(error) = parts.tasks.reopen(&message.id).await
    {
        away(&error);
    }
    let ClaimedMessage { id, event, attempts, .. } = message;
    let body = Bytes::from(event);
    let headers = headers(&secret, &id, parts.clock.now(), EVENT_TYPE, &body);
    let url = queue.source.destination.deliver_to.as_deref().unwrap_or_default();
    let outcome = parts.egress.post(Post { url, headers, body, timeout: parts.timeout, reach: Reach::Any }).await;
    let at = parts.clock.now();
    let name = queue.name();
    let settlement = match Pushed::of(outcome) {
        Pushed::Taken => Settlement::Done,
        Pushed::Failed { error, not_before } if attempts < queue.source.max_attempts => {
            Settlement::Retry { at: later(at, delay(attempts, not_before, rand::random())), error }
        }
        Pushed::Failed { error, .. } | Pushed::Gone { error } => {
            tracing::warn!(queue = name, task = id, attempts, error, "a message of queue {name} is a dead letter");
            Settlement::Dead { at, error }
        }
    };
    let result = match settlement {
        Settlement::Done => "delivered",
        Settlement::Retry { .. } | Settlement::GiveBack { .. } => "retry",
        Settlement::Dead { .. } => "dead",
    };
    parts.metrics.delivered(name, result);
    settlement
}
