//! What Gatehouse costs. `benches/core.rs` measures the pure core in nanoseconds; the binaries measure whole processes beside
//! bare Pingora and nginx, on one machine and in one run, by the CPU time that the kernel charges them.

pub mod admin;
pub mod compare;
pub mod consumers;
pub mod fleet;
pub mod flood;
pub mod http;
pub mod keys;
pub mod load;
pub mod memory;
pub mod nodes;
pub mod origin;
pub mod pace;
pub mod peer;
pub mod policy;
pub mod process;
pub mod queues;
pub mod reload;
pub mod routes;
pub mod stack;
pub mod statistics;
pub mod tokens;
