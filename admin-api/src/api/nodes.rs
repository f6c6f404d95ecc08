//! The fleet: what each gateway reported last, and whether it serves what it should.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use gateway_config::model::{Action, Kind, Node, NodeState, Timestamp};
use gateway_config::store::Head;
use http::{HeaderMap, StatusCode};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;
use uuid::Uuid;

use super::page;
use super::query::{NoQuery, Paging};
use crate::auth::{Operator, Viewer};
use crate::error::Failure;
use crate::state::AppState;

/// A gateway process.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Node)]
pub(crate) struct NodeView {
    id: Uuid,
    /// Of the program.
    version: String,
    /// The newest configuration format that it reads.
    format: i32,
    /// Where it takes traffic.
    address: String,
    state: NodeState,
    /// The generation that it serves.
    generation: u64,
    /// The content hash of what it serves.
    digest: String,
    /// What is degraded and why; empty when nothing is.
    degraded: Vec<String>,
    /// It serves the newest generation, but not its content.
    disagrees: bool,
    /// When it reported last.
    #[schema(value_type = String)]
    last_seen: Timestamp,
}

impl NodeView {
    fn of(node: Node, head: Head, now: Timestamp) -> Self {
        let state = node.state(now);
        let is_newest = node.generation == head.generation;
        let disagrees = state == NodeState::Live && is_newest && node.digest != head.digest.to_string();
        let Node { id, version, format, address, generation, digest, degraded, last_seen, .. } = node;
        Self { id, version, format, address, state, generation, digest, degraded, disagrees, last_seen }
    }
}

pub(crate) async fn list(
    _: Viewer,
    State(state): State<AppState>,
    paging: Paging,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    let asked = async {
        // The head first: a node that moves on in between is newer than it, and so does not seem to disagree.
        let head = state.store.head().await?;
        Ok::<_, Failure>((head, state.store.nodes().await?))
    };
    let (head, nodes) = state.ask(asked).await?;
    let now = state.clock.now();
    let view = |node| serde_json::to_value(NodeView::of(node, head, now)).unwrap_or(Value::Null);
    let (items, next) = page::cut(nodes.into_iter().map(view).collect(), "id", &paging)?;
    // Any kind would do: a list's tag covers all that is in it.
    Ok(page::answer(&headers, Kind::Defaults, &items, next.as_deref()))
}

/// For a node that is gone for good: nobody waits for it any more. One that still runs reports again and is back.
pub(crate) async fn remove(
    Operator(caller): Operator,
    State(state): State<AppState>,
    axum::extract::Path(id): axum::extract::Path<String>,
    _: NoQuery,
) -> Result<Response, Failure> {
    let unknown = || Failure::not_found(&format!("node \"{id}\""));
    let node = Uuid::parse_str(&id).map_err(|_| unknown())?;
    let removed = async {
        let is_known = state.store.leave_node(node, state.clock.now()).await?;
        if is_known {
            let summary = format!("remove node {node}");
            let deed = state.deed(&caller.actor, Action::NodeRemove, summary, Vec::new());
            state.store.record(&deed, &state.chain).await?;
        }
        Ok::<_, Failure>(is_known)
    };
    if !state.ask(removed).await? {
        return Err(unknown());
    }
    tracing::info!(%node, actor = caller.actor.name, "a node was marked as left");
    Ok(StatusCode::NO_CONTENT.into_response())
}
