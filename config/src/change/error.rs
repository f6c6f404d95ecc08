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
    /// It was never made, or is not kept any more.
    #[error("there is no {}", no_generation(*.number, *.oldest, *.newest))]
    NoGeneration { number: u64, oldest: u64, newest: u64 },
    /// Somebody took a row out by hand.
    #[error("the history lacks generation {number}, so what stood at generation {wanted} can't be told")]
    Gap { number: u64, wanted: u64 },
    #[error("node {node} reads configuration format {format} only; upgrade or remove it first")]
    NodeTooOld { node: Uuid, format: i32 },
}

/// With what there is instead.
fn no_generation(number: u64, oldest: u64, newest: u64) -> String {
    if oldest > newest {
        return format!("generation {number}: none is kept");
    }
    match number {
        _ if number > newest => format!("generation {number}; the newest is {newest}"),
        0 => format!("generation 0 that was written; the oldest that is kept is {oldest}"),
        _ => format!("generation {number} any more; the oldest that is kept is {oldest}"),
    }
}
