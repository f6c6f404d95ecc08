//! The behaviour of each policy that needs more than a decision: state, or a look at the body.

pub(crate) mod body;
pub(crate) mod limits;
pub(crate) mod screening;
