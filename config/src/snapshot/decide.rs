//! From a match to what follows: the whole of the gateway's judgement in one pure call.

use std::sync::Arc;

use http::HeaderMap;

use super::Snapshot;
use super::code::Code;
use super::facts::BodyFacts;
use super::matching::{Found, Match};
use super::pattern;
use super::route::CompiledRoute;
use super::service::{Cluster, CompiledService, CompiledVersion, sticky_hash};
use super::trail::{Access, Step, Trail, VersionBy};
use crate::model::{
    API_VERSION_HEADER, InvalidCredentials, Queue, Redirect, Respond, Retries, StickyOn, Target, Timeouts,
};

/// Who calls, as far as credentials say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Caller {
    Anonymous,
    /// Credentials were presented and are not good.
    Rejected(Code),
}

/// What follows, and why.
#[derive(Debug)]
pub struct Decision {
    /// The route that matched.
    pub route: Option<Arc<CompiledRoute>>,
    pub outcome: Outcome,
    pub trail: Trail,
}

#[derive(Debug)]
pub enum Outcome {
    Forward(Forward),
    Publish(Arc<Queue>),
    Respond(Respond),
    Redirect { location: String, status: u16 },
    Refuse(Refusal),
}

/// Where a request is sent.
#[derive(Debug)]
pub struct Forward {
    pub service: Arc<CompiledService>,
    pub version: Option<Arc<str>>,
    pub cluster: Arc<Cluster>,
    /// The path that the backend sees, before the backend's base path; `None`: the normalised one.
    pub path: Option<String>,
    pub timeouts: Deadlines,
}

/// Timeouts with every question settled, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deadlines {
    pub connect_ms: u32,
    pub read_ms: u32,
    pub write_ms: u32,
    pub total_ms: Option<u32>,
}

/// The gateway's own no.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    pub code: Code,
    /// Where the code's own status does not hold, as for maintenance.
    pub status: u16,
    pub message: Option<Box<str>>,
    /// The `Allow` of a 405.
    pub allow: Option<Box<str>>,
    pub retry_after_seconds: Option<u32>,
}

impl Refusal {
    #[must_use]
    pub fn new(code: Code) -> Self {
        let retry_after_seconds = (code.status() == 503 || code.status() == 429).then_some(1);
        Self { code, status: code.status(), message: None, allow: None, retry_after_seconds }
    }
}

impl Deadlines {
    fn of(route: &Timeouts, service: &Timeouts) -> Self {
        Self {
            connect_ms: route.connect_ms.or(service.connect_ms).unwrap_or(2000),
            read_ms: route.read_ms.or(service.read_ms).unwrap_or(60_000),
            write_ms: route.write_ms.or(service.write_ms).unwrap_or(60_000),
            total_ms: route.total_ms.or(service.total_ms),
        }
    }
}

impl Decision {
    /// The retries that hold for it; `None` when nothing is forwarded.
    #[must_use]
    pub fn retries(&self) -> Option<&Retries> {
        let Outcome::Forward(forward) = &self.outcome else { return None };
        let own = self.route.as_ref().and_then(|route| route.source.retries.as_ref());
        Some(own.unwrap_or(&forward.service.source.retries))
    }
}

#[must_use]
pub fn decide(snapshot: &Snapshot, matched: &Match<'_>, caller: &Caller, _body: &BodyFacts<'_>) -> Decision {
    let mut trail = matched.trail.clone();
    let (route, outcome) = match &matched.found {
        Err(refusal) => (None, Err(refusal.clone())),
        Ok(found) => {
            let outcome =
                admit(found.route, caller, &mut trail).and_then(|()| act(snapshot, matched, found, &mut trail));
            (Some(found.route.clone()), outcome)
        }
    };
    let outcome = outcome.unwrap_or_else(|refusal| {
        trail.push(Step::Refused(refusal.code));
        Outcome::Refuse(refusal)
    });
    Decision { route, outcome, trail }
}

