//! How often who may call: exact limits with bursts, in this gateway or shared by the fleet. The counters live outside of the
//! snapshot and survive every change of it.

mod gcra;
mod headers;
mod limiter;
mod store;
mod table;
#[cfg(test)]
mod tests;

pub(crate) use gcra::Nanos;
pub(crate) use headers::tell;
pub(crate) use limiter::{Limiter, Standing, Verdict};
pub(crate) use store::SharedStore;
