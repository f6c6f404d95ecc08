//! A worker that takes everything that is pushed to it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

#[derive(Clone, Debug, Default)]
pub(super) struct Sink {
    taken: Arc<AtomicU64>,
}

impl Sink {
    /// Starts it on a thread of its own, where it lives as long as this process.
    pub(super) fn start() -> anyhow::Result<(Self, SocketAddr)> {
        let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let sink = Self::default();
        let serving = sink.clone();
        std::thread::Builder::new().name("sink".to_owned()).spawn(move || {
            if let Err(error) = runtime.block_on(serving.serve(listener)) {
                eprintln!("the sink stopped: {error}");
            }
        })?;
        Ok((sink, address))
    }

    pub(super) fn taken(&self) -> u64 {
        self.taken.load(Ordering::Relaxed)
    }

    async fn serve(&self, listener: std::net::TcpListener) -> std::io::Result<()> {
        let listener = TcpListener::from_std(listener)?;
        loop {
            let (stream, _) = listener.accept().await?;
            let sink = self.clone();
            tokio::spawn(async move {
                // A gateway that is stopped breaks its connections; that is no fault.
                let _ = sink.converse(stream).await;
            });
        }
    }

    async fn converse(&self, mut stream: TcpStream) -> std::io::Result<()> {
        let mut bytes = Vec::with_capacity(8192);
        loop {
            if stream.read_buf(&mut bytes).await? == 0 {
                return Ok(());
            }
            while let Some(length) = whole_request(&bytes) {
                bytes.drain(..length);
                self.taken.fetch_add(1, Ordering::Relaxed);
                stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await?;
            }
        }
    }
}

/// How long the first request is, if all of it is there.
fn whole_request(bytes: &[u8]) -> Option<usize> {
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
    let head = String::from_utf8_lossy(bytes.get(..end)?).to_ascii_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length:")?.trim().parse().ok());
    Some(end + length.unwrap_or(0)).filter(|length| *length <= bytes.len())
}
