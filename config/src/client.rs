//! Whose request it is as far as addresses go: the peer's, or the one that trusted proxies before the process name.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use http::{HeaderMap, HeaderName, HeaderValue, header};
use ipnet::IpNet;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// Where a request came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Client {
    pub address: IpAddr,
    /// It came over TLS, to us or to a proxy that we trust.
    pub is_secure: bool,
    /// The proxy that is trusted; then what it said of those before it is kept.
    pub proxy: Option<IpAddr>,
}

impl Default for Client {
    fn default() -> Self {
        Self { address: UNKNOWN, is_secure: false, proxy: None }
    }
}

/// Of a connection whose other end can't be told.
const UNKNOWN: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);

/// Proxies whose word counts. Anybody else could write any address there.
#[derive(Clone, Debug, Default)]
pub struct TrustedProxies(Box<[IpNet]>);

impl TrustedProxies {
    #[must_use]
    pub fn new(nets: &[IpNet]) -> Self {
        Self(nets.into())
    }

    fn trust(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.iter().any(|net| net.contains(&address))
    }

    #[must_use]
    pub fn client(&self, peer: Option<IpAddr>, is_tls: bool, headers: &HeaderMap) -> Client {
        let peer = peer.map_or(UNKNOWN, |peer| peer.to_canonical());
        if self.0.is_empty() || !self.trust(peer) {
            return Client { address: peer, is_secure: is_tls, proxy: None };
        }
        let named = if headers.contains_key(X_FORWARDED_FOR) {
            self.last_stranger(lines(headers, &X_FORWARDED_FOR))
        } else {
            self.last_stranger(lines(headers, &header::FORWARDED).filter_map(|element| parameter(element, "for")))
        };
        let proto = last(headers, &X_FORWARDED_PROTO);
        let proto = proto.or_else(|| parameter(last(headers, &header::FORWARDED)?, "proto"));
        let is_secure = proto.map_or(is_tls, |proto| proto.eq_ignore_ascii_case("https"));
        Client { address: named.unwrap_or(peer), is_secure, proxy: Some(peer) }
    }

    /// From the right, where our own proxy wrote: the first that is not one of ours; what is left of it anybody may have
    /// written. Where something is no address, the last good one stands.
    fn last_stranger<'h>(&self, entries: impl DoubleEndedIterator<Item = &'h str>) -> Option<IpAddr> {
        let mut found = None;
        for entry in entries.rev() {
            let Some(address) = address(entry) else { break };
            found = Some(address);
            if !self.trust(address) {
                break;
            }
        }
        found
    }
}

/// The elements of all lines of a list header, in order.
fn lines<'h>(headers: &'h HeaderMap, name: &HeaderName) -> impl DoubleEndedIterator<Item = &'h str> {
    let text = |line: &'h HeaderValue| line.to_str().unwrap_or("?");
    headers.get_all(name).into_iter().map(text).flat_map(|line| line.split(',')).map(str::trim)
}

fn last<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Option<&'h str> {
    lines(headers, name).next_back()
}

/// A parameter of one element of `Forwarded` (RFC 7239 §4).
fn parameter<'e>(element: &'e str, name: &str) -> Option<&'e str> {
    let pairs = element.split(';').filter_map(|pair| pair.trim().split_once('='));
    let (_, value) = pairs.into_iter().find(|(key, _)| key.eq_ignore_ascii_case(name))?;
    Some(value.trim_matches('"'))
}

/// With or without a port, IPv6 with or without brackets.
fn address(text: &str) -> Option<IpAddr> {
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    let parsed = bare.parse().ok().or_else(|| text.parse::<SocketAddr>().ok().map(|address| address.ip()));
    parsed.map(|address: IpAddr| address.to_canonical())
}

/// What the backend reads as `X-Forwarded-For` behind a trusted proxy: what that said, and the proxy itself.
#[must_use]
pub fn forwarded_chain(headers: &HeaderMap, proxy: IpAddr) -> Option<HeaderValue> {
    let mut chain = lines(headers, &X_FORWARDED_FOR).collect::<Vec<_>>().join(", ");
    if !chain.is_empty() {
        chain.push_str(", ");
    }
    chain.push_str(&proxy.to_string());
    HeaderValue::from_str(&chain).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(peer: &str, lines: &[(&'static str, &str)]) -> Client {
        let trusted = TrustedProxies::new(&["10.0.0.0/8".parse().unwrap(), "fd00::/8".parse().unwrap()]);
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, value.parse().unwrap());
        }
        trusted.client(Some(peer.parse().unwrap()), false, &headers)
    }

    fn address_of(peer: &str, lines: &[(&'static str, &str)]) -> String {
        client(peer, lines).address.to_string()
    }

    #[test]
    fn a_stranger_is_not_believed() {
        assert_eq!(address_of("9.9.9.9", &[("x-forwarded-for", "1.2.3.4")]), "9.9.9.9");
        assert!(!client("9.9.9.9", &[("x-forwarded-proto", "https")]).is_secure);
    }

    #[test]
    fn behind_trusted_proxies_the_last_stranger_is_the_client() {
        for (line, expected) in [
            ("1.2.3.4", "1.2.3.4"),
            ("6.6.6.6, 1.2.3.4, 10.1.1.1", "1.2.3.4"),
            ("6.6.6.6, 1.2.3.4:5678", "1.2.3.4"),
            ("[2001:db8::1]:80, fd00::1", "2001:db8::1"),
            ("::ffff:1.2.3.4", "1.2.3.4"),
            ("1.2.3.4, unknown, 10.1.1.1", "10.1.1.1"),
            ("10.2.2.2, 10.1.1.1", "10.2.2.2"),
            ("", "10.0.0.1"),
        ] {
            assert_eq!(address_of("10.0.0.1", &[("x-forwarded-for", line)]), expected, "{line}");
        }
        assert_eq!(
            address_of("10.0.0.1", &[("x-forwarded-for", "6.6.6.6"), ("x-forwarded-for", "1.2.3.4")]),
            "1.2.3.4"
        );
        assert_eq!(address_of("::ffff:10.0.0.1", &[("x-forwarded-for", "1.2.3.4")]), "1.2.3.4");
    }

    #[test]
    fn forwarded_counts_where_there_is_no_x_forwarded_for() {
        let line = "for=6.6.6.6, For=\"[2001:db8::1]:4711\";proto=https";
        assert_eq!(address_of("10.0.0.1", &[("forwarded", line)]), "2001:db8::1");
        assert!(client("10.0.0.1", &[("forwarded", line)]).is_secure);
    }
}
