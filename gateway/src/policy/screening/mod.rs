//! Input screening: SQL injection and cross-site scripting in query, path and body.
//!
//! A second fence, not the first: backends that bind parameters and escape output need none. It looks at values as a backend would
//! read them, decoded, and it neither changes nor panics at what it can't read. How often it is right stands in
//! `tests/payloads/README.md`.

mod body;
mod decode;
mod detect;
mod rules;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::fmt;

pub(crate) use body::{Reading, reading, screen_body};
pub(crate) use detect::Kind;
pub(crate) use rules::prepare;

use decode::{decode, decode_form};
use detect::Screener;

/// What was found, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Finding {
    pub(crate) kind: Kind,
    pub(crate) place: Place,
}

/// Where something was found; never what, for it may be anybody's data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// A segment of the path, counted from 1.
    Path(usize),
    /// A parameter of the query, counted from 1: its name may be the finding.
    Query(usize),
    Body,
}

/// Screens the segments of a path, and each parameter's name and value of a query. Both as they were sent, still encoded.
pub(crate) fn screen_request(path: &str, query: Option<&str>) -> Option<Finding> {
    let mut screener = Screener::new();
    let segments = path.split('/').filter(|segment| !segment.is_empty());
    for (at, segment) in segments.enumerate() {
        if let Some(kind) = screen_decoded(&mut screener, &decode(segment.as_bytes())) {
            return Some(Finding { kind, place: Place::Path(at + 1) });
        }
    }
    for (at, parameter) in query.unwrap_or_default().split('&').enumerate() {
        if let Some(kind) = screen_parameter(&mut screener, parameter.as_bytes()) {
            return Some(Finding { kind, place: Place::Query(at + 1) });
        }
    }
    None
}

/// `name=value`, in the encoding of forms.
fn screen_parameter(screener: &mut Screener, parameter: &[u8]) -> Option<Kind> {
    let (name, value) = match parameter.iter().position(|byte| *byte == b'=') {
        Some(at) => (parameter.get(..at).unwrap_or_default(), parameter.get(at + 1..).unwrap_or_default()),
        None => (parameter, &b""[..]),
    };
    screen_decoded(screener, &decode_form(name)).or_else(|| screen_decoded(screener, &decode_form(value)))
}

/// Screens a text that was decoded once; and once more where that left encoded bytes, for backends that decode twice.
fn screen_decoded(screener: &mut Screener, text: &[u8]) -> Option<Kind> {
    screener.screen(text).or_else(|| match decode(text) {
        Cow::Owned(again) => screener.screen(&again),
        Cow::Borrowed(_) => None,
    })
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Path(at) => write!(f, "segment {at} of the path"),
            Self::Query(at) => write!(f, "parameter {at} of the query"),
            Self::Body => f.write_str("the body"),
        }
    }
}
