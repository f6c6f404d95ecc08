//! HTTP/1.1 as bytes on a socket, for both ends of a test. Written by hand and strict about what it got: nothing is retried,
//! repaired or hidden, and a broken message says how it broke.

use std::fmt;
use std::io;

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::tls::Socket;

const LONGEST_HEAD: usize = 1 << 20;

/// Why a message could not be read.
#[derive(Debug)]
pub enum WireError {
    /// The peer closed in mid-message.
    Truncated(String),
    /// The peer closed before the first byte of a message.
    Closed,
    Io(io::Error),
    Malformed(String),
}

impl fmt::Display for WireError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Truncated(place) => write!(f, "the peer closed in {place}"),
            Self::Closed => f.write_str("the peer closed before the message began"),
            Self::Io(error) => write!(f, "the connection broke: {error}"),
            Self::Malformed(problem) => write!(f, "the message is malformed: {problem}"),
        }
    }
}

impl From<io::Error> for WireError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// Header fields in the order and spelling in which they came.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Headers(pub Vec<(String, String)>);

impl Headers {
    /// The first field of this name, in any case.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    pub fn all(&self, name: &str) -> Vec<&str> {
        self.0.iter().filter(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str()).collect()
    }

    /// Whether a comma-separated field holds this word.
    pub fn has_word(&self, name: &str, word: &str) -> bool {
        self.all(name).iter().flat_map(|value| value.split(',')).any(|part| part.trim().eq_ignore_ascii_case(word))
    }
}

impl From<&http::HeaderMap> for Headers {
    fn from(map: &http::HeaderMap) -> Self {
        let text = |value: &http::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
        Self(map.iter().map(|(name, value)| (name.as_str().to_owned(), text(value))).collect())
    }
}

/// A start line and the fields below it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Head {
    pub start_line: String,
    pub headers: Headers,
}

impl Head {
    fn parse(text: &[u8]) -> Result<Self, WireError> {
        let text = String::from_utf8_lossy(text);
        let mut lines = text.split("\r\n");
        let start_line = lines.next().unwrap_or_default().to_owned();
        let mut headers = Vec::new();
        for line in lines.filter(|line| !line.is_empty()) {
            let (name, value) = line
                .split_once(':')
                .ok_or_else(|| WireError::Malformed(format!("a header line without a colon: {line:?}")))?;
            headers.push((name.to_owned(), value.trim().to_owned()));
        }
        Ok(Self { start_line, headers: Headers(headers) })
    }

    /// The status code, where this is the head of a response.
    pub fn status(&self) -> Result<u16, WireError> {
        let mut words = self.start_line.split(' ');
        let version = words.next().unwrap_or_default();
        let status = words.next().and_then(|word| word.parse().ok());
        match status {
            Some(status) if version.starts_with("HTTP/1.") => Ok(status),
            _ => Err(WireError::Malformed(format!("not a status line: {:?}", self.start_line))),
        }
    }
}

/// How long a body is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    Length(u64),
    Chunked,
    UntilClose,
}

impl Framing {
    pub fn of_request(head: &Head) -> Result<Self, WireError> {
        Self::declared(head).map(|framing| framing.unwrap_or(Self::Length(0)))
    }

    pub fn of_response(head: &Head, method: &str) -> Result<Self, WireError> {
        let status = head.status()?;
        if method == "HEAD" || status < 200 || status == 204 || status == 304 {
            return Ok(Self::Length(0));
        }
        Self::declared(head).map(|framing| framing.unwrap_or(Self::UntilClose))
    }

    fn declared(head: &Head) -> Result<Option<Self>, WireError> {
        if head.headers.has_word("transfer-encoding", "chunked") {
            return Ok(Some(Self::Chunked));
        }
        let Some(length) = head.headers.get("content-length") else { return Ok(None) };
        let length = length.parse().map_err(|_| WireError::Malformed(format!("content-length: {length:?}")))?;
        Ok(Some(Self::Length(length)))
    }
}

/// A socket with what was read from it and not yet used.
#[derive(Debug)]
pub struct Wire {
    stream: Socket,
    buffer: BytesMut,
}

impl Wire {
    pub fn new(stream: TcpStream) -> Self {
        // Without this, small writes wait for acknowledgements and a test measures Nagle's algorithm.
        let _ = stream.set_nodelay(true);
        Self::over(Socket::Plain(stream))
    }

    pub fn over(stream: Socket) -> Self {
        Self { stream, buffer: BytesMut::with_capacity(8 * 1024) }
    }

