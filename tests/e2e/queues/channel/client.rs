//! A client of a channel, by whichever protocol.

use e2e::client::Failure;
use e2e::wire::{Framing, Headers};
use e2e::{Answer, Connection, Gateway, Request, eventually_within};
use futures::StreamExt;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Error;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::{HeaderName, HeaderValue};
use tokio_tungstenite::{WebSocketStream, client_async};

use super::DEADLINE;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Events,
    Socket,
}

#[derive(Debug)]
pub(super) enum Client {
    Events { connection: Box<Connection>, text: String },
    Socket(Box<WebSocketStream<TcpStream>>),
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Heard {
    Message { id: Option<String>, data: Value },
    Missed(Option<u64>),
    End(End),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// The stream of events is at its end.
    Whole,
    /// It just stopped.
    Cut,
    /// The WebSocket's goodbye.
    Code(u16, String),
}

impl Client {
    /// Listening when this returns. A gateway may still be looking for its broker.
    pub(super) async fn eventually_open(kind: Kind, gateway: &Gateway, request: &Request) -> Self {
        let opening = async || Self::try_open(kind, gateway, request).await;
        eventually_within(DEADLINE, "a channel to open", opening).await
    }

    pub(super) async fn try_open(kind: Kind, gateway: &Gateway, request: &Request) -> Result<Self, Answer> {
        match kind {
            Kind::Events => Self::events(gateway, request).await,
            Kind::Socket => Self::socket(gateway, request).await,
        }
    }

    async fn events(gateway: &Gateway, request: &Request) -> Result<Self, Answer> {
        let mut connection = gateway.connect().await;
        let head = connection.begin(request).await.unwrap_or_else(|failure: Failure| panic!("{failure}"));
        if head.status().unwrap() != 200 {
            let framing = Framing::of_response(&head, "GET").unwrap();
            let body = connection.wire().read_body(framing).await.unwrap();
            return Err(Answer { status: head.status().unwrap(), headers: head.headers, body });
        }
        assert_eq!(head.headers.get("content-type"), Some("text/event-stream"));
        Ok(Self::Events { connection: Box::new(connection), text: String::new() })
    }

    async fn socket(gateway: &Gateway, request: &Request) -> Result<Self, Answer> {
        let mut upgrade = format!("ws://{}{}", gateway.address(), request.target()).into_client_request().unwrap();
        for (name, value) in request.headers() {
            let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
            upgrade.headers_mut().append(name, HeaderValue::from_str(value).unwrap());
        }
        let stream = TcpStream::connect(gateway.address()).await.unwrap();
        match client_async(upgrade, stream).await {
            Ok((socket, _)) => Ok(Self::Socket(Box::new(socket))),
            Err(Error::Http(refused)) => {
                let (head, body) = refused.into_parts();
                let text = |value: &HeaderValue| value.to_str().unwrap().to_owned();
                let headers = head.headers.iter().map(|(name, value)| (name.to_string(), text(value))).collect();
                let body = body.unwrap_or_default().into();
                Err(Answer { status: head.status.as_u16(), headers: Headers(headers), body })
            }
            Err(error) => panic!("{error}"),
        }
    }

    pub(super) async fn next(&mut self) -> Heard {
        let next = async {
            match self {
                Self::Events { connection, text } => next_event(connection, text).await,
                Self::Socket(socket) => next_message(socket).await,
            }
        };
        tokio::time::timeout(DEADLINE, next).await.expect("nothing comes and nothing ends")
    }

    /// What a client hears that must not end, and hears all.
    pub(super) async fn message(&mut self) -> Value {
        match self.next().await {
            Heard::Message { data, .. } => data,
            other => panic!("{other:?}"),
        }
    }

    pub(super) async fn end(&mut self) -> End {
        match self.next().await {
            Heard::End(end) => end,
            other => panic!("{other:?}"),
        }
    }
}

async fn next_event(connection: &mut Connection, text: &mut String) -> Heard {
    loop {
        while let Some((event, rest)) = text.split_once("\n\n") {
            let (heard, length) = (parse(event), text.len() - rest.len());
            text.drain(..length);
            if let Some(heard) = heard {
                return heard;
            }
        }
        match connection.wire().read_chunk().await {
            Ok(Some(chunk)) => text.push_str(std::str::from_utf8(&chunk).unwrap()),
            Ok(None) => return Heard::End(End::Whole),
            Err(_) => return Heard::End(End::Cut),
        }
    }
}

/// `None`: a comment or a setting.
fn parse(event: &str) -> Option<Heard> {
    let field = |name: &str| event.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
    let data: Value = serde_json::from_str(field("data")?).unwrap();
    match field("event") {
        None => Some(Heard::Message { id: field("id").map(str::to_owned), data }),
        Some("missed") => Some(Heard::Missed(data["count"].as_u64())),
        Some(other) => panic!("an event {other}: {data}"),
    }
}

async fn next_message(socket: &mut WebSocketStream<TcpStream>) -> Heard {
    loop {
        match socket.next().await {
            Some(Ok(Message::Text(text))) => {
                return Heard::Message { id: None, data: serde_json::from_str(&text).unwrap() };
            }
            Some(Ok(Message::Close(Some(close)))) => {
                return Heard::End(End::Code(close.code.into(), close.reason.to_string()));
            }
            Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
            Some(Err(_)) | None => return Heard::End(End::Cut),
            Some(Ok(other)) => panic!("{other:?}"),
        }
    }
}
