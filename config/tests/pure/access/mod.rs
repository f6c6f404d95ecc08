//! Who may call what, and what counts it: the facts of the design one by one, then random worlds against a judge written from
//! the design alone.

mod address;
mod application;
mod cors;
mod credentials;
mod endpoint;
mod identity;
mod judge;
mod limit;
mod public;
mod random;
mod roles;
mod scene;
mod size;
mod sticky;
mod version;
