//! Recent traffic under a change that is not made yet: each sampled request is decided as things stand and as they would. What
//! depends on something that was kept back is not guessed but counted as undecided.

mod replay;
mod verdict;

use std::collections::HashSet;
use std::sync::Arc;

use crate::model::{DEFAULTS_NAME, Kind, Sample, Target, Timestamp, WhitelistEntry};

use super::decide::decide;
use super::matching::{match_request, match_to, refused_early, would_match};
use super::pattern::Pattern;
use super::route::{CompiledRoute, Methods};
use super::{BodyFacts, Code, RequestFacts, Snapshot};
use replay::{Fit, Replay};
use verdict::{Verdict, What};

/// A sample that is not so much younger than a write may have been decided before it: clocks of nodes differ.
const SKEW_MICROS: i64 = 5_000_000;

/// Two snapshots, and what differs between them.
#[derive(Debug)]
pub struct Preview<'s> {
    before: &'s Snapshot,
    after: &'s Snapshot,
    touched: HashSet<(Kind, &'s str)>,
    /// Routes that take other requests afterwards, as they would be.
    moved: Vec<Moved<'s>>,
    /// Whitelist entries that come or go.
    entries: Vec<Entry<'s>>,
    /// Where touched applications let the anonymous in, before or afterwards.
    opens: Vec<&'s Pattern>,
    /// The routes that were written lately: a sample may be older than they are.
    recent: Vec<&'s Arc<CompiledRoute>>,
}

#[derive(Debug)]
struct Moved<'s> {
    name: &'s str,
    /// `None`: it is gone.
    now: Option<&'s Arc<CompiledRoute>>,
    before: Option<&'s Arc<CompiledRoute>>,
}

#[derive(Debug)]
struct Entry<'s> {
    application: &'s str,
    source: &'s WhitelistEntry,
    pattern: Pattern,
}

/// What a change does to a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Judged {
    Same,
    /// It depends on something that was kept back.
    Undecided,
    Differs {
        /// That takes it now, or else would.
        route: Option<String>,
        before: String,
        after: String,
    },
}

#[derive(Clone, Copy, Debug)]
struct Undecided;

impl<'s> Preview<'s> {
    /// `touched`: the entities that differ. `since`: when the oldest of the samples was taken.
    #[must_use]
    pub fn new(before: &'s Snapshot, after: &'s Snapshot, touched: &'s [(Kind, String)], since: Timestamp) -> Self {
        let named =
            |wanted: Kind| touched.iter().filter(move |(kind, _)| *kind == wanted).map(|(_, name)| name.as_str());
        let moved = named(Kind::Route).filter_map(|name| {
            let (old, new) = (before.route(name), after.route(name).filter(|route| route.source.is_active));
            let is_same = old.zip(new).is_some_and(|(old, new)| takes_the_same(old, new));
            (!is_same).then_some(Moved { name, now: new, before: old })
        });
        let applications = named(Kind::Application).flat_map(|name| [before, after].map(|it| it.application(name)));
        let opens = applications.flatten().flat_map(|application| &application.public).map(|rule| &rule.pattern);
        Self {
            touched: touched.iter().map(|(kind, name)| (*kind, name.as_str())).collect(),
            moved: moved.collect(),
            entries: named(Kind::Application).flat_map(|name| changed_entries(before, after, name)).collect(),
            opens: opens.collect(),
            recent: before.routes().filter(|route| is_newer(route, since)).collect(),
            before,
            after,
        }
    }

    /// How many routes and entries each sample is held against.
    #[must_use]
    pub fn breadth(&self) -> usize {
        self.moved.len() + self.entries.len() + self.opens.len() + self.recent.len()
    }

    #[must_use]
    pub fn judge(&self, sample: &Sample) -> Judged {
        let Some(replay) = Replay::of(sample) else { return Judged::Same };
        if !self.concerns(&replay) {
            return Judged::Same;
        }
        self.compare(&replay).unwrap_or(Judged::Undecided)
    }

    /// Anything that this request's decision reads is touched.
    fn concerns(&self, replay: &Replay<'_>) -> bool {
        let sample = replay.sample;
        let touches = |kind: Kind, name: &str| self.touched.contains(&(kind, name));
        let taken_by = sample.outcome.route.as_deref();
        let target = |snapshot: &Snapshot| {
            let route = snapshot.route(taken_by?)?;
            Some(match &route.source.target {
                Target::Service(name) => touches(Kind::Service, name),
                Target::Queue(name) => touches(Kind::Queue, name),
                _ => false,
            })
        };
        touches(Kind::Defaults, DEFAULTS_NAME)
            || taken_by.is_some_and(|name| touches(Kind::Route, name))
            || target(self.before).unwrap_or(false)
            || target(self.after).unwrap_or(false)
            || sample.application().is_some_and(|name| touches(Kind::Application, name))
            || self.moved.iter().any(|moved| moved.fit(replay, taken_by.is_none()) > Fit::No)
            || self.entries_for(replay, Fit::No).next().is_some()
            || self.opens.iter().any(|pattern| replay.fit_path(pattern) > Fit::No)
    }

