//! Gatehouse's control plane: the REST API through which configuration changes. It writes through `gateway_config::change`
//! alone, and gateways learn of it from the store; the two processes never speak to each other.

mod account;
mod api;
mod auth;
mod background;
mod check;
mod command;
mod error;
mod metrics;
mod openapi;
mod resource;
mod router;
mod server;
mod settings;
mod state;

pub use command::{command, run};
pub use openapi::document;
pub use router::router;
pub use settings::AdminToken;
pub use state::AppState;
