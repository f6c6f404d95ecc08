//! A sampled request as a request again, as far as it is known.

use std::net::{IpAddr, Ipv4Addr};
use std::str::FromStr;
use std::sync::Arc;

use http::header::{ACCESS_CONTROL_REQUEST_METHOD, ORIGIN};
use http::{HeaderMap, HeaderName, HeaderValue, Method};

use super::Undecided;
use crate::model::{Kept, NAMELESS, Sample, SampledCaller, SampledToken, Timestamp};
use crate::snapshot::condition::Condition;
use crate::snapshot::pattern::{Pattern, Segment};
use crate::snapshot::route::CompiledRoute;
use crate::snapshot::{Caller, Code, RequestFacts, Snapshot, Token, Verified};

/// What is kept back is missing here: no condition holds for it, and no literal segment fits it.
#[derive(Debug)]
pub(super) struct Replay<'s> {
    pub(super) sample: &'s Sample,
    method: Method,
    query: Option<String>,
    headers: HeaderMap,
}

/// Whether something fits a request of which not all is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Fit {
    No,
    Maybe,
    Yes,
}

impl<'s> Replay<'s> {
    /// `None`: it was refused before it was a request at all.
    pub(super) fn of(sample: &'s Sample) -> Option<Self> {
        let request = &sample.request;
        let method = Method::from_str(&request.method).ok().filter(|_| !request.path.is_empty())?;
        Some(Self { sample, method, query: query(&request.query), headers: headers(&request.headers) })
    }

    pub(super) fn facts(&self) -> RequestFacts<'_> {
        let request = &self.sample.request;
        RequestFacts {
            method: &self.method,
            host: &request.host,
            path: &request.path,
            query: self.query.as_deref(),
            target_bytes: request.target_bytes as usize,
            headers: &self.headers,
            address: request.address.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED)),
            now: self.now(),
            entropy: request.entropy,
        }
    }

    fn now(&self) -> Timestamp {
        self.sample.at
    }

    /// Who that is to this snapshot. Keys and tokens are not verified again; what is gone is gone.
    pub(super) fn caller(&self, snapshot: &Snapshot) -> Result<Caller, Undecided> {
        Ok(match &self.sample.caller {
            SampledCaller::Anonymous => Caller::Anonymous,
            SampledCaller::Unverified => return Err(Undecided),
            SampledCaller::Rejected { code } => Caller::Rejected(Code::of(code).ok_or(Undecided)?),
            SampledCaller::Verified { application, key, token } => {
                let found = application.as_deref().map(|name| snapshot.application(name).cloned());
                if key.is_some() && !matches!(found, Some(Some(_))) {
                    // Its keys went with it.
                    return Ok(Caller::Rejected(Code::CredentialsInvalid));
                }
                let token = token.as_ref().map(|token| Arc::new(said(token)));
                Caller::Verified(Verified { application: found.flatten(), key: *key, token })
            }
        })
    }

    /// Whether this route takes the request, if no other does. Another method than those of the route may still be an answer of
    /// its own.
    pub(super) fn fit(&self, route: &CompiledRoute, with_method: bool) -> Fit {
        let wanted = self.headers.get(ACCESS_CONTROL_REQUEST_METHOD).filter(|_| self.method == Method::OPTIONS);
        let wanted = wanted.and_then(|method| Method::from_bytes(method.as_bytes()).ok());
        let takes = |method: &Method| route.methods.contain(method);
        let is_taken = takes(&self.method) || wanted.as_ref().is_some_and(takes);
        if !route.source.is_active || (with_method && !is_taken) || !self.is_on_host(&route.source.hosts) {
            return Fit::No;
        }
        let conditions = route.conditions.iter().map(|condition| self.meets(condition));
        conditions.chain([self.fit_path(&route.pattern)]).min().unwrap_or(Fit::Yes)
    }

    fn is_on_host(&self, hosts: &[String]) -> bool {
        let host = &*self.sample.request.host;
        let is_this = |wanted: &String| match wanted.strip_prefix('*') {
            Some(suffix) => host.strip_suffix(suffix).is_some_and(|below| !below.is_empty()),
            None => host == wanted,
        };
        hosts.is_empty() || hosts.iter().any(is_this)
    }

    fn meets(&self, condition: &Condition) -> Fit {
        let (kept, name, expected) = match condition {
            Condition::Header(name, expected) => (&self.sample.request.headers, name.as_str(), expected),
            Condition::Query(name, expected) => (&self.sample.request.query, &**name, expected),
        };
        match kept.get(name) {
            Some(Some(values)) if values.iter().any(|value| expected.meets(value)) => Fit::Yes,
            Some(None) => Fit::Maybe,
            None if kept.contains_key(NAMELESS) => Fit::Maybe,
            Some(Some(_)) | None => Fit::No,
        }
    }

    pub(super) fn fit_path(&self, pattern: &Pattern) -> Fit {
        fit_path(pattern, &self.sample.request.path)
    }

    /// All that the route asks for is known to be there.
    pub(super) fn shows(&self, route: &CompiledRoute) -> bool {
        self.fit(route, false) == Fit::Yes
    }
}

