//! What backends are told of the caller, signed with keys that the whole fleet shares.
