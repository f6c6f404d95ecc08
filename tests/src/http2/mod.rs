//! HTTP/2, in plain text by prior knowledge or over TLS: a client whose requests share a connection, gRPC on top of it, and frames by hand for what
//! no sound client sends.

mod grpc;
mod raw;

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use h2::client::{ResponseFuture, SendRequest};
use h2::{RecvStream, SendStream};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_rustls::client::TlsStream;

use crate::client::{Answer, Request};
use crate::wire::Headers;

pub use grpc::{Grpc, Messages, framed};
pub use raw::{Outcome, PREFACE, RawHttp2};

const DEADLINE: Duration = Duration::from_secs(30);

/// A connection.
pub struct Http2 {
    requests: SendRequest<Bytes>,
    address: SocketAddr,
    scheme: &'static str,
    connection: JoinHandle<Result<(), h2::Error>>,
}

impl fmt::Debug for Http2 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Http2").field("address", &self.address).finish_non_exhaustive()
    }
}

impl Http2 {
    pub async fn open(address: SocketAddr) -> Self {
        Self::open_with(&h2::client::Builder::new(), address).await
    }

    /// With windows that let the other side send as much as it likes.
    pub async fn open_wide(address: SocketAddr) -> Self {
        const WIDE: u32 = 1 << 30;
        let mut builder = h2::client::Builder::new();
        builder.initial_window_size(WIDE).initial_connection_window_size(WIDE);
        Self::open_with(&builder, address).await
    }

    async fn open_with(builder: &h2::client::Builder, address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.unwrap_or_else(|error| panic!("could not connect: {error}"));
        let _ = stream.set_nodelay(true);
        Self::over(builder, stream, address, "http").await
    }

    /// Where the handshake has agreed upon it.
    pub(crate) async fn over_tls(stream: TlsStream<TcpStream>, address: SocketAddr) -> Self {
        Self::over(&h2::client::Builder::new(), stream, address, "https").await
    }

    async fn over<S>(builder: &h2::client::Builder, stream: S, address: SocketAddr, scheme: &'static str) -> Self
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let begun = within(builder.handshake(stream)).await;
        let (requests, connection) = begun.unwrap_or_else(|error| panic!("{address} speaks no HTTP/2: {error}"));
        Self { requests, address, scheme, connection: tokio::spawn(connection) }
    }

    /// The whole answer; the error with which the stream or the connection ended, if there is none.
    pub async fn try_send(&self, request: &Request) -> Result<Answer, h2::Error> {
        let (mut exchange, mut to) = self.begin(request, request.sent_body().is_none()).await?;
        if let Some(body) = request.sent_body() {
            // The answer may have come before all of it is out.
            let _ = send_all(&mut to, body.clone()).await;
        }
        exchange.whole().await
    }

    pub async fn send(&self, request: &Request) -> Answer {
        self.try_send(request).await.unwrap_or_else(|error| panic!("no answer to {request:?}: {error}"))
    }

    /// Sends a head. `is_all`: there is no body.
    pub async fn begin(&self, request: &Request, is_all: bool) -> Result<(Exchange, SendStream<Bytes>), h2::Error> {
        let host = request.named_host().map_or_else(|| self.address.to_string(), str::to_owned);
        let uri = format!("{}://{host}{}", self.scheme, request.target());
        let mut head = http::Request::builder().method(request.method()).uri(uri).version(http::Version::HTTP_2);
        for (name, value) in request.headers() {
            head = head.header(name.to_ascii_lowercase(), value);
        }
        let head = head.body(()).unwrap_or_else(|error| panic!("{request:?} is no request: {error}"));
        let mut requests = within(self.requests.clone().ready()).await?;
        let (coming, to) = requests.send_request(head, is_all)?;
        Ok((Exchange { coming: Some(coming), body: None, status: 0, headers: Headers::default() }, to))
    }

    /// Waits for the end that the other side gives the connection: this one would go on.
    pub async fn ended(&mut self) -> Result<(), h2::Error> {
        within(&mut self.connection).await.expect("the connection's task does not panic")
    }
}

/// An answer as it comes.
#[derive(Debug)]
pub struct Exchange {
    coming: Option<ResponseFuture>,
    body: Option<RecvStream>,
    pub status: u16,
    pub headers: Headers,
}

impl Exchange {
    /// Waits for the head.
    pub async fn head(&mut self) -> Result<(), h2::Error> {
        let Some(coming) = self.coming.take() else { return Ok(()) };
        let (head, body) = within(coming).await?.into_parts();
        self.status = head.status.as_u16();
        self.headers = Headers::from(&head.headers);
        self.body = Some(body);
        Ok(())
    }

    /// The next piece; `None` at the end of the body.
    pub async fn piece(&mut self) -> Result<Option<Bytes>, h2::Error> {
        self.head().await?;
        let body = self.body();
        while let Some(piece) = within(body.data()).await.transpose()? {
            let _ = body.flow_control().release_capacity(piece.len());
            // An empty frame says no more than that the body may end with it.
            if !piece.is_empty() {
                return Ok(Some(piece));
            }
        }
        Ok(None)
    }

    /// What comes behind the body.
    pub async fn trailers(&mut self) -> Result<Headers, h2::Error> {
        let trailers = within(self.body().trailers()).await?;
        Ok(trailers.as_ref().map(Headers::from).unwrap_or_default())
    }

    /// Reads to the end.
    pub async fn whole(&mut self) -> Result<Answer, h2::Error> {
        let mut body = BytesMut::new();
        while let Some(piece) = self.piece().await? {
            body.extend_from_slice(&piece);
        }
        Ok(Answer { status: self.status, headers: self.headers.clone(), body: body.freeze() })
    }

    fn body(&mut self) -> &mut RecvStream {
        self.body.as_mut().expect("the head has come")
    }

    pub(crate) fn into_body(self) -> RecvStream {
        self.body.expect("the head has come")
    }
}

/// Sends all of a body, as fast as the other side takes it.
pub async fn send_all(to: &mut SendStream<Bytes>, mut body: Bytes) -> Result<(), h2::Error> {
    while !body.is_empty() {
        to.reserve_capacity(body.len());
        let room = within(std::future::poll_fn(|context| to.poll_capacity(context))).await;
        let room = room.unwrap_or(Ok(0))?;
        if room == 0 {
            return Ok(());
        }
        to.send_data(body.split_to(room.min(body.len())), false)?;
    }
    to.send_data(Bytes::new(), true)
}

async fn within<F: Future>(waiting: F) -> F::Output {
    timeout(DEADLINE, waiting).await.unwrap_or_else(|_| panic!("nothing came over HTTP/2 within {DEADLINE:?}"))
}
