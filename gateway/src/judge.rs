//! From a request's head to a decision: gathers the facts, asks the snapshot. Nothing is decided here, and nothing waits: where
//! something must be waited for, the caller is told what, and judges again.

use std::borrow::Cow;

use gateway_config::client::Client;
use gateway_config::clock::{Clock, SystemClock};
use gateway_config::model::Timestamp;
use gateway_config::snapshot::{
    BodyFacts, Caller, Code, Counters, Decision, Match, Refusal, RequestFacts, Snapshot, decide, host_of,
    match_request, path,
};
use http::Version;
use pingora::http::RequestHeader;

use crate::identity::Presented;
use crate::own::Own;

/// What judging asks on its way. `None`: that has to be waited for.
pub(crate) trait Inquiry {
    /// Counts the address and global group.
    fn count(&mut self, counters: &Counters) -> Option<Result<(), Refusal>>;

    /// Who shows these credentials.
    fn caller(&mut self, presented: &Presented<'_>, now: Timestamp) -> Option<Caller>;
}

/// What comes next.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "it is taken apart where it is made; a box would cost every request")]
pub(crate) enum Next {
    /// To be counted before anything else is looked at.
    Count(Counters),
    /// Credentials were presented, and who that is is not known yet.
    Identify,
    Decided(Judgement),
}

/// What judging a request brought.
#[derive(Debug)]
pub(crate) struct Judgement {
    pub(crate) decision: Decision,
    pub(crate) caller: Caller,
    /// The path to forward, where it is not what the client sent.
    pub(crate) path: Option<String>,
    /// It is for the gateway itself.
    pub(crate) own: Option<Own>,
    /// The dice that were rolled for it.
    pub(crate) entropy: u64,
}

impl Judgement {
    pub(crate) fn refused(refusal: Refusal) -> Self {
        Self { decision: Decision::refused(refusal), caller: Caller::Anonymous, path: None, own: None, entropy: 0 }
    }
}

pub(crate) fn judge(snapshot: &Snapshot, head: &RequestHeader, client: &Client, inquiry: &mut impl Inquiry) -> Next {
    gather(snapshot, head, client, inquiry).unwrap_or_else(|refusal| Next::Decided(Judgement::refused(refusal)))
}

fn gather(
    snapshot: &Snapshot,
    head: &RequestHeader,
    client: &Client,
    inquiry: &mut impl Inquiry,
) -> Result<Next, Refusal> {
    let mut buffer = String::new();
    let sound = Sound::of(head, &mut buffer)?;
    let facts = sound.facts(head, client, rand::random());
    let matched = match_request(snapshot, &facts);
    if !matched.counters.is_empty() {
        match inquiry.count(&matched.counters) {
            Some(counted) => counted?,
            None => return Ok(Next::Count(matched.counters)),
        }
    }
    let own = Own::of(&matched);
    let Some(caller) = caller(&matched, own.as_ref(), inquiry) else { return Ok(Next::Identify) };
    let decision = decide(snapshot, &matched, &caller, &BodyFacts::default());
    let entropy = facts.entropy;
    let path = match sound.path {
        Cow::Owned(path) => Some(path),
        // An absolute URI is forwarded as a path: the backend is not a proxy.
        Cow::Borrowed(path) => sound.authority.map(|_| path.to_owned()),
    };
    Ok(Next::Decided(Judgement { decision, caller, path, own, entropy }))
}

/// The facts once more, for whoever looks back at a request.
pub(crate) fn look_back<T>(
    head: &RequestHeader,
    client: &Client,
    entropy: u64,
    look: impl FnOnce(&RequestFacts<'_>) -> T,
) -> Result<T, Refusal> {
    let mut buffer = String::new();
    let sound = Sound::of(head, &mut buffer)?;
    Ok(look(&sound.facts(head, client, entropy)))
}

/// What a head says, made sound.
struct Sound<'h> {
    authority: Option<&'h str>,
    host: &'h str,
    path: Cow<'h, str>,
    query: Option<&'h str>,
}

impl<'h> Sound<'h> {
    fn of(head: &'h RequestHeader, buffer: &'h mut String) -> Result<Self, Refusal> {
        let bad = |why: String| Refusal { message: Some(why.into()), ..Refusal::new(Code::BadRequest) };
        let Target { authority, path: raw_path, query } = target(head).map_err(|why| bad(why.to_owned()))?;
        let path = path::normalise(raw_path).map_err(|error| bad(error.to_string()))?;
        let is_old = matches!(head.version, Version::HTTP_10 | Version::HTTP_09);
        let host = host_of(authority, &head.headers, !is_old, buffer).map_err(|error| bad(error.to_string()))?;
        Ok(Self { authority, host, path, query })
    }

