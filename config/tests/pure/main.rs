//! Proofs of the pure core (compiling, matching, deciding, applying changes) and of the door through which it changes.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test's helpers fail by panicking, as tests do")]

mod access;
mod applying;
mod changing;
mod costs;
mod deciding;
mod declaring;
mod golden;
mod history;
mod keys;
mod matching;
mod naive;
mod traffic;
mod versions;
mod world;

/// Of the audit.
fn chain() -> gateway_config::model::ChainKey {
    let master = gateway_config::master_key::MasterKey::of("a text of more than 32 characters, I think");
    gateway_config::model::ChainKey::of(&master.unwrap())
}
