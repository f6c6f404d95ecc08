//! A generation: one write transaction, numbered without gaps in commit order.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Kind, Timestamp};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Generation {
    pub number: u64,
    #[schema(value_type = String)]
    pub created_at: Timestamp,
    pub actor: String,
    pub summary: String,
    pub changes: Vec<EntityChange>,
}

/// The same in a listing, without what it changed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct GenerationLine {
    pub number: u64,
    #[schema(value_type = String)]
    pub created_at: Timestamp,
    pub actor: String,
    #[schema(example = "update route orders")]
    pub summary: String,
}

/// An entity before and after; never with key hashes. Of an application's keys only those are listed that differ.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct EntityChange {
    pub kind: Kind,
    pub name: String,
    #[schema(value_type = Option<Object>)]
    pub before: Option<serde_json::Value>,
    #[schema(value_type = Option<Object>)]
    pub after: Option<serde_json::Value>,
}
