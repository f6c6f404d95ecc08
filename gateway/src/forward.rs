//! The request as the backend sees it: its path, its host, and what the gateway tells about the caller.

use std::fmt::Write;
use std::net::IpAddr;

use gateway_config::model::HostHeader;
use gateway_config::snapshot::{Forward, UpstreamUrl};
use http::{HeaderName, HeaderValue, header};
use pingora::http::RequestHeader;
use pingora::{Error, ErrorType, Result};

use crate::judge::API_KEY;
use crate::request::{RequestCtx, write_hex};

const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// What of the connection the backend is told.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Peer {
    pub(crate) address: Option<IpAddr>,
    pub(crate) tls: bool,
}

/// Makes the client's request the one that is sent to `upstream`.
pub(crate) fn prepare(
    head: &mut RequestHeader,
    forward: &Forward,
    upstream: &UpstreamUrl,
    ctx: &RequestCtx,
    peer: Peer,
) -> Result<()> {
    set_path(head, forward, upstream, ctx.path.as_deref())?;
    remove_spoofed(head);
    let client_host = head.uri.authority().map(|authority| value(authority.as_str())).transpose()?;
    let client_host = client_host.or_else(|| head.headers.get(header::HOST).cloned());
    let host = match &forward.service.source.host_header {
        HostHeader::Keep => None,
        HostHeader::Upstream => Some(value(&upstream.authority)?),
        HostHeader::Named(name) => Some(value(name)?),
    };
    match (host, &client_host) {
        (Some(host), _) => head.insert_header(header::HOST, host)?,
        (None, None) => head.insert_header(header::HOST, value(&upstream.authority)?)?,
        // The authority of an absolute URI stands above the Host line (RFC 9112 §3.2.2).
        (None, Some(client)) if head.headers.get(header::HOST) != Some(client) => {
            head.insert_header(header::HOST, client.clone())?;
        }
        (None, Some(_)) => {}
    }
    if let Some(client_host) = client_host {
        head.insert_header(X_FORWARDED_HOST, client_host)?;
    }
    head.insert_header(X_FORWARDED_PROTO, HeaderValue::from_static(if peer.tls { "https" } else { "http" }))?;
    head.insert_header(X_REQUEST_ID, value(ctx.id.as_str())?)?;
    if let Some(address) = peer.address {
        let mut text = Inline::<45>::default();
        let _ = write!(text, "{address}");
        head.insert_header(X_FORWARDED_FOR, value(text.as_str())?)?;
    }
    if !head.headers.get(TRACEPARENT).is_some_and(|value| is_traceparent(value.as_bytes())) {
        head.insert_header(TRACEPARENT, value(new_traceparent().as_str())?)?;
    }
    join_cookies(head)
}

/// What was matched is what is forwarded: the normalised or the rewritten path, and the client's query.
fn set_path(
    head: &mut RequestHeader,
    forward: &Forward,
    upstream: &UpstreamUrl,
    normalised: Option<&str>,
) -> Result<()> {
    let path = forward.path.as_deref().or(normalised);
    if path.is_none() && upstream.base_path.is_empty() {
        return Ok(());
    }
    let own = path.unwrap_or_else(|| head.uri.path());
    let query = head.uri.query();
    let length = upstream.base_path.len() + own.len() + query.map_or(0, |query| query.len() + 1);
    let mut target = String::with_capacity(length);
    target.push_str(&upstream.base_path);
    target.push_str(own);
    if let Some(query) = query {
        target.push('?');
        target.push_str(query);
    }
    // Only for origin form: an authority must not be lost before the host is settled.
    let authority = head.uri.authority().cloned();
    if let Some(authority) = authority {
        head.insert_header(header::HOST, value(authority.as_str())?)?;
    }
    head.set_raw_path(target.as_bytes())
}

/// Takes out what clients send in the gateway's name, also with `_` for `-`: many backends read both alike.
fn remove_spoofed(head: &mut RequestHeader) {
    let mut spoofed: Vec<HeaderName> = Vec::new();
    for name in head.headers.keys() {
        if is_ours(name.as_str()) {
            spoofed.push(name.clone());
        }
    }
    for name in spoofed {
        head.remove_header(&name);
    }
}

