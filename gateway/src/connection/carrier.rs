//! The handle by which what a request came by is ended from outside.

use std::sync::Arc;

use pingora::protocols::http::ServerSession;
use tokio_util::sync::CancellationToken;

use super::{Connection, http2};

/// What a request came by, as far as it is the request's own.
#[derive(Clone, Debug)]
pub(crate) enum Carrier {
    /// The whole connection, until the request is over.
    Connection(Arc<Connection>),
    /// A stream of HTTP/2, among others.
    Stream(CancellationToken),
}

impl Carrier {
    pub(crate) fn of(session: &ServerSession) -> Option<Self> {
        if session.is_http2() {
            return http2::end_of_request().map(Self::Stream);
        }
        Connection::of(session.stream()).cloned().map(Self::Connection)
    }

    /// From the next answer on it is a WebSocket.
    pub(crate) fn follow_frames(&self) {
        if let Self::Connection(connection) = self {
            connection.follow_frames();
        }
    }

    /// Ends it while a request is served. The client of a WebSocket is told in a close frame; a stream of HTTP/2 is reset.
    pub(crate) fn end(&self) {
        match self {
            Self::Connection(connection) => connection.end(),
            Self::Stream(end) => end.cancel(),
        }
    }

    /// Ends it at once, whatever is half-way.
    pub(crate) fn cut(&self) {
        match self {
            Self::Connection(connection) => connection.cut(),
            Self::Stream(end) => end.cancel(),
        }
    }
}
