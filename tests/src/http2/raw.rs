//! Frames written by hand, for heads that no sound client would send.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::within;

pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const GOAWAY: u8 = 7;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

/// How a stream went on.
#[derive(Debug, PartialEq, Eq)]
pub enum Outcome {
    Answered(u16),
    /// With this code (RFC 9113 §7).
    Reset(u32),
    ConnectionOver,
}

#[derive(Debug)]
pub struct RawHttp2 {
    stream: TcpStream,
    next: u32,
}

impl RawHttp2 {
    pub async fn open(address: SocketAddr) -> Self {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(PREFACE).await.unwrap();
        let mut this = Self { stream, next: 1 };
        this.write(SETTINGS, 0, 0, &[]).await;
        this
    }

    /// Sends a head of exactly these fields, pseudo-headers included, and tells what becomes of it.
    pub async fn ask(&mut self, fields: &[(&str, &str)]) -> Outcome {
        let mut block = Vec::new();
        for (name, value) in fields {
            // Literal, not indexed, not compressed (RFC 7541 §6.2.2).
            block.push(0);
            for text in [name, value] {
                block.push(u8::try_from(text.len()).ok().filter(|length| *length < 127).expect("a short text"));
                block.extend_from_slice(text.as_bytes());
            }
        }
        let id = self.next;
        self.next += 2;
        self.write(HEADERS, END_HEADERS | END_STREAM, id, &block).await;
        within(self.outcome(id)).await
    }

    async fn write(&mut self, kind: u8, flags: u8, id: u32, payload: &[u8]) {
        let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
        let mut frame = length[1..].to_vec();
        frame.extend([kind, flags]);
        frame.extend(id.to_be_bytes());
        frame.extend(payload);
        // Whoever has closed already is seen when reading.
        let _ = self.stream.write_all(&frame).await;
    }

    async fn outcome(&mut self, id: u32) -> Outcome {
        loop {
            let mut head = [0; 9];
            if self.stream.read_exact(&mut head).await.is_err() {
                return Outcome::ConnectionOver;
            }
            let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
            let about = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
            let mut payload = vec![0; length as usize];
            if self.stream.read_exact(&mut payload).await.is_err() {
                return Outcome::ConnectionOver;
            }
            match head[3] {
                HEADERS if about == id => return Outcome::Answered(status(&payload)),
                RST_STREAM if about == id => {
                    return Outcome::Reset(u32::from_be_bytes(payload.try_into().expect("a code of four bytes")));
                }
                GOAWAY => return Outcome::ConnectionOver,
                _ => {}
            }
        }
    }
}

/// `:status`, which is the first field: of the static table, or a literal (RFC 7541, appendix A).
fn status(block: &[u8]) -> u16 {
    match block {
        [first @ 0x88..=0x8e, ..] => [200, 204, 206, 304, 400, 404, 500][usize::from(first - 0x88)],
        // The name of entry 8, and three digits, plain or by Huffman's code (where a digit has five or six bits).
        [0x48 | 0x08, 3, digits @ ..] => std::str::from_utf8(&digits[..3]).unwrap().parse().unwrap(),
        [0x48 | 0x08, length, digits @ ..] if length & 0x80 != 0 => huffman(&digits[..usize::from(length & 0x7f)]),
        other => panic!("no status in {other:?}"),
    }
}

/// Three digits (RFC 7541, appendix B): 0, 1 and 2 have five bits, the others six.
fn huffman(bytes: &[u8]) -> u16 {
    let mut bits = bytes.iter().enumerate().fold(0, |bits, (at, byte)| bits | u32::from(*byte) << (24 - 8 * at));
    let mut number = 0;
    for _ in 0..3 {
        let (digit, length) = if bits >> 27 < 3 { (bits >> 27, 5) } else { ((bits >> 26) - 0b01_1001 + 3, 6) };
        number = number * 10 + digit;
        bits <<= length;
    }
    u16::try_from(number).expect("three digits")
}
