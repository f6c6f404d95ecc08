//! One HTTP/1.1 request on a connection of its own, for everything that is not measured.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, bail};
use serde_json::Value;

#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: String,
}

impl Answer {
    pub fn json(&self) -> anyhow::Result<Value> {
        serde_json::from_str(&self.body).with_context(|| format!("not JSON: {}", self.body))
    }
}

/// Sends `body` as JSON, with a header line (without its end) where there is one.
pub fn send(to: SocketAddr, method: &str, target: &str, line: Option<&str>, body: &str) -> anyhow::Result<Answer> {
    let mut stream = TcpStream::connect(to).with_context(|| format!("could not connect to {to}"))?;
    stream.set_read_timeout(Some(Duration::from_secs(30)))?;
    let line = line.map(|line| format!("{line}\r\n")).unwrap_or_default();
    let content = format!("content-type: application/json\r\ncontent-length: {}\r\n", body.len());
    let head = format!("{method} {target} HTTP/1.1\r\nhost: {to}\r\nconnection: close\r\n{line}{content}\r\n");
    stream.write_all(&[head.as_bytes(), body.as_bytes()].concat())?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).with_context(|| format!("no answer to {method} {target}"))?;
    let answer = String::from_utf8_lossy(&answer);
    let Some((head, body)) = answer.split_once("\r\n\r\n") else { bail!("{method} {target}: no whole answer") };
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).context("the answer has no status")?;
    let is_chunked = head.to_ascii_lowercase().contains("transfer-encoding: chunked");
    let body = if is_chunked { unchunked(body).context("the answer's chunks are torn")? } else { body.to_owned() };
    Ok(Answer { status, head: head.to_owned(), body })
}

/// For answers whose length nobody knew when they began; none of ours splits a letter between chunks.
fn unchunked(mut rest: &str) -> Option<String> {
    let mut body = String::with_capacity(rest.len());
    loop {
        let (size, behind) = rest.split_once("\r\n")?;
        let size = usize::from_str_radix(size.trim(), 16).ok()?;
        if size == 0 {
            return Some(body);
        }
        body.push_str(behind.get(..size)?);
        rest = behind.get(size..)?.strip_prefix("\r\n")?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_are_put_together() {
        assert_eq!(unchunked("3\r\nabc\r\nA\r\n0123456789\r\n0\r\n\r\n").as_deref(), Some("abc0123456789"));
        assert_eq!(unchunked("3\r\nab"), None);
    }
}
