//! From a request's head to a decision: gathers the facts, asks the snapshot. Nothing is decided here.

use std::borrow::Cow;
use std::net::{IpAddr, Ipv4Addr};

use gateway_config::clock::{Clock, SystemClock};
use gateway_config::snapshot::{
    BodyFacts, Caller, Code, Decision, Refusal, RequestFacts, Snapshot, decide, host_of, match_request, path,
};
use http::{HeaderMap, HeaderName, Version, header};
use pingora::http::RequestHeader;

/// The header that carries an API key.
const API_KEY: HeaderName = HeaderName::from_static("x-api-key");

/// What judging a request brought.
#[derive(Debug)]
pub(crate) struct Judgement {
    pub(crate) decision: Decision,
    /// The path to forward, where it is not what the client sent.
    pub(crate) path: Option<String>,
}

pub(crate) fn judge(snapshot: &Snapshot, head: &RequestHeader, address: Option<IpAddr>) -> Judgement {
    match gather(snapshot, head, address) {
        Ok(judgement) => judgement,
        Err(refusal) => Judgement { decision: Decision::refused(refusal), path: None },
    }
}

fn gather(snapshot: &Snapshot, head: &RequestHeader, address: Option<IpAddr>) -> Result<Judgement, Refusal> {
    let bad = |why: String| Refusal { message: Some(why.into()), ..Refusal::new(Code::BadRequest) };
    let Target { authority, path: raw_path, query } = target(head).map_err(|why| bad(why.to_owned()))?;
    let path = path::normalise(raw_path).map_err(|error| bad(error.to_string()))?;
    let is_old = matches!(head.version, Version::HTTP_10 | Version::HTTP_09);
    let mut buffer = String::new();
    let host = host_of(authority, &head.headers, !is_old, &mut buffer).map_err(|error| bad(error.to_string()))?;
    let facts = RequestFacts {
        method: &head.method,
        host,
        path: &path,
        query,
        target_bytes: head.raw_path().len(),
        headers: &head.headers,
        address: address.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED)),
        now: SystemClock.now(),
        entropy: rand::random(),
    };
    let matched = match_request(snapshot, &facts);
    let decision = decide(snapshot, &matched, &caller(&head.headers), &BodyFacts::default());
    let path = match path {
        Cow::Owned(path) => Some(path),
        // An absolute URI is forwarded as a path: the backend is not a proxy.
        Cow::Borrowed(path) => authority.map(|_| path.to_owned()),
    };
    Ok(Judgement { decision, path })
}

/// What a request is for, as the client sent it.
#[derive(Debug, PartialEq)]
struct Target<'a> {
    /// Of the absolute form (RFC 9112 §3.2.2), or of HTTP/2.
    authority: Option<&'a str>,
    path: &'a [u8],
    query: Option<&'a str>,
}

fn target(head: &RequestHeader) -> Result<Target<'_>, &'static str> {
    let raw = head.raw_path();
    let Some(behind) = without_scheme(raw) else {
        let (path, query) = split_query(raw)?;
        return Ok(Target { authority: head.uri.authority().map(http::uri::Authority::as_str), path, query });
    };
    // Pingora leaves an absolute target as it is and keeps only its path in the URI.
    let end = behind.iter().position(|byte| b"/?".contains(byte)).unwrap_or(behind.len());
    let (authority, rest) = behind.split_at_checked(end).unwrap_or((behind, &[]));
    let authority = std::str::from_utf8(authority).map_err(|_| "the target's authority is not a host")?;
    let (path, query) = split_query(rest)?;
    Ok(Target { authority: Some(authority), path: if path.is_empty() { b"/" } else { path }, query })
}

fn without_scheme(raw: &[u8]) -> Option<&[u8]> {
    let behind = |scheme: &[u8]| {
        let (begin, rest) = raw.split_at_checked(scheme.len())?;
        begin.eq_ignore_ascii_case(scheme).then_some(rest)
    };
    behind(b"http://").or_else(|| behind(b"https://"))
}

fn split_query(raw: &[u8]) -> Result<(&[u8], Option<&str>), &'static str> {
    let at = raw.iter().position(|byte| *byte == b'?');
    let (path, query) = match at {
        Some(at) => (raw.get(..at).unwrap_or_default(), raw.get(at + 1..)),
        None => (raw, None),
    };
    let Some(query) = query else { return Ok((path, None)) };
    let sound = query.iter().all(|byte| matches!(byte, 0x21..=0x7e) && *byte != b'#');
    let query = std::str::from_utf8(query).ok().filter(|_| sound);
    query.map(|query| (path, Some(query))).ok_or("the query holds a character that must be percent-encoded")
}

/// Who calls. Nobody's credentials can be verified yet, so whoever presents some is refused unless the route ignores it.
fn caller(headers: &HeaderMap) -> Caller {
    let bearer = |value: &http::HeaderValue| {
        value.as_bytes().get(..7).is_some_and(|scheme| scheme.eq_ignore_ascii_case(b"bearer "))
    };
    if headers.contains_key(API_KEY) || headers.get_all(header::AUTHORIZATION).iter().any(bearer) {
        return Caller::Rejected(Code::CredentialsInvalid);
    }
    Caller::Anonymous
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(raw: &str) -> (Option<String>, String, Option<String>) {
        let head = RequestHeader::build_no_case("GET", raw.as_bytes(), None).unwrap();
        let Target { authority, path, query } = target(&head).unwrap();
        (authority.map(str::to_owned), String::from_utf8(path.to_vec()).unwrap(), query.map(str::to_owned))
    }

    #[test]
    fn an_absolute_target_is_taken_apart() {
        let some = |text: &str| Some(text.to_owned());
        for (raw, authority, path, query) in [
            ("/a?b", None, "/a", some("b")),
            ("http://shop.example/a/../b?c=/", some("shop.example"), "/a/../b", some("c=/")),
            ("HTTPS://shop.example:81", some("shop.example:81"), "/", None),
            ("http://shop.example?x", some("shop.example"), "/", some("x")),
            ("http:///a", some(""), "/a", None),
        ] {
            assert_eq!(of(raw), (authority, path.to_owned(), query), "{raw}");
        }
    }
}
