//! What a token's claims must say, and what is taken from them. The same rules hold for the answers of introspection.

use std::sync::Arc;

use gateway_config::model::{ClaimPointers, JwtIssuer, Timestamp};
use gateway_config::snapshot::{Code, Token};
use serde_json::Value;

/// The end of the year 9999: what is later is no date but a mistake or a trick with overflows.
const LATEST_SECONDS: i64 = 253_402_300_799;

/// When a token counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Validity {
    /// The first moment at which it no longer does, leeway included.
    pub(super) until: Option<Timestamp>,
    from: Option<Timestamp>,
}

impl Validity {
    /// None if one of the times is no number of seconds.
    fn read(claims: &Value, leeway_seconds: u32) -> Option<Self> {
        let leeway = i64::from(leeway_seconds) * 1_000_000;
        // Only its form matters: when a token was made says nothing about whether it counts.
        claims.get("iat").map_or(Some(None), |it| moment(it).map(Some))?;
        let until = claims.get("exp").map_or(Some(None), |it| moment(it).map(Some))?;
        let from = claims.get("nbf").map_or(Some(None), |it| moment(it).map(Some))?;
        Some(Self {
            until: until.map(|it| Timestamp::from_micros(it.saturating_add(leeway))),
            from: from.map(|it| Timestamp::from_micros(it.saturating_sub(leeway))),
        })
    }

    pub(super) fn is_over(self, now: Timestamp) -> bool {
        self.until.is_some_and(|until| now >= until)
    }
}

/// Microseconds since 1970 of a NumericDate.
fn moment(value: &Value) -> Option<i64> {
    if let Some(seconds) = value.as_i64() {
        return (0..=LATEST_SECONDS).contains(&seconds).then(|| seconds.saturating_mul(1_000_000));
    }
    let seconds = value.as_f64()?;
    #[expect(clippy::cast_precision_loss, reason = "the bound is far below the 2^53 that a float holds exactly")]
    let latest = LATEST_SECONDS as f64;
    #[expect(clippy::cast_possible_truncation, reason = "bounded, and a fraction of a microsecond means nothing")]
    (0.0..=latest).contains(&seconds).then_some((seconds * 1_000_000.0) as i64)
}

/// Everything but whether the token is over: that is told apart, and only to who holds a good signature.
pub(super) fn check_signed(claims: &Value, issuer: &JwtIssuer, now: Timestamp) -> Result<Validity, Code> {
    let refused = Err(Code::CredentialsInvalid);
    if claims.get("iss").and_then(Value::as_str) != Some(&issuer.issuer) {
        return refused;
    }
    if !issuer.audiences.is_empty() && !claims.get("aud").is_some_and(|aud| is_for(aud, &issuer.audiences)) {
        return refused;
    }
    match Validity::read(claims, issuer.leeway_seconds) {
        Some(validity) if validity.until.is_some() && validity.from.is_none_or(|from| now >= from) => Ok(validity),
        _ => refused,
    }
}

/// Like [`check_signed`], but the claims are the answer of the issuer itself, which may leave out what it knows to be right.
pub(super) fn check_introspected(answer: &Value, issuer: &JwtIssuer, now: Timestamp) -> Result<Validity, Code> {
    let refused = Err(Code::CredentialsInvalid);
    if answer.get("iss").is_some_and(|iss| iss.as_str() != Some(&issuer.issuer)) {
        return refused;
    }
    let is_ours = |aud: &Value| issuer.audiences.is_empty() || is_for(aud, &issuer.audiences);
    if !answer.get("aud").is_none_or(is_ours) {
        return refused;
    }
    match Validity::read(answer, issuer.leeway_seconds) {
        Some(validity) if validity.is_over(now) => Err(Code::TokenExpired),
        Some(validity) if validity.from.is_none_or(|from| now >= from) => Ok(validity),
        _ => refused,
    }
}

/// A string, or a list of nothing but strings.
fn is_for(aud: &Value, audiences: &[String]) -> bool {
    let is_ours = |name: &str| audiences.iter().any(|ours| ours == name);
    match aud {
        Value::String(name) => is_ours(name),
        Value::Array(names) => {
            names.iter().all(Value::is_string) && names.iter().filter_map(Value::as_str).any(is_ours)
        }
        _ => false,
    }
}

