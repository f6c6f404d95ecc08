//! A task: what became of a request that was accepted for later. No part of the configuration.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::{Application, Id, Timestamp};

/// How far a task is. It only ever goes on: queued, running, and then one of the two ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum TaskStatus {
    Queued,
    Running,
    Succeeded,
    Failed,
}

impl TaskStatus {
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
        }
    }

    /// Nothing follows.
    #[must_use]
    pub const fn is_final(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed)
    }
}

/// A task's record.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Task {
    pub id: String,
    pub queue: String,
    /// The name of the application that made it, as it was then; none for a caller without one.
    pub application: Option<String>,
    #[schema(value_type = Option<uuid::Uuid>)]
    pub application_id: Option<Id<Application>>,
    /// Who called, where a token said so.
    pub subject: Option<String>,
    pub status: TaskStatus,
    /// Of the request's body. Empty: a worker reported before the rest was written.
    pub body_hash: String,
    /// A broker answered for it.
    pub is_published: bool,
    #[schema(value_type = Option<Object>)]
    pub result: Option<Value>,
    #[schema(value_type = Option<Object>)]
    pub error: Option<Value>,
    #[schema(value_type = String)]
    pub created_at: Timestamp,
    #[schema(value_type = String)]
    pub updated_at: Timestamp,
    #[schema(value_type = Option<String>)]
    pub finished_at: Option<Timestamp>,
    /// When the record is forgotten.
    #[schema(value_type = String)]
    pub expires_at: Timestamp,
    /// Who is told at the end.
    pub callback_url: Option<String>,
}
