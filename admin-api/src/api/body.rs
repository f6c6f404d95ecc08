//! Bodies: JSON, and YAML where whole documents are taken.

use axum::body::Bytes;
use axum::extract::{FromRequest, Request};
use gateway_config::document::{self, DocumentError};
use http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, StatusCode};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::DOCUMENT_LIMIT;
use crate::error::Failure;
use crate::state::AppState;

const JSON: &str = "application/json";
const SMALL: usize = 16 << 10;
const MERGE_PATCH: &str = "application/merge-patch+json";
const YAML: [&str; 4] = ["application/yaml", "application/x-yaml", "text/yaml", "text/x-yaml"];

/// An `application/json` body.
#[derive(Debug)]
pub(crate) struct JsonBody(pub(crate) Value);

/// The same, for calls that need none: without a body it is an empty object.
#[derive(Debug)]
pub(crate) struct MaybeJsonBody(pub(crate) Value);

/// The same, of a few lines: for calls that anybody may make.
#[derive(Debug)]
pub(crate) struct SmallBody(pub(crate) Value);

/// A merge patch (RFC 7396); plain JSON is taken for one.
#[derive(Debug)]
pub(crate) struct PatchBody(pub(crate) Value);

/// A document, JSON or YAML.
#[derive(Debug)]
pub(crate) struct DocumentBody(pub(crate) Value);

impl FromRequest<AppState> for JsonBody {
    type Rejection = Failure;

    async fn from_request(request: Request, state: &AppState) -> Result<Self, Failure> {
        accept(request.headers(), &[JSON])?;
        json(&bytes(request, state).await?).map(Self)
    }
}

impl FromRequest<AppState> for MaybeJsonBody {
    type Rejection = Failure;

    async fn from_request(request: Request, state: &AppState) -> Result<Self, Failure> {
        let accepted = accept(request.headers(), &[JSON]).map(drop);
        let bytes = bytes(request, state).await?;
        if bytes.is_empty() {
            return Ok(Self(Value::Object(serde_json::Map::new())));
        }
        accepted?;
        json(&bytes).map(Self)
    }
}

impl FromRequest<AppState> for SmallBody {
    type Rejection = Failure;

    async fn from_request(request: Request, _: &AppState) -> Result<Self, Failure> {
        let accepted = accept(request.headers(), &[JSON]).map(drop);
        let bytes = axum::body::to_bytes(request.into_body(), SMALL).await;
        let bytes = bytes.map_err(|_| Failure::body_too_large(SMALL))?;
        if bytes.is_empty() {
            return Ok(Self(Value::Object(serde_json::Map::new())));
        }
        accepted?;
        json(&bytes).map(Self)
    }
}

impl FromRequest<AppState> for PatchBody {
    type Rejection = Failure;

    async fn from_request(request: Request, state: &AppState) -> Result<Self, Failure> {
        accept(request.headers(), &[MERGE_PATCH, JSON])?;
        json(&bytes(request, state).await?).map(Self)
    }
}

impl FromRequest<AppState> for DocumentBody {
    type Rejection = Failure;

    async fn from_request(request: Request, state: &AppState) -> Result<Self, Failure> {
        let [yaml, others @ ..] = YAML;
        let mut accepted = vec![JSON, yaml];
        accepted.extend(others);
        let given = accept(request.headers(), &accepted)?;
        let bytes = Bytes::from_request(request, state).await.map_err(|rejection| match rejection.status() {
            StatusCode::PAYLOAD_TOO_LARGE => Failure::body_too_large(DOCUMENT_LIMIT),
            _ => rejection.into(),
        })?;
        let is_json = given == JSON;
        // A large one takes a while.
        let parsed = tokio::task::spawn_blocking(move || document(&bytes, is_json)).await;
        parsed.unwrap_or_else(|error| Err(Failure::internal(error.to_string()))).map(Self)
    }
}

fn document(bytes: &[u8], is_json: bool) -> Result<Value, Failure> {
    if bytes.is_empty() {
        return Err(Failure::bad_request("the body is empty; a document is expected"));
    }
    let parsed = if is_json {
        document::parse_json(bytes)
    } else {
        let text = std::str::from_utf8(bytes).map_err(|_| Failure::bad_request("the body is not UTF-8"))?;
        document::parse(text)
    };
    parsed.map_err(|error| Failure::bad_request(error.to_string()))
}

/// The media type of the body; a missing one is the first that is accepted.
fn accept<'a>(headers: &HeaderMap, accepted: &[&'a str]) -> Result<&'a str, Failure> {
    let refused = || Failure::unsupported_media_type(accepted);
    // Compressed bodies are not taken: a few kilobytes of one can be gigabytes.
    let is_plain = |coding: &HeaderValue| coding.as_bytes().trim_ascii().eq_ignore_ascii_case(b"identity");
    if !headers.get_all(CONTENT_ENCODING).iter().all(is_plain) {
        return Err(Failure::unsupported_coding());
    }
    // Of several nobody knows which one is meant.
    if headers.get_all(CONTENT_TYPE).iter().count() > 1 {
        return Err(refused());
    }
    let Some(given) = headers.get(CONTENT_TYPE) else { return accepted.first().copied().ok_or_else(refused) };
    let given = given.to_str().map_err(|_| refused())?;
    let essence = given.split(';').next().unwrap_or_default().trim();
    accepted.iter().find(|it| it.eq_ignore_ascii_case(essence)).copied().ok_or_else(refused)
}

/// The body as a `T`; what does not fit is refused with its place.
pub(crate) fn read<T: DeserializeOwned>(body: Value) -> Result<T, Failure> {
    serde_path_to_error::deserialize(body).map_err(|error| {
        let field = error.path().to_string();
        let message = error.into_inner().to_string();
        let quoted = |begin: &str| message.strip_prefix(begin).and_then(|rest| rest.split('`').next());
        let named = quoted("unknown field `").or_else(|| quoted("missing field `"));
        let field = named.unwrap_or(if field == "." { "" } else { &field });
        Failure::invalid_at(field, message.clone())
    })
}

async fn bytes(request: Request, state: &AppState) -> Result<Bytes, Failure> {
    Ok(Bytes::from_request(request, state).await?)
}

fn json(bytes: &[u8]) -> Result<Value, Failure> {
    if bytes.is_empty() {
        return Err(Failure::bad_request("the body is empty; JSON is expected"));
    }
    // It names the place and what was expected there, and repeats nothing of the values.
    document::parse_json(bytes).map_err(|error| match error {
        DocumentError::Syntax(why) => Failure::bad_request(format!("the body is not JSON: {why}")),
        DocumentError::Shape(problems) => Failure::invalid(problems),
    })
}
