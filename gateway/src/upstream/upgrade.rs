//! Connections for requests that ask to switch protocols (WebSockets).
//!
//! Pingora tells the backend's side that such a request has no body, and ends the connection if that word comes after the
//! backend's 101: which of the two is seen first is a toss-up when the backend answers at once (its #946). On these connections
//! the first read behind a write waits for a few turns of the task, in which the word arrives.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use async_trait::async_trait;
use pingora::connectors::l4::Connect;
use pingora::protocols::l4::ext::set_tcp_keepalive;
use pingora::protocols::l4::socket::SocketAddr;
use pingora::protocols::l4::stream::Stream;
use pingora::protocols::l4::virt::{VirtualSockOpt, VirtualSocket, VirtualSocketStream};
use pingora::upstreams::peer::HttpPeer;
use pingora::{Error, ErrorType, OrErr, Result};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// One would do where the other side of the proxy has its turn first.
const TURNS: u8 = 4;

/// Makes `peer` one for a request that asks to switch protocols.
pub(crate) fn for_upgrade(peer: &mut HttpPeer) {
    // Kept apart from the connections of other requests, which are pooled.
    peer.group_key = !peer.group_key;
    peer.options.custom_l4 = Some(Arc::new(Dial { patience: peer.options.connection_timeout }));
}

#[derive(Debug)]
struct Dial {
    patience: Option<Duration>,
}

#[async_trait]
impl Connect for Dial {
    async fn connect(&self, address: &SocketAddr) -> Result<Stream> {
        let SocketAddr::Inet(address) = address else {
            return Error::e_explain(ErrorType::ConnectError, "the backend has no address of the internet");
        };
        let patience = self.patience.unwrap_or(Duration::MAX);
        let connected = tokio::time::timeout(patience, TcpStream::connect(address)).await;
        let stream = connected
            .or_err(ErrorType::ConnectTimedout, "while connecting for an upgrade")?
            .map_err(|error| Error::because(error_type(&error), "while connecting for an upgrade", error))?;
        Ok(VirtualSocketStream::new(Box::new(Deferred { stream, turns: 0 })).into())
    }
}

fn error_type(error: &io::Error) -> ErrorType {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => ErrorType::ConnectRefused,
        io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => ErrorType::ConnectNoRoute,
        io::ErrorKind::TimedOut => ErrorType::ConnectTimedout,
        _ => ErrorType::ConnectError,
    }
}

#[derive(Debug)]
struct Deferred {
    stream: TcpStream,
    /// To be waited for before the next read.
    turns: u8,
}

impl AsyncRead for Deferred {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if let Some(left) = self.turns.checked_sub(1) {
            self.turns = left;
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Deferred {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.turns = TURNS;
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

impl VirtualSocket for Deferred {
    fn set_socket_option(&self, option: VirtualSockOpt) -> io::Result<()> {
        match option {
            VirtualSockOpt::NoDelay => self.stream.set_nodelay(true),
            VirtualSockOpt::KeepAlive(keepalive) => {
                set_tcp_keepalive(&self.stream, &keepalive).map_err(|error| io::Error::other(error.to_string()))
            }
            _ => Ok(()),
        }
    }
}
