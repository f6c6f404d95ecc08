//! Requests for later: accepted as messages, confirmed by a broker, followed as tasks.
//!
//! `accept` is a request's way through this room; `broker` is what stands behind it; `task` is what the client hears afterwards.

mod accept;
mod body;
pub(crate) mod broker;
pub(crate) mod channel;
mod event;
mod open;
mod report;
mod settings;
mod spool;
mod spooling;
pub(crate) mod task;
mod trial;
mod webhook;

use std::sync::Arc;

use gateway_config::snapshot::{Code, CompiledQueue, Refusal};
use pingora::Result;
use pingora::proxy::Session;
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use crate::flight::Flights;
use crate::live::Current;
use crate::reply;
use crate::request::RequestCtx;
use accept::{NotAccepted, Published, accept};
use broker::{Brokers, PublishError, Source};
use channel::Feeds;
use spool::Spool;
use task::{TaskId, TaskKeys, Tasks};

pub(crate) use settings::QueueSettings;

/// What queues need. It outlives every snapshot.
#[derive(Debug)]
pub(crate) struct Queues {
    keys: TaskKeys,
    tasks: Arc<Tasks>,
    brokers: Brokers,
    spool: Arc<Spool>,
    /// Requests of one `Idempotency-Key` and one body that are here at once share what came of the first. Gateways do not know of one
    /// another's: the claim in the database tells them apart.
    flights: Flights<(TaskId, String), Published>,
    feeds: Feeds,
    /// Without a slash at the end.
    public_url: Option<String>,
    /// Where workers on this machine reach the gateway, if nothing else is known.
    local_url: String,
    /// Work that outlives its request runs here, not on the proxy's threads.
    control: Handle,
    /// The gateway is stopping.
    drain: CancellationToken,
}

impl Queues {
    /// Connects to the brokers of a new snapshot before a request has to wait for that.
    pub(crate) async fn keep_warm(self: Arc<Self>, current: Arc<Current>, stop: CancellationToken) {
        let mut swaps = current.swaps();
        let keeping = async {
            loop {
                if let Some(live) = current.get() {
                    self.brokers.warm_up(&live.snapshot);
                }
                if swaps.changed().await.is_err() {
                    return;
                }
            }
        };
        stop.run_until_cancelled(keeping).await;
    }

    /// What comes to a queue's topic from now on.
    async fn follow(&self, queue: &CompiledQueue) -> std::result::Result<Box<dyn Source>, PublishError> {
        self.brokers.of(&queue.source)?.follow(queue).await
    }

    /// Where workers report, and where the client looks.
    fn status_urls(&self, id: &str, capability: Option<&str>) -> (String, String) {
        let worker = format!("{}/tasks/{id}/status", self.public_url.as_deref().unwrap_or(&self.local_url));
        let query = capability.map(|capability| format!("?capability={capability}")).unwrap_or_default();
        // A client knows best how it reached us, unless the operator knows better.
        (worker, format!("{}/tasks/{id}{query}", self.public_url.as_deref().unwrap_or_default()))
    }
}

/// Answers a request whose target is a queue.
pub(crate) async fn publish(
    queues: &Arc<Queues>,
    queue: &Arc<CompiledQueue>,
    session: &mut Session,
    ctx: &mut RequestCtx,
) -> Result<()> {
    match accept(queues, queue, session, ctx).await {
        Ok(answer) => reply::answer(session, answer, ctx.frame()).await,
        Err(not) => {
            let (refusal, problems) = match not {
                NotAccepted::Refused(refusal) => (refusal, Vec::new()),
                NotAccepted::Unfit(problems) => (Refusal::new(Code::PayloadInvalid), problems),
            };
            ctx.refused = Some(refusal.code);
            // What is left of a body that was not read to its end would be read as the next request.
            if !session.as_mut().is_body_done() {
                session.set_keepalive(None);
            }
            reply::refuse_with(session, &refusal, &problems, ctx.frame()).await
        }
    }
}
