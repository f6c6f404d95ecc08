//! Why a change was not made.

use thiserror::Error;
use uuid::Uuid;

use crate::model::{Kind, Problem};
use crate::store::StoreError;

#[derive(Debug, Error)]
pub enum ChangeError {
    #[error(transparent)]
    Store(#[from] StoreError),
    /// What would come out does not compile, or could not be read.
    #[error("the configuration is not valid: {}", .0.first().map(ToString::to_string).unwrap_or_default())]
    Invalid(Vec<Problem>),
    #[error("there is no {what}")]
    NotFound { what: String },
    #[error("{what} exists already")]
    Exists { what: String },
    /// Somebody else wrote since it was read.
    #[error("{what} was changed meanwhile; read it again")]
    Stale { what: String },
    #[error("{kind} \"{name}\" is still used by {}", .by.join(", "))]
    Referred { kind: Kind, name: String, by: Vec<String> },
    #[error("node {node} reads configuration format {format} only; upgrade or remove it first")]
    NodeTooOld { node: Uuid, format: i32 },
}
