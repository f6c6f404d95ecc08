//! The request as the backend sees it: its path, its host, and what the gateway tells about the caller.

use std::fmt::Write;
use std::net::IpAddr;

use gateway_config::client::forwarded_chain;
use gateway_config::model::HostHeader;
use gateway_config::snapshot::{Caller, Forward, UpstreamUrl};
use http::request::Parts as ReqParts;
use http::{HeaderMap, HeaderName, HeaderValue, Version, header};
use pingora::http::RequestHeader;
use pingora::{Error, ErrorType, Result};
use smallvec::SmallVec;

use crate::identity::headers::tell;
use crate::request::{RequestCtx, X_REQUEST_ID, hex, hex_of};

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// Where a request goes, and who is said to send it.
pub(crate) struct Destination<'c> {
    pub(crate) forward: &'c Forward,
    pub(crate) upstream: &'c UpstreamUrl,
    pub(crate) identity: Option<HeaderValue>,
}

/// Makes the client's request the one that is sent.
pub(crate) fn prepare(head: &mut RequestHeader, to: Destination<'_>, ctx: &RequestCtx) -> Result<()> {
    let target = target(head, to.forward, to.upstream, ctx.path.as_deref());
    let parts = ReqParts::from(std::mem::replace(head, empty_head()));
    *head = rewritten(parts, target, to, ctx)?;
    Ok(())
}

/// The request that is sent for this one of HTTP/1.1, which stays as it is.
pub(crate) fn prepared(head: &RequestHeader, to: Destination<'_>, ctx: &RequestCtx) -> Result<RequestHeader> {
    let target = target(head, to.forward, to.upstream, ctx.path.as_deref());
    let mut parts = http::Request::new(()).into_parts().0;
    parts.version = Version::HTTP_11;
    parts.method = head.method.clone();
    parts.uri = head.uri.clone();
    parts.headers = head.headers.clone();
    parts.headers.remove(header::CONNECTION);
    rewritten(parts, target, to, ctx)
}

/// On plain parts: Pingora's own way of inserting keeps every name twice, once as it was spelt, and costs as much as the rest of the gateway.
/// Names reach the backend in lower case.
fn rewritten(
    mut parts: ReqParts,
    target: Option<Vec<u8>>,
    to: Destination<'_>,
    ctx: &RequestCtx,
) -> Result<RequestHeader> {
    let Destination { forward, upstream, identity } = to;
    let seen = Seen::of(&parts.headers);
    let is_known = identity.is_some() || matches!(ctx.caller, Caller::Verified(_));
    parts.headers.reserve(if is_known { ADDED + TOLD } else { ADDED });
    let client = &ctx.client;
    let chain = client.proxy.and_then(|proxy| forwarded_chain(&parts.headers, proxy));
    for name in seen.withheld {
        parts.headers.remove(name);
    }
    set_host(&mut parts, forward, upstream)?;
    let headers = &mut parts.headers;
    headers.insert(X_FORWARDED_PROTO, HeaderValue::from_static(if client.is_secure { "https" } else { "http" }));
    headers.insert(X_REQUEST_ID, ctx.id.clone());
    if let Some(chain) = chain {
        headers.insert(X_FORWARDED_FOR, chain);
    } else {
        let mut text = Inline::<45>::default();
        text.push_address(client.address);
        headers.insert(X_FORWARDED_FOR, value(text.as_bytes())?);
    }
    let is_traced = seen.has_traceparent && headers.get(TRACEPARENT).is_some_and(|it| is_traceparent(it.as_bytes()));
    if !is_traced {
        headers.insert(TRACEPARENT, value(new_traceparent().as_bytes())?);
    }
    if seen.has_cookies {
        join_cookies(headers)?;
    }
    if ctx.strips_authorization() {
        headers.remove(header::AUTHORIZATION);
    }
    tell(headers, &ctx.caller, identity);
    let mut head = RequestHeader::from(parts);
    if let Some(target) = target {
        head.set_raw_path(&target)?;
    }
    Ok(head)
}

