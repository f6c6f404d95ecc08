//! Warnings of API keys and routes that nothing used lately: what nobody needs any more is a door that nobody watches.

use std::collections::HashSet;

use gateway_config::change::{Op, Proposal};
use gateway_config::model::{ApiKey, Id, Kind, Problem, Timestamp};
use gateway_config::snapshot::{CompiledApplication, Snapshot};
use gateway_config::store::RouteUsage;

use crate::error::Failure;
use crate::state::AppState;

const DAY_MICROS: i64 = 24 * 3600 * 1_000_000;
const MOST_WARNINGS: usize = 100;
/// Keys that are asked after, of what may be a hundred thousand.
const MOST_KEYS: usize = 10_000;
const KEYS_AT_ONCE: usize = 1000;

/// About the routes and applications that the proposals name, or about all where there are none.
pub(crate) async fn warnings(
    state: &AppState,
    snapshot: &Snapshot,
    proposals: &[Proposal],
) -> Result<Vec<Problem>, Failure> {
    let days = i64::from(state.unused_after_days);
    if days == 0 {
        return Ok(Vec::new());
    }
    let named: HashSet<(Kind, &str)> =
        proposals.iter().filter(|it| it.op != Op::Delete).map(|it| (it.kind, it.name.as_str())).collect();
    let is_asked = |kind: Kind, name: &str| proposals.is_empty() || named.contains(&(kind, name));
    let now = state.clock.now();
    let limits = Limits { now, before: Timestamp::from_micros(now.micros().saturating_sub(days * DAY_MICROS)) };
    let usage = state.ask(state.store.route_usage()).await?;

    let mut warnings = Vec::new();
    for route in snapshot.routes().map(|route| &*route.source) {
        if is_asked(Kind::Route, &route.name) && route.is_active && limits.is_unused_route(route, &usage) {
            let message = format!("nothing used it in the last {days} days");
            warnings.push(Problem::new(format!("routes/{}", route.name), message));
        }
    }
    let applications = snapshot.applications().filter(|it| is_asked(Kind::Application, &it.name));
    let keys: Vec<(&CompiledApplication, &ApiKey)> =
        applications.flat_map(|it| limits.old_keys(it)).take(MOST_KEYS).collect();
    for some in keys.chunks(KEYS_AT_ONCE) {
        let ids: Vec<Id<ApiKey>> = some.iter().map(|(_, key)| key.id).collect();
        let used = state.ask(state.store.key_usage(&ids)).await?;
        for (application, key) in some {
            let path = || format!("applications/{}/apiKeys/{}", application.name, key.prefix);
            match used.get(&key.id) {
                Some(used) if *used < limits.before => {
                    let message = format!("was last used {} days ago", limits.days_since(*used));
                    warnings.push(Problem::new(path(), message));
                }
                None if limits.has_watched(usage.since) => {
                    let message =
                        format!("was never used, and was made {} days ago", limits.days_since(key.created_at));
                    warnings.push(Problem::new(path(), message));
                }
                Some(_) | None => {}
            }
        }
    }
    warnings.sort();
    warnings.truncate(MOST_WARNINGS);
    Ok(warnings)
}

struct Limits {
    now: Timestamp,
    /// What was not used since then is unused.
    before: Timestamp,
}

impl Limits {
    /// A fresh or restored database knows of no use before its own time.
    fn has_watched(&self, since: Option<Timestamp>) -> bool {
        since.is_some_and(|since| since <= self.before)
    }

    fn is_unused_route(&self, route: &gateway_config::model::Route, usage: &RouteUsage) -> bool {
        match usage.last_used.get(&route.id) {
            Some(used) => *used < self.before,
            None => self.has_watched(usage.since) && route.created_at < self.before,
        }
    }

    /// Those that still count and are old enough to be asked after.
    fn old_keys<'a>(
        &'a self,
        application: &'a CompiledApplication,
    ) -> impl Iterator<Item = (&'a CompiledApplication, &'a ApiKey)> {
        let is_old = |key: &&ApiKey| {
            let counts = key.is_active && key.expires_at.is_none_or(|end| end > self.now);
            counts && key.created_at < self.before
        };
        application.source.api_keys.iter().filter(is_old).map(move |key| (application, key))
    }

    fn days_since(&self, moment: Timestamp) -> i64 {
        self.now.micros().saturating_sub(moment.micros()) / DAY_MICROS
    }
}
