//! Conditions on headers and query parameters: an exact value, or `~regex`.

use http::{HeaderMap, HeaderName};
use regex::Regex;

#[derive(Clone, Debug)]
pub(super) enum Condition {
    Header(HeaderName, Expected),
    Query(Box<str>, Expected),
}

#[derive(Clone, Debug)]
pub(super) enum Expected {
    Exactly(Box<str>),
    Matching(Regex),
}

/// Compiled expressions are bounded: an operator's expression must not cost the fleet its memory.
const MAX_REGEX_BYTES: usize = 1 << 20;

impl Condition {
    pub(super) fn header(name: &str, value: &str) -> Result<Self, String> {
        let name = HeaderName::try_from(name).map_err(|_| format!("\"{name}\" is not a header name"))?;
        Ok(Self::Header(name, Expected::parse(value)?))
    }

    pub(super) fn query(name: &str, value: &str) -> Result<Self, String> {
        Ok(Self::Query(name.into(), Expected::parse(value)?))
    }

    /// Any line of the header, or any parameter of the name, may satisfy it.
    #[must_use]
    pub(super) fn holds(&self, headers: &HeaderMap, query: Option<&str>) -> bool {
        match self {
            Self::Header(name, expected) => {
                headers.get_all(name).iter().any(|value| value.to_str().is_ok_and(|value| expected.meets(value)))
            }
            Self::Query(name, expected) => query.is_some_and(|query| {
                let mut parameters = query.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")));
                parameters.any(|(key, value)| decoded(key) == **name && expected.meets(&decoded(value)))
            }),
        }
    }
}

impl Expected {
    fn parse(value: &str) -> Result<Self, String> {
        let Some(expression) = value.strip_prefix('~') else { return Ok(Self::Exactly(value.into())) };
        // Whole values only: `~v1` must not let `v10` in.
        regex::RegexBuilder::new(&format!("^(?:{expression})$"))
            .size_limit(MAX_REGEX_BYTES)
            .build()
            .map(Self::Matching)
            .map_err(|error| format!("\"{expression}\" is not a regular expression: {error}"))
    }

    pub(super) fn meets(&self, value: &str) -> bool {
        match self {
            Self::Exactly(expected) => **expected == *value,
            Self::Matching(expression) => expression.is_match(value),
        }
    }
}

/// Form decoding: `+` is a space; what is not valid stays as it is.
pub(super) fn decoded(text: &str) -> std::borrow::Cow<'_, str> {
    if !text.contains(['%', '+']) {
        return text.into();
    }
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, tail)) = rest.split_first() {
        rest = tail;
        let digits = tail.split_first_chunk::<2>().filter(|_| byte == b'%');
        let escape = digits.and_then(|([high, low], tail)| {
            let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|value| u8::try_from(value).ok());
            Some((digit(*high)? << 4 | digit(*low)?, tail))
        });
        match escape {
            Some((value, tail)) => {
                out.push(value);
                rest = tail;
            }
            None => out.push(if byte == b'+' { b' ' } else { byte }),
        }
    }
    String::from_utf8(out).map_or_else(|_| text.into(), Into::into)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_condition_holds_for_any_line_and_whole_values_only() {
        let mut headers = HeaderMap::new();
        headers.append("x-tier", "gold".parse().unwrap());
        headers.append("x-tier", "v10".parse().unwrap());
        assert!(Condition::header("X-Tier", "gold").unwrap().holds(&headers, None));
        assert!(Condition::header("x-tier", "~v1.").unwrap().holds(&headers, None));
        assert!(!Condition::header("x-tier", "~v1").unwrap().holds(&headers, None));
        assert!(!Condition::header("x-other", "~.*").unwrap().holds(&headers, None));
    }

    #[test]
    fn a_query_condition_reads_decoded_values() {
        let condition = Condition::query("q", "a b&").unwrap();
        assert!(condition.holds(&HeaderMap::new(), Some("x=1&q=a+b%26")));
        assert!(!condition.holds(&HeaderMap::new(), Some("q=a+b&")));
        assert!(!condition.holds(&HeaderMap::new(), None));
        assert!(Condition::query("q", "").unwrap().holds(&HeaderMap::new(), Some("q")));
    }

    #[test]
    fn a_bad_or_a_huge_expression_is_refused() {
        assert!(Condition::header("x", "~(").is_err());
        assert!(Condition::header("x", "~((a{1000}){1000}){1000}").is_err());
        assert!(Condition::header("bad name", "x").is_err());
    }
}
