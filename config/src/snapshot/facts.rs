//! What is known of a request before anything is decided.

use std::net::IpAddr;

use http::{HeaderMap, Method, header};
use thiserror::Error;

use crate::model::{Timestamp, host};

/// Everything is borrowed: a request costs no copy.
#[derive(Clone, Copy, Debug)]
pub struct RequestFacts<'a> {
    pub method: &'a Method,
    /// In lower case, without the port; empty when an HTTP/1.0 client sent none.
    pub host: &'a str,
    /// Normalised by [`super::path::normalise`].
    pub path: &'a str,
    pub query: Option<&'a str>,
    /// How long the target was as the client sent it.
    pub target_bytes: usize,
    pub headers: &'a HeaderMap,
    /// The client's, as far as proxies before the gateway are trusted to name it.
    pub address: IpAddr,
    pub now: Timestamp,
    /// The dice, rolled beforehand.
    pub entropy: u64,
}

/// The whole of a body, for the routes that need it read before they are decided.
#[derive(Clone, Copy, Debug, Default)]
pub struct BodyFacts<'a> {
    pub bytes: Option<&'a [u8]>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum HostError {
    #[error("the request has no Host")]
    Missing,
    #[error("the request has more than one Host")]
    Doubled,
    #[error("the request's Host is not a host name")]
    Invalid,
}

/// The host that a request names, its port and a trailing dot taken off. `target` is the authority of an absolute-form or
/// HTTP/2 request, which stands above the header (RFC 9112 §3.2.2). `buffer` is used only when the name has capitals.
pub fn host_of<'a>(
    target: Option<&'a str>,
    headers: &'a HeaderMap,
    required: bool,
    buffer: &'a mut String,
) -> Result<&'a str, HostError> {
    let mut lines = headers.get_all(header::HOST).iter();
    let line = lines.next();
    if lines.next().is_some() {
        return Err(HostError::Doubled);
    }
    let line = line.map(|value| value.to_str().map_err(|_| HostError::Invalid)).transpose()?;
    if let (Some(line), Some(_)) = (line, target) {
        // It is forwarded, so it must be sound even where it does not count.
        bare(line)?;
    }
    let Some(authority) = target.or(line) else {
        return if required { Err(HostError::Missing) } else { Ok("") };
    };
    if let Some(plain) = plain(authority) {
        return Ok(plain);
    }
    let name = bare(authority)?;
    let lower: &str = if name.bytes().any(|byte| byte.is_ascii_uppercase()) {
        buffer.clear();
        buffer.push_str(name);
        buffer.make_ascii_lowercase();
        buffer
    } else {
        name
    };
    if host::is_host_name(lower) { Ok(lower) } else { Err(HostError::Invalid) }
}

/// The host of nearly every request (lower case, perhaps a port) in one pass; `None` for whatever needs a closer look.
fn plain(authority: &str) -> Option<&str> {
    let mut label = 0;
    for (at, byte) in authority.bytes().enumerate() {
        match byte {
            b'a'..=b'z' | b'0'..=b'9' => label += 1,
            b'.' if label > 0 => label = 0,
            b':' if label > 0 => {
                let port = authority.get(at + 1..)?;
                let fits = (1..=4).contains(&port.len()) || (port.len() == 5 && port <= "65535");
                let sound = fits && port.bytes().all(|digit| digit.is_ascii_digit());
                return authority.get(..at).filter(|_| sound && at <= 253);
            }
            _ => return None,
        }
        if label > 63 {
            return None;
        }
    }
    (label > 0 && authority.len() <= 253).then_some(authority)
}

fn bare(authority: &str) -> Result<&str, HostError> {
    let (name, _) = host::split_port(authority).ok_or(HostError::Invalid)?;
    let name = name.strip_suffix('.').unwrap_or(name);
    let sound = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.[]:".contains(&byte));
    if sound && !name.is_empty() { Ok(name) } else { Err(HostError::Invalid) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(lines: &[&str], target: Option<&str>, required: bool) -> Result<String, HostError> {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(header::HOST, line.parse().unwrap());
        }
        host_of(target, &headers, required, &mut String::new()).map(ToOwned::to_owned)
    }

    #[test]
    fn the_host_is_lowered_and_bared() {
        assert_eq!(host(&["Shop.Example.com:8080"], None, true).as_deref(), Ok("shop.example.com"));
        assert_eq!(host(&["example.com."], None, true).as_deref(), Ok("example.com"));
        assert_eq!(host(&["[::1]:80"], None, true).as_deref(), Ok("[::1]"));
        assert_eq!(host(&["a.com"], Some("b.com:1"), true).as_deref(), Ok("b.com"));
        assert_eq!(host(&[], None, false).as_deref(), Ok(""));
    }

    proptest::proptest! {
        #[test]
        fn the_short_way_answers_what_the_long_way_does(authority in "[a-z0-9.:A-Z-]{0,12}|[a-z]{60,66}(\\.x)?") {
            if let Some(plain) = plain(&authority) {
                proptest::prop_assert_eq!(bare(&authority), Ok(plain));
                proptest::prop_assert!(host::is_host_name(plain));
            }
        }
    }

    #[test]
    fn a_missing_doubled_or_invalid_host_is_refused() {
        assert_eq!(host(&[], None, true), Err(HostError::Missing));
        assert_eq!(host(&["a.com", "a.com"], None, true), Err(HostError::Doubled));
        for bad in ["", "a b", "a/b", "a@b", "a,b", "a:b", "a:99999", "[::1", "*.a", "..", "-a", "a?b"] {
            assert_eq!(host(&[bad], None, true), Err(HostError::Invalid), "{bad}");
        }
        assert_eq!(host(&["a/b"], Some("b.com"), true), Err(HostError::Invalid));
    }
}
