//! A route compiled.

use std::sync::Arc;

use http::Method;

use super::address::AddressRules;
use super::channel::CompiledChannel;
use super::checks;
use super::condition::Condition;
use super::cors::CompiledCors;
use super::limit::CompiledLimit;
use super::pattern::{Pattern, Template};
use super::problems::Problems;
use super::slots::Slot;
use crate::model::{Credential, Id, Route, Target, Timeouts, host};

// In the order of its fields: among thousands of routes each cache line is a miss, so what every request asks of a route comes
// first, also what its source could tell.
#[derive(Debug)]
#[repr(C)]
pub struct CompiledRoute {
    pub methods: Methods,
    pub(super) conditions: Box<[Condition]>,
    pub(super) id: Id<Route>,
    pub(super) address: AddressRules,
    pub limits: Box<[Arc<CompiledLimit>]>,
    pub(super) rewrite: Option<Template>,
    pub(super) bounds: Option<Box<Bounds>>,
    /// Where the service is found that it leads to.
    pub(super) service: Option<Slot>,
    /// The capture that pins the API version.
    pub(super) version_capture: Option<u8>,
    pub(super) is_public: bool,
    /// Roles or scopes.
    pub(super) asks_for_roles: bool,
    // From here on it is what few ask for.
    pub source: Arc<Route>,
    pub pattern: Pattern,
    /// Of a channel.
    pub(super) channel: Option<CompiledChannel>,
    /// Of a redirect.
    pub(super) location: Option<Template>,
    pub(super) cors: Option<Arc<CompiledCors>>,
    /// As `Allow` and preflights list them; empty for any.
    pub(super) method_list: Box<str>,
}

/// What a route says of times and sizes itself; most say nothing.
#[derive(Debug)]
pub(super) struct Bounds {
    pub(super) timeouts: Timeouts,
    pub(super) max_body_bytes: Option<u64>,
}

/// The methods that a route takes: a bit for each common one, a list for the rest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Methods {
    Any,
    Only { common: u16, other: Box<[Method]> },
}

const COMMON: [Method; 9] = [
    Method::GET,
    Method::POST,
    Method::PUT,
    Method::PATCH,
    Method::DELETE,
    Method::HEAD,
    Method::OPTIONS,
    Method::TRACE,
    Method::CONNECT,
];

/// Prefixes that the gateway answers itself on every host.
pub(super) const RESERVED: [&str; 2] = ["/tasks/", "/.well-known/gateway/"];

impl Methods {
    #[must_use]
    pub fn contain(&self, method: &Method) -> bool {
        match self {
            Self::Any => true,
            Self::Only { common, other } => bit(method).map_or_else(|| other.contains(method), |bit| common & bit != 0),
        }
    }

    #[must_use]
    pub fn overlap(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Any, Self::Any) => true,
            (Self::Any, _) | (_, Self::Any) => false,
            (Self::Only { .. }, _) => other.iter().any(|method| self.contain(method)),
        }
    }

    /// Takes every method that `other` takes.
    #[must_use]
    pub(super) fn cover(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Any, _) => true,
            (_, Self::Any) => false,
            _ => other.iter().all(|method| self.contain(method)),
        }
    }

    /// None for any.
    pub fn iter(&self) -> impl Iterator<Item = &Method> {
        let (common, other) = match self {
            Self::Any => (0, &[][..]),
            Self::Only { common, other } => (*common, &**other),
        };
        COMMON.iter().filter(move |method| bit(method).is_some_and(|bit| common & bit != 0)).chain(other)
    }

    pub(super) fn parse(methods: &[String], field: &str, problems: &mut Problems) -> Self {
        if methods.is_empty() {
            return Self::Any;
        }
        let (mut common, mut other) = (0, Vec::new());
        for (at, text) in methods.iter().enumerate() {
            match Method::from_bytes(text.as_bytes()) {
                Ok(_) if text == "*" => {
                    problems.add(&format!("{field}/{at}"), "leave the list empty for any method");
                }
                Ok(method) if method == Method::CONNECT => {
                    problems.add(&format!("{field}/{at}"), "CONNECT can't be routed");
                }
                Ok(method) if !text.bytes().any(|byte| byte.is_ascii_lowercase()) => match bit(&method) {
                    Some(bit) => common |= bit,
                    None => other.push(method),
                },
                _ => problems.add(&format!("{field}/{at}"), format!("\"{text}\" is not a method in capitals")),
            }
        }
        Self::Only { common, other: other.into() }
    }
}

#[inline]
fn bit(method: &Method) -> Option<u16> {
    Some(match *method {
        Method::GET => 1,
        Method::POST => 1 << 1,
        Method::PUT => 1 << 2,
        Method::PATCH => 1 << 3,
        Method::DELETE => 1 << 4,
        Method::HEAD => 1 << 5,
        Method::OPTIONS => 1 << 6,
        Method::TRACE => 1 << 7,
        Method::CONNECT => 1 << 8,
        _ => return None,
    })
}