/// What the claims mean, by the issuer's pointers.
pub(super) fn token_of(claims: &Value, issuer: &JwtIssuer, name: &Arc<str>, validity: Validity) -> Token {
    let at = &issuer.claims;
    let text = |pointer: &str| {
        let text = claims.pointer(pointer).and_then(Value::as_str);
        text.filter(|text| !text.is_empty()).map(Box::from)
    };
    // RFC 8693 and RFC 9068 call it client_id, OpenID Connect azp.
    let other_client = || (at.client == ClaimPointers::default().client).then(|| text("/client_id")).flatten();
    Token {
        issuer: name.clone(),
        subject: text(&at.subject),
        client: text(&at.client).or_else(other_client),
        roles: words(claims.pointer(&at.roles), &[' ', ',']),
        scopes: words(claims.pointer(&at.scopes), &[' ']),
        expires_at: validity.until,
    }
}

/// A list of strings, or a string of words; what is neither grants nothing.
fn words(value: Option<&Value>, separators: &[char]) -> Vec<Box<str>> {
    match value {
        Some(Value::String(text)) => text.split(separators).filter(|word| !word.is_empty()).map(Box::from).collect(),
        Some(Value::Array(list)) => {
            list.iter().filter_map(Value::as_str).filter(|word| !word.is_empty()).map(Box::from).collect()
        }
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const NOW: Timestamp = Timestamp::from_micros(1_800_000_000_000_000);

    fn issuer() -> JwtIssuer {
        let audiences = vec!["api".to_owned(), "web".to_owned()];
        JwtIssuer { issuer: "https://id.test".to_owned(), audiences, ..JwtIssuer::default() }
    }

    fn claims(extra: &Value) -> Value {
        let mut claims = json!({"iss": "https://id.test", "aud": "api", "exp": 1_800_000_100});
        for (name, value) in extra.as_object().unwrap() {
            match value {
                Value::Null => claims.as_object_mut().unwrap().remove(name),
                value => claims.as_object_mut().unwrap().insert(name.clone(), value.clone()),
            };
        }
        claims
    }

    fn accepts(extra: &Value) -> bool {
        check_signed(&claims(extra), &issuer(), NOW).is_ok()
    }

    #[test]
    fn times_are_numbers_of_sane_size_and_the_end_is_needed() {
        assert!(accepts(&json!({})));
        for exp in [json!(1_800_000_100.5), json!(253_402_300_799_i64), json!(0), json!(1.0e10)] {
            assert!(accepts(&json!({"exp": exp})), "{exp}");
        }
        for exp in [json!(1e300), json!(-1), json!(-1e300), json!("1800000100"), json!(true), json!([1]), json!({})] {
            assert!(!accepts(&json!({"exp": exp})), "{exp}");
            assert!(!accepts(&json!({"nbf": exp})), "nbf {exp}");
            assert!(!accepts(&json!({"iat": exp})), "iat {exp}");
        }
        for exp in [json!(i64::MAX), json!(u64::MAX), json!(253_402_300_800_i64)] {
            assert!(!accepts(&json!({"exp": exp})), "{exp}");
        }
        assert!(!accepts(&json!({"exp": null})), "a token without an end");
    }

    #[test]
    fn a_token_counts_from_its_nbf_until_its_exp_with_the_issuers_leeway_on_both_sides() {
        let lenient = JwtIssuer { leeway_seconds: 30, ..issuer() };
        for (nbf, strict, with_leeway) in
            [(1_800_000_000, true, true), (1_800_000_001, false, true), (1_800_000_031, false, false)]
        {
            let claims = claims(&json!({"nbf": nbf}));
            assert_eq!(check_signed(&claims, &issuer(), NOW).is_ok(), strict, "{nbf}");
            assert_eq!(check_signed(&claims, &lenient, NOW).is_ok(), with_leeway, "{nbf}");
        }
        for (exp, strict, with_leeway) in
            [(1_800_000_001, false, false), (1_800_000_000, true, false), (1_799_999_970, true, true)]
        {
            let claims = claims(&json!({"exp": exp}));
            assert_eq!(check_signed(&claims, &issuer(), NOW).unwrap().is_over(NOW), strict, "{exp}");
            assert_eq!(check_signed(&claims, &lenient, NOW).unwrap().is_over(NOW), with_leeway, "{exp}");
        }
    }

    #[test]
    fn the_issuer_is_compared_to_the_letter() {
        for iss in ["https://id.test/", "https://ID.test", "http://id.test", "", " https://id.test"] {
            assert!(!accepts(&json!({"iss": iss})), "{iss}");
        }
        assert!(!accepts(&json!({"iss": ["https://id.test"]})));
        assert!(!accepts(&json!({"iss": null})));
    }

    #[test]
    fn one_of_the_audiences_must_be_named_where_the_issuer_has_some() {
        for aud in [json!("web"), json!(["other", "api"])] {
            assert!(accepts(&json!({"aud": aud})), "{aud}");
        }
        for aud in
            [json!("other"), json!([]), json!(1), json!({"api": 1}), json!(["api", 1]), json!([["api"]]), json!("")]
        {
            assert!(!accepts(&json!({"aud": aud})), "{aud}");
        }
        assert!(!accepts(&json!({"aud": null})));
        let anyone = JwtIssuer { audiences: vec![], ..issuer() };
        assert!(check_signed(&claims(&json!({"aud": null})), &anyone, NOW).is_ok());
    }

    #[test]
    fn what_introspection_leaves_out_is_not_missed_and_what_it_says_is_checked() {
        let check = |answer: Value| check_introspected(&answer, &issuer(), NOW);
        assert!(check(json!({"active": true})).is_ok());
        assert!(check(json!({"iss": "https://id.test", "aud": ["api"], "exp": 1_800_000_001})).is_ok());
        for bad in [
            json!({"iss": "https://other"}),
            json!({"aud": "other"}),
            json!({"exp": "x"}),
            json!({"nbf": 1_800_000_001}),
        ] {
            assert_eq!(check(bad.clone()), Err(Code::CredentialsInvalid), "{bad}");
        }
        assert_eq!(check(json!({"exp": 1_800_000_000})), Err(Code::TokenExpired));
    }

    fn mapped(claims: &Value, pointers: ClaimPointers) -> Token {
        let issuer = JwtIssuer { claims: pointers, ..issuer() };
        token_of(claims, &issuer, &Arc::from("test"), Validity { until: None, from: None })
    }

    fn boxes(words: &[&str]) -> Vec<Box<str>> {
        words.iter().map(|word| Box::from(*word)).collect()
    }

    #[test]
    fn claims_are_found_where_the_issuer_says() {
        let claims = json!({
            "sub": "u1", "azp": "shop", "client_id": "other", "roles": ["a", "b", 7, ""], "scope": "read write",
            "realm": {"roles": "x, y", "user/id": "u2"}, "scp": ["s"],
        });
        let token = mapped(&claims, ClaimPointers::default());
        assert_eq!((token.subject.as_deref(), token.client.as_deref()), (Some("u1"), Some("shop")));
        assert_eq!((token.roles, token.scopes), (boxes(&["a", "b"]), boxes(&["read", "write"])));
        let token = mapped(
            &claims,
            ClaimPointers {
                subject: "/realm/user~1id".to_owned(),
                roles: "/realm/roles".to_owned(),
                scopes: "/scp".to_owned(),
                client: "/nowhere".to_owned(),
            },
        );
        assert_eq!((token.subject.as_deref(), token.client), (Some("u2"), None));
        assert_eq!((token.roles, token.scopes), (boxes(&["x", "y"]), boxes(&["s"])));
    }

    #[test]
    fn claims_of_another_type_grant_nothing() {
        let token = mapped(
            &json!({"sub": 7, "azp": "", "client_id": "c", "roles": {"a": true}, "scope": null}),
            ClaimPointers::default(),
        );
        assert_eq!((token.subject, token.client.as_deref()), (None, Some("c")));
        assert!(token.roles.is_empty() && token.scopes.is_empty());
    }
}
