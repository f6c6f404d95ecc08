//! The ways in which a request may come.

use e2e::http2::framed;
use e2e::{Connection, Failure, Gateway, Grpc, Http2, Request};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Transport {
    Plain,
    /// With a wish that nobody knows.
    Upgrade,
    /// A whole handshake, which a backend that speaks the protocol takes.
    WebSocket,
    Http2,
    Grpc,
}

impl Transport {
    pub(super) const ALL: [Self; 5] = [Self::Plain, Self::Upgrade, Self::WebSocket, Self::Http2, Self::Grpc];

    /// The service behind it.
    pub(super) fn service(self) -> &'static str {
        match self {
            Self::Plain | Self::Upgrade | Self::Http2 => "http",
            Self::WebSocket => "sockets",
            Self::Grpc => "grpc",
        }
    }

    pub(super) fn success(self) -> u16 {
        if self == Self::WebSocket { 101 } else { 200 }
    }

    /// For a path in which `#` stands for the service.
    pub(super) fn request(self, path: &str) -> Request {
        let path = path.replace('#', self.service());
        match self {
            Self::Plain | Self::Http2 => Request::get(&path),
            Self::Upgrade => Request::get(&path).header("Connection", "Upgrade").header("Upgrade", "x"),
            Self::WebSocket => Request::get(&path)
                .header("Connection", "Upgrade")
                .header("Upgrade", "websocket")
                .header("Sec-WebSocket-Version", "13")
                .header("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
            Self::Grpc => Grpc::request(&path),
        }
    }

    /// The status and the gateway's code for a refusal.
    pub(super) async fn ask(self, gateway: &Gateway, request: &Request) -> (u16, Option<String>) {
        match self {
            Self::Plain | Self::Upgrade | Self::WebSocket => {
                let mut connection = gateway.connect().await;
                let begun = begin(&mut connection, request).await;
                begun.unwrap_or_else(|failure| panic!("{failure} to {request:?}"))
            }
            Self::Http2 => over(&Http2::open(gateway.address()).await, request).await,
            Self::Grpc => {
                let request = match request.sent_body() {
                    Some(_) => request.clone(),
                    None => request.clone().body(framed(b"")),
                };
                over(&Http2::open(gateway.address()).await, &request).await
            }
        }
    }
}

async fn begin(connection: &mut Connection, request: &Request) -> Result<(u16, Option<String>), Failure> {
    let head = connection.begin(request).await?;
    let status = head.status().map_err(|error| Failure::NoAnswer { reused: false, error })?;
    Ok((status, head.headers.get("x-gateway-code").map(str::to_owned)))
}

async fn over(connection: &Http2, request: &Request) -> (u16, Option<String>) {
    let answer = connection.send(request).await;
    (answer.status, answer.code().map(str::to_owned))
}
