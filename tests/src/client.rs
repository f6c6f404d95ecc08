//! A client that does exactly what it is told: one request on one connection, no retry, no redirect, no repair. A failure on a
//! reused connection is a failure like any other; that is what a promise of "nothing is lost" is about.

use std::fmt::{self, Write};
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::wire::{Framing, Head, Headers, Wire, WireError};

const DEADLINE: Duration = Duration::from_secs(30);

/// Why a request got no whole answer.
#[derive(Debug)]
pub enum Failure {
    Connect(io::Error),
    /// The request could not be written; `reused` says whether the connection had carried one before.
    Send {
        reused: bool,
        error: io::Error,
    },
    /// The connection ended without an answer.
    NoAnswer {
        reused: bool,
        error: WireError,
    },
    /// The answer began and did not end as it had declared.
    BrokenAnswer {
        status: u16,
        error: WireError,
    },
    TimedOut(Duration),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let connection = |reused: &bool| if *reused { "a reused connection" } else { "a fresh connection" };
        match self {
            Self::Connect(error) => write!(f, "could not connect: {error}"),
            Self::Send { reused, error } => write!(f, "could not send on {}: {error}", connection(reused)),
            Self::NoAnswer { reused, error } => write!(f, "no answer on {}: {error}", connection(reused)),
            Self::BrokenAnswer { status, error } => write!(f, "the {status} answer broke off: {error}"),
            Self::TimedOut(limit) => write!(f, "no answer within {limit:?}"),
        }
    }
}

/// A request as it goes on the wire. Nothing is encoded or normalised, and only `Host` and a length are added.
#[derive(Clone, Debug)]
pub struct Request {
    method: String,
    target: String,
    host: Option<String>,
    headers: Vec<(String, String)>,
    body: Option<Bytes>,
}

impl Request {
    pub fn new(method: &str, target: &str) -> Self {
        Self { method: method.into(), target: target.into(), host: None, headers: Vec::new(), body: None }
    }

    pub fn get(target: &str) -> Self {
        Self::new("GET", target)
    }

    pub fn post(target: &str, body: impl Into<Bytes>) -> Self {
        Self::new("POST", target).body(body)
    }

    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    pub fn api_key(self, key: &str) -> Self {
        self.header("X-API-Key", key)
    }

    /// Instead of the address that is called.
    pub fn host(mut self, host: &str) -> Self {
        self.host = Some(host.to_owned());
        self
    }

    pub fn body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = Some(body.into());
        self
    }

    pub fn method(&self) -> &str {
        &self.method
    }

    pub fn target(&self) -> &str {
        &self.target
    }

    pub fn headers(&self) -> &[(String, String)] {
        &self.headers
    }

    pub fn sent_body(&self) -> Option<&Bytes> {
        self.body.as_ref()
    }

    /// The host that was named instead of the address that is called.
    pub fn named_host(&self) -> Option<&str> {
        self.host.as_deref()
    }

    fn bytes(&self, address: SocketAddr) -> Vec<u8> {
        let host = self.host.clone().unwrap_or_else(|| address.to_string());
        let mut head = format!("{} {} HTTP/1.1\r\nHost: {host}\r\n", self.method, self.target);
        for (name, value) in &self.headers {
            let _ = write!(head, "{name}: {value}\r\n");
        }
        if let Some(body) = &self.body {
            let _ = write!(head, "Content-Length: {}\r\n", body.len());
        }
        head.push_str("\r\n");
        let mut bytes = head.into_bytes();
        bytes.extend_from_slice(self.body.as_deref().unwrap_or_default());
        bytes
    }

    /// Sends this on a connection of its own.
    pub async fn send(&self, address: SocketAddr) -> Result<Answer, Failure> {
        Connection::open(address).await?.send(self).await
    }
}

/// A whole answer.
#[derive(Clone, Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: Headers,
    pub body: Bytes,
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON; panics with the body when it is none.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("not JSON ({error}): {self}"))
    }

    /// The gateway's own word for a refusal.
    pub fn code(&self) -> Option<&str> {
        self.header("x-gateway-code")
    }

    /// Itself, if it has this status; panics with the whole answer otherwise.
    #[track_caller]
    pub fn expect_status(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{self}");
        self
    }

    /// As a probe's result: `Ok` with this status, else the answer as the state seen.
    pub fn with_status(self, status: u16) -> Result<Self, String> {
        if self.status == status { Ok(self) } else { Err(self.to_string()) }
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.status)?;
        for (name, value) in &self.headers.0 {
            write!(f, "\n{name}: {value}")?;
        }
        write!(f, "\n\n{}", self.text())
    }
}

