//! The end-to-end tests, mirrored to the rooms. One binary, because linking it takes longer than running most of them.

#![expect(clippy::expect_used, reason = "tests fail by panicking")]

mod admin;
mod database;
mod drain;
mod gateway;
mod harness;
mod reload;
mod rooms;
mod settings_doc;
mod snapshot_file;
