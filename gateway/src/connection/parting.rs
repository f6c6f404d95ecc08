//! How a client is left to whom nothing but no could be said.

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// Of what a client still sends after it was told no, before it is left alone.
const LAST_WORDS: u64 = 64 << 10;

/// Says a last word. To close at once, with something left to read, would reset the connection and might destroy it. Waits for the client as long
/// as whoever calls this lets it.
pub(crate) async fn part(mut io: impl AsyncRead + AsyncWrite + Unpin, word: &[u8]) {
    if io.write_all(word).await.is_ok() && io.flush().await.is_ok() && io.shutdown().await.is_ok() {
        let _ = tokio::io::copy(&mut io.take(LAST_WORDS), &mut tokio::io::sink()).await;
    }
}
