//! Proofs of the pure core (compiling, matching, deciding, applying changes) and of the door through which it changes.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test's helpers fail by panicking, as tests do")]

mod access;
mod applying;
mod changing;
mod costs;
mod deciding;
mod golden;
mod keys;
mod matching;
mod naive;
mod versions;
mod world;
