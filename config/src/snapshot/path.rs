//! The path of a request, normalised once, before anything is decided. What is matched is exactly what is forwarded, so
//! whatever a backend could read as another path than the gateway did is refused.

use std::borrow::Cow;

use thiserror::Error;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum PathError {
    #[error("the path does not begin with a slash")]
    NotAbsolute,
    #[error("the path holds a character that must be percent-encoded")]
    BadCharacter,
    #[error("the path holds a broken percent-encoding")]
    BrokenEscape,
    #[error("the path holds an encoded slash, backslash or control character")]
    EncodedDelimiter,
    #[error("the path is percent-encoded twice")]
    DoubleEncoding,
    #[error("the path holds a backslash or a semicolon")]
    AmbiguousDelimiter,
}

/// Decodes percent-encoded unreserved characters (RFC 3986 §2.3), writes other escapes in capitals, merges slashes and
/// removes dot segments. A path that is normal already, as nearly all are, is only looked at.
pub fn normalise(path: &[u8]) -> Result<Cow<'_, str>, PathError> {
    if path.first() != Some(&b'/') {
        return Err(PathError::NotAbsolute);
    }
    match inspect(path)? {
        // All its bytes were found to be ASCII.
        Shape::Normal => std::str::from_utf8(path).map(Cow::Borrowed).map_err(|_| PathError::BadCharacter),
        Shape::Needs => {
            let decoded = decode(path);
            // `%25%32%66` is `%252f` spelt otherwise.
            if is_double_encoded(&decoded) { Err(PathError::DoubleEncoding) } else { resolve(&decoded).map(Cow::Owned) }
        }
    }
}

enum Shape {
    Normal,
    Needs,
}

fn inspect(path: &[u8]) -> Result<Shape, PathError> {
    let mut shape = Shape::Normal;
    let mut rest = path;
    let mut after_slash = false;
    while let Some((&byte, tail)) = rest.split_first() {
        rest = tail;
        match byte {
            b'%' => {
                let (&[high, low], tail) = rest.split_first_chunk::<2>().ok_or(PathError::BrokenEscape)?;
                let value =
                    hex(high).zip(hex(low)).map(|(high, low)| high << 4 | low).ok_or(PathError::BrokenEscape)?;
                refuse_escape(value, tail)?;
                if is_unreserved(value) || high.is_ascii_lowercase() || low.is_ascii_lowercase() {
                    shape = Shape::Needs;
                }
                rest = tail;
            }
            b'\\' | b';' => return Err(PathError::AmbiguousDelimiter),
            // A segment that begins with a dot may be a dot segment; the few that are not are decoded for nothing.
            b'/' | b'.' if after_slash => shape = Shape::Needs,
            b'"' | b'<' | b'>' | b'^' | b'`' | b'{' | b'|' | b'}' | b'#' | b'?' => return Err(PathError::BadCharacter),
            0x21..=0x7e => {}
            _ => return Err(PathError::BadCharacter),
        }
        after_slash = byte == b'/';
    }
    Ok(shape)
}

fn refuse_escape(value: u8, tail: &[u8]) -> Result<(), PathError> {
    match value {
        b'/' | b'\\' | 0..=0x1f | 0x7f => Err(PathError::EncodedDelimiter),
        b'%' if matches!(tail, [high, low, ..] if hex(*high).is_some() && hex(*low).is_some()) => {
            Err(PathError::DoubleEncoding)
        }
        _ => Ok(()),
    }
}

fn is_double_encoded(decoded: &[u8]) -> bool {
    let is_escaped =
        |window: &[u8]| matches!(window, [b'%', b'2', b'5', high, low] if hex(*high).zip(hex(*low)).is_some());
    decoded.windows(5).any(is_escaped)
}

/// `path` was inspected: every escape is whole.
fn decode(path: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(path.len());
    let mut rest = path;
    while let Some((&byte, tail)) = rest.split_first() {
        rest = tail;
        let Some((&[high, low], tail)) = rest.split_first_chunk::<2>().filter(|_| byte == b'%') else {
            out.push(byte);
            continue;
        };
        rest = tail;
        match hex(high).zip(hex(low)).map(|(high, low)| high << 4 | low) {
            Some(value) if is_unreserved(value) => out.push(value),
            _ => out.extend([b'%', high.to_ascii_uppercase(), low.to_ascii_uppercase()]),
        }
    }
    out
}

