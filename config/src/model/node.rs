//! A gateway process as the fleet sees it.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::Timestamp;

/// A node that reported within this time is live.
pub const LIVE_MILLIS: i64 = 5000;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Node {
    pub id: Uuid,
    /// Of the program.
    pub version: String,
    /// The newest configuration format that it reads.
    pub format: i32,
    /// Where it takes traffic.
    pub address: String,
    /// The generation that it serves.
    pub generation: u64,
    /// The content hash of what it serves.
    pub digest: String,
    /// What is degraded and why; empty when nothing is.
    pub degraded: Vec<String>,
    #[schema(value_type = String, format = DateTime)]
    pub last_seen: Timestamp,
    /// It drained, or an admin removed it.
    pub has_left: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum NodeState {
    Live,
    /// Neither reported nor left.
    Silent,
    Left,
}

impl Node {
    #[must_use]
    pub fn state(&self, now: Timestamp) -> NodeState {
        if self.has_left {
            NodeState::Left
        } else if now.millis_since(self.last_seen) <= LIVE_MILLIS {
            NodeState::Live
        } else {
            NodeState::Silent
        }
    }
}
