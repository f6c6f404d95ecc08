//! Every answer that the gateway makes itself.

mod unread;

use bytes::Bytes;
use gateway_config::clock::{Clock, SystemClock};
use gateway_config::model::{Problem as FieldProblem, Respond};
use gateway_config::snapshot::{Code, Refusal, Snapshot};
use http::response::Parts as RespParts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Version, header};
use pingora::http::ResponseHeader;
use pingora::protocols::http::ServerSession;
use pingora::proxy::Session;
use pingora::{Error, ErrorType, Result};
use serde::Serialize;

use crate::request::X_REQUEST_ID;
pub(crate) use unread::{to_plain_http, to_unread};

const X_GATEWAY_CODE: HeaderName = HeaderName::from_static("x-gateway-code");
const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
const GRPC_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");

/// The body of a refusal.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Body<'a> {
    status_code: u16,
    error: &'a str,
    code: &'a str,
    message: &'a str,
    timestamp: String,
    path: &'a str,
    request_id: &'a str,
    /// What is wrong with a body, each with its place.
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    problems: &'a [FieldProblem],
}

/// The same by RFC 9457, for clients that ask for it.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Problem<'a> {
    r#type: &'a str,
    title: &'a str,
    status: u16,
    detail: &'a str,
    instance: &'a str,
    code: &'a str,
    timestamp: String,
    request_id: &'a str,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    problems: &'a [FieldProblem],
}

/// What goes around every answer.
#[derive(Clone, Copy)]
pub(crate) struct Frame<'a> {
    pub(crate) snapshot: Option<&'a Snapshot>,
    pub(crate) id: &'a HeaderValue,
    pub(crate) is_tls: bool,
    /// How limits stand, and the like.
    pub(crate) extra: &'a [(HeaderName, HeaderValue)],
}

/// An answer of the gateway's own endpoints.
pub(crate) struct Answer {
    status: StatusCode,
    body: Bytes,
    cache_control: &'static str,
    pub(crate) extra: Vec<(HeaderName, HeaderValue)>,
}

impl Answer {
    pub(crate) fn json(status: StatusCode, body: Bytes, cache_control: &'static str) -> Self {
        Self { status, body, cache_control, extra: Vec::new() }
    }
}

pub(crate) async fn answer(session: &mut Session, answer: Answer, frame: Frame<'_>) -> Result<()> {
    let mut head = begin(answer.status, "application/json", frame)?;
    head.insert_header(header::CACHE_CONTROL, HeaderValue::from_static(answer.cache_control))?;
    for (name, value) in answer.extra {
        head.insert_header(name, value)?;
    }
    write(session, head, answer.body).await
}

/// Says no.
pub(crate) async fn refuse(session: &mut Session, refusal: &Refusal, frame: Frame<'_>) -> Result<()> {
    refuse_with(session, refusal, &[], frame).await
}