fn is_ours(name: &str) -> bool {
    // Nearly all names end here.
    if !matches!(name.as_bytes().first(), Some(b'x' | b'f')) {
        return false;
    }
    let starts = |prefix: &str| {
        let start = name.as_bytes().get(..prefix.len());
        start.is_some_and(|start| start.iter().zip(prefix.bytes()).all(|(a, b)| *a == b || (*a == b'_' && b == b'-')))
    };
    // X-Forwarded-For, -Proto, -Host and whatever else some framework believes (-Port, -Prefix, -Server …).
    starts("x-gateway-")
        || starts("x-forwarded-")
        || (name.len() == 9 && (starts("x-real-ip") || starts(API_KEY)))
        || (name.len() == 12 && starts("x-request-id"))
        || name == "forwarded"
}

/// `00-` 32 digits `-` 16 digits `-` 2 digits, neither id all zeros (W3C Trace Context).
fn is_traceparent(value: &[u8]) -> bool {
    let part = |from: usize, to: usize| value.get(from..to).unwrap_or_default();
    let digits = |part: &[u8]| part.iter().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    let is_set = |part: &[u8]| digits(part) && part.iter().any(|byte| *byte != b'0');
    value.len() == 55
        && part(0, 3) == b"00-"
        && is_set(part(3, 35))
        && part(35, 36) == b"-"
        && is_set(part(36, 52))
        && part(52, 53) == b"-"
        && digits(part(53, 55))
}

fn new_traceparent() -> Inline<55> {
    let mut text = Inline::default();
    let mut span = [0; 32];
    // Never 0: one bit is always set.
    write_hex(rand::random::<u128>() | 1, &mut span);
    let mut trace = [0; 32];
    write_hex(rand::random::<u128>() | 1, &mut trace);
    for part in [&b"00-"[..], &trace, b"-", span.get(16..).unwrap_or_default(), b"-00"] {
        text.push(part);
    }
    text
}

/// HTTP/2 may split cookies over lines, which HTTP/1 backends read as several headers (RFC 9113 §8.2.3).
fn join_cookies(head: &mut RequestHeader) -> Result<()> {
    let lines = head.headers.get_all(header::COOKIE);
    if lines.iter().nth(1).is_none() {
        return Ok(());
    }
    let joined = lines.iter().map(HeaderValue::as_bytes).collect::<Vec<_>>().join(&b"; "[..]);
    head.insert_header(header::COOKIE, joined)
}

fn value(text: &str) -> Result<HeaderValue> {
    HeaderValue::from_str(text).map_err(|_| Error::explain(ErrorType::InternalError, "a value is no header value"))
}

/// A short text without an allocation.
struct Inline<const N: usize> {
    length: usize,
    text: [u8; N],
}

impl<const N: usize> Default for Inline<N> {
    fn default() -> Self {
        Self { length: 0, text: [0; N] }
    }
}

impl<const N: usize> Inline<N> {
    fn push(&mut self, part: &[u8]) {
        if let Some(place) = self.text.get_mut(self.length..self.length + part.len()) {
            place.copy_from_slice(part);
            self.length += part.len();
        }
    }

    fn as_str(&self) -> &str {
        self.text.get(..self.length).and_then(|text| std::str::from_utf8(text).ok()).unwrap_or_default()
    }
}

impl<const N: usize> Write for Inline<N> {
    fn write_str(&mut self, part: &str) -> std::fmt::Result {
        self.push(part.as_bytes());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_gateways_names_are_known_in_every_spelling() {
        for ours in ["x-gateway-application", "x_gateway_roles", "x-forwarded-for", "x_forwarded-proto", "x-api-key"] {
            assert!(is_ours(ours), "{ours}");
        }
        for ours in ["x-request-id", "x_request_id", "forwarded", "x-real-ip", "x-forwarded-port"] {
            assert!(is_ours(ours), "{ours}");
        }
        for other in ["x-gatewayed", "x-request-id-2", "from", "x-api-key-id", "accept", "x"] {
            assert!(!is_ours(other), "{other}");
        }
    }

    #[test]
    fn only_whole_traceparents_are_kept() {
        assert!(is_traceparent(b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"));
        assert!(is_traceparent(new_traceparent().as_str().as_bytes()));
        for bad in [
            &b""[..],
            b"00-00000000000000000000000000000000-b7ad6b7169203331-01",
            b"00-0AF7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            b"ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-x",
        ] {
            assert!(!is_traceparent(bad));
        }
    }
}