/// RFC 3986 §5.2.4, with empty segments dropped. The last segment keeps its trailing slash.
fn resolve(path: &[u8]) -> Result<String, PathError> {
    let mut out: Vec<u8> = Vec::with_capacity(path.len());
    let mut segments = path.split(|byte| *byte == b'/').skip(1).peekable();
    while let Some(segment) = segments.next() {
        let is_last = segments.peek().is_none();
        match segment {
            b"" | b"." if is_last => out.push(b'/'),
            b"" | b"." => {}
            b".." => {
                let parent = out.iter().rposition(|byte| *byte == b'/').unwrap_or(0);
                out.truncate(parent);
                if is_last {
                    out.push(b'/');
                }
            }
            segment => {
                out.push(b'/');
                out.extend_from_slice(segment);
            }
        }
    }
    String::from_utf8(out).map_err(|_| PathError::BadCharacter)
}

fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn normal(path: &str) -> Result<String, PathError> {
        normalise(path.as_bytes()).map(Cow::into_owned)
    }

    #[test]
    fn dots_slashes_and_needless_escapes_disappear() {
        for (raw, expected) in [
            ("/", "/"),
            ("//", "/"),
            ("/a//b", "/a/b"),
            ("/a/", "/a/"),
            ("/a//", "/a/"),
            ("/a/./b", "/a/b"),
            ("/a/.", "/a/"),
            ("/a/..", "/"),
            ("/a/b/..", "/a/"),
            ("/a/../../b", "/b"),
            ("/a/%2e%2E/b", "/b"),
            ("/%61%7e", "/a~"),
            ("/caf%c3%a9", "/caf%C3%A9"),
            ("/a%20b", "/a%20b"),
            ("/.well-known/x", "/.well-known/x"),
            ("/...", "/..."),
            ("/100%25", "/100%25"),
            ("/a:b@c!$&'()*+,=", "/a:b@c!$&'()*+,="),
        ] {
            assert_eq!(normal(raw).as_deref(), Ok(expected), "{raw}");
        }
    }

    #[test]
    fn what_a_backend_could_read_otherwise_is_refused() {
        use PathError::*;
        for (raw, error) in [
            ("", NotAbsolute),
            ("*", NotAbsolute),
            ("a", NotAbsolute),
            ("/a%2fb", EncodedDelimiter),
            ("/a%2F..%2fb", EncodedDelimiter),
            ("/a%5cb", EncodedDelimiter),
            ("/a\\b", AmbiguousDelimiter),
            ("/a;x/b", AmbiguousDelimiter),
            ("/..;/b", AmbiguousDelimiter),
            ("/a%00", EncodedDelimiter),
            ("/a%0d%0ab", EncodedDelimiter),
            ("/a\0b", BadCharacter),
            ("/a b", BadCharacter),
            ("/a#b", BadCharacter),
            ("/caf\u{e9}", BadCharacter),
            ("/a%", BrokenEscape),
            ("/a%2", BrokenEscape),
            ("/a%zz", BrokenEscape),
            ("/a%+1", BrokenEscape),
            ("/%252e%252e/", DoubleEncoding),
            ("/%25%32%66", DoubleEncoding),
            ("/%252%65", DoubleEncoding),
        ] {
            assert_eq!(normal(raw), Err(error), "{raw}");
        }
    }

    proptest! {
        #[test]
        fn normalising_again_changes_nothing(path in r"/([a-z%2e5E./;\\]|%2[Ee]|%25|%32|%41|\.\.|//){0,20}") {
            if let Ok(once) = normal(&path) {
                prop_assert_eq!(normal(&once), Ok(once.clone()));
                prop_assert!(!once.contains("//"));
                prop_assert!(once.split('/').all(|segment| segment != "." && segment != ".."));
            }
        }

        #[test]
        fn no_bytes_make_it_panic(path in prop::collection::vec(any::<u8>(), 0..40)) {
            let _ = normalise(&path);
        }
    }
}
