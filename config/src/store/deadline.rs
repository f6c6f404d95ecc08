//! The deadline of every step: a database that hangs costs a caller a few seconds, never its life.

use std::future::Future;
use std::time::Duration;

use super::{Result, StoreError};

/// The step's outcome, or [`StoreError::TimedOut`] when it takes longer than `limit`.
pub(super) async fn within<T>(limit: Duration, step: impl Future<Output = Result<T, sqlx::Error>> + Send) -> Result<T> {
    match tokio::time::timeout(limit, step).await {
        Ok(outcome) => outcome.map_err(StoreError::from),
        Err(_) => Err(StoreError::timed_out(limit)),
    }
}
