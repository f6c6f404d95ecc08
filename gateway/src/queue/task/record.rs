//! The records of tasks: claimed before publishing where an `Idempotency-Key` demands it, written behind in batches else.

use gateway_config::model::Timestamp;

use super::TaskId;

/// A task that is about to be accepted.
#[derive(Clone, Debug)]
pub(crate) struct NewTask {
    pub(crate) id: TaskId,
    pub(crate) queue: String,
    pub(crate) application: Option<String>,
    /// By it the same body is known again.
    pub(crate) body_hash: String,
    pub(crate) callback_url: Option<String>,
    pub(crate) is_idempotent: bool,
    pub(crate) created_at: Timestamp,
}

/// Whose an `Idempotency-Key` is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Claim {
    /// Nobody's so far; or claimed before, but never published.
    New,
    /// The first answer holds; this is the status now.
    Same(&'static str),
    OtherBody,
    /// The database is away: the id is the same anyway, and workers sort it out.
    Unknown,
}

#[derive(Debug, Default)]
pub(crate) struct Tasks;

impl Tasks {
    pub(crate) async fn claim(&self, _task: &NewTask) -> Claim {
        Claim::Unknown
    }

    pub(crate) fn note(&self, _task: NewTask) {}
}