/// A segment in braces was kept back: it is not empty, and nobody knows more of it.
fn fit_path(pattern: &Pattern, path: &str) -> Fit {
    let mut given = path.split('/').skip(1);
    let mut fit = Fit::Yes;
    for wanted in pattern.segments() {
        let Some(segment) = given.next() else { return Fit::No };
        match wanted {
            Segment::Rest(_) => return fit,
            Segment::Named(_) if segment.is_empty() => return Fit::No,
            Segment::Named(_) => {}
            Segment::Literal(literal) if segment.starts_with('{') && !literal.is_empty() => fit = Fit::Maybe,
            Segment::Literal(literal) if **literal == *segment => {}
            Segment::Literal(_) => return Fit::No,
        }
    }
    if given.next().is_none() { fit } else { Fit::No }
}

fn said(token: &SampledToken) -> Token {
    let boxed = |words: &[String]| words.iter().map(|word| word.as_str().into()).collect();
    Token {
        issuer: token.issuer.as_str().into(),
        subject: token.subject.as_deref().map(Into::into),
        client: token.client.as_deref().map(Into::into),
        roles: boxed(&token.roles),
        scopes: boxed(&token.scopes),
        expires_at: None,
    }
}

fn headers(kept: &Kept) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, values) in kept {
        let Ok(name) = HeaderName::from_str(name) else { continue };
        for value in values.iter().flatten().filter_map(|value| HeaderValue::from_str(value).ok()) {
            headers.append(&name, value);
        }
        // That it came at all makes a preflight.
        if values.is_none() && name == ORIGIN && kept.contains_key(ACCESS_CONTROL_REQUEST_METHOD.as_str()) {
            headers.append(name, HeaderValue::from_static(""));
        }
    }
    headers
}

fn query(kept: &Kept) -> Option<String> {
    let values = kept.iter().flat_map(|(name, values)| values.iter().flatten().map(move |value| (name, value)));
    let query = values.fold(String::new(), |mut query, (name, value)| {
        if !query.is_empty() {
            query.push('&');
        }
        encode(name, &mut query);
        query.push('=');
        encode(value, &mut query);
        query
    });
    (!query.is_empty()).then_some(query)
}

fn encode(text: &str, out: &mut String) {
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() {
            out.push(char::from(byte));
        } else {
            let digit = |value: u8| char::from_digit(u32::from(value), 16).unwrap_or('0');
            out.extend(['%', digit(byte >> 4), digit(byte & 15)]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_segment_that_was_kept_back_may_be_any_literal() {
        for (pattern, path, fit) in [
            ("/a/{x}", "/a/{id}", Fit::Yes),
            ("/a/b", "/a/{id}", Fit::Maybe),
            ("/a/b", "/c/{id}", Fit::No),
            ("/{x}/b", "/a/{id}", Fit::Maybe),
            ("/a/{*rest}", "/a/{id}/{id}", Fit::Yes),
            ("/a/{*rest}", "/a/", Fit::Yes),
            ("/a/{*rest}", "/a", Fit::No),
            ("/a/{x}", "/a/", Fit::No),
            ("/a/{x}", "/a/{id}/{id}", Fit::No),
            ("/a/", "/a/", Fit::Yes),
            ("/a/", "/a/{id}", Fit::No),
            ("/a/b/{*rest}", "/a/{x}/c", Fit::Maybe),
        ] {
            assert_eq!(fit_path(&Pattern::parse(pattern).unwrap(), path), fit, "{pattern} {path}");
        }
    }

    #[test]
    fn values_that_were_kept_are_read_as_they_came() {
        let kept =
            Kept::from([("q w".to_owned(), Some(vec!["a b&".to_owned(), "ü".to_owned()])), ("n".to_owned(), None)]);
        let query = query(&kept).unwrap();
        for value in ["a b&", "ü"] {
            assert!(Condition::query("q w", value).unwrap().holds(&HeaderMap::new(), Some(&query)), "{query}");
        }
        assert!(!query.contains('n'), "{query}");
    }
}