/// Deny by default: whoever is not let in by name stays out.
fn admit(route: &CompiledRoute, caller: &Caller, trail: &mut Trail) -> Result<(), Refusal> {
    match caller {
        Caller::Anonymous if route.is_public => trail.push(Step::Access(Access::Public)),
        Caller::Anonymous => return Err(Refusal::new(Code::CredentialsMissing)),
        Caller::Rejected(code) => {
            let ignored = route.source.access.invalid_credentials == InvalidCredentials::Ignore;
            if !(route.is_public && ignored) {
                return Err(Refusal::new(*code));
            }
            trail.push(Step::Access(Access::Ignored(*code)));
        }
    }
    Ok(())
}

fn act(snapshot: &Snapshot, matched: &Match<'_>, found: &Found<'_>, trail: &mut Trail) -> Result<Outcome, Refusal> {
    let route = found.route;
    if let Some(name) = &route.service {
        let service = snapshot.service(name).ok_or_else(|| Refusal::new(Code::Internal))?;
        return forward(service, matched, found, trail).map(Outcome::Forward);
    }
    let path = matched.facts.path;
    match &route.source.target {
        Target::Queue(name) => match snapshot.queue(name) {
            Some(queue) if queue.is_active => Ok(Outcome::Publish(queue.clone())),
            _ => Err(Refusal::new(Code::QueueUnavailable)),
        },
        Target::Respond(respond) => Ok(Outcome::Respond(respond.clone())),
        Target::Redirect(Redirect { status_code, .. }) => {
            let location = route.location.as_ref().ok_or_else(|| Refusal::new(Code::Internal))?;
            Ok(Outcome::Redirect { location: location.render(path, &found.captures), status: *status_code })
        }
        // Services were seen to above; the others do not compile.
        Target::Service(_) | Target::Channel(_) | Target::Aggregate(_) => Err(Refusal::new(Code::Internal)),
    }
}

fn forward(
    service: &Arc<CompiledService>,
    matched: &Match<'_>,
    found: &Found<'_>,
    trail: &mut Trail,
) -> Result<Forward, Refusal> {
    if !service.is_open {
        return Err(closed(service));
    }
    let (cluster, version) = match choose_version(service, matched, found, trail)? {
        Some(version) => (&version.cluster, Some(version.name.clone())),
        None => match &service.default_cluster {
            Some(cluster) => (cluster, None),
            None => return Err(Refusal::new(Code::NoHealthyUpstream)),
        },
    };
    let path = found.route.rewrite.as_ref().map(|rewrite| {
        trail.push(Step::Rewritten);
        rewrite.render(matched.facts.path, &found.captures)
    });
    Ok(Forward {
        service: service.clone(),
        version,
        cluster: cluster.clone(),
        path,
        timeouts: Deadlines::of(&found.route.timeouts, &service.timeouts),
    })
}

fn closed(service: &CompiledService) -> Refusal {
    match &service.source.maintenance {
        Some(maintenance) if service.source.is_active => Refusal {
            status: maintenance.status_code,
            message: Some(maintenance.message.as_str().into()),
            retry_after_seconds: Some(maintenance.retry_after_seconds),
            ..Refusal::new(Code::Maintenance)
        },
        _ => Refusal::new(Code::ServiceInactive),
    }
}