/// What stands in a head that has to be seen to, found in one pass: every look for a name costs a hash.
#[derive(Default)]
struct Seen {
    /// What backends are not to see: what clients send in the gateway's name, also with `_` for `-` (many backends read both alike), and what
    /// is for this hop.
    withheld: SmallVec<[HeaderName; 4]>,
    has_traceparent: bool,
    has_cookies: bool,
}

impl Seen {
    fn of(headers: &HeaderMap) -> Self {
        let mut seen = Self::default();
        for name in headers.keys() {
            let text = name.as_str();
            match text.as_bytes().first() {
                Some(b'x' | b'f') if is_ours(text) => seen.withheld.push(name.clone()),
                // From HTTP/2 to HTTP/2 Pingora leaves them in. Its other fields for one hop can't come that way, but `te` and `trailer`,
                // which gRPC needs.
                Some(b'h' | b'p') if is_for_this_hop(text) => seen.withheld.push(name.clone()),
                Some(b't') => seen.has_traceparent |= text == "traceparent",
                Some(b'c') => seen.has_cookies |= text == "cookie",
                _ => {}
            }
        }
        seen
    }
}

/// Whether all of a request is meant for the backend: no field that Pingora takes out for this hop, and none that names more.
pub(crate) fn is_end_to_end(headers: &HeaderMap) -> bool {
    !headers.keys().any(|name| is_for_this_hop(name.as_str()))
}

pub(crate) fn is_for_this_hop(name: &str) -> bool {
    match name.as_bytes().first() {
        Some(b'c') => name == "connection",
        Some(b'h') => name == "http2-settings",
        Some(b'k') => name == "keep-alive",
        Some(b'p') => name.starts_with("proxy-"),
        Some(b't') => matches!(name, "te" | "trailer" | "transfer-encoding"),
        Some(b'u') => name == "upgrade",
        _ => false,
    }
}

/// How many headers are added to every request at the most, and how many more tell who calls.
const ADDED: usize = 6;
const TOLD: usize = 4;

fn empty_head() -> RequestHeader {
    RequestHeader::from(http::Request::new(()).into_parts().0)
}

/// What was matched is what is forwarded: the normalised or the rewritten path, and the client's query as it came. `None` where
/// that is what the request says already.
fn target(
    head: &RequestHeader,
    forward: &Forward,
    upstream: &UpstreamUrl,
    normalised: Option<&str>,
) -> Option<Vec<u8>> {
    let path = forward.path.as_deref().or(normalised);
    let raw = head.raw_path();
    let is_plain = head.uri.path_and_query().is_some_and(|it| it.as_str().as_bytes() == raw);
    if path.is_none() && upstream.base_path.is_empty() && is_plain && head.uri.authority().is_none() {
        return None;
    }
    // An absolute URI is forwarded as a path: the backend is no proxy.
    let sent = if head.uri.authority().is_some() {
        head.uri.path_and_query().map_or(&b"/"[..], |it| it.as_str().as_bytes())
    } else {
        raw
    };
    let query_at = sent.iter().position(|byte| *byte == b'?').unwrap_or(sent.len());
    let (sent_path, query) = sent.split_at(query_at);
    Some([upstream.base_path.as_bytes(), path.map_or(sent_path, str::as_bytes), query].concat())
}

/// The `Host` that the service wants, and the client's beside it.
fn set_host(parts: &mut ReqParts, forward: &Forward, upstream: &UpstreamUrl) -> Result<()> {
    // The authority of an absolute URI stands above the Host line (RFC 9112 §3.2.2).
    let in_target = parts.uri.authority().map(|authority| value(authority.as_str().as_bytes())).transpose()?;
    let is_in_target = in_target.is_some();
    let client = in_target.or_else(|| parts.headers.get(header::HOST).cloned());
    let host = match (&forward.service.source.host_header, &client) {
        // It stands there already.
        (HostHeader::Keep, Some(_)) if !is_in_target => None,
        (HostHeader::Keep, Some(client)) => Some(client.clone()),
        (HostHeader::Keep | HostHeader::Upstream, _) => Some(value(upstream.authority.as_bytes())?),
        (HostHeader::Named(name), _) => Some(value(name.as_bytes())?),
    };
    if let Some(host) = host {
        parts.headers.insert(header::HOST, host);
    }
    if let Some(client) = client {
        parts.headers.insert(X_FORWARDED_HOST, client);
    }
    Ok(())
}

