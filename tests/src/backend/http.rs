//! HTTP backends: routes to closures, every request recorded as it came, answers at once, held back, or in two parts.

use std::fmt::{self, Write};
use std::sync::Arc;

use bytes::Bytes;
use serde_json::{Value, json};
use tokio::sync::watch;

use super::{Backend, Journal};
use crate::wire::{Framing, Headers, Wire, WireError};

type Respond = Arc<dyn Fn(&Received) -> Reply + Send + Sync>;

/// A request as it arrived.
#[derive(Clone, Debug)]
pub struct Received {
    pub method: String,
    /// Path and query, byte for byte.
    pub target: String,
    pub headers: Headers,
    pub body: Bytes,
}

impl Received {
    pub fn path(&self) -> &str {
        self.target.split('?').next().unwrap_or_default()
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)
    }

    /// The next request of a connection; `None` when the client closed it.
    pub async fn read(wire: &mut Wire) -> Result<Option<Self>, WireError> {
        let Some(head) = wire.read_head().await? else { return Ok(None) };
        if head.headers.has_word("expect", "100-continue") {
            wire.write(b"HTTP/1.1 100 Continue\r\n\r\n").await?;
        }
        let body = wire.read_body(Framing::of_request(&head)?).await?;
        let mut words = head.start_line.split(' ').map(str::to_owned);
        let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        Ok(Some(Self { method, target, headers: head.headers, body }))
    }
}

/// Something that a test opens when it is time.
#[derive(Clone, Debug)]
pub struct Gate(watch::Sender<bool>);

impl Default for Gate {
    fn default() -> Self {
        Self(watch::Sender::new(false))
    }
}

impl Gate {
    pub fn open(&self) {
        self.0.send_replace(true);
    }

    pub async fn wait(&self) {
        let _ = self.0.subscribe().wait_for(|open| *open).await;
    }
}

/// What a backend answers.
#[derive(Clone, Debug)]
pub struct Reply {
    status: u16,
    headers: Vec<(String, String)>,
    body: Body,
    held: Option<Gate>,
}

#[derive(Clone, Debug)]
enum Body {
    Whole(Bytes),
    /// Chunked: the second chunk goes out when the gate opens.
    Parts(Bytes, Gate, Bytes),
}

impl Reply {
    pub fn status(status: u16) -> Self {
        Self { status, headers: Vec::new(), body: Body::Whole(Bytes::new()), held: None }
    }

    pub fn text(text: impl Into<String>) -> Self {
        Self::status(200).header("Content-Type", "text/plain").body(text.into())
    }

    pub fn json(value: &Value) -> Self {
        Self::status(200).header("Content-Type", "application/json").body(value.to_string())
    }

    /// What arrived, as `{method, target, headers: [[name, value]…], body}`.
    pub fn echo(request: &Received) -> Self {
        Self::json(&json!({
            "method": request.method,
            "target": request.target,
            "headers": request.headers.0,
            "body": String::from_utf8_lossy(&request.body),
        }))
    }

    /// A first chunk at once and a second when the gate opens.
    pub fn parts(first: impl Into<Bytes>, gate: &Gate, second: impl Into<Bytes>) -> Self {
        Self { body: Body::Parts(first.into(), gate.clone(), second.into()), ..Self::status(200) }
    }

    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    pub fn body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = Body::Whole(body.into());
        self
    }

    /// Nothing goes out before the gate opens.
    pub fn held_by(mut self, gate: &Gate) -> Self {
        self.held = Some(gate.clone());
        self
    }

    async fn write(&self, wire: &mut Wire, method: &str) -> std::io::Result<()> {
        if let Some(gate) = &self.held {
            gate.wait().await;
        }
        let mut bytes = self.head().into_bytes();
        if method == "HEAD" {
            return wire.write(&bytes).await;
        }
        match &self.body {
            Body::Whole(body) => {
                bytes.extend_from_slice(body);
                wire.write(&bytes).await
            }
            Body::Parts(first, gate, second) => {
                bytes.extend_from_slice(&chunk(first));
                wire.write(&bytes).await?;
                gate.wait().await;
                let mut rest = chunk(second);
                rest.extend_from_slice(b"0\r\n\r\n");
                wire.write(&rest).await
            }
        }
    }

    fn head(&self) -> String {
        let mut head = format!("HTTP/1.1 {} {}\r\n", self.status, reason(self.status));
        for (name, value) in &self.headers {
            let _ = write!(head, "{name}: {value}\r\n");
        }
        match &self.body {
            Body::Whole(_) if self.status == 204 || self.status == 304 => {}
            Body::Whole(body) => {
                let _ = write!(head, "Content-Length: {}\r\n", body.len());
            }
            Body::Parts(..) => head.push_str("Transfer-Encoding: chunked\r\n"),
        }
        head.push_str("\r\n");
        head
    }
}

fn chunk(bytes: &[u8]) -> Vec<u8> {
    let mut chunk = format!("{:x}\r\n", bytes.len()).into_bytes();
    chunk.extend_from_slice(bytes);
    chunk.extend_from_slice(b"\r\n");
    chunk
}

fn reason(status: u16) -> &'static str {
    http::StatusCode::from_u16(status).ok().and_then(|code| code.canonical_reason()).unwrap_or("Unknown")
}

/// The making of an HTTP backend.
#[derive(Clone, Default)]
pub struct HttpBackend {
    routes: Vec<(String, Respond)>,
    otherwise: Option<Respond>,
}

impl fmt::Debug for HttpBackend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.routes.iter().map(|(path, _)| path)).finish()
    }
}

impl HttpBackend {
    /// Answers requests for exactly this path.
    pub fn route(mut self, path: &str, respond: impl Fn(&Received) -> Reply + Send + Sync + 'static) -> Self {
        self.routes.push((path.to_owned(), Arc::new(respond)));
        self
    }

    /// Answers what no route does; otherwise that is 404.
    pub fn otherwise(mut self, respond: impl Fn(&Received) -> Reply + Send + Sync + 'static) -> Self {
        self.otherwise = Some(Arc::new(respond));
        self
    }

    pub fn start(self) -> Backend {
        let backend = Arc::new(self);
        let mut started = Backend::new(Arc::new(move |wire, journal| {
            let backend = Arc::clone(&backend);
            Box::pin(async move {
                // The proxy's half of the story is what the test looks at; a broken connection is part of many.
                let _ = backend.serve(wire, &journal).await;
            })
        }));
        started.start_again();
        started
    }

    async fn serve(&self, mut wire: Wire, journal: &Journal) -> Result<(), WireError> {
        while let Some(request) = Received::read(&mut wire).await? {
            let reply = self.reply(&request);
            let (method, last) = (request.method.clone(), request.headers.has_word("connection", "close"));
            journal.record(request);
            reply.write(&mut wire, &method).await?;
            if last {
                wire.close().await;
                break;
            }
        }
        Ok(())
    }

    fn reply(&self, request: &Received) -> Reply {
        let route = self.routes.iter().find(|(path, _)| path == request.path()).map(|(_, respond)| respond);
        match route.or(self.otherwise.as_ref()) {
            Some(respond) => respond(request),
            None => Reply::status(404).body(format!("this backend has no {}", request.path())),
        }
    }
}