    /// The entries that come or go, say something about this request, and fit it better than this.
    fn entries_for<'p>(&'p self, replay: &'p Replay<'_>, than: Fit) -> impl Iterator<Item = &'p Entry<'s>> {
        let (application, method) = (replay.sample.application(), &replay.sample.request.method);
        let takes = move |it: &Entry<'_>| it.source.allowed_methods.iter().any(|it| it == "*" || it == method);
        let is_asked = move |it: &Entry<'_>| it.source.is_public || application == Some(it.application);
        let entries = self.entries.iter().filter(move |it| is_asked(it) && takes(it));
        entries.filter(move |it| replay.fit_path(&it.pattern) > than)
    }

    fn compare(&self, replay: &Replay<'_>) -> Result<Judged, Undecided> {
        let facts = replay.facts();
        let (before, after) = match self.refused_unseen(replay, &facts)? {
            Some(verdicts) => verdicts,
            None => {
                let now = self.route_now(replay, &facts)?;
                let then = self.route_then(replay, &facts, now)?;
                (verdict(self.before, replay, &facts, now)?, verdict(self.after, replay, &facts, then)?)
            }
        };
        // Something that was kept back had its say, as a whitelist entry for one order of all.
        if !before.agrees(replay.sample) && self.is_blind_to_entries(replay) {
            return Err(Undecided);
        }
        if let Some(is_same) = before.blind_beside(&after) {
            return if is_same && before.route == after.route { Ok(Judged::Same) } else { Err(Undecided) };
        }
        if before == after {
            return Ok(Judged::Same);
        }
        if self.entries_for(replay, Fit::No).any(|it| replay.fit_path(&it.pattern) == Fit::Maybe) {
            return Err(Undecided);
        }
        Ok(differs(&before, &after, replay.sample))
    }

    /// Refused before its route was found, or by an address rule of a route that was not recorded.
    fn refused_unseen(
        &self,
        replay: &Replay<'_>,
        facts: &RequestFacts<'_>,
    ) -> Result<Option<(Verdict, Verdict)>, Undecided> {
        let outcome = &replay.sample.outcome;
        let recorded = outcome.code.as_deref().and_then(Code::of);
        let after = refused_early(self.after, facts);
        let is_unseen =
            outcome.route.is_none() && !matches!(recorded, Some(Code::RouteNotFound | Code::MethodNotAllowed));
        match (is_unseen, recorded, after) {
            (false, ..) => Ok(None),
            (true, Some(before), Some(after)) => {
                let before = refused_early(self.before, facts).unwrap_or(before);
                Ok(Some((Verdict::refused(None, before), Verdict::refused(None, after))))
            }
            _ => Err(Undecided),
        }
    }

    /// The route that takes it as things stand: what was recorded, unless routes were written since.
    fn route_now(&self, replay: &Replay<'_>, facts: &RequestFacts<'_>) -> Result<Taken<'s>, Undecided> {
        let sample = replay.sample;
        let recorded = sample.outcome.route.as_deref();
        if sample.generation == self.before.generation() {
            return match recorded {
                None => Ok(Taken::Nobody),
                Some(name) => self.before.route(name).map(Taken::By).ok_or(Undecided),
            };
        }
        let newer = self.recent.iter().filter(|route| is_newer(route, sample.at) && route.source.is_active);
        let moved: Vec<&Arc<CompiledRoute>> = newer.copied().collect();
        let is_moved = |name: &str| moved.iter().any(|route| route.source.name == name);
        match recorded {
            Some(name) if is_moved(name) || self.before.route(name).is_none() => {
                // It was written since. What it takes now is certain only where it shows.
                let found = would_match(self.before, facts).and_then(|route| self.before.route(&route.source.name));
                let others = moved.iter().filter(|route| route.source.name != name);
                let is_clear = others.into_iter().all(|route| replay.fit(route, true) != Fit::Maybe);
                found.filter(|route| route.source.name == name && is_clear).map(Taken::By).ok_or(Undecided)
            }
            _ => follow(self.before, replay, facts, recorded.and_then(|name| self.before.route(name)), &moved),
        }
    }

    /// The route that takes it afterwards.
    fn route_then(
        &self,
        replay: &Replay<'_>,
        facts: &RequestFacts<'_>,
        now: Taken<'s>,
    ) -> Result<Taken<'s>, Undecided> {
        let moved: Vec<&Arc<CompiledRoute>> = self.moved.iter().filter_map(|moved| moved.now).collect();
        let Taken::By(route) = now else { return self.still_nobody(replay, facts, &moved) };
        match self.moved.iter().find(|moved| moved.name == route.source.name) {
            None => {
                let stays = self.after.route(&route.source.name).ok_or(Undecided)?;
                follow(self.after, replay, facts, Some(stays), &moved)
            }
            Some(gone) => self.without(replay, facts, gone, &moved),
        }
    }

    /// Whether somebody takes what nobody took. Where it was only its method that was refused, a path may be gone, too.
    fn still_nobody(
        &self,
        replay: &Replay<'_>,
        facts: &RequestFacts<'_>,
        moved: &[&'s Arc<CompiledRoute>],
    ) -> Result<Taken<'s>, Undecided> {
        let taken = follow(self.after, replay, facts, None, moved)?;
        let code = |snapshot| match_request(snapshot, facts).found.err().map(|refusal| refusal.code);
        let hides = |route: &Arc<CompiledRoute>| replay.fit(route, false) == Fit::Maybe;
        if matches!(taken, Taken::Nobody)
            && code(self.before) != code(self.after)
            && (self.before.routes().any(hides) || self.after.routes().any(hides))
        {
            return Err(Undecided);
        }
        Ok(taken)
    }

    /// Who takes it when its route does no more, or takes other requests.
    fn without(
        &self,
        replay: &Replay<'_>,
        facts: &RequestFacts<'_>,
        gone: &Moved<'_>,
        moved: &[&'s Arc<CompiledRoute>],
    ) -> Result<Taken<'s>, Undecided> {
        if moved.iter().any(|route| replay.fit(route, false) == Fit::Maybe) {
            return Err(Undecided);
        }
        let found = would_match(self.after, facts).and_then(|route| self.after.route(&route.source.name));
        if found.is_some_and(|found| moved.iter().any(|route| Arc::ptr_eq(route, found))) {
            return Ok(found.map_or(Taken::Nobody, Taken::By));
        }
        // Behind it may stand one that only shows by what was kept back: of another host, or with conditions of its own. Those of
        // the same hosts that are more specific were passed over before.
        let was = gone.before.ok_or(Undecided)?;
        let hidden = |route: &Arc<CompiledRoute>| {
            let is_other = route.source.hosts != was.source.hosts || !route.conditions.is_empty();
            is_other && replay.fit(route, false) == Fit::Maybe
        };
        if self.after.routes().any(hidden) {
            return Err(Undecided);
        }
        Ok(found.map_or(Taken::Nobody, Taken::By))
    }

    fn is_blind_to_entries(&self, replay: &Replay<'_>) -> bool {
        let is_hidden = |entry: &WhitelistEntry| {
            Pattern::parse(&entry.endpoint_path).is_ok_and(|pattern| replay.fit_path(&pattern) == Fit::Maybe)
        };
        let caller = replay.sample.application().and_then(|name| self.before.application(name));
        let own = caller.is_some_and(|application| application.source.whitelist.iter().any(is_hidden));
        own || replay.sample.generation == self.before.generation()
    }
}

