//! Backends that misbehave, each in one way.

use std::sync::Arc;

use super::{Journal, Received};
use crate::wire::Wire;

const HUNDRED_OF_A_THOUSAND: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n\
0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789";

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nobody listens.
    Refuse,
    /// Takes the request and never answers.
    Hang,
    /// Sends 100 of 1,000 declared bytes and then nothing more.
    HangInBody,
    /// Takes the request and closes.
    Close,
    /// Sends so many bytes of an answer of 1,000 and resets the connection.
    ResetAfter(usize),
    /// Sends 100 of 1,000 declared bytes and closes.
    DieInBody,
    /// Sends one chunk and closes without the last.
    DieInChunks,
    /// Sends what is not HTTP.
    Garbage,
    /// Answers, promises to keep the connection, and closes it at once.
    CloseAfterAnswer,
}

impl Fault {
    pub(super) async fn serve(self, mut wire: Wire, journal: Arc<Journal>) {
        // The connection breaks by intention, here or at the other end.
        let Ok(Some(request)) = Received::read(&mut wire).await else { return };
        journal.record(request);
        match self {
            Self::Refuse => {}
            Self::Hang => hang(wire).await,
            Self::HangInBody => {
                let _ = wire.write(HUNDRED_OF_A_THOUSAND).await;
                hang(wire).await;
            }
            Self::Close => wire.close().await,
            Self::ResetAfter(count) => {
                let answer = HUNDRED_OF_A_THOUSAND.iter().copied().chain(std::iter::repeat(b'x'));
                let _ = wire.write(&answer.take(count).collect::<Vec<_>>()).await;
                wire.reset();
            }
            Self::DieInBody => {
                let _ = wire.write(HUNDRED_OF_A_THOUSAND).await;
                wire.close().await;
            }
            Self::DieInChunks => {
                let _ = wire.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n").await;
                wire.close().await;
            }
            Self::Garbage => {
                let _ = wire.write(b"\x00\x01\x02 this is not HTTP\r\n\r\n").await;
                wire.close().await;
            }
            Self::CloseAfterAnswer => {
                let _ = wire.write(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello").await;
                wire.close().await;
            }
        }
    }
}

/// Holds the connection until the peer ends it.
async fn hang(mut wire: Wire) {
    while wire.read_some().await.is_ok_and(|bytes| !bytes.is_empty()) {}
}