    fn facts<'f>(&'f self, head: &'f RequestHeader, client: &Client, entropy: u64) -> RequestFacts<'f> {
        RequestFacts {
            method: &head.method,
            host: self.host,
            path: &self.path,
            query: self.query,
            target_bytes: head.raw_path().len(),
            headers: &head.headers,
            address: client.address,
            now: SystemClock.now(),
            entropy,
        }
    }
}

/// `None`: somebody has to look. Where nothing was found, or a browser only asks beforehand, nobody's credentials matter.
fn caller(matched: &Match<'_>, own: Option<&Own>, inquiry: &mut impl Inquiry) -> Option<Caller> {
    let matters = matched.found.as_ref().is_ok_and(|found| !found.preflight) || own.is_some_and(Own::wants_a_caller);
    if !matters {
        return Some(Caller::Anonymous);
    }
    match Presented::of(matched.facts.headers) {
        Ok(presented) if presented.is_none() => Some(Caller::Anonymous),
        Ok(presented) => inquiry.caller(&presented, matched.facts.now),
        Err(code) => Some(Caller::Rejected(code)),
    }
}

/// What a request is for, as the client sent it.
#[derive(Debug, PartialEq)]
struct Target<'a> {
    /// Of the absolute form (RFC 9112 §3.2.2), or of HTTP/2.
    authority: Option<&'a str>,
    path: &'a [u8],
    query: Option<&'a str>,
}

fn target(head: &RequestHeader) -> Result<Target<'_>, &'static str> {
    let raw = head.raw_path();
    let Some(behind) = without_scheme(raw) else {
        let (path, query) = split_query(raw)?;
        return Ok(Target { authority: head.uri.authority().map(http::uri::Authority::as_str), path, query });
    };
    // Pingora leaves an absolute target as it is and keeps only its path in the URI.
    let end = behind.iter().position(|byte| b"/?".contains(byte)).unwrap_or(behind.len());
    let (authority, rest) = behind.split_at_checked(end).unwrap_or((behind, &[]));
    let authority = std::str::from_utf8(authority).map_err(|_| "the target's authority is not a host")?;
    let (path, query) = split_query(rest)?;
    Ok(Target { authority: Some(authority), path: if path.is_empty() { b"/" } else { path }, query })
}

fn without_scheme(raw: &[u8]) -> Option<&[u8]> {
    let behind = |scheme: &[u8]| {
        let (begin, rest) = raw.split_at_checked(scheme.len())?;
        begin.eq_ignore_ascii_case(scheme).then_some(rest)
    };
    behind(b"http://").or_else(|| behind(b"https://"))
}

fn split_query(raw: &[u8]) -> Result<(&[u8], Option<&str>), &'static str> {
    let at = raw.iter().position(|byte| *byte == b'?');
    let (path, query) = match at {
        Some(at) => (raw.get(..at).unwrap_or_default(), raw.get(at + 1..)),
        None => (raw, None),
    };
    let Some(query) = query else { return Ok((path, None)) };
    let sound = query.iter().all(|byte| matches!(byte, 0x21..=0x7e) && *byte != b'#');
    let query = std::str::from_utf8(query).ok().filter(|_| sound);
    query.map(|query| (path, Some(query))).ok_or("the query holds a character that must be percent-encoded")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(raw: &str) -> (Option<String>, String, Option<String>) {
        let head = RequestHeader::build_no_case("GET", raw.as_bytes(), None).unwrap();
        let Target { authority, path, query } = target(&head).unwrap();
        (authority.map(str::to_owned), String::from_utf8(path.to_vec()).unwrap(), query.map(str::to_owned))
    }

    #[test]
    fn an_absolute_target_is_taken_apart() {
        let some = |text: &str| Some(text.to_owned());
        for (raw, authority, path, query) in [
            ("/a?b", None, "/a", some("b")),
            ("http://shop.example/a/../b?c=/", some("shop.example"), "/a/../b", some("c=/")),
            ("HTTPS://shop.example:81", some("shop.example:81"), "/", None),
            ("http://shop.example?x", some("shop.example"), "/", some("x")),
            ("http:///a", some(""), "/a", None),
        ] {
            assert_eq!(of(raw), (authority, path.to_owned(), query), "{raw}");
        }
    }
}
