//! What may be kept of a request that is sampled. Clients put names, addresses and tokens into paths and queries, so what they put
//! there stays out unless settings allow it by name.

use std::collections::HashSet;

use http::header::{ACCESS_CONTROL_REQUEST_METHOD, AUTHORIZATION, COOKIE, PROXY_AUTHORIZATION};
use http::{HeaderMap, HeaderName};

use super::Snapshot;
use super::condition::{Condition, decoded};
use super::facts::RequestFacts;
use super::pattern::{Pattern, Segment};
use super::route::CompiledRoute;
use crate::model::{API_VERSION_HEADER, Kept, NAMELESS, SampledRequest};

/// Never kept, whatever a condition asks for.
const SECRET: [HeaderName; 4] = [AUTHORIZATION, COOKIE, PROXY_AUTHORIZATION, HeaderName::from_static("x-api-key")];
/// The one capture that is always kept: it pins a version.
const VERSION: &str = "version";
/// Headers and parameters of one request; more are not listed by name.
const MOST_NAMES: usize = 64;
/// Longer values and names are kept back: they are none of those that conditions ask for.
const LONGEST: usize = 256;

/// Names that settings allow.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Names {
    #[default]
    None,
    Only(HashSet<Box<str>>),
    All,
}

/// What is kept of requests.
#[derive(Clone, Debug, Default)]
pub struct Keeping {
    captures: Names,
    query: Names,
    /// Those that conditions of routes ask for.
    headers: HashSet<HeaderName>,
}

impl Names {
    /// `*` allows all.
    #[must_use]
    pub fn new(names: &[String]) -> Self {
        if names.iter().any(|name| name == "*") {
            return Self::All;
        }
        let names: HashSet<Box<str>> =
            names.iter().filter(|name| !name.is_empty()).map(|it| it.as_str().into()).collect();
        if names.is_empty() { Self::None } else { Self::Only(names) }
    }

    fn allow(&self, name: &str) -> bool {
        match self {
            Self::None => false,
            Self::Only(names) => names.contains(name),
            Self::All => true,
        }
    }
}

impl Keeping {
    #[must_use]
    pub fn new(captures: Names, query: Names) -> Self {
        Self { captures, query, headers: HashSet::new() }
    }

    /// The same, with the headers that this snapshot's routes ask for.
    #[must_use]
    pub fn asked_by(&self, snapshot: &Snapshot) -> Self {
        let header = |condition: &Condition| match condition {
            Condition::Header(name, _) => Some(name.clone()),
            Condition::Query(..) => None,
        };
        let conditions = snapshot.routes().flat_map(|route| &route.conditions);
        let headers = conditions.filter_map(header).filter(|name| !SECRET.contains(name)).collect();
        Self { headers, ..self.clone() }
    }

    /// What is kept of the request that this route took.
    #[must_use]
    pub fn redact(&self, facts: &RequestFacts<'_>, route: Option<&CompiledRoute>, secure: bool) -> SampledRequest {
        let method = facts.method.as_str();
        SampledRequest {
            method: if method.len() <= LONGEST { method.to_owned() } else { NAMELESS.to_owned() },
            host: facts.host.to_owned(),
            path: self.path(facts.path, route.map(|route| &route.pattern)),
            target_bytes: u32::try_from(facts.target_bytes).unwrap_or(u32::MAX),
            query: facts.query.map(|query| self.parameters(query)).unwrap_or_default(),
            headers: self.lines(facts.headers),
            address: Some(facts.address),
            secure,
            entropy: facts.entropy,
        }
    }

    fn path(&self, path: &str, pattern: Option<&Pattern>) -> String {
        let Some(pattern) = pattern else { return self.unknown_path(path) };
        let mut wanted = pattern.segments().iter();
        let mut rest = None;
        path.split('/').skip(1).fold(String::with_capacity(path.len()), |mut out, given| {
            let segment = rest.or_else(|| wanted.next());
            out.push('/');
            match segment {
                _ if given.is_empty() => {}
                Some(Segment::Literal(literal)) => out.push_str(literal),
                Some(Segment::Named(name)) if **name == *VERSION || self.captures.allow(name) => out.push_str(given),
                Some(Segment::Rest(name)) if self.captures.allow(name) => out.push_str(given),
                Some(Segment::Named(name) | Segment::Rest(name)) => out.extend(["{", name, "}"]),
                None => out.push_str("{}"),
            }
            if matches!(segment, Some(Segment::Rest(_))) {
                rest = segment;
            }
            out
        })
    }

    fn unknown_path(&self, path: &str) -> String {
        if self.captures == Names::All {
            return path.to_owned();
        }
        let segments = path.split('/').skip(1).enumerate();
        segments.fold(String::with_capacity(path.len()), |mut out, (at, given)| {
            out.push('/');
            out.push_str(if at == 0 || given.is_empty() { given } else { "{}" });
            out
        })
    }

    fn parameters(&self, query: &str) -> Kept {
        let mut kept = Kept::new();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            // A word alone may be all that there is: a token, not the name of something.
            let (name, value, is_named) = match pair.split_once('=') {
                Some((name, value)) => (decoded(name), decoded(value), is_plain(name)),
                None => (decoded(pair), "".into(), false),
            };
            let is_allowed = self.query.allow(&name) && name.len() <= LONGEST && value.len() <= LONGEST;
            if kept.len() >= MOST_NAMES || !(is_named || is_allowed) {
                kept.insert(NAMELESS.to_owned(), None);
                continue;
            }
            let values = kept.entry(name.into_owned()).or_insert_with(|| is_allowed.then(Vec::new));
            match values {
                Some(values) if is_allowed => values.push(plain(&value)),
                values => *values = None,
            }
        }
        kept
    }

    fn lines(&self, headers: &HeaderMap) -> Kept {
        let values_of = |name: &HeaderName| {
            let is_asked = *name == API_VERSION_HEADER || *name == ACCESS_CONTROL_REQUEST_METHOD;
            if !is_asked && !self.headers.contains(name) {
                return None;
            }
            let text = |value: &http::HeaderValue| {
                value.to_str().ok().filter(|text| text.len() <= LONGEST).map(ToOwned::to_owned)
            };
            headers.get_all(name).iter().map(text).collect()
        };
        let more = (headers.keys_len() > MOST_NAMES).then(|| (NAMELESS.to_owned(), None));
        let named = headers.keys().take(MOST_NAMES).map(|name| (name.as_str().to_owned(), values_of(name)));
        named.chain(more).collect()
    }
}

/// Looks like the name of something.
fn is_plain(name: &str) -> bool {
    (1..=64).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_.-[]:".contains(&byte))
}

/// Without what a database can't hold.
fn plain(text: &str) -> String {
    text.replace('\0', "")
}
