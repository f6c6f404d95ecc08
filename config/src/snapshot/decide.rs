//! From a match to what follows: the whole of the gateway's judgement in one pure call.

use std::sync::Arc;

use http::HeaderMap;

use super::Snapshot;
use super::access::{Admission, Asked, admit, count};
use super::application::CompiledApplication;
use super::caller::Caller;
use super::channel::Filter;
use super::code::Code;
use super::cors::CorsHeaders;
use super::facts::BodyFacts;
use super::limit::Counters;
use super::matching::{Found, Match};
use super::pattern;
use super::queue::CompiledQueue;
use super::route::CompiledRoute;
use super::service::{Cluster, CompiledService, CompiledVersion, sticky_hash};
use super::trail::{Step, Trail, VersionBy};
use crate::model::{API_VERSION_HEADER, Redirect, Respond, Retries, StickyOn, Target, Timeouts};

/// What follows, and why.
#[derive(Debug)]
pub struct Decision {
    /// The route that matched.
    pub route: Option<Arc<CompiledRoute>>,
    pub outcome: Outcome,
    /// Whose request it is: the caller's application, or the one whose public entry let it in.
    pub application: Option<Arc<CompiledApplication>>,
    /// Of the identity group: counted now, all or none.
    pub counters: Counters,
    /// The largest body that may come with it.
    pub max_body_bytes: u64,
    pub trail: Trail,
}

#[derive(Debug)]
pub enum Outcome {
    Forward(Forward),
    Publish(Arc<CompiledQueue>),
    /// The queue's messages are streamed to the client, as far as the filter lets them through.
    Subscribe(Arc<CompiledQueue>, Filter),
    Respond(Respond),
    Redirect {
        location: String,
        status: u16,
    },
    /// A browser's question beforehand, answered.
    Preflight(CorsHeaders),
    Refuse(Refusal),
}

/// Where a request is sent.
#[derive(Debug)]
pub struct Forward {
    pub service: Arc<CompiledService>,
    /// The place of the version among the service's; `None` for `defaultUrl`.
    version: Option<usize>,
    /// The path that the backend sees, before the backend's base path; `None`: the normalised one.
    pub path: Option<String>,
    pub timeouts: Deadlines,
}

impl Forward {
    #[must_use]
    pub fn version(&self) -> Option<&Arc<str>> {
        Some(&self.service.versions.get(self.version?)?.name)
    }

