//! Who calls: API keys, tokens, and what backends are told of it.

mod caller;
pub(crate) mod egress;
pub(crate) mod headers;
pub(crate) mod key;
pub(crate) mod secrets;
pub(crate) mod signing;
pub(crate) mod token;

pub(crate) use caller::{Identity, Presented, claims};
pub(crate) use signing::{JWKS_CACHE_CONTROL, Signer};
