//! A test message: a gateway publishes it by the very way that requests take, and says what came of it. The admin API reaches no
//! broker by itself, and would not know what gateways can reach.

use std::time::Duration;

use axum::extract::{Path, State};
use axum::response::Response;
use gateway_config::clock::new_id;
use gateway_config::model::{Action, NodeState};
use gateway_config::store::{QueueTest, QueueTestState};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::time::{Instant, sleep};
use utoipa::ToSchema;
use uuid::Uuid;

use super::{note, queue};
use crate::api::body::{SmallBody, read};
use crate::api::conditional::json;
use crate::api::query::NoQuery;
use crate::auth::Operator;
use crate::error::Failure;
use crate::state::AppState;

/// Gateways look for tests every second, and brokers take two seconds at most unless their queue says otherwise.
const PATIENCE: Duration = Duration::from_secs(5);
const BETWEEN_LOOKS: Duration = Duration::from_millis(50);

/// What to publish.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct TestMessage {
    /// The event's `data`. It is not checked against the queue's schema. Absent: `{"test": true}`.
    #[serde(default)]
    #[schema(value_type = Value)]
    data: Option<Value>,
}

/// The broker answered for a test message.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = TestPublished)]
pub(crate) struct Tested {
    /// Always true: what was not published is 503.
    published: bool,
    /// The gateway that published it.
    node: Uuid,
    /// Its task, by which `/admin/tasks` tells what the worker made of it.
    task_id: String,
}

pub(crate) async fn publish(
    Operator(caller): Operator,
    State(state): State<AppState>,
    Path(name): Path<String>,
    _: NoQuery,
    SmallBody(body): SmallBody,
) -> Result<Response, Failure> {
    // serde takes a list for a struct, field by field.
    if !body.is_object() {
        return Err(Failure::invalid_at("", "must be a JSON object"));
    }
    let TestMessage { data } = read(body)?;
    let queue = queue(&state, &name).await?;
    if !queue.is_active {
        return Err(Failure::conflict(format!("queue \"{name}\" is not active: it takes no messages")));
    }
    if !is_any_gateway_live(&state).await? {
        return Err(Failure::queue_unavailable("no gateway is live that could publish it"));
    }
    let asked_at = state.clock.now();
    let test = QueueTest { id: new_id(), queue: queue.id, data: data.map(|data| data.to_string()), asked_at };
    note(&state, &caller.actor, Action::QueueTest, format!("publish a test message to queue {name}")).await?;
    state.ask(state.store.ask_queue_test(&test)).await?;
    outcome(follow(&state, test.id).await?)
}

async fn is_any_gateway_live(state: &AppState) -> Result<bool, Failure> {
    let now = state.clock.now();
    Ok(state.ask(state.store.nodes()).await?.iter().any(|node| node.state(now) == NodeState::Live))
}

/// Until its outcome is there or nobody can wait any more. Then the test is taken back.
async fn follow(state: &AppState, test: Uuid) -> Result<QueueTestState, Failure> {
    let deadline = Instant::now() + PATIENCE;
    while Instant::now() < deadline && !state.stopping.is_cancelled() {
        match state.ask(state.store.queue_test(test)).await? {
            Some(QueueTestState::Waiting | QueueTestState::Taken { .. }) => sleep(BETWEEN_LOOKS).await,
            Some(_) | None => break,
        }
    }
    let last = state.ask(state.store.withdraw_queue_test(test, state.clock.now())).await?;
    Ok(last.unwrap_or(QueueTestState::Waiting))
}

fn outcome(state: QueueTestState) -> Result<Response, Failure> {
    match state {
        QueueTestState::Published { node, task } => {
            let published = Tested { published: true, node, task_id: task };
            Ok(json(&serde_json::to_value(published).unwrap_or(Value::Null)))
        }
        QueueTestState::Failed { node, task, error } => {
            Err(Failure::queue_unavailable(format!("gateway {node} could not publish task {task}: {error}")))
        }
        QueueTestState::Taken { node, task } => Err(Failure::queue_unavailable(format!(
            "gateway {node} has got no answer from the broker within 5 s; task {task} may be published still"
        ))),
        QueueTestState::Waiting => {
            Err(Failure::queue_unavailable("no gateway that knows this queue took the test within 5 s"))
        }
    }
}
