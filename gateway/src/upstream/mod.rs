//! Backends as they run: clusters of endpoints, their addresses, whose turn it is. All of it outlives a change of the
//! configuration that does not touch it.

mod attempt;
mod cluster;
mod endpoint;
mod pool;
mod resolve;
mod upgrade;

pub(crate) use attempt::Attempt;
pub(crate) use cluster::Clusters;
pub(crate) use endpoint::{Endpoints, POOL_IDLE};
pub(crate) use pool::Pool;
pub(crate) use resolve::{refresh_forever, resolve_new};
pub(crate) use upgrade::for_upgrade;
