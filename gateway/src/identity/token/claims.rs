//! What a token's claims must say, and what is taken from them. The same rules hold for the answers of introspection.

use std::sync::Arc;

use gateway_config::model::{ClaimPointers, JwtIssuer, Timestamp};
use gateway_config::snapshot::{Code, Token};
use smol_str::SmolStr;

use super::json::{Json, Object, Pointer};

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
    fn read(claims: &Object<'_>, leeway_seconds: u32) -> Option<Self> {
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
fn moment(value: &Json<'_>) -> Option<i64> {
    match value {
        Json::Integer(seconds) => (0..=LATEST_SECONDS).contains(seconds).then(|| seconds.saturating_mul(1_000_000)),
        Json::Float(seconds) => {
            #[expect(clippy::cast_precision_loss, reason = "far below the 2^53 that a float holds exactly")]
            let latest = LATEST_SECONDS as f64;
            #[expect(clippy::cast_possible_truncation, reason = "bounded; a fraction of a microsecond means nothing")]
            (0.0..=latest).contains(seconds).then_some((seconds * 1_000_000.0) as i64)
        }
        _ => None,
    }
}

/// Everything but whether the token is over: that is told apart, and only to who holds a good signature.
pub(super) fn check_signed(claims: &Object<'_>, issuer: &JwtIssuer, now: Timestamp) -> Result<Validity, Code> {
    let refused = Err(Code::CredentialsInvalid);
    if claims.text("iss") != Some(&issuer.issuer) {
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
pub(super) fn check_introspected(answer: &Object<'_>, issuer: &JwtIssuer, now: Timestamp) -> Result<Validity, Code> {
    let refused = Err(Code::CredentialsInvalid);
    if answer.get("iss").is_some_and(|iss| iss.as_text() != Some(&issuer.issuer)) {
        return refused;
    }
    let is_ours = |aud: &Json<'_>| issuer.audiences.is_empty() || is_for(aud, &issuer.audiences);
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
fn is_for(aud: &Json<'_>, audiences: &[String]) -> bool {
    let is_ours = |name: &str| audiences.iter().any(|ours| ours == name);
    match aud {
        Json::Text(name) => is_ours(name),
        Json::List(names) => {
            names.iter().all(|name| name.as_text().is_some()) && names.iter().filter_map(Json::as_text).any(is_ours)
        }
        _ => false,
    }
}

/// Where an issuer's tokens say what, taken apart once for all of them.
#[derive(Debug)]
pub(super) struct Mapping {
    subject: Pointer,
    client: Pointer,
    /// RFC 8693 and RFC 9068 call it client_id, OpenID Connect azp: where the issuer was not told which, both are looked for.
    other_client: Option<Pointer>,
    roles: Pointer,
    scopes: Pointer,
}

impl Mapping {
    pub(super) fn of(pointers: &ClaimPointers) -> Self {
        let is_usual = pointers.client == ClaimPointers::default().client;
        Self {
            subject: Pointer::of(&pointers.subject),
            client: Pointer::of(&pointers.client),
            other_client: is_usual.then(|| Pointer::of("/client_id")),
            roles: Pointer::of(&pointers.roles),
            scopes: Pointer::of(&pointers.scopes),
        }
    }
}

/// What the claims mean, of the issuer of this name.
pub(super) fn token_of(claims: &Object<'_>, mapping: &Mapping, name: &Arc<str>, validity: Validity) -> Token {
    let text = |pointer: &Pointer| {
        let text = claims.at(pointer).and_then(Json::as_text);
        text.filter(|text| !text.is_empty()).map(SmolStr::from)
    };
    Token {
        issuer: name.clone(),
        subject: text(&mapping.subject),
        client: text(&mapping.client).or_else(|| mapping.other_client.as_ref().and_then(text)),
        roles: words(claims.at(&mapping.roles), |it| matches!(it, ' ' | ',')),
        scopes: words(claims.at(&mapping.scopes), |it| it == ' '),
        expires_at: validity.until,
    }
}

/// A list of strings, or a string of words; what is neither grants nothing.
fn words(value: Option<&Json<'_>>, is_between: impl Fn(char) -> bool) -> Vec<SmolStr> {
    match value {
        Some(Json::Text(text)) => text.split(is_between).filter(|word| !word.is_empty()).map(SmolStr::from).collect(),
        Some(Json::List(list)) => {
            list.iter().filter_map(Json::as_text).filter(|word| !word.is_empty()).map(SmolStr::from).collect()
        }
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::json::object;
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

    fn check(claims: &Value, issuer: &JwtIssuer) -> Result<Validity, Code> {
        check_signed(&object(claims.to_string().as_bytes()).unwrap(), issuer, NOW)
    }

    fn accepts(extra: &Value) -> bool {
        check(&claims(extra), &issuer()).is_ok()
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
            assert_eq!(check(&claims, &issuer()).is_ok(), strict, "{nbf}");
            assert_eq!(check(&claims, &lenient).is_ok(), with_leeway, "{nbf}");
        }
        for (exp, strict, with_leeway) in
            [(1_800_000_001, false, false), (1_800_000_000, true, false), (1_799_999_970, true, true)]
        {
            let claims = claims(&json!({"exp": exp}));
            assert_eq!(check(&claims, &issuer()).unwrap().is_over(NOW), strict, "{exp}");
            assert_eq!(check(&claims, &lenient).unwrap().is_over(NOW), with_leeway, "{exp}");
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
        assert!(check(&claims(&json!({"aud": null})), &anyone).is_ok());
    }

    #[test]
    fn what_introspection_leaves_out_is_not_missed_and_what_it_says_is_checked() {
        let check = |answer: Value| check_introspected(&object(answer.to_string().as_bytes()).unwrap(), &issuer(), NOW);
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

    fn mapped(claims: &Value, pointers: &ClaimPointers) -> Token {
        let (text, mapping) = (claims.to_string(), Mapping::of(pointers));
        let claims = object(text.as_bytes()).unwrap();
        token_of(&claims, &mapping, &Arc::from("test"), Validity { until: None, from: None })
    }

    fn boxes(words: &[&str]) -> Vec<SmolStr> {
        words.iter().map(|word| SmolStr::from(*word)).collect()
    }

    #[test]
    fn claims_are_found_where_the_issuer_says() {
        let claims = json!({
            "sub": "u1", "azp": "shop", "client_id": "other", "roles": ["a", "b", 7, ""], "scope": "read write",
            "realm": {"roles": "x, y", "user/id": "u2"}, "scp": ["s"],
        });
        let token = mapped(&claims, &ClaimPointers::default());
        assert_eq!((token.subject.as_deref(), token.client.as_deref()), (Some("u1"), Some("shop")));
        assert_eq!((token.roles, token.scopes), (boxes(&["a", "b"]), boxes(&["read", "write"])));
        let token = mapped(
            &claims,
            &ClaimPointers {
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
            &ClaimPointers::default(),
        );
        assert_eq!((token.subject, token.client.as_deref()), (None, Some("c")));
        assert!(token.roles.is_empty() && token.scopes.is_empty());
    }
}
