//! Tokens: JWTs verified by their issuer's keys, opaque ones by asking it.
