//! A token's compact serialisation (RFC 7515 §7.1): taken apart, and its header judged before anything is believed of it.

use std::borrow::Cow;
use std::fmt::Write;
use std::sync::Arc;

use arc_swap::ArcSwapOption;
use gateway_config::model::JwtAlgorithm;

use super::json::{self, Object};

/// Of any token that is looked at: more does not fit into a request's head by default, either.
pub(super) const MAX_BYTES: usize = 16 * 1024;

/// What kind of token a text is, by its form alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    Signed,
    Opaque,
    /// Too large, encrypted, or with characters that no token has.
    Unacceptable,
}

impl Form {
    pub(super) fn of(presented: &str) -> Self {
        if presented.is_empty() || presented.len() > MAX_BYTES {
            return Self::Unacceptable;
        }
        // One look at each byte, and no end before the last: so it costs next to nothing.
        let kind = |byte: u8| KINDS.get(usize::from(byte)).copied().unwrap_or(STRANGE);
        let sum = presented.bytes().fold(0, |sum: u32, byte| sum + kind(byte));
        match sum {
            strange if strange >= STRANGE => Self::Unacceptable,
            2 => Self::Signed,
            4 => Self::Unacceptable,
            _ => Self::Opaque,
        }
    }
}

/// More than all dots that a token can hold.
const STRANGE: u32 = 1 << 16;

/// What each byte adds: a dot one, whatever else a token may hold nothing.
const KINDS: [u32; 256] = {
    // The token68 of RFC 9110 §11.2, which RFC 6750 takes over.
    let mut kinds = [STRANGE; 256];
    let mut byte: u8 = 0;
    while byte < 128 {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'~' | b'+' | b'/' | b'=') {
            kinds[byte as usize] = 0;
        }
        byte += 1;
    }
    kinds[b'.' as usize] = 1;
    kinds
};

/// What a header asks for.
#[derive(Clone, Debug)]
struct Asked {
    algorithm: JwtAlgorithm,
    kid: Option<Arc<str>>,
}

/// Headers that were judged well, by their text: all tokens of an issuer begin alike.
#[derive(Debug, Default)]
pub(super) struct Headers([ArcSwapOption<(Box<str>, Asked)>; HEADERS]);

const HEADERS: usize = 16;
/// Of a header that is kept: all that are sent by whoever means well.
const KEPT_BYTES: usize = 512;

impl Headers {
    fn judge(&self, text: &str) -> Option<Asked> {
        // What differs between issuers is at the end: the name of a key.
        let place =
            text.bytes().rev().take(6).fold(0, |sum: usize, byte| sum.wrapping_mul(31) ^ usize::from(byte)) % HEADERS;
        let slot = self.0.get(place)?;
        if let Some(known) = &*slot.load()
            && *known.0 == *text
        {
            return Some(known.1.clone());
        }
        let asked = judge_header(&json::object(&part(text)?)?)?;
        if text.len() <= KEPT_BYTES {
            slot.store(Some(Arc::new((text.into(), asked.clone()))));
        }
        Some(asked)
    }
}

/// Padding, other alphabets and stray bits at the end are refused. By another crate than all else that is encoded so: this is done for
/// each token that is verified, and it takes a third of the time.
fn part(text: &str) -> Option<Vec<u8>> {
    base64_simd::URL_SAFE_NO_PAD.decode_to_vec(text).ok()
}

/// A token in its parts. Nothing of it is verified.
#[derive(Debug)]
pub(super) struct Compact<'a> {
    pub(super) algorithm: JwtAlgorithm,
    pub(super) kid: Option<Arc<str>>,
    /// Not read yet, see [`Compact::claims`].
    payload: Vec<u8>,
    /// What is signed: header and claims as they were sent.
    pub(super) message: &'a str,
    pub(super) signature: Vec<u8>,
}

impl<'a> Compact<'a> {
    /// None: it is not well-formed, or its header asks for what is not done here. The claims are still to be read.
    pub(super) fn parse(presented: &'a str, headers: &Headers) -> Option<Self> {
        if presented.len() > MAX_BYTES {
            return None;
        }
        let (message, signature) = presented.rsplit_once('.')?;
        let (header, claims) = message.split_once('.')?;
        let Asked { algorithm, kid } = headers.judge(header)?;
        let signature = part(signature).filter(|signature| !signature.is_empty())?;
        Some(Self { algorithm, kid, payload: part(claims)?, message, signature })
    }

