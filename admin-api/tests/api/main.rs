//! Requests against the whole router in process, over a SQLite file: one test binary, whose files mirror `src/api`.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::needless_pass_by_value,
    reason = "what tests share fails by panicking, as tests do, and takes `json!(…)` as it comes"
)]

mod auth;
mod client;
mod command;
mod conditional;
mod config;
mod database_away;
mod described;
mod errors;
mod explain;
mod itself;
mod keys;
mod lists;
mod members;
mod nodes;
mod resources;
mod routes;
mod serve;
mod services;
mod wait;
