//! Recent traffic under a change that is not made yet: each sampled request is decided as things stand and as they would. What
//! depends on something that was kept back is not guessed but counted as undecided.

mod replay;
mod taken;
mod verdict;

use std::collections::HashSet;
use std::sync::Arc;

use crate::model::{DEFAULTS_NAME, Kind, Sample, Target, Timestamp, WhitelistEntry};

use super::application::Rule;
use super::decide::decide;
use super::matching::{match_request, match_to, refused_early};
use super::pattern::Pattern;
use super::route::CompiledRoute;
use super::{BodyFacts, Code, RequestFacts, Snapshot};
use replay::{Fit, Replay};
use taken::{Moved, Taken, is_newer, takes_the_same};
use verdict::{Verdict, What};

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
            || self.entries_for(replay).next().is_some()
            || self.opens.iter().any(|pattern| replay.fit_path(pattern) > Fit::No)
    }

    /// The entries that come or go and perhaps say something about this request.
    fn entries_for<'p>(&'p self, replay: &'p Replay<'_>) -> impl Iterator<Item = &'p Entry<'s>> {
        let (application, method) = (replay.sample.application(), &replay.sample.request.method);
        let takes = move |it: &Entry<'_>| it.source.allowed_methods.iter().any(|it| it == "*" || it == method);
        let is_asked = move |it: &Entry<'_>| it.source.is_public || application == Some(it.application);
        let entries = self.entries.iter().filter(move |it| is_asked(it) && takes(it));
        entries.filter(move |it| replay.fit_path(&it.pattern) > Fit::No)
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
        let is_open = self.entries_for(replay).any(|it| replay.fit_path(&it.pattern) == Fit::Maybe);
        if is_open && !(before == after && after.stands_without_entries()) {
            return Err(Undecided);
        }
        if before == after {
            return Ok(Judged::Same);
        }
        if !after.stands_without_entries() && after.is_refusal() && self.may_be_let_in(replay) {
            return Err(Undecided);
        }
        Ok(differs(&before, &after, replay.sample))
    }

    /// An entry that only shows by what was kept back may let it in afterwards.
    fn may_be_let_in(&self, replay: &Replay<'_>) -> bool {
        let mut is_hidden = false;
        let mut look = |rule: &Arc<Rule>| is_hidden |= replay.fit_path(&rule.pattern) == Fit::Maybe;
        if let Some(application) = replay.sample.application().and_then(|name| self.after.application(name)) {
            application.whitelist.each(&mut look);
        }
        self.after.public_rules.each(&mut look);
        is_hidden
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

    fn is_blind_to_entries(&self, replay: &Replay<'_>) -> bool {
        let caller = replay.sample.application().and_then(|name| self.before.application(name));
        let mut own = false;
        if let Some(application) = caller {
            application.whitelist.each(&mut |rule| own |= replay.fit_path(&rule.pattern) == Fit::Maybe);
        }
        own || replay.sample.generation == self.before.generation()
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
