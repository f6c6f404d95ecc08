//! What can go wrong in a store, by what the caller can do about it.

use thiserror::Error;

use crate::model::Problem;

#[derive(Debug, Error)]
pub enum StoreError {
    /// The database is closed, hung, full or locked. The same call may succeed later.
    #[error("the database is not available: {0}")]
    Unavailable(#[source] sqlx::Error),
    /// It did not answer in time; a write may or may not have happened.
    #[error("the database did not answer within {0} ms")]
    TimedOut(u64),
    /// A row holds what the model can't read.
    #[error("a row is spoilt: {0}")]
    Spoilt(Problem),
    /// The tables are missing or of another version.
    #[error("the database's tables are not ready: {0}; run `admin-api migrate`")]
    NotMigrated(String),
    #[error("could not migrate the database: {0}")]
    Migration(#[from] sqlx::migrate::MigrateError),
    #[error("\"{0}\" can't be used as the database: {1}")]
    BadUrl(String, String),
}

impl StoreError {
    /// Worth trying again, and no fault of the request.
    #[must_use]
    pub fn is_unavailable(&self) -> bool {
        matches!(self, Self::Unavailable(_) | Self::TimedOut(_))
    }
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        Self::Unavailable(error)
    }
}
