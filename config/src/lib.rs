//! The gateway's configuration: what operators edit (`model`), where it is kept (`store`), how it changes (`change`), and
//! what it compiles to (`snapshot`), which is all that the proxy reads.

pub mod api_key;
pub mod backup;
pub mod change;
pub mod client;
pub mod clock;
pub mod document;
pub mod master_key;
pub mod model;
pub mod settings;
pub mod snapshot;
pub mod store;
pub mod strict_json;
pub mod webhook;
