//! One text: libinjection's port in safe Rust behind a function of ours, and a few rules of our own for what it does not know.

use std::borrow::Cow;
use std::fmt;

use libinjectionrs::{Fingerprint, detect_sqli, detect_xss};

use super::rules;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Sqli,
    Xss,
}

/// How much of one text libinjection's tokens of SQL are read from; it judges by the first of them anyway.
const TOKENISED_OF_TEXT: usize = 4 * 1024;
/// How much of all texts of a request. On what was made to be slow it reads about 1.5 MB/s where all else reads hundreds.
const TOKENISED_OF_REQUEST: usize = 64 * 1024;

/// What libinjection takes for an injection and is more often a sentence with a bracket, a formula (`max(1, 2)`, `(1 + 2) * 3`), a glob
/// (`doc/*:`) or a filter (`a = b AND c = "d"`). On the public lists they are the only sign of 21 payloads in 13,000.
const ORDINARY: [&str; 14] = [
    "f(1)", "f(n)", "f(n)o", "f(n&n", "1)o1", "nc", "novc", "n&n)&", "n&nos", "n&knk", "nof()", "nok(n", "Eknkn",
    "Tn(1)",
];

/// Looks at the texts of one request. The work is linear in their length, and slow only for a bounded part of it; behind that our
/// own rules go on alone.
#[derive(Debug)]
pub(super) struct Screener {
    left: usize,
}

impl Screener {
    pub(super) fn new() -> Self {
        Self { left: TOKENISED_OF_REQUEST }
    }

    /// Looks for an injection in a text as a backend would read it.
    pub(super) fn screen(&mut self, text: &[u8]) -> Option<Kind> {
        if is_plain(text) {
            None
        } else if is_xss(text) {
            Some(Kind::Xss)
        } else if rules::is_sqli(text) || self.has_tokens_of_sqli(text) {
            Some(Kind::Sqli)
        } else {
            None
        }
    }

    fn has_tokens_of_sqli(&mut self, text: &[u8]) -> bool {
        let length = text.len().min(TOKENISED_OF_TEXT).min(self.left);
        self.left -= length;
        let found = detect_sqli(text.get(..length).unwrap_or_default());
        let is_ordinary = |tokens: Fingerprint| ORDINARY.contains(&tokens.as_str());
        found.is_injection() && !found.fingerprint.is_some_and(is_ordinary)
    }
}

/// As it stands, and as a browser would read it inside an attribute.
fn is_xss(text: &[u8]) -> bool {
    let finds = |text: &[u8]| detect_xss(text).is_injection() || rules::is_xss(text);
    finds(text) || matches!(rules::without_entities(text), Cow::Owned(read) if finds(&read))
}

/// Most values are one word or number; nothing can be injected without a space, a quote or an operator.
fn is_plain(text: &[u8]) -> bool {
    let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-');
    text.iter().all(is_plain) && !text.windows(2).any(|pair| pair == b"--")
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Sqli => "SQL injection",
            Self::Xss => "cross-site scripting",
        })
    }
}