impl CompiledRoute {
    /// `None` when it has no pattern to stand under; why is among the problems then.
    pub(super) fn compile(source: &Arc<Route>, problems: &mut Problems) -> Option<Self> {
        checks::name(&source.name, problems);
        for (at, name) in source.hosts.iter().enumerate() {
            if !host::is_host_name(name.strip_prefix("*.").unwrap_or(name)) {
                let field = format!("hosts/{at}");
                problems.add(&field, format!("\"{name}\" is not a host name in lower case, without port, or *.name"));
            }
            if source.hosts.iter().take(at).any(|other| other == name) {
                problems.add(&format!("hosts/{at}"), format!("\"{name}\" stands twice"));
            }
        }
        let methods = Methods::parse(&source.methods, "methods", problems);
        let conditions = conditions(source, problems);
        checks::timeouts(&source.timeouts, problems);
        checks::body_size("maxBodyBytes", source.max_body_bytes.unwrap_or_default(), problems);
        let cached = source.cache.as_ref().map_or(0, |cache| cache.max_body_bytes);
        checks::body_size("cache/maxBodyBytes", cached, problems);
        problems.within("limits", |problems| checks::limits(&source.limits, problems));
        check_target(&source.target, problems);
        let pattern = match Pattern::parse(&source.path) {
            Ok(pattern) => pattern,
            Err(why) => {
                problems.add("path", why);
                return None;
            }
        };
        if let Some(reserved) = RESERVED.iter().find(|prefix| source.path.starts_with(**prefix)) {
            problems.add("path", format!("{reserved} belongs to the gateway itself"));
        }
        let rewrite = source.rewrite.as_ref().and_then(|text| {
            if !text.starts_with('/') || text.contains(['?', '#']) {
                problems.add("rewrite", format!("\"{text}\" must be a path that begins with a slash"));
            }
            template(text, &pattern, "rewrite", problems)
        });
        let location = match &source.target {
            Target::Redirect(redirect) => template(&redirect.location, &pattern, "target/redirect/location", problems),
            _ => None,
        };
        let channel = match &source.target {
            Target::Channel(channel) => Some(CompiledChannel::compile(channel, &pattern, problems)),
            _ => None,
        };
        Some(Self {
            version_capture: pattern.position("version").and_then(|at| u8::try_from(at).ok()),
            is_public: source.access.any_of.contains(&Credential::Public),
            asks_for_roles: !source.access.roles.is_empty() || !source.access.scopes.is_empty(),
            id: source.id,
            service: None,
            bounds: Bounds::of(source),
            source: source.clone(),
            address: AddressRules::new(&source.ip_allow, &source.ip_deny),
            limits: CompiledLimit::all(&format!("routes/{}", source.name), &source.limits).into(),
            cors: source
                .cors
                .as_ref()
                .map(|cors| Arc::new(problems.within("cors", |problems| CompiledCors::compile(cors, problems)))),
            method_list: methods.iter().map(Method::as_str).collect::<Vec<_>>().join(", ").into(),
            pattern,
            methods,
            conditions,
            rewrite,
            channel,
            location,
        })
    }

    /// Among routes of one host and pattern, the greater goes first; the name only makes the order one.
    pub(super) fn precedence(&self) -> impl Ord + '_ {
        (
            self.methods != Methods::Any,
            self.source.headers.len(),
            self.source.query.len(),
            self.source.priority,
            std::cmp::Reverse(self.source.name.as_str()),
        )
    }

    /// Some request matches both of two routes under one host and pattern, and nothing says which goes first.
    pub(super) fn is_ambiguous_with(&self, other: &Self) -> bool {
        self.methods.overlap(&other.methods)
            && self.source.priority == other.source.priority
            && self.source.headers == other.source.headers
            && self.source.query == other.source.query
    }
}

impl Bounds {
    fn of(route: &Route) -> Option<Box<Self>> {
        let Route { timeouts, max_body_bytes, .. } = route;
        let says_any = max_body_bytes.is_some() || *timeouts != Timeouts::default();
        says_any.then(|| Box::new(Self { timeouts: timeouts.clone(), max_body_bytes: *max_body_bytes }))
    }
}

fn conditions(source: &Route, problems: &mut Problems) -> Box<[Condition]> {
    let headers = source.headers.iter().map(|(name, value)| ("headers", name, Condition::header(name, value)));
    let query = source.query.iter().map(|(name, value)| ("query", name, Condition::query(name, value)));
    let mut conditions = Vec::new();
    for (field, name, condition) in headers.chain(query) {
        match condition {
            Ok(condition) => conditions.push(condition),
            Err(why) => problems.add(&format!("{field}/{name}"), why),
        }
    }
    conditions.into()
}

fn template(text: &str, pattern: &Pattern, field: &str, problems: &mut Problems) -> Option<Template> {
    Template::parse(text, pattern).map_err(|why| problems.add(field, why)).ok()
}

fn check_target(target: &Target, problems: &mut Problems) {
    match target {
        Target::Redirect(redirect) => {
            if !matches!(redirect.status_code, 301 | 302 | 303 | 307 | 308) {
                problems.add("target/redirect/statusCode", "must be 301, 302, 303, 307 or 308");
            }
            let absolute = ["/", "http://", "https://"].iter().any(|start| redirect.location.starts_with(start));
            if !absolute || http::HeaderValue::try_from(&redirect.location).is_err() {
                problems.add("target/redirect/location", "must be a path or an http(s) URL");
            }
        }
        Target::Respond(respond) => {
            if !(200..=599).contains(&respond.status_code) {
                problems.add("target/respond/statusCode", "must be from 200 to 599");
            }
            if http::HeaderValue::try_from(&respond.content_type).is_err() {
                problems.add("target/respond/contentType", "is not a header value");
            }
        }
        // Kept out until gateways can act on them: a stored route that silently does nothing would be a trap.
        Target::Aggregate(_) => problems.add("target/aggregate", "aggregates are not served yet by this version"),
        Target::Service(_) | Target::Queue(_) | Target::Channel(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_every_request_asks_of_a_route_lies_in_two_cache_lines() {
        // Before it stand the two counts of its `Arc`.
        assert!(std::mem::offset_of!(CompiledRoute, source) <= 2 * 64 - 2 * size_of::<usize>());
    }
}
