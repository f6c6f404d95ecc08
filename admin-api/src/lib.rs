//! Gatehouse's control plane: the REST API through which configuration changes. It writes through `gateway_config::change`
//! alone, and gateways learn of it from the store; the two processes never speak to each other.

mod account;
mod api;
mod audit;
mod auth;
mod background;
mod backup;
mod check;
mod command;
mod commands;
mod error;
mod first_admin;
mod import;
mod metrics;
mod openapi;
mod resource;
mod router;
mod server;
mod settings;
mod state;
mod unused;

pub use command::{command, run};
pub use openapi::document;
pub use router::router;
pub use settings::{AdminToken, SessionSettings};
pub use state::AppState;
