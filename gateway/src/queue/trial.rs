//! Test messages that operators ask for through the admin API. Whichever gateway sees one first publishes it, by the very way that
//! requests take, and writes down what came of it. A test is never spooled: the operator wants to know whether the broker is there.

use std::sync::Arc;
use std::time::Duration;

use gateway_config::clock::Clock;
use gateway_config::model::{Id, Timestamp};
use gateway_config::snapshot::{CompiledQueue, KeySource};
use gateway_config::store::{QueueTest, Store, StoreError};
use http::HeaderMap;
use serde_json::Value;
use uuid::Uuid;

use super::Queues;
use super::broker::Message;
use super::event::{self, Envelope};
use super::spooling::find;
use super::task::{NewTask, TaskId};
use crate::live::Current;

const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Older ones were left behind. Nobody waits that long, but clocks differ.
const FRESH_MICROS: i64 = 30 * 1_000_000;
/// What is published where the operator gave nothing.
const USUAL_DATA: &str = "{\"test\":true}";

pub(super) struct Trials {
    pub(super) node: Uuid,
    pub(super) queues: Arc<Queues>,
    pub(super) current: Arc<Current>,
    pub(super) store: Arc<dyn Store>,
    pub(super) clock: Arc<dyn Clock>,
}

impl Trials {
    /// Until the gateway drains.
    pub(super) async fn run(self: Arc<Self>) {
        let drain = self.queues.drain.clone();
        let looking = async {
            loop {
                tokio::time::sleep(LOOK_EVERY).await;
                self.look().await;
            }
        };
        drain.run_until_cancelled(looking).await;
    }

    async fn look(self: &Arc<Self>) {
        let since = Timestamp::from_micros(self.clock.now().micros().saturating_sub(FRESH_MICROS));
        // With the database away nobody waits for an answer from there.
        for test in self.store.open_queue_tests(since).await.unwrap_or_default() {
            // A queue that is not in this snapshot yet may be in another gateway's.
            let Some(queue) = find(&self.current, test.queue) else { continue };
            let trials = self.clone();
            tokio::spawn(async move {
                if let Err(error) = trials.take(&test, queue).await {
                    tracing::warn!(%error, "could not answer an operator's test of a queue");
                }
            });
        }
    }

    async fn take(&self, test: &QueueTest, queue: Arc<CompiledQueue>) -> Result<(), StoreError> {
        let id = self.queues.keys.fresh(Id::default(), queue.source.id);
        if !self.store.take_queue_test(test.id, self.node, &id.to_string()).await? {
            return Ok(());
        }
        let outcome = self.publish(id, queue, test.data.as_deref().unwrap_or(USUAL_DATA)).await;
        self.store.settle_queue_test(test.id, outcome).await
    }

    async fn publish(&self, id: TaskId, queue: Arc<CompiledQueue>, data: &str) -> Result<(), String> {
        let (text_id, name, now) = (id.to_string(), queue.name().to_owned(), self.clock.now());
        let (status_url, _) = self.queues.status_urls(&text_id, None);
        let envelope = Envelope {
            id: &text_id,
            route: None,
            queue: &name,
            path: "",
            time: now,
            content_type: "application/json",
            application: None,
            caller: None,
            traceparent: None,
            idempotency_key: None,
            status_url: &status_url,
            task_token: &self.queues.keys.token(&id),
        };
        let event = event::write(&envelope, data.as_bytes()).map_err(|error| error.0)?;
        let json: Option<Value> = serde_json::from_str(data).ok();
        let headers = HeaderMap::new();
        let key = queue.key(&KeySource { body: json.as_ref(), headers: &headers, subject: None, application: None });
        let patience = Duration::from_millis(u64::from(queue.source.confirm_timeout_ms));
        let message = Message { id, queue, event, key };
        self.queues.brokers.publish(&message, patience).await.map_err(|error| error.to_string())?;
        let body_hash = blake3::hash(data.as_bytes()).to_hex().to_string();
        let task = NewTask {
            id,
            queue: name,
            application: None,
            subject: None,
            body_hash,
            callback_url: None,
            is_idempotent: false,
            created_at: now,
        };
        self.queues.tasks.note(task).await;
        Ok(())
    }
}