    /// None: the payload is not one sound JSON object.
    pub(super) fn claims(&self) -> Option<Object<'_>> {
        json::object(&self.payload)
    }

    pub(super) fn payload(&self) -> &[u8] {
        &self.payload
    }
}

/// Of all that a header may say, `alg` and `kid` are used; keys and addresses of keys that it brings are never looked at.
fn judge_header(header: &Object<'_>) -> Option<Asked> {
    // None of the extensions that `crit` could name is understood here, and payloads are always encoded.
    if header.has("crit") || header.has("b64") {
        return None;
    }
    // A content type means a token within the token; plain claims need none (RFC 7519 §5.2).
    if header.has("cty") {
        return None;
    }
    if let Some(kind) = header.get("typ") {
        let kind = kind.as_text()?;
        let is = |known: &str| kind.eq_ignore_ascii_case(known);
        if !["jwt", "at+jwt", "application/jwt", "application/at+jwt"].into_iter().any(is) {
            return None;
        }
    }
    let kid = match header.get("kid") {
        Some(kid) => Some(kid.as_text()?.into()),
        None => None,
    };
    Some(Asked { algorithm: algorithm(header.text("alg")?)?, kid })
}

/// Exactly these spellings; `none` is none of them.
pub(super) fn algorithm(name: &str) -> Option<JwtAlgorithm> {
    Some(match name {
        "HS256" => JwtAlgorithm::HS256,
        "HS384" => JwtAlgorithm::HS384,
        "HS512" => JwtAlgorithm::HS512,
        "RS256" => JwtAlgorithm::RS256,
        "RS384" => JwtAlgorithm::RS384,
        "RS512" => JwtAlgorithm::RS512,
        "PS256" => JwtAlgorithm::PS256,
        "ES256" => JwtAlgorithm::ES256,
        "ES384" => JwtAlgorithm::ES384,
        "EdDSA" => JwtAlgorithm::EdDSA,
        _ => return None,
    })
}

/// As a form's value (WHATWG URL, application/x-www-form-urlencoded).
pub(super) fn form_encode(value: &str) -> Cow<'_, str> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._*".contains(&byte);
    if value.bytes().all(is_plain) {
        return Cow::Borrowed(value);
    }
    let mut encoded = String::with_capacity(value.len() + 16);
    for byte in value.bytes() {
        match byte {
            b' ' => encoded.push('+'),
            _ if is_plain(byte) => encoded.push(char::from(byte)),
            _ => {
                // Writing to a string can't fail.
                let _ = write!(encoded, "%{byte:02X}");
            }
        }
    }
    Cow::Owned(encoded)
}

#[cfg(test)]
mod tests {
    use base64::Engine;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    use proptest::prelude::*;

    use super::*;