/// The version that serves; `None` for `defaultUrl`.
fn choose_version<'s>(
    service: &'s CompiledService,
    matched: &Match<'_>,
    found: &Found<'_>,
    trail: &mut Trail,
) -> Result<Option<&'s CompiledVersion>, Refusal> {
    if !service.has_versions() {
        trail.push(Step::Version(VersionBy::Default, 0));
        return Ok(None);
    }
    let facts = &matched.facts;
    let in_path = found.route.version_capture.map(|at| pattern::capture(facts.path, &found.captures, at));
    let pin = match in_path {
        Some(pin) => Some(pin),
        None => match facts.headers.get(API_VERSION_HEADER).map(http::HeaderValue::to_str) {
            // A pin that is no text pins something that nobody serves.
            Some(Err(_)) => return Err(Refusal::new(Code::UnknownVersion)),
            Some(Ok(pin)) => Some(pin),
            None => None,
        },
    };
    let is_candidate = |version: &&CompiledVersion| pin.is_none_or(|pin| *version.api_version == *pin);
    let candidates = || service.versions.iter().filter(is_candidate);
    let count = candidates().count();
    let Some(first) = candidates().next() else {
        if pin.is_some() {
            return Err(Refusal::new(Code::UnknownVersion));
        }
        trail.push(Step::Version(VersionBy::Default, 0));
        return Ok(None);
    };
    let total: u64 = candidates().map(|version| u64::from(version.weight)).sum();
    let (version, by) = if count == 1 {
        (first, VersionBy::Only)
    } else if total > 0 {
        match sticky_value(&service.source.sticky_on, matched) {
            Some(value) => (rendezvous(service, candidates(), value).unwrap_or(first), VersionBy::Sticky),
            None => (by_weight(candidates(), total, facts.entropy).unwrap_or(first), VersionBy::Weight),
        }
    } else if let Some(current) = candidates().find(|it| Some(&*it.name) == service.source.current_version.as_deref()) {
        (current, VersionBy::Current)
    } else {
        (candidates().nth(scale(facts.entropy, count as u64)).unwrap_or(first), VersionBy::Equal)
    };
    trail.push(Step::Version(by, u16::try_from(count).unwrap_or(u16::MAX)));
    Ok(Some(version))
}

/// Maps a roll of the dice to 0 … `below - 1`, evenly.
fn scale(entropy: u64, below: u64) -> usize {
    usize::try_from((u128::from(entropy) * u128::from(below)) >> 64).unwrap_or(0)
}

fn by_weight<'s>(
    candidates: impl Iterator<Item = &'s CompiledVersion>,
    total: u64,
    entropy: u64,
) -> Option<&'s CompiledVersion> {
    let mut at = scale(entropy, total) as u64;
    for version in candidates {
        match at.checked_sub(u64::from(version.weight)) {
            Some(left) => at = left,
            None => return Some(version),
        }
    }
    None
}

/// What the service sticks to, hashed; `None` where the request lacks it.
fn sticky_value(on: &StickyOn, matched: &Match<'_>) -> Option<u64> {
    match on {
        StickyOn::None => None,
        // Without credentials a caller is its address.
        StickyOn::Caller => Some(match matched.facts.address {
            std::net::IpAddr::V4(address) => u64::from(address.to_bits()),
            std::net::IpAddr::V6(address) => (address.to_bits() >> 64) as u64,
        }),
        StickyOn::Header(name) => Some(sticky_hash(&[matched.facts.headers.get(name)?.to_str().ok()?])),
        StickyOn::Cookie(name) => Some(sticky_hash(&[cookie(matched.facts.headers, name)?])),
    }
}

fn cookie<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    let lines = headers.get_all(http::header::COOKIE).iter().filter_map(|line| line.to_str().ok());
    let mut pairs = lines.flat_map(|line| line.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.find(|(key, _)| *key == name).map(|(_, value)| value)
}

/// Weighted rendezvous hashing: each version scores `-weight / ln(hash)`, the highest serves. Raising a version's weight only
/// raises its own scores, so callers only ever move towards it.
fn rendezvous<'s>(
    service: &CompiledService,
    candidates: impl Iterator<Item = &'s CompiledVersion>,
    value: u64,
) -> Option<&'s CompiledVersion> {
    let score = |version: &CompiledVersion| {
        let mixed = mix(mix(value ^ service.sticky_seed) ^ version.sticky_seed);
        // 53 bits, so that the division is exact and never 0 or 1.
        #[expect(clippy::cast_precision_loss, reason = "53 bits fit")]
        let unit = ((mixed >> 11) as f64 + 0.5) / (1u64 << 53) as f64;
        -f64::from(version.weight) / unit.ln()
    };
    candidates.map(|version| (score(version), version)).max_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, version)| version)
}

/// The finaliser of SplitMix64: every bit of the input moves every bit of the output.
fn mix(value: u64) -> u64 {
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}