fn is_ours(name: &str) -> bool {
    let starts = |prefix: &str| {
        let start = name.as_bytes().get(..prefix.len());
        start.is_some_and(|start| start.iter().zip(prefix.bytes()).all(|(a, b)| *a == b || (*a == b'_' && b == b'-')))
    };
    // X-Forwarded-For, -Proto, -Host and whatever else some framework believes (-Port, -Prefix, -Server …).
    starts("x-gateway-")
        || starts("x-forwarded-")
        || (name.len() == 9 && (starts("x-real-ip") || starts("x-api-key")))
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
    // Never 0: one bit is always set.
    let (trace, span) = (hex(rand::random::<u128>() | 1), hex_of(rand::random::<u64>() | 1));
    for part in [&b"00-"[..], &trace, b"-", &span, b"-00"] {
        text.push(part);
    }
    text
}

/// HTTP/2 may split cookies over lines, which HTTP/1 backends read as several headers (RFC 9113 §8.2.3).
fn join_cookies(headers: &mut HeaderMap) -> Result<()> {
    let lines = headers.get_all(header::COOKIE);
    if lines.iter().nth(1).is_none() {
        return Ok(());
    }
    let joined = lines.iter().map(HeaderValue::as_bytes).collect::<Vec<_>>().join(&b"; "[..]);
    headers.insert(header::COOKIE, value(&joined)?);
    Ok(())
}

fn value(text: &[u8]) -> Result<HeaderValue> {
    HeaderValue::from_bytes(text).map_err(|_| Error::explain(ErrorType::InternalError, "a value is no header value"))
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

    /// IPv4, as nearly all are, without the machinery of formatting.
    fn push_address(&mut self, address: IpAddr) {
        let IpAddr::V4(v4) = address else {
            let _ = write!(self, "{address}");
            return;
        };
        for (at, octet) in v4.octets().into_iter().enumerate() {
            if at > 0 {
                self.push(b".");
            }
            let digits = [octet / 100, octet / 10 % 10, octet % 10].map(|digit| b'0' + digit);
            let skipped = usize::from(octet < 100) + usize::from(octet < 10);
            self.push(digits.get(skipped..).unwrap_or_default());
        }
    }

    fn as_bytes(&self) -> &[u8] {
        self.text.get(..self.length).unwrap_or_default()
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
    fn a_request_with_any_field_for_this_hop_is_left_to_pingora() {
        let of =
            |name: &'static str| HeaderMap::from_iter([(HeaderName::from_static(name), HeaderValue::from_static("x"))]);
        for name in [
            "connection",
            "keep-alive",
            "proxy-connection",
            "proxy-authenticate",
            "proxy-authorization",
            "te",
            "trailer",
            "transfer-encoding",
            "upgrade",
            "http2-settings",
        ] {
            assert!(!is_end_to_end(&of(name)), "{name}");
        }
        for name in ["host", "cookie", "content-length", "traceparent", "user-agent", "keep"] {
            assert!(is_end_to_end(&of(name)), "{name}");
        }
    }

    #[test]
    fn addresses_are_written_as_the_standard_library_does() {
        for address in ["0.0.0.0", "1.20.100.255", "127.0.0.1", "::1", "2001:db8::ffff:1"] {
            let mut text = Inline::<45>::default();
            text.push_address(address.parse().unwrap());
            assert_eq!(text.as_bytes(), address.as_bytes());
        }
    }

    #[test]
    fn only_whole_traceparents_are_kept() {
        assert!(is_traceparent(b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"));
        assert!(is_traceparent(new_traceparent().as_bytes()));
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
