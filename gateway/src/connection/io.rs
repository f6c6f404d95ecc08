//! The client's side of a connection as Pingora sees it: what lies below, and an end to it when the connection is over.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use async_trait::async_trait;
use bytes::{Buf, Bytes};
use pingora::protocols::raw_connect::ProxyDigest;
use pingora::protocols::tls::{SslDigest, TlsRef};
use pingora::protocols::{
    ALPN, GetProxyDigest, GetSocketDigest, GetTimingDigest, Peek, Shutdown, SocketDigest, Ssl, Stream, TimingDigest,
    UniqueID, UniqueIDType,
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::Connection;
use super::frames::Frames;
use super::preface::{self, PREFACE};

/// A close frame for "policy violation" (RFC 6455 §7.4.1), and why.
const CLOSE: &[u8] = b"\x88\x10\x03\xf0access revoked";

#[derive(Debug)]
pub(super) struct Watched {
    inner: Stream,
    connection: Arc<Connection>,
    /// What was read to see what the client speaks, and is to be read again.
    ahead: Bytes,
    /// What the connection holds too, kept here to compare without a lock.
    waker: Option<Waker>,
    to_client: ToClient,
}

/// What is written.
#[derive(Debug)]
enum ToClient {
    /// Passed on as it comes.
    Plain,
    /// Passed on, and followed: a WebSocket.
    Frames(Frames),
    /// The close frame, of which so much is out.
    Closing(usize),
    Flushing,
    ShuttingDown,
    /// Nothing any more.
    Closed,
}

impl Watched {
    pub(super) fn new(inner: Stream, connection: Arc<Connection>) -> Self {
        Self { inner, connection, ahead: Bytes::new(), waker: None, to_client: ToClient::Plain }
    }

    pub(super) fn connection(&self) -> &Arc<Connection> {
        &self.connection
    }

    fn remember(&mut self, waker: &Waker) {
        if !self.waker.as_ref().is_some_and(|known| known.will_wake(waker)) {
            self.waker = Some(waker.clone());
            *self.connection.waker.lock() = Some(waker.clone());
        }
    }

    /// What was looked at comes first, and in the same piece what lies behind it.
    fn poll_ahead(&mut self, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let count = self.ahead.len().min(buffer.remaining());
        buffer.put_slice(self.ahead.get(..count).unwrap_or_default());
        self.ahead.advance(count);
        if self.ahead.is_empty() && buffer.remaining() > 0 {
            // Nothing there, the end or a failure: the next read will see.
            let _ = Pin::new(&mut self.inner).poll_read(context, buffer);
        }
        Poll::Ready(Ok(()))
    }

    /// Tells a WebSocket's client that it is over, as soon as no frame is half-way. Whoever speaks no such protocol just sees
    /// the end.
    fn poll_close(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            self.to_client = match &self.to_client {
                ToClient::Plain | ToClient::Closed => return Poll::Ready(Ok(())),
                ToClient::Frames(frames) if frames.is_between() => ToClient::Closing(0),
                // Who writes the rest of the frame goes on from there.
                ToClient::Frames(_) => return Poll::Pending,
                ToClient::Closing(out) => {
                    let rest = CLOSE.get(*out..).unwrap_or_default();
                    let written = ready!(Pin::new(&mut self.inner).poll_write(context, rest))?;
                    let out = out + written;
                    if out < CLOSE.len() && written > 0 { ToClient::Closing(out) } else { ToClient::Flushing }
                }
                ToClient::Flushing => {
                    ready!(Pin::new(&mut self.inner).poll_flush(context))?;
                    ToClient::ShuttingDown
                }
                ToClient::ShuttingDown => {
                    ready!(Pin::new(&mut self.inner).poll_shutdown(context))?;
                    ToClient::Closed
                }
            };
        }
    }

    /// What the proxy reads of a connection that is over: the end, once the client has been told and has closed its side.
    /// Closing at once would reset the connection and might destroy what the client is told.
    fn poll_end(&mut self, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.remember(context.waker());
        let before = buffer.filled().len();
        while !self.connection.is_cut() {
            if ready!(self.poll_close(context)).is_err() || matches!(self.to_client, ToClient::Plain) {
                break;
            }
            let read = ready!(Pin::new(&mut self.inner).poll_read(context, buffer));
            let is_at_end = read.is_err() || buffer.filled().len() == before;
            buffer.set_filled(before);
            if is_at_end {
                break;
            }
        }
        Poll::Ready(Ok(()))
    }

    /// A stream of frames, or a connection that is over.
    fn poll_write_followed(&mut self, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.connection.is_followed() && matches!(self.to_client, ToClient::Plain) {
            self.to_client = ToClient::Frames(Frames::new());
        }
        let is_over = self.connection.is_over();
        if is_over && (self.connection.is_cut() || matches!(self.to_client, ToClient::Plain)) {
            return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
        }
        self.remember(context.waker());
        if let ToClient::Frames(frames) = &mut self.to_client
            && !(is_over && frames.is_between())
        {
            let end = if is_over { frames.left_of_this(bytes) } else { bytes.len() };
            let allowed = bytes.get(..end).unwrap_or_default();
            let written = ready!(Pin::new(&mut self.inner).poll_write(context, allowed))?;
            frames.advance(allowed.get(..written).unwrap_or_default());
            return Poll::Ready(Ok(written));
        }
        // Said into the wind. Whether the goodbye is out yet is seen to by whoever reads.
        let _ = self.poll_close(context);
        Poll::Ready(Ok(bytes.len()))
    }
}

