//! gRPC as bytes: no generated code, so that a test sees what a client's library would have to make sense of.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use h2::{RecvStream, SendStream};

use super::{Exchange, Http2, within};
use crate::client::Request;
use crate::wire::Headers;

/// A message behind its prefix: not compressed, and its length.
pub fn framed(message: &[u8]) -> Bytes {
    let mut bytes = BytesMut::with_capacity(5 + message.len());
    bytes.put_u8(0);
    bytes.put_u32(u32::try_from(message.len()).expect("a short message"));
    bytes.put_slice(message);
    bytes.freeze()
}

/// The messages of one direction.
#[derive(Debug)]
pub struct Messages {
    body: RecvStream,
    buffer: BytesMut,
}

impl Messages {
    pub fn new(body: RecvStream) -> Self {
        Self { body, buffer: BytesMut::new() }
    }

    /// The next message; `None` behind the last.
    pub async fn next(&mut self) -> Result<Option<Bytes>, h2::Error> {
        loop {
            if let Some(mut prefix) = self.buffer.get(1..5) {
                let end = 5 + prefix.get_u32() as usize;
                if self.buffer.len() >= end {
                    return Ok(Some(self.buffer.split_to(end).split_off(5).freeze()));
                }
            }
            let Some(piece) = self.body.data().await.transpose()? else {
                assert!(self.buffer.is_empty(), "a message was cut off");
                return Ok(None);
            };
            let _ = self.body.flow_control().release_capacity(piece.len());
            self.buffer.extend_from_slice(&piece);
        }
    }

    async fn trailers(&mut self) -> Result<Headers, h2::Error> {
        Ok(self.body.trailers().await?.as_ref().map(Headers::from).unwrap_or_default())
    }
}

/// A call, both directions open.
#[derive(Debug)]
pub struct Grpc {
    exchange: Option<Exchange>,
    to: SendStream<Bytes>,
    messages: Option<Messages>,
    pub headers: Headers,
}

impl Grpc {
    /// The head that clients send.
    pub fn request(path: &str) -> Request {
        Request::new("POST", path).header("content-type", "application/grpc").header("te", "trailers")
    }

    pub async fn call(connection: &Http2, request: &Request) -> Result<Self, h2::Error> {
        let (exchange, to) = connection.begin(request, false).await?;
        Ok(Self { exchange: Some(exchange), to, messages: None, headers: Headers::default() })
    }

    pub fn say(&mut self, message: &[u8]) {
        self.to.send_data(framed(message), false).expect("the stream is open");
    }

    pub fn finish(&mut self) {
        self.to.send_data(Bytes::new(), true).expect("the stream is open");
    }

    /// The next message; `None` behind the last.
    pub async fn next(&mut self) -> Result<Option<Bytes>, h2::Error> {
        within(self.messages().await?.next()).await
    }

    /// `grpc-status` and all that comes with it: the trailers, or the head where there is nothing else.
    pub async fn outcome(&mut self) -> Result<Headers, h2::Error> {
        let trailers = within(self.messages().await?.trailers()).await?;
        Ok(if trailers.get("grpc-status").is_some() { trailers } else { self.headers.clone() })
    }

    async fn messages(&mut self) -> Result<&mut Messages, h2::Error> {
        if let Some(mut exchange) = self.exchange.take() {
            exchange.head().await?;
            self.headers = exchange.headers.clone();
            self.messages = Some(Messages::new(exchange.into_body()));
        }
        Ok(self.messages.as_mut().expect("the head has come"))
    }
}
