//! Where the gateway itself may fetch from: never link-local addresses, never its own operations and admin ports.