    /// Those that may serve it; `None` is never decided.
    #[must_use]
    pub fn cluster(&self) -> Option<&Arc<Cluster>> {
        match self.version {
            Some(at) => self.service.versions.get(at).map(|version| &version.cluster),
            None => self.service.default_cluster.as_ref(),
        }
    }
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
    fn of(route: Option<&Timeouts>, service: &Timeouts) -> Self {
        let first = |ms: fn(&Timeouts) -> Option<u32>| route.and_then(ms).or_else(|| ms(service));
        Self {
            connect_ms: first(|it| it.connect_ms).unwrap_or(2000),
            read_ms: first(|it| it.read_ms).unwrap_or(60_000),
            write_ms: first(|it| it.write_ms).unwrap_or(60_000),
            total_ms: first(|it| it.total_ms),
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

impl Decision {
    /// Of what was refused before anything could be matched.
    #[must_use]
    pub fn refused(refusal: Refusal) -> Self {
        let trail = Trail::from_slice(&[Step::Refused(refusal.code)]);
        Self {
            route: None,
            outcome: Outcome::Refuse(refusal),
            application: None,
            counters: Counters::new(),
            max_body_bytes: u64::MAX,
            trail,
        }
    }
}

#[must_use]
pub fn decide(snapshot: &Snapshot, matched: &Match<'_>, caller: &Caller, _body: &BodyFacts<'_>) -> Decision {
    let mut trail = Trail::from_slice(&matched.trail);
    let (mut application, mut counters) = (None, Counters::new());
    let outcome = match &matched.found {
        Err(refusal) => Err(refusal.clone()),
        Ok(found) if found.preflight => preflight(snapshot, matched, found),
        Ok(found) => judge(snapshot, matched, found, caller, &mut trail, &mut counters).map(|(outcome, whose)| {
            application = whose;
            outcome
        }),
    };
    let outcome = outcome.unwrap_or_else(|refusal| {
        trail.push(Step::Refused(refusal.code));
        Outcome::Refuse(refusal)
    });
    let route = matched.found.as_ref().ok().map(|found| found.route.clone());
    let own = route.as_ref().and_then(|route| route.bounds.as_ref()?.max_body_bytes);
    let max_body_bytes = own.unwrap_or(snapshot.defaults.source.max_body_bytes);
    Decision { route, outcome, application, counters, max_body_bytes, trail }
}

fn preflight(snapshot: &Snapshot, matched: &Match<'_>, found: &Found<'_>) -> Result<Outcome, Refusal> {
    let cors = snapshot.cors_of(found.route).ok_or_else(|| Refusal::new(Code::Internal))?;
    Ok(Outcome::Preflight(cors.preflight(matched.facts.headers, &found.route.method_list)))
}

/// What follows, and whose request it is.
fn judge<'a>(
    snapshot: &'a Snapshot,
    matched: &Match<'a>,
    found: &Found<'a>,
    caller: &Caller,
    trail: &mut Trail,
    counters: &mut Counters,
) -> Result<(Outcome, Option<Arc<CompiledApplication>>), Refusal> {
    let service = found.route.service.and_then(|slot| snapshot.slots.get(slot));
    let versioned = service.filter(|service| service.has_versions());
    let pin = versioned.and_then(|_| pin(matched, found));
    let asked = Asked { snapshot, matched, found, service, pin };
    // What nobody serves is told only to those who may ask for something of it.
    let unknown = versioned.zip(pin).is_some_and(|(service, pin)| !service.serves(pin));
    let asked = if unknown { Asked { pin: None, ..asked } } else { asked };
    let admission = admit(&asked, caller, trail)?;
    if unknown {
        return Err(Refusal::new(Code::UnknownVersion));
    }
    let outcome = act(&asked, &admission, caller, trail)?;
    // Only what is let through is counted.
    count(&asked, caller, &admission, counters);
    Ok((outcome, admission.application))
}

/// The API version that the request insists on, of the path or else of the header.
fn pin<'m>(matched: &'m Match<'_>, found: &Found<'_>) -> Option<&'m str> {
    match found.route.version_capture {
        Some(at) => Some(pattern::capture(matched.facts.path, &found.captures, usize::from(at))),
        // A pin that is no text pins something that nobody serves, as an empty one does.
        None => matched.facts.headers.get(API_VERSION_HEADER).map(|value| value.to_str().unwrap_or_default()),
    }
}

fn act(
    asked: &Asked<'_, '_>,
    admission: &Admission<'_>,
    caller: &Caller,
    trail: &mut Trail,
) -> Result<Outcome, Refusal> {
    let found = asked.found;
    if let Some(service) = asked.service {
        return forward(service, asked, admission, caller, trail).map(Outcome::Forward);
    }
    match &found.route.source.target {
        Target::Queue(name) => match asked.snapshot.queue(name) {
            Some(queue) if queue.source.is_active => Ok(Outcome::Publish(queue.clone())),
            _ => Err(Refusal::new(Code::QueueUnavailable)),
        },
        Target::Channel(target) => match asked.snapshot.queue(&target.queue).zip(found.route.channel.as_ref()) {
            Some((queue, channel)) if queue.source.is_active => {
                let filter = channel.filter(caller, asked.matched.facts.path, &found.captures)?;
                Ok(Outcome::Subscribe(queue.clone(), filter))
            }
            _ => Err(Refusal::new(Code::QueueUnavailable)),
        },
        Target::Respond(respond) => Ok(Outcome::Respond(respond.clone())),
        Target::Redirect(Redirect { status_code, .. }) => {
            let location = found.route.location.as_ref().ok_or_else(|| Refusal::new(Code::Internal))?;
            let location = location.render(asked.matched.facts.path, &found.captures);
            Ok(Outcome::Redirect { location, status: *status_code })
        }
        // Services were seen to above; the others do not compile.
        Target::Service(_) | Target::Aggregate(_) => Err(Refusal::new(Code::Internal)),
    }
}

