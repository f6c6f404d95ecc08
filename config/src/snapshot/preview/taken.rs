//! Which route takes a sampled request, as things stand and afterwards. What was recorded counts for more than what can be matched
//! again: of a request of which not all is known, it says which routes did not take it.

use std::sync::Arc;

use super::replay::{Fit, Replay};
use super::{Preview, Undecided};
use crate::model::Timestamp;
use crate::snapshot::matching::{match_request, would_match};
use crate::snapshot::route::{CompiledRoute, Methods};
use crate::snapshot::{RequestFacts, Snapshot};

/// A sample that is not so much younger than a write may have been decided before it: clocks of nodes differ.
const SKEW_MICROS: i64 = 5_000_000;

#[derive(Debug)]
pub(super) struct Moved<'s> {
    pub(super) name: &'s str,
    /// `None`: it is gone.
    pub(super) now: Option<&'s Arc<CompiledRoute>>,
    pub(super) before: Option<&'s Arc<CompiledRoute>>,
}

/// Who takes a request.
#[derive(Clone, Copy, Debug)]
pub(super) enum Taken<'s> {
    By(&'s Arc<CompiledRoute>),
    Nobody,
}

impl<'s> Preview<'s> {
    /// The route that takes it as things stand: what was recorded, unless routes were written since.
    pub(super) fn route_now(&self, replay: &Replay<'_>, facts: &RequestFacts<'_>) -> Result<Taken<'s>, Undecided> {
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
    pub(super) fn route_then(
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
}

impl Moved<'_> {
    /// As it will be, or `also` as it was.
    pub(super) fn fit(&self, replay: &Replay<'_>, also: bool) -> Fit {
        let fits = self.now.into_iter().chain(self.before.filter(|_| also)).map(|route| replay.fit(route, false));
        fits.max().unwrap_or(Fit::No)
    }
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

pub(super) fn is_newer(route: &CompiledRoute, than: Timestamp) -> bool {
    route.source.updated_at.micros().saturating_add(SKEW_MICROS) > than.micros()
}

/// Both take exactly the same requests, as far as others leave them.
pub(super) fn takes_the_same(old: &CompiledRoute, new: &CompiledRoute) -> bool {
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
