//! What a client speaks is seen by its first bytes: HTTP/2 begins with a preface (RFC 9113 §3.4) that begins no request of HTTP/1.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt};

pub(crate) const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Reads until it is the preface, or can be it no more; answers how much was read. Pingora's own look waits for as many bytes as the
/// preface has, which a short request of HTTP/1 has not.
pub(super) async fn look(io: &mut (impl AsyncRead + Unpin), bytes: &mut [u8]) -> io::Result<usize> {
    let mut have = 0;
    while let Some(room) = bytes.get_mut(have..).filter(|room| !room.is_empty()) {
        let read = io.read(room).await?;
        have += read;
        if read == 0 || !PREFACE.starts_with(bytes.get(..have).unwrap_or_default()) {
            break;
        }
    }
    Ok(have)
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;

    use super::*;

    async fn seen(pieces: &[&[u8]]) -> Vec<u8> {
        let (mut client, mut server) = tokio::io::duplex(64);
        for piece in pieces {
            client.write_all(piece).await.unwrap();
        }
        let mut bytes = [0; PREFACE.len()];
        let have = look(&mut server, &mut bytes).await.unwrap();
        bytes[..have].to_vec()
    }

    #[tokio::test]
    async fn a_request_of_http_1_is_not_waited_for_further_than_it_goes() {
        // The client is still there: whoever waited for more would wait for ever.
        assert_eq!(seen(&[b"GET / HTTP/1.0\r\n\r\n"]).await, b"GET / HTTP/1.0\r\n\r\n");
        assert_eq!(seen(&[b"PUT"]).await, b"PUT");
        assert_eq!(seen(&[b"PRI * HTTP/2.0\r\n\r\nXX"]).await, b"PRI * HTTP/2.0\r\n\r\nXX");
    }

    #[tokio::test]
    async fn the_preface_is_known_however_it_comes_and_nothing_behind_it_is_taken() {
        assert_eq!(seen(&[PREFACE, b"\0\0\0"]).await, PREFACE);
        let pieces: Vec<&[u8]> = PREFACE.chunks(5).collect();
        assert_eq!(seen(&pieces).await, PREFACE);
    }
}
