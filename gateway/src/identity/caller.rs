//! From the credentials that a request presents to its caller.

use std::net::IpAddr;
use std::sync::Arc;

use gateway_config::model::Timestamp;
use gateway_config::snapshot::{Caller, Code, CompiledApplication, Snapshot, Token, Verified};
use http::{HeaderMap, HeaderName, HeaderValue, header};
use serde_json::Value;

use super::key::{KeyCaller, Keys};
use super::token::{self, Tokens};

/// The header that carries an API key.
pub(crate) const X_API_KEY: HeaderName = HeaderName::from_static("x-api-key");

/// Everything that tells who calls.
pub(crate) struct Identity {
    pub(crate) keys: Arc<Keys>,
    pub(crate) tokens: Arc<Tokens>,
}

/// What a request shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Presented<'h> {
    key: Option<&'h [u8]>,
    token: Option<&'h str>,
}

/// The same, kept while something is waited for.
#[derive(Clone, Debug)]
pub(crate) struct Kept {
    key: Option<Box<[u8]>>,
    token: Option<Box<str>>,
}

impl<'h> Presented<'h> {
    /// Nothing that the gateway looks at: any other scheme of `Authorization` is the backend's business.
    pub(crate) fn is_none(&self) -> bool {
        self.key.is_none() && self.token.is_none()
    }

    /// An error where the same is presented twice, or is no text at all: one of two readers would take the other one.
    pub(crate) fn of(headers: &'h HeaderMap) -> Result<Self, Code> {
        let mut keys = headers.get_all(X_API_KEY).iter();
        let key = keys.next().map(HeaderValue::as_bytes);
        let lines = headers.get_all(header::AUTHORIZATION);
        let bearer = lines.iter().find(|line| is_bearer(line));
        let is_doubled = lines.iter().nth(1).is_some() && (key.is_some() || bearer.is_some());
        if is_doubled || keys.next().is_some() {
            return Err(Code::CredentialsInvalid);
        }
        let token = match bearer {
            None => None,
            Some(line) => {
                // What no token may hold is found by whoever reads it; `to_str` would look for it at each byte.
                let line = std::str::from_utf8(line.as_bytes()).ok().and_then(|line| line.get(7..));
                let token = line.map(|token| token.trim_matches([' ', '\t']));
                Some(token.filter(|token| !token.is_empty()).ok_or(Code::CredentialsInvalid)?)
            }
        };
        Ok(Self { key, token })
    }

    pub(crate) fn keep(&self) -> Kept {
        Kept { key: self.key.map(Into::into), token: self.token.map(Into::into) }
    }
}

/// What the caller's token says of itself: of the very token that was verified, and only where a signature vouches for it. Of a token
/// whose issuer was asked, only the answer counts.
pub(crate) fn claims(snapshot: &Snapshot, headers: &HeaderMap, caller: &Caller) -> Option<Value> {
    let token = caller.verified()?.token.as_ref()?;
    let issuer = snapshot.issuer(&token.issuer)?;
    let is_signed = issuer.secret.is_some() || issuer.public_key_pem.is_some() || issuer.jwks_url.is_some();
    token::claims(Presented::of(headers).ok()?.token.filter(|_| is_signed)?)
}

impl Kept {
    fn presented(&self) -> Presented<'_> {
        Presented { key: self.key.as_deref(), token: self.token.as_deref() }
    }
}

/// The scheme is case-insensitive (RFC 9110 §11.1).
fn is_bearer(line: &HeaderValue) -> bool {
    line.as_bytes().get(..7).is_some_and(|scheme| scheme.eq_ignore_ascii_case(b"bearer "))
        || line.as_bytes().eq_ignore_ascii_case(b"bearer")
}

impl Identity {
    /// Who that is, if nothing has to be hashed for long and nobody to be asked.
    pub(crate) fn at_once(&self, snapshot: &Snapshot, presented: &Presented<'_>, now: Timestamp) -> Option<Caller> {
        let key = match presented.key {
            Some(key) => Some(self.keys.remembered(snapshot, key, now)?),
            None => None,
        };
        let token = match presented.token {
            Some(token) => Some(self.tokens.at_once(snapshot, token, now)?),
            None => None,
        };
        Some(self.caller(snapshot, key, token))
    }

    /// Who that is, whatever it takes.
    pub(crate) async fn verify(&self, snapshot: &Snapshot, kept: &Kept, address: IpAddr, now: Timestamp) -> Caller {
        let presented = kept.presented();
        let key = match presented.key {
            Some(key) => Some(self.keys.verify(snapshot, key, address, now).await),
            None => None,
        };
        // A bad key is refused whatever comes with it, and is not to make anybody ask an issuer.
        if let Some(Err(code)) = key {
            return Caller::Rejected(code);
        }
        let token = match presented.token {
            Some(token) => Some(self.tokens.verify(snapshot, token, now).await),
            None => None,
        };
        self.caller(snapshot, key, token)
    }

    /// Both must be good, and of the same application.
    fn caller(
        &self,
        snapshot: &Snapshot,
        key: Option<Result<KeyCaller, Code>>,
        token: Option<Result<Arc<Token>, Code>>,
    ) -> Caller {
        let (key, token) = match (key.transpose(), token.transpose()) {
            (Ok(key), Ok(token)) => (key, token),
            (Err(code), _) | (_, Err(code)) => return Caller::Rejected(code),
        };
        let bound = token.as_ref().and_then(|token| application_of(snapshot, token));
        let application = match (&key, &bound) {
            (Some(key), _) if token.is_some() => match bound {
                Some(bound) if bound.name == key.application.name => Some(key.application.clone()),
                _ => return Caller::Rejected(Code::CredentialsInvalid),
            },
            (Some(key), _) => Some(key.application.clone()),
            (None, bound) => (*bound).cloned(),
        };
        if let Some(key) = &key {
            self.keys.used(key.key);
        }
        Caller::Verified(Verified { application, key: key.map(|key| key.key), token })
    }
}

