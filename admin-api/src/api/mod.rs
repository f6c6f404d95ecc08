//! The handlers, one file a concern, and what they share: bodies, query parameters, conditions, pages, writes and waits.

pub(crate) mod conditional;
pub(crate) mod config;
pub(crate) mod entities;
pub(crate) mod explain;
pub(crate) mod itself;
pub(crate) mod keys;
pub(crate) mod members;
pub(crate) mod nodes;

mod body;
mod page;
mod query;
mod target;
mod wait;
mod write;

/// Of a request's body.
pub(crate) const BODY_LIMIT: usize = 10 << 20;

pub(crate) use explain::{Explained, Question};
pub(crate) use keys::{IssueKey, KeyView, PatchKey, RotateKey, ShownKey};
pub(crate) use nodes::NodeView;
pub(crate) use page::{LARGEST_PAGE, USUAL_PAGE};
pub(crate) use wait::WaitingFor;