impl Moved<'_> {
    /// As it will be, or `also` as it was.
    fn fit(&self, replay: &Replay<'_>, also: bool) -> Fit {
        let fits = self.now.into_iter().chain(self.before.filter(|_| also)).map(|route| replay.fit(route, false));
        fits.max().unwrap_or(Fit::No)
    }
}

/// Who takes a request.
#[derive(Clone, Copy, Debug)]
enum Taken<'s> {
    By(&'s Arc<CompiledRoute>),
    Nobody,
}

/// The route behind `was` after `moved` came: `was` itself unless one of them goes before it.
fn follow<'s>(
    to: &'s Snapshot,
    replay: &Replay<'_>,
    facts: &RequestFacts<'_>,
    was: Option<&'s Arc<CompiledRoute>>,
    moved: &[&'s Arc<CompiledRoute>],
) -> Result<Taken<'s>, Undecided> {
    let mut fits = moved.iter().map(|route| replay.fit(route, was.is_some())).filter(|fit| *fit > Fit::No).peekable();
    let stays = was.map_or(Taken::Nobody, Taken::By);
    if fits.peek().is_none() {
        return Ok(stays);
    }
    // What hides of the route itself hides who goes first.
    if fits.any(|fit| fit == Fit::Maybe) || was.is_some_and(|route| !replay.shows(route)) {
        return Err(Undecided);
    }
    match would_match(to, facts).and_then(|route| to.route(&route.source.name)) {
        None if was.is_none() => Ok(Taken::Nobody),
        Some(found) if was.is_some_and(|was| Arc::ptr_eq(was, found)) => Ok(stays),
        Some(found) if moved.iter().any(|route| Arc::ptr_eq(route, found)) => Ok(Taken::By(found)),
        _ => Err(Undecided),
    }
}