/// Says no, and what is wrong where.
pub(crate) async fn refuse_with(
    session: &mut Session,
    refusal: &Refusal,
    problems: &[FieldProblem],
    frame: Frame<'_>,
) -> Result<()> {
    let status = StatusCode::from_u16(refusal.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let reason = status.canonical_reason().unwrap_or("Error");
    let message = refusal.message.as_deref().unwrap_or_else(|| refusal.code.message());
    let head = session.req_header();
    let path = String::from_utf8_lossy(head.raw_path());
    let path = path.split('?').next().unwrap_or_default();
    let timestamp = SystemClock.now().to_string();
    let wants_problem = head.headers.get_all(header::ACCEPT).iter().any(asks_for_problem);
    let (content_type, body) = if wants_problem {
        let problem = Problem {
            r#type: "about:blank",
            title: reason,
            status: refusal.status,
            detail: message,
            instance: path,
            code: refusal.code.as_str(),
            timestamp,
            request_id: frame.id.to_str().unwrap_or_default(),
            problems,
        };
        ("application/problem+json", serde_json::to_vec(&problem))
    } else {
        let body = Body {
            status_code: refusal.status,
            error: reason,
            code: refusal.code.as_str(),
            message,
            timestamp,
            path,
            request_id: frame.id.to_str().unwrap_or_default(),
            problems,
        };
        ("application/json", serde_json::to_vec(&body))
    };
    let mut answer = begin(status, content_type, frame)?;
    answer.insert_header(X_GATEWAY_CODE, HeaderValue::from_static(refusal.code.as_str()))?;
    answer.insert_header(header::CACHE_CONTROL, HeaderValue::from_static("no-store"))?;
    if let Some(allow) = refusal.allow.as_deref().and_then(|allow| HeaderValue::from_str(allow).ok()) {
        answer.insert_header(header::ALLOW, allow)?;
    }
    if let Some(seconds) = refusal.retry_after_seconds {
        answer.insert_header(header::RETRY_AFTER, HeaderValue::from(seconds))?;
    }
    if status == StatusCode::UNAUTHORIZED {
        answer.insert_header(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer, ApiKey"))?;
    }
    if is_grpc(&session.req_header().headers) {
        answer.insert_header(GRPC_STATUS, HeaderValue::from(grpc_status(status)))?;
        answer.insert_header(GRPC_MESSAGE, grpc_message(message))?;
    }
    // Serialising strings can't fail; an empty body would still carry the code in its header.
    write(session, answer, Bytes::from(body.unwrap_or_default())).await
}

/// Whether a message is one of gRPC, which begins its content type with the protocol's name.
pub(crate) fn is_grpc(headers: &HeaderMap) -> bool {
    const TYPE: &[u8] = b"application/grpc";
    let value = headers.get(header::CONTENT_TYPE).map(HeaderValue::as_bytes);
    value.and_then(|value| value.get(..TYPE.len())).is_some_and(|start| start.eq_ignore_ascii_case(TYPE))
}

/// A refusal in the words of gRPC, whose clients do not look at statuses of HTTP where they find their own.
fn grpc_status(status: StatusCode) -> u16 {
    match status.as_u16() {
        401 => 16,                  // UNAUTHENTICATED
        403 => 7,                   // PERMISSION_DENIED
        404 | 405 => 12,            // UNIMPLEMENTED
        408 | 504 => 4,             // DEADLINE_EXCEEDED
        413 | 414 | 429 | 431 => 8, // RESOURCE_EXHAUSTED
        502 | 503 => 14,            // UNAVAILABLE
        400 | 415 | 422 => 3,       // INVALID_ARGUMENT
        _ => 13,                    // INTERNAL
    }
}

/// Percent-encoded where it is no printable ASCII, as gRPC has it.
fn grpc_message(message: &str) -> HeaderValue {
    let mut text = String::with_capacity(message.len());
    for byte in message.bytes() {
        match byte {
            b'%' | ..=0x1f | 0x7f.. => text.extend(['%', digit(byte >> 4), digit(byte & 15)]),
            plain => text.push(char::from(plain)),
        }
    }
    HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static(""))
}

fn digit(number: u8) -> char {
    char::from_digit(u32::from(number), 16).unwrap_or('0').to_ascii_uppercase()
}

/// Answers what stands in the configuration.
pub(crate) async fn respond(session: &mut Session, respond: &Respond, frame: Frame<'_>) -> Result<()> {
    let status = StatusCode::from_u16(respond.status_code).unwrap_or(StatusCode::OK);
    let answer = begin(status, &respond.content_type, frame)?;
    write(session, answer, Bytes::copy_from_slice(respond.body.as_bytes())).await
}

pub(crate) async fn redirect(session: &mut Session, location: &str, status: u16, frame: Frame<'_>) -> Result<()> {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::FOUND);
    let mut answer = begin(status, "text/plain; charset=utf-8", frame)?;
    let query = session.req_header().uri.query();
    let location = match query {
        Some(query) if !location.contains('?') => format!("{location}?{query}"),
        _ => location.to_owned(),
    };
    if let Ok(location) = HeaderValue::from_str(&location) {
        answer.insert_header(header::LOCATION, location)?;
    }
    write(session, answer, Bytes::new()).await
}

/// Answers a browser's question beforehand.
pub(crate) async fn preflight(
    session: &mut Session,
    headers: &[(HeaderName, HeaderValue)],
    frame: Frame<'_>,
) -> Result<()> {
    let mut answer = begin(StatusCode::NO_CONTENT, "text/plain; charset=utf-8", frame)?;
    answer.remove_header(&header::CONTENT_TYPE);
    for (name, value) in headers {
        answer.append_header(name.clone(), value.clone())?;
    }
    write(session, answer, Bytes::new()).await
}

/// Says no in place of a backend that failed. Nothing is written when the backend's answer had already begun.
pub(crate) async fn fail(session: &mut Session, code: Code, frame: Frame<'_>) {
    if session.response_written().is_some() {
        return;
    }
    // What is left of a request's body would be read as the next request.
    session.set_keepalive(None);
    if let Err(error) = refuse(session, &Refusal::new(code), frame).await {
        tracing::debug!(%error, "could not answer a client that is gone");
    }
}

/// The head of a stream of events that the gateway tells itself.
pub(crate) fn event_stream(session: &mut Session, frame: Frame<'_>) -> Result<Box<ResponseHeader>> {
    let mut head = begin(StatusCode::OK, "text/event-stream", frame)?;
    head.insert_header(header::CACHE_CONTROL, HeaderValue::from_static("no-store"))?;
    if !session.is_http2() {
        // Without a length its end would be the connection's.
        head.insert_header(header::TRANSFER_ENCODING, HeaderValue::from_static("chunked"))?;
    }
    suit(session, &mut head)?;
    Ok(head)
}

/// Says a head in the gateway's own version (RFC 9110 §2.5), and in no form that the client's does not know: HTTP/1.0 has neither chunks
/// nor interim answers (RFC 9112 §6.1, RFC 9110 §15.2), so there the end of a body without a length is the connection's.
pub(crate) fn suit(session: &mut Session, head: &mut ResponseHeader) -> Result<()> {
    let came_by_http2 = head.version > Version::HTTP_11;
    if head.version < Version::HTTP_11 {
        head.set_version(Version::HTTP_11);
    }
    if session.req_header().version >= Version::HTTP_11 {
        return Ok(());
    }
    if let ServerSession::H1(client) = session.as_downstream_mut() {
        client.set_ignore_info_resp(true);
    }
    head.remove_header(&header::TRANSFER_ENCODING);
    if has_no_body(session, head) || head.headers.contains_key(header::CONTENT_LENGTH) {
        return Ok(());
    }
    session.set_keepalive(None);
    if came_by_http2 {
        // Pingora makes chunks of it, whatever is said here.
        let why = "an answer of HTTP/2 without a length is for no client of HTTP/1.0";
        return Error::e_explain(ErrorType::InvalidHTTPHeader, why).map_err(|error: Box<Error>| error.into_up());
    }
    Ok(())
}

/// Nothing follows this head, whatever it says.
pub(crate) fn has_no_body(session: &Session, head: &ResponseHeader) -> bool {
    session.req_header().method == Method::HEAD
        || matches!(head.status.as_u16(), 204 | 304)
        || head.status.is_informational()
}

fn begin(status: StatusCode, content_type: &str, frame: Frame<'_>) -> Result<Box<ResponseHeader>> {
    let mut answer = ResponseHeader::build_no_case(status, Some(16))?;
    answer.insert_header(header::CONTENT_TYPE, content_type.to_owned())?;
    answer.insert_header(X_REQUEST_ID, frame.id.clone())?;
    dress(&mut answer, frame, frame.extra.to_vec())?;
    Ok(Box::new(answer))
}

/// What every answer carries, a backend's too: the security headers that it does not set itself, and what the gateway adds.
pub(crate) fn dress(
    answer: &mut ResponseHeader,
    frame: Frame<'_>,
    extra: Vec<(HeaderName, HeaderValue)>,
) -> Result<()> {
    let reason = answer.get_reason_phrase().filter(|reason| Some(*reason) != answer.status.canonical_reason());
    let reason = reason.map(str::to_owned);
    // Worked on as plain parts, as requests are: Pingora's own way keeps every name twice, once as it was spelt.
    let mut parts = RespParts::from(std::mem::replace(answer, empty_head()));
    let headers = &mut parts.headers;
    if let Some(defaults) = frame.snapshot.map(Snapshot::defaults) {
        let over_tls: &[_] = if frame.is_tls { &defaults.tls_headers } else { &[] };
        // Two more are Pingora's.
        headers.reserve(defaults.security_headers.len() + over_tls.len() + extra.len() + 2);
        for (name, value) in defaults.security_headers.iter().chain(over_tls) {
            headers.entry(name).or_insert_with(|| value.clone());
        }
    }
    for (name, value) in extra {
        // One list of what an answer varies by; all else is the gateway's to say.
        if name == header::VARY {
            headers.append(name, value);
        } else {
            headers.insert(name, value);
        }
    }
    *answer = ResponseHeader::from(parts);
    match reason {
        Some(reason) => answer.set_reason_phrase(Some(&reason)),
        None => Ok(()),
    }
}

fn empty_head() -> ResponseHeader {
    ResponseHeader::from(http::Response::new(()).into_parts().0)
}

async fn write(session: &mut Session, mut answer: Box<ResponseHeader>, body: Bytes) -> Result<()> {
    let has_body = !matches!(answer.status.as_u16(), 204 | 304);
    if has_body {
        answer.insert_header(header::CONTENT_LENGTH, body.len())?;
    }
    let is_head = session.req_header().method == http::Method::HEAD;
    let ends = is_head || body.is_empty() || !has_body;
    session.write_response_header(answer, ends).await?;
    if !ends {
        session.write_response_body(Some(body), true).await?;
    }
    Ok(())
}

fn asks_for_problem(accept: &HeaderValue) -> bool {
    accept.to_str().is_ok_and(|accept| accept.contains("application/problem+json"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_of_grpc_is_plain_text_with_the_rest_encoded() {
        for (text, encoded) in
            [("the route needs a key", "the route needs a key"), ("100% für\n", "100%25 f%C3%BCr%0A")]
        {
            assert_eq!(grpc_message(text), encoded);
        }
    }

    #[test]
    fn whatever_begins_like_grpc_is_taken_for_it() {
        let of = |value| HeaderMap::from_iter([(header::CONTENT_TYPE, HeaderValue::from_static(value))]);
        assert!(["application/grpc", "Application/gRPC+proto", "application/grpc-web"].map(of).iter().all(is_grpc));
        assert!(!["application/json", "application/grp", ""].map(of).iter().any(is_grpc));
    }
}