impl AsyncRead for Watched {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.connection.is_over() {
            return this.poll_end(context, buffer);
        }
        if !this.ahead.is_empty() {
            return this.poll_ahead(context, buffer);
        }
        let before = buffer.filled().len();
        let polled = Pin::new(&mut this.inner).poll_read(context, buffer);
        let is_over = match &polled {
            Poll::Ready(Ok(())) => buffer.filled().len() > before && !this.connection.came(),
            Poll::Ready(Err(_)) => false,
            Poll::Pending => {
                this.remember(context.waker());
                this.connection.is_over()
            }
        };
        if is_over {
            buffer.set_filled(before);
            return this.poll_end(context, buffer);
        }
        polled
    }
}

impl AsyncWrite for Watched {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if this.connection.is_ordinary() {
            return Pin::new(&mut this.inner).poll_write(context, bytes);
        }
        this.poll_write_followed(context, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if this.connection.is_ordinary() {
            return Pin::new(&mut this.inner).poll_write_vectored(context, slices);
        }
        let first = slices.iter().find(|slice| !slice.is_empty());
        this.poll_write_followed(context, first.map_or(&[], |slice| slice))
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_shutdown(context)
    }
}

#[async_trait]
impl Shutdown for Watched {
    async fn shutdown(&mut self) {
        self.inner.shutdown().await;
    }
}

#[async_trait]
impl Peek for Watched {
    /// Asked once for each connection that may speak HTTP/2, before anything is read.
    async fn try_peek(&mut self, buffer: &mut [u8]) -> io::Result<bool> {
        let have = preface::look(self, buffer).await?;
        let seen = buffer.get(..have).unwrap_or_default();
        self.ahead = Bytes::copy_from_slice(seen);
        if seen == PREFACE {
            self.connection.speak_http2();
        }
        Ok(true)
    }
}

impl UniqueID for Watched {
    fn id(&self) -> UniqueIDType {
        self.inner.id()
    }
}

impl Ssl for Watched {
    fn get_ssl(&self) -> Option<&TlsRef> {
        self.inner.get_ssl()
    }

    fn get_ssl_digest(&self) -> Option<Arc<SslDigest>> {
        self.inner.get_ssl_digest()
    }

    fn selected_alpn_proto(&self) -> Option<ALPN> {
        self.inner.selected_alpn_proto()
    }
}

impl GetTimingDigest for Watched {
    /// Nobody asks, and the list would be allocated for every request.
    fn get_timing_digest(&self) -> Vec<Option<TimingDigest>> {
        Vec::new()
    }

    fn get_read_pending_time(&self) -> Duration {
        self.inner.get_read_pending_time()
    }

    fn get_write_pending_time(&self) -> Duration {
        self.inner.get_write_pending_time()
    }
}

impl GetProxyDigest for Watched {
    fn get_proxy_digest(&self) -> Option<Arc<ProxyDigest>> {
        self.inner.get_proxy_digest()
    }

    fn set_proxy_digest(&mut self, digest: ProxyDigest) {
        self.inner.set_proxy_digest(digest);
    }
}

impl GetSocketDigest for Watched {
    fn get_socket_digest(&self) -> Option<Arc<SocketDigest>> {
        self.inner.get_socket_digest()
    }

