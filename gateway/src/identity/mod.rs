//! Who calls: API keys, tokens, and what backends are told of it.

pub(crate) mod egress;
pub(crate) mod headers;
pub(crate) mod key;
pub(crate) mod secrets;
pub(crate) mod signing;
pub(crate) mod token;
