//! TLS with clients: certificates kept ready beside the snapshot, and handshakes that look them up.
//!
//! Pingora's own listener is not used for it: it waits a minute for a handshake, writes the client's address to the log when one fails, and
//! can't tell a client that no certificate is here for its host.

mod certificates;
mod handshake;
mod stream;

pub(crate) use certificates::Certificates;
pub(crate) use handshake::Tls;
