//! How full a queue is: of an embedded one as the database says, of others as the gateways hear it from their brokers.

use axum::extract::{Path, State};
use axum::response::Response;
use gateway_config::change::tag_of_member;
use gateway_config::model::{Broker, Kind, Timestamp};
use gateway_config::store::{QueueDepth, QueueReport};
use http::HeaderMap;
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;
use uuid::Uuid;

use super::queue;
use crate::api::conditional::read;
use crate::api::query::NoQuery;
use crate::auth::Viewer;
use crate::error::Failure;
use crate::state::AppState;

/// Gateways report every ten seconds; one that has not for so long says nothing about now.
const STALE_MILLIS: i64 = 60_000;

/// How a queue is doing. What is null is not known.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = QueueStatus)]
pub(crate) struct StatusView {
    #[schema(example = "mails")]
    queue: String,
    broker: Broker,
    /// Every gateway that reported within a minute sees the broker.
    broker_up: Option<bool>,
    /// Messages that wait, be it for their next try.
    waiting: Option<u64>,
    /// Messages that are being delivered. Of embedded queues only.
    in_delivery: Option<u64>,
    /// Dead letters. Of embedded queues only.
    dead: Option<u64>,
    /// When the oldest message was accepted that is not dead. Of embedded queues only.
    #[schema(value_type = Option<String>, format = DateTime)]
    oldest_at: Option<Timestamp>,
    /// How long that is ago.
    oldest_age_seconds: Option<u64>,
    /// Who takes messages from the broker. An embedded queue has none: gateways push its messages.
    consumers: Option<u64>,
    /// Messages that wait on gateways' disks for the broker.
    spooled: Option<u64>,
    /// As each gateway sees it, the newest report first.
    nodes: Vec<SeenByNode>,
}

/// A queue as one gateway sees it.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = QueueSeenByNode)]
pub(crate) struct SeenByNode {
    /// The gateway's id, as under `/admin/nodes`.
    node: Uuid,
    /// When it reported. What is older than a minute says nothing about now, and is null.
    #[schema(value_type = String, format = DateTime)]
    at: Timestamp,
    /// Whether the broker answers this gateway.
    broker_up: Option<bool>,
    /// Messages that wait at the broker, where it tells.
    messages: Option<u64>,
    /// Who takes messages there, where it tells.
    consumers: Option<u64>,
    /// Messages that wait on this gateway's disk for the broker.
    spooled: Option<u64>,
}

impl SeenByNode {
    fn of(report: &QueueReport, now: Timestamp) -> Self {
        let QueueReport { node, messages, consumers, broker_up, spooled, at, .. } = report;
        let (node, at) = (*node, *at);
        if now.millis_since(at) > STALE_MILLIS {
            return Self { node, at, broker_up: None, messages: None, consumers: None, spooled: None };
        }
        let (broker_up, spooled) = (Some(*broker_up), Some(*spooled));
        Self { node, at, broker_up, messages: *messages, consumers: *consumers, spooled }
    }
}

pub(crate) async fn show(
    _: Viewer,
    State(state): State<AppState>,
    Path(name): Path<String>,
    _: NoQuery,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    let queue = queue(&state, &name).await?;
    let now = state.clock.now();
    let asked = async {
        let reports = state.store.queue_reports(queue.id).await?;
        let depth = match queue.broker {
            Broker::Embedded => Some(state.store.queue_depth(&name, now).await?),
            Broker::Rabbitmq | Broker::Redis | Broker::Kafka => None,
        };
        Ok::<_, Failure>((reports, depth))
    };
    let (reports, depth) = state.ask(asked).await?;
    let nodes = reports.iter().map(|report| SeenByNode::of(report, now)).collect();
    let view = view(name, queue.broker, depth.as_ref(), nodes, now);
    let value = serde_json::to_value(view).unwrap_or(Value::Null);
    Ok(read(&headers, &tag_of_member(Kind::Queue, &value), &value))
}

fn view(
    queue: String,
    broker: Broker,
    depth: Option<&QueueDepth>,
    nodes: Vec<SeenByNode>,
    now: Timestamp,
) -> StatusView {
    let ups: Vec<bool> = nodes.iter().filter_map(|node| node.broker_up).collect();
    let spooled: Vec<u64> = nodes.iter().filter_map(|node| node.spooled).collect();
    let told = StatusView {
        queue,
        broker,
        broker_up: (!ups.is_empty()).then(|| ups.iter().all(|up| *up)),
        // All ask the same broker: the newest answer counts.
        waiting: nodes.iter().find_map(|node| node.messages),
        in_delivery: None,
        dead: None,
        oldest_at: None,
        oldest_age_seconds: None,
        consumers: nodes.iter().find_map(|node| node.consumers),
        spooled: (!spooled.is_empty()).then(|| spooled.iter().sum()),
        nodes,
    };
    let Some(&QueueDepth { waiting, claimed, dead, oldest, .. }) = depth else { return told };
    let age = |oldest: Timestamp| u64::try_from(now.millis_since(oldest) / 1000).unwrap_or_default();
    StatusView {
        // The database has just answered.
        broker_up: Some(true),
        waiting: Some(waiting),
        in_delivery: Some(claimed),
        dead: Some(dead),
        oldest_at: oldest,
        oldest_age_seconds: oldest.map(age),
        consumers: None,
        ..told
    }
}
