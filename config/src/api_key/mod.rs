//! API keys: what they look like, and how they are kept.
//!
//! `gk_` + 12 characters of id + `_` + 37 characters of secret + 6 of checksum, all base62. The first 15 characters are the key's
//! [prefix](crate::model::ApiKey::prefix): public, and that by which it is found. The checksum can be made only by whoever has
//! the master key, so neither typing errors nor forged keys cost a hash. Of the whole key an argon2id hash is kept, and
//! nothing else: it is shown once, when it is made.

mod hash;
mod text;

pub use hash::{Argon2Settings, HashError, HashedKey, Hasher, hash, nobodys, verify};
pub use text::{ChecksumKey, KEY_LENGTH, KeyText, NewKey, PREFIX_LENGTH, Presented, Shaped, generate, parse, shape};