    fn set_socket_digest(&mut self, digest: SocketDigest) {
        self.inner.set_socket_digest(digest);
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

    use super::*;
    use crate::connection::{Patience, Watch};

    const HEAD: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\n\r\n";
    const FRAME: &[u8] = b"\x81\x05hello";

    fn websocket() -> (DuplexStream, Stream, Arc<Connection>) {
        let (client, server) = tokio::io::duplex(4096);
        let connection = Arc::new(Watch::new(Patience { idle: None, head: None })).add();
        connection.begin_request();
        connection.follow_frames();
        (client, Box::new(Watched::new(Box::new(server), connection.clone())), connection)
    }

    fn poll_read(io: &mut Stream) -> Poll<usize> {
        let mut bytes = [0; 64];
        let mut buffer = ReadBuf::new(&mut bytes);
        let polled = Pin::new(io).poll_read(&mut Context::from_waker(Waker::noop()), &mut buffer);
        polled.map(|read| read.map_or(0, |()| buffer.filled().len()))
    }

    #[tokio::test]
    async fn the_client_of_a_websocket_is_told_between_two_frames() {
        let (mut client, mut io, connection) = websocket();
        io.write_all(HEAD).await.unwrap();
        io.write_all(&FRAME[..3]).await.unwrap();
        connection.end();
        assert!(poll_read(&mut io).is_pending(), "a frame is half-way");
        let rest = [&FRAME[3..], FRAME].concat();
        assert_eq!(io.write(&rest).await.unwrap(), FRAME.len() - 3, "no further than the frame that has begun");
        io.write_all(FRAME).await.unwrap();
        assert!(poll_read(&mut io).is_pending(), "the client has not closed yet");
        let mut received = Vec::new();
        client.read_to_end(&mut received).await.unwrap();
        assert_eq!(received, [HEAD, FRAME, CLOSE].concat());
        client.write_all(b"what it still says is left out").await.unwrap();
        assert!(poll_read(&mut io).is_pending());
        drop(client);
        assert_eq!(poll_read(&mut io), Poll::Ready(0));
    }

    #[tokio::test]
    async fn whoever_does_not_close_is_cut() {
        let (_client, mut io, connection) = websocket();
        io.write_all(HEAD).await.unwrap();
        connection.end();
        assert!(poll_read(&mut io).is_pending());
        connection.cut();
        assert_eq!(poll_read(&mut io), Poll::Ready(0));
        assert!(io.write(FRAME).await.is_err());
    }

    #[tokio::test]
    async fn other_streams_just_end() {
        let (client, server) = tokio::io::duplex(4096);
        let connection = Arc::new(Watch::new(Patience { idle: None, head: None })).add();
        connection.begin_request();
        let mut io: Stream = Box::new(Watched::new(Box::new(server), connection.clone()));
        io.write_all(b"data: 1\n\n").await.unwrap();
        assert!(poll_read(&mut io).is_pending());
        connection.end();
        assert_eq!(poll_read(&mut io), Poll::Ready(0));
        assert!(io.write(b"data: 2\n\n").await.is_err());
        drop(client);
    }

    #[tokio::test]
    async fn what_was_looked_at_is_read_again_together_with_what_lies_behind_it() {
        const HEAD: &[u8] = b"POST / HTTP/1.1\r\nHost: a.example\r\n\r\n";
        let (mut client, server) = tokio::io::duplex(4096);
        let watch = Arc::new(Watch::new(Patience { idle: None, head: None }));
        let mut io: Stream = Box::new(Watched::new(Box::new(server), watch.add()));
        client.write_all(HEAD).await.unwrap();
        assert!(io.try_peek(&mut [0; PREFACE.len()]).await.unwrap());
        assert!(!watch.has_http2());
        let mut bytes = [0; 64];
        let read = io.read(&mut bytes).await.unwrap();
        assert_eq!(&bytes[..read], HEAD);

        let mut other: Stream = Box::new(Watched::new(Box::new(client), watch.add()));
        io.write_all(&[PREFACE, &b"\0\0\0"[..]].concat()).await.unwrap();
        assert!(other.try_peek(&mut [0; PREFACE.len()]).await.unwrap());
        assert!(watch.has_http2());
        let read = other.read(&mut bytes[..3]).await.unwrap();
        assert_eq!(&bytes[..read], b"PRI", "however little is asked for");
        drop(other);
        assert!(!watch.has_http2());
    }
}