/// One connection, kept alive as long as both sides wish.
#[derive(Debug)]
pub struct Connection {
    wire: Wire,
    address: SocketAddr,
    answered: u64,
    open: bool,
}

impl Connection {
    pub async fn open(address: SocketAddr) -> Result<Self, Failure> {
        let stream = timeout(DEADLINE, TcpStream::connect(address))
            .await
            .map_err(|_| Failure::TimedOut(DEADLINE))?
            .map_err(Failure::Connect)?;
        Ok(Self::over(Wire::new(stream), address))
    }

    /// On what is connected with this address already.
    pub fn over(wire: Wire, address: SocketAddr) -> Self {
        Self { wire, address, answered: 0, open: true }
    }

    /// Whether the last answer left the connection open.
    pub fn is_open(&self) -> bool {
        self.open
    }

    pub fn wire(&mut self) -> &mut Wire {
        &mut self.wire
    }

    pub async fn send(&mut self, request: &Request) -> Result<Answer, Failure> {
        self.send_within(DEADLINE, request).await
    }

    pub async fn send_within(&mut self, limit: Duration, request: &Request) -> Result<Answer, Failure> {
        timeout(limit, self.exchange(request)).await.map_err(|_| Failure::TimedOut(limit))?
    }

    /// Sends a request and reads no more than the answer's head; the body is the caller's to read from [`Self::wire`].
    pub async fn begin(&mut self, request: &Request) -> Result<Head, Failure> {
        let send = async {
            self.write(request).await?;
            self.read_head().await
        };
        timeout(DEADLINE, send).await.map_err(|_| Failure::TimedOut(DEADLINE))?
    }

    async fn exchange(&mut self, request: &Request) -> Result<Answer, Failure> {
        self.write(request).await?;
        self.read_answer(&request.method).await
    }

    async fn write(&mut self, request: &Request) -> Result<(), Failure> {
        let reused = self.answered > 0;
        let bytes = request.bytes(self.address);
        self.wire.write(&bytes).await.map_err(|error| Failure::Send { reused, error })
    }

    /// The next final head; interim ones (1xx) are passed over.
    async fn read_head(&mut self) -> Result<Head, Failure> {
        let reused = self.answered > 0;
        loop {
            let head = match self.wire.read_head().await {
                Ok(Some(head)) => head,
                Ok(None) => return Err(Failure::NoAnswer { reused, error: WireError::Closed }),
                Err(error) => return Err(Failure::NoAnswer { reused, error }),
            };
            let status = head.status().map_err(|error| Failure::NoAnswer { reused, error })?;
            if status >= 200 || status == 101 {
                return Ok(head);
            }
        }
    }

    /// Reads the answer to a request of this method, however it was sent.
    pub async fn read_answer(&mut self, method: &str) -> Result<Answer, Failure> {
        let head = self.read_head().await?;
        let broken = |status| move |error| Failure::BrokenAnswer { status, error };
        let status = head.status().map_err(broken(0))?;
        let framing = Framing::of_response(&head, method).map_err(broken(status))?;
        let body = self.wire.read_body(framing).await.map_err(broken(status))?;
        self.answered += 1;
        self.open = framing != Framing::UntilClose && !head.headers.has_word("connection", "close");
        Ok(Answer { status, headers: head.headers, body })
    }
}

/// Sends these very bytes and reads one answer; `None` when the connection was closed without one.
pub async fn raw_request(address: SocketAddr, bytes: &[u8]) -> Option<Answer> {
    let mut connection = Connection::open(address).await.unwrap_or_else(|failure| panic!("{failure}"));
    // The peer may have refused and closed before it read all: its answer still counts.
    let _ = connection.wire.write(bytes).await;
    let outcome = timeout(DEADLINE, connection.read_answer("GET")).await;
    match outcome.unwrap_or(Err(Failure::TimedOut(DEADLINE))) {
        Ok(answer) => Some(answer),
        Err(Failure::NoAnswer { error: WireError::Closed | WireError::Io(_), .. }) => None,
        Err(failure) => panic!("{failure} to {:?}", String::from_utf8_lossy(bytes)),
    }
}
