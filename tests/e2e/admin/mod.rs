//! The control plane, through its REST API, and as far as it shows in the gateways.

mod bodies;
mod conditions;
mod credentials;
mod entities;
mod fuzz;
mod insight;
mod preview;
mod waiting;
mod writers;
