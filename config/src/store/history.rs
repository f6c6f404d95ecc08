//! The history as people read it: generations and what each of them changed.

use async_trait::async_trait;

use super::database::Database;

/// What was written, generation by generation.
#[async_trait]
pub trait History {}

#[async_trait]
impl History for Database {}
