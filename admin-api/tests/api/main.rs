//! Requests against the whole router in process, over a SQLite file: one test binary, whose files mirror `src/api`.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::needless_pass_by_value,
    reason = "what tests share fails by panicking, as tests do, and takes `json!(…)` as it comes"
)]

mod apply;
mod audit;
mod auth;
mod backup;
mod bad_input;
mod client;
mod command;
mod commands;
mod conditional;
mod config;
mod cookie;
mod database_away;
mod described;
mod docs;
mod errors;
mod examples;
mod explain;
mod export;
mod first_admin;
mod generations;
mod import;
mod itself;
mod keys;
mod lists;
mod lockout;
mod members;
mod nodes;
mod people;
mod preview;
mod queues;
mod resources;
mod routes;
mod serve;
mod services;
mod session;
mod tasks;
mod tokens;
mod traffic;
mod unused;
mod users;
mod wait;
