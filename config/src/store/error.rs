//! What can go wrong in a store, by what the caller can do about it. No variant holds a URL with its password or the values of
//! a statement.

use std::time::Duration;

use sqlx::error::{DatabaseError, ErrorKind};
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
    /// A row holds what the model can't read, or an entity holds what no row can.
    #[error("a row is spoilt: {0}")]
    Spoilt(Problem),
    /// The database refused a write by a rule of its own, such as a name that is taken; nothing of the transaction stays.
    #[error("the database refused to store it: {0}")]
    Refused(String),
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

    pub(super) fn timed_out(limit: Duration) -> Self {
        Self::TimedOut(u64::try_from(limit.as_millis()).unwrap_or(u64::MAX))
    }
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        match error {
            sqlx::Error::Database(ref fault) => classify(fault.as_ref()).unwrap_or(Self::Unavailable(error)),
            sqlx::Error::Migrate(fault) => Self::Migration(*fault),
            sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_) => {
                Self::Spoilt(Problem::new("database", error.to_string()))
            }
            sqlx::Error::Encode(_) | sqlx::Error::InvalidArgument(_) => Self::Refused(error.to_string()),
            other => Self::Unavailable(other),
        }
    }
}

/// What the database itself says; `None` when it may say otherwise later.
fn classify(fault: &dyn DatabaseError) -> Option<StoreError> {
    // Postgres puts values into the error's detail, never into its message.
    let message = fault.message();
    let code = fault.code();
    let code = code.as_deref().unwrap_or("");
    let lacks_table = ["42P01", "42703", "3F000"].contains(&code)
        || ["no such table", "no such column", "has no column named"].iter().any(|words| message.contains(words));
    if lacks_table {
        return Some(StoreError::NotMigrated(message.to_owned()));
    }
    // Class 22: a value that can't be stored, such as a text that is no UTF-8.
    if fault.kind() != ErrorKind::Other || code.starts_with("22") || code.starts_with("23") {
        return Some(StoreError::Refused(message.to_owned()));
    }
    None
}
