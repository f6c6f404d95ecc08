//! A connection on loan from a pool. One that is not known to be clean when it comes back is closed: a statement that was cut off
//! or a transaction left open would poison whoever borrowed it next. Closing also undoes the transaction.

use std::fmt;
use std::ops::{Deref, DerefMut};

use sqlx::Database;
use sqlx::pool::PoolConnection;

pub(super) struct Lease<DB: Database> {
    connection: PoolConnection<DB>,
    is_clean: bool,
}

impl<DB: Database> Lease<DB> {
    pub(super) fn new(connection: PoolConnection<DB>) -> Self {
        Self { connection, is_clean: false }
    }

    /// Nothing is open or under way on the connection: others may have it.
    pub(super) fn give_back(mut self) {
        self.is_clean = true;
    }
}

impl<DB: Database> fmt::Debug for Lease<DB> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lease").field("is_clean", &self.is_clean).finish_non_exhaustive()
    }
}

impl<DB: Database> Drop for Lease<DB> {
    fn drop(&mut self) {
        if !self.is_clean {
            self.connection.close_on_drop();
        }
    }
}

impl<DB: Database> Deref for Lease<DB> {
    type Target = DB::Connection;

    fn deref(&self) -> &Self::Target {
        &self.connection
    }
}

impl<DB: Database> DerefMut for Lease<DB> {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.connection
    }
}
