//! Tasks: what became of requests that were accepted for later.
//!
//! `record` keeps them, `endpoint` answers for them, `follow` tells of their changes, `callback` tells whoever asked to be told at the end.

mod callback;
mod endpoint;
mod follow;
mod id;
mod keeper;
mod outage;
mod record;
#[cfg(test)]
mod tests;

pub(crate) use callback::{Callbacks, check_callback};
pub(crate) use endpoint::{TaskDoor, answer};
pub(crate) use id::{TaskId, TaskKeys};
pub(crate) use record::{Claim, NewTask, Tasks};
