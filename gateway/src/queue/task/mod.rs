//! Tasks: what became of requests that were accepted for later.

mod id;
mod record;

pub(crate) use id::{TaskId, TaskKeys};
pub(crate) use record::{Claim, NewTask, Tasks};