    pub fn stream(&self) -> &TcpStream {
        self.stream.tcp()
    }

    /// The socket, for who speaks another protocol on it.
    pub fn into_stream(self) -> TcpStream {
        assert!(self.buffer.is_empty(), "something was read already");
        match self.stream {
            Socket::Plain(stream) => stream,
            Socket::Tls(_) => panic!("TLS is spoken on it already"),
        }
    }

    pub async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes).await?;
        self.stream.flush().await
    }

    /// Ends this side's half of the connection.
    pub async fn close(&mut self) {
        let _ = self.stream.shutdown().await;
    }

    /// Ends the connection by RST instead of FIN.
    pub fn reset(self) {
        let _ = self.stream().set_zero_linger();
    }

    /// Reads more; `false` at the end of the stream.
    async fn fill(&mut self) -> io::Result<bool> {
        Ok(self.stream.read_buf(&mut self.buffer).await? > 0)
    }

    /// The next head; `None` when the peer closed cleanly before it.
    pub async fn read_head(&mut self) -> Result<Option<Head>, WireError> {
        let mut searched = 0;
        loop {
            if let Some(end) = find(&self.buffer, b"\r\n\r\n", searched) {
                let head = Head::parse(&self.buffer[..end])?;
                self.buffer.advance(end + 4);
                return Ok(Some(head));
            }
            searched = self.buffer.len().saturating_sub(3);
            if self.buffer.len() > LONGEST_HEAD {
                return Err(WireError::Malformed("a head without end".to_owned()));
            }
            if !self.fill().await? {
                if self.buffer.is_empty() {
                    return Ok(None);
                }
                return Err(WireError::Truncated(format!("the head, behind {:?}", lossy(&self.buffer))));
            }
        }
    }

    pub async fn read_body(&mut self, framing: Framing) -> Result<Bytes, WireError> {
        match framing {
            Framing::Length(length) => self.read_exactly(length).await,
            Framing::Chunked => {
                let mut body = BytesMut::new();
                while let Some(chunk) = self.read_chunk().await? {
                    body.extend_from_slice(&chunk);
                }
                Ok(body.freeze())
            }
            Framing::UntilClose => Ok(self.read_to_end().await?),
        }
    }

    async fn read_exactly(&mut self, length: u64) -> Result<Bytes, WireError> {
        let length = usize::try_from(length).map_err(|_| WireError::Malformed("a length beyond memory".to_owned()))?;
        while self.buffer.len() < length {
            if !self.fill().await? {
                return Err(WireError::Truncated(format!("the body, at byte {} of {length}", self.buffer.len())));
            }
        }
        Ok(self.buffer.split_to(length).freeze())
    }

    /// One chunk of a chunked body; `None` behind the last.
    pub async fn read_chunk(&mut self) -> Result<Option<Bytes>, WireError> {
        let line = self.read_line("a chunk's size").await?;
        let digits = line.split(';').next().unwrap_or_default().trim();
        let size = u64::from_str_radix(digits, 16).map_err(|_| WireError::Malformed(format!("chunk size {line:?}")))?;
        if size == 0 {
            while !self.read_line("the trailers").await?.is_empty() {}
            return Ok(None);
        }
        let chunk = self.read_exactly(size).await?;
        let end = self.read_line("a chunk's end").await?;
        if end.is_empty() { Ok(Some(chunk)) } else { Err(WireError::Malformed(format!("{end:?} behind a chunk"))) }
    }

    async fn read_line(&mut self, place: &str) -> Result<String, WireError> {
        loop {
            if let Some(end) = find(&self.buffer, b"\r\n", 0) {
                let line = lossy(&self.buffer[..end]);
                self.buffer.advance(end + 2);
                return Ok(line);
            }
            if !self.fill().await? {
                return Err(WireError::Truncated(place.to_owned()));
            }
        }
    }

    /// What comes next, however little; empty at the end of the stream.
    pub async fn read_some(&mut self) -> io::Result<Bytes> {
        if self.buffer.is_empty() {
            self.fill().await?;
        }
        Ok(self.buffer.split().freeze())
    }

    pub async fn read_to_end(&mut self) -> io::Result<Bytes> {
        while self.fill().await? {}
        Ok(self.buffer.split().freeze())
    }
}

fn find(bytes: &[u8], needle: &[u8], from: usize) -> Option<usize> {
    bytes[from..].windows(needle.len()).position(|window| window == needle).map(|at| at + from)
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