fn forward(
    service: &Arc<CompiledService>,
    asked: &Asked<'_, '_>,
    admission: &Admission<'_>,
    caller: &Caller,
    trail: &mut Trail,
) -> Result<Forward, Refusal> {
    if !service.is_open {
        return Err(closed(service));
    }
    let chosen = choose_version(service, asked, admission, caller, trail)?;
    if chosen.is_none() && service.default_cluster.is_none() {
        return Err(Refusal::new(Code::NoHealthyUpstream));
    }
    let version = chosen.and_then(|chosen| service.versions.iter().position(|version| std::ptr::eq(version, chosen)));
    let path = asked.found.route.rewrite.as_ref().map(|rewrite| {
        trail.push(Step::Rewritten);
        rewrite.render(asked.matched.facts.path, &asked.found.captures)
    });
    Ok(Forward {
        service: service.clone(),
        version,
        path,
        timeouts: Deadlines::of(asked.found.route.bounds.as_ref().map(|own| &own.timeouts), &service.timeouts),
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

/// The version that serves, among those that are meant and allowed; `None` for `defaultUrl`.
fn choose_version<'s>(
    service: &'s CompiledService,
    asked: &Asked<'_, '_>,
    admission: &Admission<'_>,
    caller: &Caller,
    trail: &mut Trail,
) -> Result<Option<&'s CompiledVersion>, Refusal> {
    let (matched, entropy) = (asked.matched, asked.matched.facts.entropy);
    let may_serve = |version: &&CompiledVersion| {
        asked.pin.is_none_or(|pin| *version.api_version == *pin) && admission.allows_version(version)
    };
    let candidates = || service.versions.iter().filter(may_serve);
    let count = candidates().count();
    let Some(first) = candidates().next() else {
        if !service.versions.is_empty() {
            return Err(Refusal::new(Code::VersionNotAllowed));
        }
        trail.push(Step::Version(VersionBy::Default, 0));
        return Ok(None);
    };
    let total: u64 = candidates().map(|version| u64::from(version.weight)).sum();
    let (version, by) = if count == 1 {
        (first, VersionBy::Only)
    } else if total > 0 {
        match sticky_value(&service.source.sticky_on, matched, caller) {
            Some(value) => (rendezvous(service, candidates(), value).unwrap_or(first), VersionBy::Sticky),
            None => (by_weight(candidates(), total, entropy).unwrap_or(first), VersionBy::Weight),
        }
    } else if let Some(current) = candidates().find(|it| Some(&*it.name) == service.source.current_version.as_deref()) {
        (current, VersionBy::Current)
    } else {
        (candidates().nth(scale(entropy, count as u64)).unwrap_or(first), VersionBy::Equal)
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
fn sticky_value(on: &StickyOn, matched: &Match<'_>, caller: &Caller) -> Option<u64> {
    match on {
        StickyOn::None => None,
        StickyOn::Caller => Some(caller_hash(matched, caller)),
        StickyOn::Header(name) => Some(sticky_hash(&[matched.facts.headers.get(name)?.to_str().ok()?])),
        StickyOn::Cookie(name) => Some(sticky_hash(&[cookie(matched.facts.headers, name)?])),
    }
}

/// A subject, else an application (its keys come and go), else an address.
fn caller_hash(matched: &Match<'_>, caller: &Caller) -> u64 {
    if let Caller::Verified(verified) = caller {
        let token = verified.token.as_ref();
        if let Some((token, subject)) = token.and_then(|token| Some((token, token.subject.as_deref()?))) {
            return sticky_hash(&["subject", &token.issuer, subject]);
        }
        if let Some(application) = &verified.application {
            return sticky_hash(&["application", &application.name]);
        }
    }
    match matched.facts.address.to_canonical() {
        std::net::IpAddr::V4(address) => u64::from(address.to_bits()),
        std::net::IpAddr::V6(address) => (address.to_bits() >> 64) as u64,
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
