//! Conditions on requests (RFC 9110 §13): what a reader has already, and what a writer believes to change.

use axum::response::{IntoResponse, Response};
use gateway_config::change::Expect;
use http::header::{ETAG, HeaderName, IF_MATCH, IF_NONE_MATCH};
use http::{HeaderMap, HeaderValue, StatusCode};
use serde_json::Value;

use crate::error::Failure;

/// A tag that no entity has.
const NO_TAG: &str = "-";

/// The answer to a read: the value, or 304 when the caller has it.
pub(crate) fn read(headers: &HeaderMap, tag: &str, value: &Value) -> Response {
    read_with(headers, tag, || json(value))
}

/// The same, where the answer is made only if the caller lacks it.
pub(crate) fn read_with(headers: &HeaderMap, tag: &str, answer: impl FnOnce() -> Response) -> Response {
    let is_known = tags(headers, &IF_NONE_MATCH)
        .is_some_and(|tags| tags.iter().any(|it| it == "*" || it.strip_prefix("W/").unwrap_or(it) == tag));
    let mut response = if is_known { StatusCode::NOT_MODIFIED.into_response() } else { answer() };
    put_tag(&mut response, tag);
    response
}

pub(crate) fn json(value: &Value) -> Response {
    axum::Json(value).into_response()
}

pub(crate) fn put_tag(response: &mut Response, tag: &str) {
    if let Ok(value) = HeaderValue::from_str(&format!("\"{tag}\"")) {
        response.headers_mut().insert(ETAG, value);
    }
}

/// What the writer believes to find.
pub(crate) fn expected(headers: &HeaderMap) -> Result<Expect, Failure> {
    match (tags(headers, &IF_MATCH), tags(headers, &IF_NONE_MATCH)) {
        (None, None) => Ok(Expect::Anything),
        (None, Some(none)) if none == ["*"] => Ok(Expect::Absent),
        (None, Some(_)) => Err(Failure::invalid_at("If-None-Match", "only * can be asked of a write")),
        (Some(_), Some(_)) => Err(Failure::invalid_at("If-Match", "contradicts If-None-Match; send one of them")),
        (Some(tags), None) if tags.iter().any(|tag| tag == "*") => Ok(Expect::Tags(Vec::new())),
        // An empty list would mean any, and weak tags never match in If-Match.
        (Some(tags), None) => Ok(Expect::Tags(tags.into_iter().chain([NO_TAG.to_owned()]).collect())),
    }
}

/// What whoever writes the whole configuration believes to find. An export's tag says behind the configuration's own what was
/// exported, and that does not matter here.
pub(crate) fn expected_of_all(headers: &HeaderMap) -> Result<Expect, Failure> {
    match expected(headers)? {
        Expect::Absent => Err(Failure::invalid_at("If-None-Match", "there always is a configuration; use If-Match")),
        Expect::Tags(tags) => {
            let own = |tag: String| tag.split('-').next().unwrap_or_default().to_owned();
            Ok(Expect::Tags(tags.into_iter().map(own).collect()))
        }
        Expect::Anything => Ok(Expect::Anything),
    }
}

/// The comma-separated tags of all lines, without their quotes. `None` without such a header.
fn tags(headers: &HeaderMap, name: &HeaderName) -> Option<Vec<String>> {
    if !headers.contains_key(name) {
        return None;
    }
    let lines = headers.get_all(name).iter().map(|line| line.to_str().unwrap_or(NO_TAG));
    let tags = lines.flat_map(|line| line.split(',')).map(str::trim).filter(|tag| !tag.is_empty());
    Some(tags.map(|tag| tag.replace('"', "")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(name: &HeaderName, value: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(name.clone(), HeaderValue::from_static(value))])
    }

    #[test]
    fn if_match_takes_a_list_and_a_star() {
        let tags = |value| match expected(&given(&IF_MATCH, value)).unwrap() {
            Expect::Tags(tags) => tags,
            other => panic!("{other:?}"),
        };
        assert_eq!(tags("\"a\", \"b\""), ["a", "b", NO_TAG]);
        assert_eq!(tags("*"), [] as [&str; 0]);
        assert_eq!(tags(""), [NO_TAG], "an empty list matches nothing, not anything");
        assert_eq!(tags("W/\"a\""), ["W/a", NO_TAG], "a weak tag never matches");
    }

    #[test]
    fn a_reader_who_has_it_gets_304() {
        let body = serde_json::json!({});
        let status = |value| read(&given(&IF_NONE_MATCH, value), "a", &body).status();
        assert_eq!(status("\"a\""), 304);
        assert_eq!(status("W/\"a\""), 304);
        assert_eq!(status("\"x\", \"a\""), 304);
        assert_eq!(status("*"), 304);
        assert_eq!(status("\"b\""), 200);
    }
}
