//! The end-to-end tests, mirrored to the rooms. One binary, because linking it takes longer than running most of them.

#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]

mod admin;
mod commands;
mod database;
mod drain;
mod gateway;
mod harness;
mod http2;
mod queues;
mod quickstart;
mod reload;
mod rooms;
mod settings_doc;
mod snapshot_file;
mod tls;
