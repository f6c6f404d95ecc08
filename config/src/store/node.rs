//! The fleet's nodes: what each reported last.

use serde_json::Value;
use uuid::Uuid;

use crate::model::{Node, Timestamp};

use super::Result;
use super::session::{Cell, Record, Session};
use super::table::Holds;
use super::write::json;

const REPORT: &str = "INSERT INTO gateway_node \
    (id, version, format, address, generation, digest, degraded, last_seen, has_left, left_at) \
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) ON CONFLICT (id) DO UPDATE SET version = excluded.version, \
    format = excluded.format, address = excluded.address, generation = excluded.generation, digest = excluded.digest, \
    degraded = excluded.degraded, last_seen = excluded.last_seen, has_left = excluded.has_left, left_at = excluded.left_at";
const FORGET: &str = "DELETE FROM gateway_node WHERE has_left AND left_at < $1";
const LEAVE: &str = "UPDATE gateway_node SET has_left = TRUE, left_at = $2 WHERE id = $1";
const LIST: &str = "SELECT id, version, format, address, generation, digest, degraded, last_seen, has_left \
    FROM gateway_node ORDER BY id";

const SHAPE: [Holds; 9] = [
    Holds::Id,
    Holds::Text,
    Holds::Integer,
    Holds::Text,
    Holds::Integer,
    Holds::Text,
    Holds::Json,
    Holds::Time,
    Holds::Boolean,
];
const FIELDS: [&str; 9] =
    ["id", "version", "format", "address", "generation", "digest", "degraded", "lastSeen", "hasLeft"];

/// Nodes that left are shown for this long, then forgotten.
const SHOWN_MICROS: i64 = 24 * 60 * 60 * 1_000_000;

/// A node that reports is running, so a report also takes back that an admin marked it as left.
pub(super) async fn report(session: &mut dyn Session, node: &Node) -> Result<()> {
    let seen = node.last_seen.micros();
    let cells = vec![
        Cell::Id(Some(node.id)),
        Cell::text(&node.version),
        Cell::Integer(Some(i64::from(node.format))),
        Cell::text(&node.address),
        Cell::Integer(i64::try_from(node.generation).ok()),
        Cell::text(&node.digest),
        json("degraded", &node.degraded)?,
        Cell::Integer(Some(seen)),
        Cell::Boolean(Some(node.has_left)),
        Cell::Integer(node.has_left.then_some(seen)),
    ];
    session.execute(REPORT, cells).await?;
    session.execute(FORGET, vec![Cell::Integer(Some(seen.saturating_sub(SHOWN_MICROS)))]).await?;
    Ok(())
}

pub(super) async fn leave(session: &mut dyn Session, id: Uuid, now: Timestamp) -> Result<bool> {
    let touched = session.execute(LEAVE, vec![Cell::Id(Some(id)), Cell::Integer(Some(now.micros()))]).await?;
    Ok(touched > 0)
}

pub(super) async fn list(session: &mut dyn Session) -> Result<Vec<Node>> {
    let rows = session.fetch(LIST, Vec::new(), &SHAPE).await?;
    Ok(rows.into_iter().filter_map(read).collect())
}

/// A spoilt row is one less node: the node writes it anew within a second.
fn read(row: Record) -> Option<Node> {
    let fields = FIELDS.iter().zip(row).filter_map(|(name, value)| Some(((*name).to_owned(), value.ok()?)));
    serde_json::from_value(Value::Object(fields.collect()))
        .inspect_err(|error| tracing::warn!(%error, "a row of gateway_node can't be read"))
        .ok()
}
