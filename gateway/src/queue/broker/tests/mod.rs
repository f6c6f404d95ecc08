//! Brokers against real servers: those of `tests/with-servers`, or a test's own where one is to die.

mod kafka;
mod network;
mod rabbitmq;
mod rabbitmq_server;
mod redis;

use prometheus::IntGauge;

use super::contract;

fn gauge() -> IntGauge {
    IntGauge::new("up", "…").unwrap()
}

/// A server's URL from the environment.
fn server(variable: &str) -> String {
    std::env::var(variable).unwrap_or_else(|_| {
        panic!("{variable} is not set: run this as `tests/with-servers cargo nextest run -p gateway`")
    })
}