fn verdict(
    snapshot: &Snapshot,
    replay: &Replay<'_>,
    facts: &RequestFacts<'_>,
    taken: Taken<'_>,
) -> Result<Verdict, Undecided> {
    let matched = match taken {
        Taken::By(route) => {
            let route = snapshot.route(&route.source.name).ok_or(Undecided)?;
            match_to(snapshot, facts, route)
        }
        Taken::Nobody => {
            let matched = match_request(snapshot, facts);
            let code = matched.found.as_ref().map_or_else(|refusal| refusal.code, |_| Code::RouteNotFound);
            return Ok(Verdict::refused(None, code));
        }
    };
    if let Err(refusal) = &matched.found {
        // The record has no route where an address was denied.
        return Ok(Verdict { route: None, what: What::Refuse { status: refusal.status, code: refusal.code } });
    }
    let needs_no_caller = matched.found.as_ref().is_ok_and(|found| found.preflight);
    let caller = if needs_no_caller { super::Caller::Anonymous } else { replay.caller(snapshot)? };
    Ok(Verdict::of(&decide(snapshot, &matched, &caller, &BodyFacts::default()), replay.sample))
}

fn differs(before: &Verdict, after: &Verdict, sample: &Sample) -> Judged {
    let (mut from, mut to) = (before.what.to_string(), after.what.to_string());
    let both_act = !before.is_refusal() && !after.is_refusal();
    if !both_act && !before.is_refusal() && before.agrees(sample) {
        // What its client got is more than what was meant.
        from = match (&sample.outcome.code, sample.outcome.status) {
            (Some(code), status) => format!("{status} {code}"),
            (None, 0) => "client gone".to_owned(),
            (None, status) => status.to_string(),
        };
    }
    if from == to {
        let by =
            |verdict: &Verdict| verdict.route.as_deref().map_or(String::new(), |route| format!(" by route {route}"));
        (from, to) = (from + &by(before), to + &by(after));
    }
    Judged::Differs { route: before.route.clone().or_else(|| after.route.clone()), before: from, after: to }
}

fn is_newer(route: &CompiledRoute, than: Timestamp) -> bool {
    route.source.updated_at.micros().saturating_add(SKEW_MICROS) > than.micros()
}

/// Both take exactly the same requests, as far as others leave them.
fn takes_the_same(old: &CompiledRoute, new: &CompiledRoute) -> bool {
    let (old_source, new_source) = (&old.source, &new.source);
    let methods = |route: &CompiledRoute| match &route.methods {
        Methods::Any => None,
        Methods::Only { common, other } => Some((*common, other.clone())),
    };
    old_source.hosts == new_source.hosts
        && old_source.path == new_source.path
        && old_source.headers == new_source.headers
        && old_source.query == new_source.query
        && old_source.priority == new_source.priority
        && old_source.is_active == new_source.is_active
        && methods(old) == methods(new)
}

fn changed_entries<'s>(before: &'s Snapshot, after: &'s Snapshot, name: &'s str) -> Vec<Entry<'s>> {
    let entries = |snapshot: &'s Snapshot| snapshot.application(name).map_or(&[][..], |it| &it.source.whitelist);
    let what = |entry: &'s WhitelistEntry| {
        (&entry.endpoint_path, &entry.allowed_methods, &entry.allowed_versions, entry.is_public)
    };
    let (old, new) = (entries(before), entries(after));
    let is_in = |list: &'s [WhitelistEntry], entry| list.iter().any(|other| what(other) == what(entry));
    let gone = old.iter().filter(|entry| !is_in(new, entry));
    let come = new.iter().filter(|entry| !is_in(old, entry));
    let read = |entry: &'s WhitelistEntry| {
        Some(Entry { application: name, source: entry, pattern: Pattern::parse(&entry.endpoint_path).ok()? })
    };
    gone.chain(come).filter_map(read).collect()
}