fn application_of<'s>(snapshot: &'s Snapshot, token: &Token) -> Option<&'s Arc<CompiledApplication>> {
    let issuer = snapshot.issuer(&token.issuer)?;
    snapshot.application_of_client(issuer, token.client.as_deref()?)
}

#[cfg(test)]
mod tests {
    use base64::Engine;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    use gateway_config::model::{Configuration, Item, JwtAlgorithm, JwtIssuer};
    use gateway_config::snapshot::compile;

    use super::*;

    fn presented(lines: &[(HeaderName, &str)]) -> Result<(Option<String>, Option<String>), Code> {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(name, HeaderValue::from_str(value).unwrap());
        }
        let presented = Presented::of(&headers)?;
        let key = presented.key.map(|key| String::from_utf8(key.to_vec()).unwrap());
        Ok((key, presented.token.map(ToOwned::to_owned)))
    }

    #[test]
    fn a_key_and_a_token_are_found_and_other_schemes_left_alone() {
        let some = |text: &str| Some(text.to_owned());
        let authorization = || header::AUTHORIZATION;
        assert_eq!(presented(&[]), Ok((None, None)));
        assert_eq!(presented(&[(X_API_KEY, "k")]), Ok((some("k"), None)));
        assert_eq!(presented(&[(authorization(), "bEaReR  t ")]), Ok((None, some("t"))));
        assert_eq!(presented(&[(authorization(), "Basic dTpw")]), Ok((None, None)));
        assert_eq!(presented(&[(X_API_KEY, "k"), (authorization(), "Bearer t")]), Ok((some("k"), some("t"))));
    }

    #[test]
    fn claims_are_those_of_the_verified_token_in_the_line_that_showed_it_and_only_where_they_are_signed() {
        let payload = URL_SAFE_NO_PAD.encode(r#"{"rooms": [7]}"#);
        let jwt = format!("{}.{payload}.AAAA", URL_SAFE_NO_PAD.encode(r#"{"alg": "HS256"}"#));
        let token = |issuer: &str| Token {
            issuer: issuer.into(),
            subject: None,
            client: None,
            roles: Vec::new(),
            scopes: Vec::new(),
            expires_at: None,
        };
        let issuer = |name: &str| JwtIssuer { name: name.to_owned(), issuer: name.to_owned(), ..JwtIssuer::default() };
        let mut configuration = Configuration::default();
        let secret = serde_json::from_value(serde_json::json!("env:GATEWAY_SECRET_X")).unwrap();
        let algorithms = vec![JwtAlgorithm::HS256];
        let signing = JwtIssuer { secret: Some(secret), algorithms, audiences: vec!["a".into()], ..issuer("signs") };
        let asked = JwtIssuer { introspection_url: Some("https://id.example/".to_owned()), ..issuer("asked") };
        for issuer in [signing, asked] {
            configuration.put(Item::Issuer(Arc::new(issuer)));
        }
        let snapshot = compile(&configuration, 1).unwrap();
        let verified =
            |token: Option<Token>| Caller::Verified(Verified { token: token.map(Arc::new), ..Verified::default() });
        let claims = |line: &str, caller: &Caller| {
            let headers = HeaderMap::from_iter([(header::AUTHORIZATION, HeaderValue::from_str(line).unwrap())]);
            super::claims(&snapshot, &headers, caller)
        };
        let by_token = verified(Some(token("signs")));
        let bearer = format!("Bearer {jwt}");
        assert_eq!(claims(&bearer, &by_token), Some(serde_json::json!({"rooms": [7]})));
        for line in [format!("Foo {jwt}"), format!("Basic {jwt}"), jwt.clone(), format!("Foo a.{payload}.b")] {
            assert_eq!(claims(&line, &by_token), None, "{line}");
        }
        for caller in [verified(None), Caller::Anonymous, verified(Some(token("asked"))), verified(Some(token("gone")))]
        {
            assert_eq!(claims(&bearer, &caller), None, "{caller:?}");
        }
    }

    #[test]
    fn what_is_presented_twice_or_empty_is_refused() {
        let bad = Err(Code::CredentialsInvalid);
        let authorization = || header::AUTHORIZATION;
        assert_eq!(presented(&[(X_API_KEY, "a"), (X_API_KEY, "a")]), bad);
        assert_eq!(presented(&[(authorization(), "Bearer a"), (authorization(), "Bearer b")]), bad);
        assert_eq!(presented(&[(authorization(), "Basic a"), (authorization(), "Bearer b")]), bad);
        assert_eq!(presented(&[(authorization(), "Bearer ")]), bad);
        assert_eq!(presented(&[(authorization(), "Bearer")]), bad);
        assert_eq!(
            presented(&[(authorization(), "Basic a"), (authorization(), "Basic b")]),
            Ok((None, None)),
            "not ours"
        );
        assert_eq!(presented(&[(X_API_KEY, "k"), (authorization(), "Basic a"), (authorization(), "Basic b")]), bad);
        let spaced = "Bearer \u{a0}t\u{3000}";
        assert_eq!(presented(&[(authorization(), spaced)]), Ok((None, Some("\u{a0}t\u{3000}".to_owned()))), "no token");
    }
}
