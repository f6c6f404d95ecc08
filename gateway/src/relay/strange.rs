//! Requests that Pingora's reader refuses before any of our code is asked: with an empty answer in its own name, and uncounted. Who sends
//! one is told here why, as everybody else whom the gateway refuses.

use std::mem::MaybeUninit;

use gateway_config::snapshot::Code;
use http::Method;
use pingora::proxy::Session;
use pingora::{Error, ErrorType, Result};

/// More make no request strange, but cost it another look.
const FIELDS: usize = 64;
const END: &[u8] = b"\r\n\r\n";

/// Whether these first bytes hold a whole head that may be refused. A cheap look, which doubts too much: who doubts reads it as Pingora does. What
/// comes in pieces is left to Pingora, also to refuse: whoever doubts must not have to read on.
pub(super) fn is_strange(bytes: &[u8]) -> bool {
    let mut fields = [const { MaybeUninit::uninit() }; FIELDS];
    let mut request = httparse::Request::new(&mut []);
    match request.parse_with_uninit_headers(bytes, &mut fields) {
        Ok(status) => status.is_complete() && may_be_refused(&request),
        // Empty lines may stand before a request, and end nothing.
        Err(_) => begun(bytes).windows(END.len()).any(|window| window == END),
    }
}

/// From the first line on that is not empty.
fn begun(bytes: &[u8]) -> &[u8] {
    let first = bytes.iter().position(|byte| !b"\r\n".contains(byte)).unwrap_or(bytes.len());
    bytes.get(first..).unwrap_or_default()
}

/// Whether no answer to these bytes may have a body.
pub(super) fn asks_for_a_head(bytes: &[u8]) -> bool {
    begun(bytes).starts_with(b"HEAD ")
}

fn may_be_refused(request: &httparse::Request<'_, '_>) -> bool {
    let (mut hosts, mut lengths, mut codings) = (0, 0, 0);
    let mut are_plain = true;
    for field in request.headers.iter() {
        match field.name.len() {
            4 if field.name.eq_ignore_ascii_case("host") => {
                hosts += 1;
                are_plain &= field.value.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-._:[]".contains(byte));
            }
            14 if field.name.eq_ignore_ascii_case("content-length") => {
                lengths += 1;
                are_plain &= field.value.iter().all(u8::is_ascii_digit) && (1..=18).contains(&field.value.len());
            }
            17 if field.name.eq_ignore_ascii_case("transfer-encoding") => {
                codings += 1;
                are_plain &= request.version == Some(1) && field.value.eq_ignore_ascii_case(b"chunked");
            }
            _ => {}
        }
    }
    let is_path = |path: &str| path.starts_with('/') && !path.contains(['"', '<', '>', '`']);
    let is_tunnel = request.method == Some("CONNECT");
    is_tunnel || !request.path.is_some_and(is_path) || hosts != 1 || lengths + codings > 1 || !are_plain
}

/// Why a request is refused of which this came when it was read; `None`: somebody else has to answer it, or nobody is there.
pub(super) fn refusal(read: &Result<bool>, session: &Session) -> Option<(Code, &'static str)> {
    match read {
        // Not the error's own words: they hold what was sent.
        Err(error) if *error.etype() == ErrorType::InvalidHTTPHeader => Some((Code::BadRequest, why(error))),
        Ok(true) if session.req_header().method == Method::CONNECT => {
            Some((Code::MethodNotAllowed, "the gateway opens no tunnels"))
        }
        _ => None,
    }
}

fn why(error: &Error) -> &'static str {
    match error.cause.as_ref().and_then(|cause| cause.downcast_ref::<httparse::Error>()) {
        Some(httparse::Error::HeaderName) => "a header's name holds what no name may hold",
        Some(httparse::Error::HeaderValue) => "a header's value holds what no value may hold",
        Some(httparse::Error::NewLine) => "a line does not end as lines do",
        Some(httparse::Error::Version) => "the request is of no version of HTTP that is spoken here",
        Some(httparse::Error::TooManyHeaders) => "the request has too many headers",
        Some(_) => "the request's first line can't be read",
        None => "the request's target, host or length can be read in two ways, or in none",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usual_requests_are_not_looked_at_twice() {
        for usual in [
            "POST /a?b HTTP/1.1\r\nHost: a.example:80\r\nContent-Length: 3\r\n\r\nabc",
            "PUT / HTTP/1.1\r\nhost: [::1]\r\ntransfer-encoding: chunked\r\n\r\n",
            "PATCH / HTTP/1.0\r\nHost: a\r\nX: \u{e9}\r\n\r\n",
            // In pieces.
            "POST /a HTTP/1.1\r\nHost: a\r\nHost: b\r\n",
            "POST /a HTTP/9",
            &format!("\r\n\r\nGET /a HTTP/1.1\r\n{}", "a: b\r\n".repeat(FIELDS + 1)),
            "\r\n\r\n",
            "",
        ] {
            assert!(!is_strange(usual.as_bytes()), "{usual}");
        }
    }

    #[test]
    fn what_may_be_refused_is_looked_at() {
        for strange in [
            "POST / HTTP/1.1\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: a/b\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1, 1\r\n\r\nx",
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\nx",
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
            "POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n",
            "POST http://b/ HTTP/1.1\r\nHost: a\r\n\r\n",
            "POST /<b> HTTP/1.1\r\nHost: a\r\n\r\n",
            "CONNECT / HTTP/1.1\r\nHost: a\r\n\r\n",
            "CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n",
            "POST / HTTP/9\r\nHost: a\r\n\r\n",
            "POST / HTTP/1.1\r\nHost : a\r\n\r\n",
        ] {
            assert!(is_strange(strange.as_bytes()), "{strange}");
        }
    }
}
