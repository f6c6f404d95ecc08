//! Admins, their sessions and their tokens.

use async_trait::async_trait;

use super::database::Database;

/// Who may use the admin API.
#[async_trait]
pub trait Admins {}

#[async_trait]
impl Admins for Database {}
