//! The ways in which a request may come.

use e2e::http2::framed;
use e2e::{Connection, Failure, Gateway, Grpc, Http2, Request, TlsClient};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Transport {
    Plain,
    /// With a wish that nobody knows.
    Upgrade,
    /// A whole handshake, which a backend that speaks the protocol takes.
    WebSocket,
    Http2,
    Grpc,
    Https,
    SecureWebSocket,
    /// As ALPN agreed upon it.
    SecureHttp2,
    SecureGrpc,
}

/// The host that the gateway has a certificate for.
pub(super) const HOST: &str = "gateway.test";

impl Transport {
    pub(super) const ALL: [Self; 9] = [
        Self::Plain,
        Self::Upgrade,
        Self::WebSocket,
        Self::Http2,
        Self::Grpc,
        Self::Https,
        Self::SecureWebSocket,
        Self::SecureHttp2,
        Self::SecureGrpc,
    ];

    pub(super) fn is_grpc(self) -> bool {
        matches!(self, Self::Grpc | Self::SecureGrpc)
    }

    /// The service behind it.
    pub(super) fn service(self) -> &'static str {
        match self {
            Self::Plain | Self::Upgrade | Self::Http2 | Self::Https | Self::SecureHttp2 => "http",
            Self::WebSocket | Self::SecureWebSocket => "sockets",
            Self::Grpc | Self::SecureGrpc => "grpc",
        }
    }

    pub(super) fn success(self) -> u16 {
        if self.service() == "sockets" { 101 } else { 200 }
    }

    /// For a path in which `#` stands for the service.
    pub(super) fn request(self, path: &str) -> Request {
        let path = path.replace('#', self.service());
        match self {
            Self::Plain | Self::Http2 | Self::Https | Self::SecureHttp2 => Request::get(&path),
            Self::Upgrade => Request::get(&path).header("Connection", "Upgrade").header("Upgrade", "x"),
            Self::WebSocket | Self::SecureWebSocket => Request::get(&path)
                .header("Connection", "Upgrade")
                .header("Upgrade", "websocket")
                .header("Sec-WebSocket-Version", "13")
                .header("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
            Self::Grpc | Self::SecureGrpc => Grpc::request(&path),
        }
    }

    /// The status and the gateway's code for a refusal.
    pub(super) async fn ask(self, gateway: &Gateway, tls: &TlsClient, request: &Request) -> (u16, Option<String>) {
        match self {
            Self::Plain | Self::Upgrade | Self::WebSocket => begin(gateway.connect().await, request).await,
            Self::Https | Self::SecureWebSocket => {
                let connection = tls.clone().offering(&["http/1.1"]).connect(gateway.tls_address(), HOST).await;
                begin(connection.unwrap(), request).await
            }
            Self::Http2 | Self::Grpc => over(&Http2::open(gateway.address()).await, &self.with_body(request)).await,
            Self::SecureHttp2 | Self::SecureGrpc => {
                let connection = tls.http2(gateway.tls_address(), HOST).await.unwrap();
                over(&connection, &self.with_body(request)).await
            }
        }
    }

    /// A call of gRPC has at least one message.
    fn with_body(self, request: &Request) -> Request {
        match request.sent_body() {
            None if self.is_grpc() => request.clone().body(framed(b"")),
            _ => request.clone(),
        }
    }
}

async fn begin(mut connection: Connection, request: &Request) -> (u16, Option<String>) {
    let begun = read_head(&mut connection, request).await;
    begun.unwrap_or_else(|failure| panic!("{failure} to {request:?}"))
}

async fn read_head(connection: &mut Connection, request: &Request) -> Result<(u16, Option<String>), Failure> {
    let head = connection.begin(request).await?;
    let status = head.status().map_err(|error| Failure::NoAnswer { reused: false, error })?;
    Ok((status, head.headers.get("x-gateway-code").map(str::to_owned)))
}

async fn over(connection: &Http2, request: &Request) -> (u16, Option<String>) {
    let answer = connection.send(request).await;
    (answer.status, answer.code().map(str::to_owned))
}
