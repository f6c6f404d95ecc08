//! A request's body on its way to the backend: counted as it streams, and held back where it is screened.

use bytes::{Bytes, BytesMut};
use gateway_config::model::Screening;
use gateway_config::snapshot::Code;
use http::{HeaderMap, header};

use super::screening::{self, Finding, Reading};

/// What is watched for in a body.
#[derive(Debug, Default)]
pub(crate) struct BodyWatch {
    /// How much more may come; `None`: as much as there is.
    left: Option<u64>,
    screened: Option<Screened>,
}

#[derive(Debug)]
struct Screened {
    mode: Screening,
    reading: Reading,
    /// What came so far. Nothing of it was sent on.
    held: BytesMut,
}

/// What a piece of a body led to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Watched {
    Fine,
    /// It is reported, and goes on.
    Found(Finding),
    Stop(Code),
}

/// A body that comes compressed can't be looked at.
pub(crate) fn is_encoded(headers: &HeaderMap) -> bool {
    let encodings = headers.get_all(header::CONTENT_ENCODING).iter();
    encodings.into_iter().any(|value| !value.as_bytes().trim_ascii().eq_ignore_ascii_case(b"identity"))
}

/// The length that a request declares.
pub(crate) fn declared(headers: &HeaderMap) -> Option<u64> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.trim().parse().ok()
}

impl BodyWatch {
    pub(crate) fn new(limit: u64, mode: Screening, headers: &HeaderMap) -> Self {
        let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let reading = if mode == Screening::Off { None } else { screening::reading(content_type) };
        let screened = reading.map(|reading| Screened { mode, reading, held: BytesMut::new() });
        Self { left: Some(limit), screened }
    }

    /// Looks at a piece; holds it back while the whole is waited for.
    pub(crate) fn piece(&mut self, body: &mut Option<Bytes>, end: bool) -> Watched {
        let length = body.as_ref().map_or(0, Bytes::len) as u64;
        if let Some(left) = &mut self.left {
            match left.checked_sub(length) {
                Some(rest) => *left = rest,
                None => return Watched::Stop(Code::BodyTooLarge),
            }
        }
        let Some(screened) = &mut self.screened else { return Watched::Fine };
        if let Some(piece) = body.take() {
            screened.held.extend_from_slice(&piece);
        }
        if !end {
            // Nothing yet, but not the end either: that would be `None`.
            *body = Some(Bytes::new());
            return Watched::Fine;
        }
        let whole = std::mem::take(&mut screened.held).freeze();
        let found = screening::screen_body(screened.reading, &whole);
        let mode = screened.mode;
        self.screened = None;
        match found {
            Some(_) if mode == Screening::Block => Watched::Stop(Code::UnsafeInput),
            found => {
                *body = (!whole.is_empty()).then_some(whole);
                found.map_or(Watched::Fine, Watched::Found)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn watch(limit: u64, mode: Screening) -> BodyWatch {
        let json = HeaderMap::from_iter([(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))]);
        BodyWatch::new(limit, mode, &json)
    }

    fn piece(watch: &mut BodyWatch, text: &'static str, end: bool) -> (Watched, Option<Bytes>) {
        let mut body = Some(Bytes::from_static(text.as_bytes()));
        (watch.piece(&mut body, end), body)
    }

    #[test]
    fn a_body_is_counted_over_its_pieces() {
        let mut watch = watch(5, Screening::Off);
        assert_eq!(piece(&mut watch, "abc", false).0, Watched::Fine);
        assert_eq!(piece(&mut watch, "de", false).0, Watched::Fine);
        assert_eq!(piece(&mut watch, "f", true).0, Watched::Stop(Code::BodyTooLarge));
    }

    #[test]
    fn a_screened_body_goes_on_as_a_whole_or_not_at_all() {
        let mut fine = watch(100, Screening::Block);
        assert_eq!(piece(&mut fine, "{\"a\":", false), (Watched::Fine, Some(Bytes::new())));
        assert_eq!(piece(&mut fine, "\"b\"}", true), (Watched::Fine, Some(Bytes::from_static(b"{\"a\":\"b\"}"))));
        let attack = "{\"a\": \"1' OR '1'='1\"}";
        assert_eq!(piece(&mut watch(100, Screening::Block), attack, true).0, Watched::Stop(Code::UnsafeInput));
        let (found, sent) = piece(&mut watch(100, Screening::Report), attack, true);
        assert!(matches!(found, Watched::Found(_)), "{found:?}");
        assert_eq!(sent.as_deref(), Some(attack.as_bytes()));
    }
}
