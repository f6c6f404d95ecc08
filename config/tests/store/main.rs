//! The stores against real databases: the suite that both must pass, and what only one of them has to get right. Postgres comes
//! from `GATEHOUSE_TEST_POSTGRES`, which `tests/with-servers` sets.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod address;
mod cluster;
mod dump;
mod faults;
mod migrations;
mod postgres;
mod sqlite;
mod subject;
