//! Everything that the database holds, out of one and into another.

use async_trait::async_trait;

use super::database::Database;

/// The whole of it, for backups.
#[async_trait]
pub trait Dump {}

#[async_trait]
impl Dump for Database {}
