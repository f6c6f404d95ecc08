//! Small, honest HTTP services and workers to stand behind Gatehouse: what its quickstart, demo and tests route to. They are strangers to it:
//! they know HTTP and the brokers' protocols, keep their own data in SQLite files, and import none of its crates.

pub mod clock;
mod command;
mod database;
mod exchange;
mod gatekeeper;
pub mod server;
pub mod services;
mod token;
pub mod workers;

pub use command::{command, run};
