//! Answers to what could not be read as a request: whole and by themselves, as there is no session for them.

use gateway_config::clock::{Clock, SystemClock};
use gateway_config::snapshot::{Code, Refusal};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};

use super::{Body, X_GATEWAY_CODE};
use crate::request::{X_REQUEST_ID, request_id};

/// To who speaks plain HTTP where TLS is spoken.
pub(crate) fn to_plain_http() -> Vec<u8> {
    to_unread(Code::BadRequest, "plain HTTP was spoken on a port for HTTPS", [], false)
}

/// Says no to who sent what could not be read as a request.
pub(crate) fn to_unread<'a>(
    code: Code,
    message: &str,
    dressed: impl IntoIterator<Item = &'a (HeaderName, HeaderValue)>,
    is_head_only: bool,
) -> Vec<u8> {
    let refusal = Refusal::new(code);
    let status = StatusCode::from_u16(refusal.status).unwrap_or(StatusCode::BAD_REQUEST);
    let id = request_id(&HeaderMap::new());
    let body = Body {
        status_code: status.as_u16(),
        error: status.canonical_reason().unwrap_or("Error"),
        code: code.as_str(),
        message,
        timestamp: SystemClock.now().to_string(),
        path: "",
        request_id: id.to_str().unwrap_or_default(),
        problems: &[],
    };
    let body = serde_json::to_vec(&body).unwrap_or_default();
    let mut headers: HeaderMap = dressed.into_iter().cloned().collect();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(body.len()));
    headers.insert(X_REQUEST_ID, id.clone());
    headers.insert(X_GATEWAY_CODE, HeaderValue::from_static(code.as_str()));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    if status == StatusCode::METHOD_NOT_ALLOWED {
        headers.insert(header::ALLOW, HeaderValue::from_static("GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"));
    }
    let mut answer = format!("HTTP/1.1 {status}\r\n").into_bytes();
    for (name, value) in &headers {
        answer.extend([name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"].concat());
    }
    answer.extend(b"\r\n");
    answer.extend(if is_head_only { Vec::new() } else { body });
    answer
}
