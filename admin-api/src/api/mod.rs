//! The handlers, one file a concern, and what they share: bodies, query parameters, conditions, pages, writes and waits.

pub(crate) mod apply;
pub(crate) mod audit;
pub(crate) mod conditional;
pub(crate) mod config;
pub(crate) mod docs;
pub(crate) mod entities;
pub(crate) mod explain;
pub(crate) mod generations;
pub(crate) mod import;
pub(crate) mod itself;
pub(crate) mod keys;
pub(crate) mod members;
pub(crate) mod nodes;
pub(crate) mod preview;
pub(crate) mod queues;
pub(crate) mod session;
pub(crate) mod tasks;
pub(crate) mod traffic;
pub(crate) mod users;

mod body;
mod page;
mod query;
mod target;
mod wait;
mod write;

/// Of a request's body.
pub(crate) const BODY_LIMIT: usize = 10 << 20;
/// Of a body that is a whole document.
pub(crate) const DOCUMENT_LIMIT: usize = 64 << 20;

pub(crate) use apply::{Report, terms};
pub(crate) use explain::{Explained, Question};
pub(crate) use generations::Between;
pub(crate) use import::OPTIONS as IMPORT_OPTIONS;
pub(crate) use keys::{IssueKey, KeyView, PatchKey, RotateKey, ShownKey};
pub(crate) use nodes::NodeView;
pub(crate) use page::{LARGEST_PAGE, USUAL_PAGE};
pub(crate) use preview::Previewed;
pub(crate) use query::{LONGEST_WAIT, duration, read_sections};
pub(crate) use session::{ChangePassword, Login, Me, Refresh, Tokens};
pub(crate) use users::{AdminView, CreateAdmin, CreateToken, PatchAdmin, ShownToken, TokenView};
pub(crate) use wait::{WaitingFor, wait_on};
