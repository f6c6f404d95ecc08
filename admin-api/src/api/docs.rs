//! `/docs`: the description of the API, to browse and to try. A page of our own, and not `utoipa-swagger-ui`, which was tried: its
//! files add 5.2 MB to a binary of 30 and 59 crates to the build; its page needs `style-src 'unsafe-inline'` and images from
//! `data:`, has no search and does not show what refusals look like. Ours needs nothing of the sort: three dozen kilobytes,
//! and a policy under which no script of anybody else's can run where a token is typed.

use axum::extract::Path;
use axum::response::{IntoResponse, Response};
use gateway_config::change::tag_of_member;
use gateway_config::model::Kind;
use http::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, IF_NONE_MATCH, REFERRER_POLICY};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use serde_json::Value;

use crate::error::Failure;

const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
    base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

const SCRIPT: &str = "text/javascript; charset=utf-8";

/// A file of the page: its name, its media type, its text.
type Asset = (&'static str, &'static str, &'static str);

const PAGE: Asset = ("index.html", "text/html; charset=utf-8", include_str!("../../docs-page/index.html"));

const ASSETS: [Asset; 7] = [
    ("page.css", "text/css; charset=utf-8", include_str!("../../docs-page/page.css")),
    ("icon.svg", "image/svg+xml", include_str!("../../docs-page/icon.svg")),
    ("page.js", SCRIPT, include_str!("../../docs-page/page.js")),
    ("operation.js", SCRIPT, include_str!("../../docs-page/operation.js")),
    ("schema.js", SCRIPT, include_str!("../../docs-page/schema.js")),
    ("try.js", SCRIPT, include_str!("../../docs-page/try.js")),
    ("dom.js", SCRIPT, include_str!("../../docs-page/dom.js")),
];

pub(crate) async fn page(headers: HeaderMap) -> Response {
    send(PAGE, &headers)
}

pub(crate) async fn asset(Path(name): Path<String>, headers: HeaderMap) -> Result<Response, Failure> {
    let asset = ASSETS.iter().find(|(known, ..)| *known == name);
    asset.map(|asset| send(*asset, &headers)).ok_or_else(|| Failure::not_found("such file"))
}

fn send((_, media_type, text): Asset, headers: &HeaderMap) -> Response {
    // Any kind would do: the tag covers all of the text.
    let tag = format!("\"{}\"", tag_of_member(Kind::Defaults, &Value::from(text)));
    let is_known = headers.get(IF_NONE_MATCH).is_some_and(|given| given.as_bytes() == tag.as_bytes());
    let mut response = if is_known { StatusCode::NOT_MODIFIED.into_response() } else { text.into_response() };
    let own = [
        (CONTENT_TYPE, media_type),
        (CONTENT_SECURITY_POLICY, POLICY),
        (REFERRER_POLICY, "no-referrer"),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    ];
    for (name, value) in own {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    if let Ok(tag) = HeaderValue::from_str(&tag) {
        response.headers_mut().insert(ETAG, tag);
    }
    response
}
