//! Samples of recent requests, and when routes were last used. Gateways write both behind, in batches; neither is part of the
//! configuration.

use async_trait::async_trait;

use super::database::Database;

/// What came by lately.
#[async_trait]
pub trait Traffic {}

#[async_trait]
impl Traffic for Database {}