    fn token(header: &str, claims: &str) -> String {
        format!("{}.{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims), "AAAA")
    }

    fn accepts(header: &str) -> bool {
        reads(&token(header, "{}"))
    }

    fn reads(token: &str) -> bool {
        Compact::parse(token, &Headers::default()).is_some_and(|parts| parts.claims().is_some())
    }

    #[test]
    fn tokens_are_told_apart_by_their_form() {
        assert_eq!(Form::of("a.b.c"), Form::Signed);
        assert_eq!(Form::of(".."), Form::Signed);
        for opaque in ["abc", "ya29.a0Af", "a.b.c.d", "a+/=~-_"] {
            assert_eq!(Form::of(opaque), Form::Opaque, "{opaque}");
        }
        let huge = "a".repeat(MAX_BYTES + 1);
        for bad in ["", "a.b.c.d.e", "a b", "ä.b.c", "a.b.c\n", "a.b.c\0", "{}", huge.as_str()] {
            assert_eq!(Form::of(bad), Form::Unacceptable, "{bad:.20}");
        }
    }

    #[test]
    fn a_header_that_is_known_says_what_it_said_and_no_other_is_taken_for_it() {
        let headers = Headers::default();
        let read = |header: &str| Compact::parse(&token(header, "{}"), &headers).map(|it| (it.algorithm, it.kid));
        for _ in 0..3 {
            // More than are kept, and alike at their ends.
            for number in 0..40 {
                let kid = format!("{number} and the rest of it");
                let header = format!(r#"{{"alg":"RS256","kid":"{kid}"}}"#);
                assert_eq!(read(&header), Some((JwtAlgorithm::RS256, Some(kid.as_str().into()))));
                assert_eq!(read(&header.replace("RS256", "none")), None);
            }
        }
    }

    #[test]
    fn only_known_algorithms_in_their_exact_spelling_are_read() {
        for good in ["HS256", "HS384", "HS512", "RS256", "RS384", "RS512", "PS256", "ES256", "ES384", "EdDSA"] {
            assert!(accepts(&format!(r#"{{"alg":"{good}"}}"#)), "{good}");
        }
        for bad in ["none", "None", "NONE", "nOnE", "", "hs256", "HS256 ", "RS1", "ES256K", "dir", "PS384", "EDDSA"] {
            assert!(!accepts(&format!(r#"{{"alg":"{bad}"}}"#)), "{bad}");
        }
        for bad in [r#"{"alg":null}"#, r#"{"alg":["HS256"]}"#, r#"{"alg":1}"#, "{}", "[]", "null", r#""HS256""#] {
            assert!(!accepts(bad), "{bad}");
        }
    }

    #[test]
    fn headers_that_ask_for_more_are_refused() {
        for extra in [
            r#""crit":["b64"],"b64":false"#,
            r#""crit":[]"#,
            r#""crit":["exp"]"#,
            r#""b64":false"#,
            r#""b64":true"#,
            r#""cty":"JWT""#,
            r#""cty":"jwt""#,
            r#""typ":"JWE""#,
            r#""typ":"dpop+jwt""#,
            r#""typ":"logout+jwt""#,
            r#""typ":1"#,
            r#""kid":7"#,
            r#""kid":null"#,
            r#""alg":"none""#,
        ] {
            assert!(!accepts(&format!(r#"{{"alg":"HS256",{extra}}}"#)), "{extra}");
        }
        for extra in [r#""typ":"JWT""#, r#""typ":"jwt""#, r#""typ":"at+jwt""#, r#""typ":"application/at+jwt""#] {
            assert!(accepts(&format!(r#"{{"alg":"HS256",{extra}}}"#)), "{extra}");
        }
    }

    #[test]
    fn only_strict_base64url_is_read() {
        let good = token(r#"{"alg":"HS256"}"#, "{}");
        assert!(reads(&good));
        let parts: Vec<&str> = good.split('.').collect();
        let (header, claims, signature) = (parts[0], parts[1], parts[2]);
        for bad in [
            format!("{header}=.{claims}.{signature}"),
            format!("{header}.{claims}=.{signature}"),
            format!("{header}.{claims}.{signature}="),
            format!("{header}.{claims}.AAAB+"),
            format!("{header}.{claims}.AAA/"),
            // "AB" leaves four bits over, which must be zero.
            format!("{header}.{claims}.AB"),
            format!("{header}.{claims}."),
            format!("{header}..{signature}"),
            format!(".{claims}.{signature}"),
            format!("{header}.{signature}"),
            "..".to_owned(),
        ] {
            assert!(!reads(&bad), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn parts_are_decoded_as_by_the_usual_decoder(text in "[a-zA-Z0-9_-]{0,90}", twist in "[+/=.\n é]?", at in any::<prop::sample::Index>()) {
            let mut twisted = text.clone();
            twisted.insert_str(at.index(text.len() + 1), &twist);
            for text in [text, twisted] {
                prop_assert_eq!(part(&text), URL_SAFE_NO_PAD.decode(&text).ok(), "{}", text);
            }
        }

        #[test]
        fn any_text_is_judged_without_a_panic(text in "\\PC*", parts in "[a-zA-Z0-9_.-]{0,40}(\\.[a-zA-Z0-9_-]{0,40}){2}") {
            for text in [text, parts] {
                let _ = (Form::of(&text), reads(&text));
            }
        }

        #[test]
        fn any_header_and_claims_are_judged_without_a_panic(header in ".*", claims in "\\{.*\\}", signature in ".*") {
            let encode = |text: &str| URL_SAFE_NO_PAD.encode(text);
            for header in [header.as_str(), r#"{"alg":"ES256"}"#] {
                let _ = reads(&format!("{}.{}.{}", encode(header), encode(&claims), encode(&signature)));
            }
        }
    }

    #[test]
    fn form_values_are_encoded_as_browsers_do() {
        assert_eq!(form_encode("plain-Value_1.*"), "plain-Value_1.*");
        assert_eq!(form_encode("a b+c/d=e&f~ä"), "a+b%2Bc%2Fd%3De%26f%7E%C3%A4");
    }
}
