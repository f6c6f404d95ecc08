//! The backend behind every peer: raw HTTP/1.1 with keep-alive and nothing else, so that it is never what limits a measurement.
//! A path that ends in `/100k` is answered with 100 KiB, any other with 1 KiB.

use std::net::SocketAddr;

use anyhow::Context;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

#[derive(Debug)]
struct Answers {
    small: Vec<u8>,
    large: Vec<u8>,
}

/// Starts the origin on a thread of its own, where it lives as long as this process.
pub fn start() -> anyhow::Result<SocketAddr> {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").context("could not bind the origin")?;
    listener.set_nonblocking(true)?;
    let address = listener.local_addr()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    std::thread::Builder::new().name("origin".to_owned()).spawn(move || {
        if let Err(error) = runtime.block_on(serve(listener)) {
            eprintln!("the origin stopped: {error}");
        }
    })?;
    Ok(address)
}

async fn serve(listener: std::net::TcpListener) -> std::io::Result<()> {
    let listener = TcpListener::from_std(listener)?;
    let answers: &Answers = Box::leak(Box::new(Answers { small: answer(1 << 10), large: answer(100 << 10) }));
    loop {
        let (stream, _) = listener.accept().await?;
        tokio::spawn(async move {
            // A peer that is stopped breaks its connections; that is no fault.
            let _ = converse(stream, answers).await;
        });
    }
}

fn answer(size: usize) -> Vec<u8> {
    let head = format!("HTTP/1.1 200 OK\r\ncontent-type: application/octet-stream\r\ncontent-length: {size}\r\n\r\n");
    let mut answer = head.into_bytes();
    answer.resize(answer.len() + size, b'x');
    answer
}

async fn converse(mut stream: TcpStream, answers: &Answers) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut head = Vec::with_capacity(4096);
    loop {
        if stream.read_buf(&mut head).await? == 0 {
            return Ok(());
        }
        // Requests without a body, one at a time: a head that ends is a request.
        if head.ends_with(b"\r\n\r\n") {
            let target = head.split(|byte| *byte == b' ').nth(1).unwrap_or_default();
            let is_large = target.ends_with(b"/100k");
            stream.write_all(if is_large { &answers.large } else { &answers.small }).await?;
            head.clear();
        }
    }
}
