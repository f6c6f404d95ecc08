//! `POST /admin/preview`: a change tried on recent traffic before it is made. Nothing is written.

mod blind;

use std::cmp::Reverse;
use std::collections::HashMap;
use std::sync::Arc;

use axum::extract::State;
use gateway_config::change::{Applied, Proposal};
use gateway_config::model::{Kind, Problem, Sample, Timestamp};
use gateway_config::snapshot::{Judged, Preview, Snapshot};
use gateway_config::store::TrafficQuery;
use serde::Serialize;
use utoipa::ToSchema;

use super::body::DocumentBody;
use super::config::proposals;
use super::query::NoQuery;
use super::traffic::oldest;
use crate::auth::Viewer;
use crate::error::Failure;
use crate::state::AppState;
use crate::unused;

/// The newest samples that are looked at.
const MOST_SAMPLES: usize = 20_000;
/// Read in pages: on SQLite a read of them keeps writers waiting.
const PAGE: u32 = 2000;
/// Samples times what each is held against. A change of very much is tried on fewer samples.
const MOST_WORK: usize = 20_000_000;
const MOST_GROUPS: usize = 100;
const MOST_EXAMPLES: usize = 3;
/// Times that the configuration may move on while it is looked at.
const ATTEMPTS: usize = 3;
/// Gateways write every so often, so that is the least that samples cover.
const LEAST_MICROS: i64 = 5_000_000;
const MINUTE_MICROS: f64 = 60_000_000.0;

/// What a change would do to recent traffic.
#[derive(Debug, Default, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Previewed {
    /// Samples that were looked at, the newest first. Each stands for several requests.
    sampled: usize,
    /// Those that would be decided differently.
    changed: usize,
    /// Those that depend on something that samples do not keep, such as a captured part of a path: not guessed.
    undecided: usize,
    /// How far back the samples reach.
    minutes: f64,
    /// What would be decided differently, the most frequent first, at most 100.
    groups: Vec<PreviewGroup>,
    /// What of the change was left out, because no decision shows it.
    not_previewable: Vec<Problem>,
    warnings: Vec<Problem>,
}

/// Requests of one route and one application that a change does the same to.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct PreviewGroup {
    /// That takes them now, or else would.
    #[schema(example = "orders")]
    route: Option<String>,
    /// Null: of nobody who is known.
    #[schema(example = "shop")]
    application: Option<String>,
    /// A status and perhaps a code; or, where both lead to a backend, the service and its version.
    #[schema(example = "200")]
    before: String,
    #[schema(example = "403 endpoint_not_allowed")]
    after: String,
    /// Requests, over the time that the samples cover.
    #[schema(example = 31)]
    per_minute: f64,
    /// The newest, at most 3.
    examples: Vec<PreviewExample>,
}

/// One of them. What is kept back of its path stands in braces.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct PreviewExample {
    #[schema(value_type = String)]
    at: Timestamp,
    #[schema(example = "GET")]
    method: String,
    #[schema(example = "shop.example.com")]
    host: String,
    #[schema(example = "/api/v1/orders/{id}")]
    path: String,
    address: Option<String>,
}

pub(crate) async fn preview(
    _: Viewer,
    State(state): State<AppState>,
    _: NoQuery,
    DocumentBody(body): DocumentBody,
) -> Result<axum::Json<Previewed>, Failure> {
    let proposals = proposals(body)?;
    let (head, applied) = tried(&state, &proposals).await?;
    let now = state.clock.now();
    let samples = if applied.changes.is_empty() { Vec::new() } else { samples(&state, now).await? };
    let mut warnings = applied.warnings.clone();
    warnings.extend(unused::warnings(&state, &applied.snapshot, &proposals).await?);
    let not_previewable = blind::spots(&applied.changes);
    // Thousands of decisions are nothing for a thread that others wait for.
    let told = tokio::task::spawn_blocking(move || told(&head, &applied, &samples, now));
    let told = told.await.map_err(|error| Failure::internal(error.to_string()))?;
    Ok(axum::Json(Previewed { not_previewable, warnings, ..told }))
}

/// The configuration as it stands, and as it would.
async fn tried(state: &AppState, proposals: &[Proposal]) -> Result<(Arc<Snapshot>, Applied), Failure> {
    let asked = async {
        let mut head = state.changer.snapshot().await?;
        for _ in 0..ATTEMPTS {
            let applied = state.changer.dry_run(proposals).await.map_err(Failure::of_asked)?;
            if head.generation() == applied.before {
                return Ok((head, applied));
            }
            head = state.changer.snapshot().await?;
        }
        Err(Failure::conflict("the configuration is being written all the time; try again"))
    };
    state.ask_at_length(asked).await
}

async fn samples(state: &AppState, now: Timestamp) -> Result<Vec<Sample>, Failure> {
    let mut samples: Vec<Sample> = Vec::new();
    let mut query = TrafficQuery { limit: PAGE, since: oldest(now), ..TrafficQuery::default() };
    while samples.len() < MOST_SAMPLES {
        let page = state.ask(state.store.traffic(&query)).await?;
        let Some(last) = page.last() else { break };
        query.before = Some((last.at, last.id));
        samples.extend(page);
    }
    Ok(samples)
}

#[derive(PartialEq, Eq, Hash)]
struct Key {
    route: Option<String>,
    application: Option<String>,
    before: String,
    after: String,
}

#[derive(Default)]
struct Tally<'s> {
    requests: u64,
    examples: Vec<&'s Sample>,
}

fn told(head: &Snapshot, applied: &Applied, samples: &[Sample], now: Timestamp) -> Previewed {
    let touched: Vec<(Kind, String)> = applied.changes.iter().map(|it| (it.kind, it.name.clone())).collect();
    let since = samples.last().map_or(now, |sample| sample.at);
    let preview = Preview::new(head, &applied.snapshot, &touched, since);
    let most = (MOST_WORK / preview.breadth().max(1)).min(samples.len());
    let samples = samples.get(..most).unwrap_or(samples);
    let Some(oldest) = samples.last() else { return Previewed::default() };
    let mut told = Previewed { sampled: samples.len(), minutes: minutes(oldest.at, now), ..Previewed::default() };
    let mut tallies: HashMap<Key, Tally<'_>> = HashMap::new();
    for sample in samples {
        match preview.judge(sample) {
            Judged::Same => {}
            Judged::Undecided => told.undecided += 1,
            Judged::Differs { route, before, after } => {
                told.changed += 1;
                let application = sample.application().map(ToOwned::to_owned);
                let tally = tallies.entry(Key { route, application, before, after }).or_default();
                tally.requests += u64::from(sample.weight);
                if tally.examples.len() < MOST_EXAMPLES {
                    tally.examples.push(sample);
                }
            }
        }
    }
    told.groups = groups(tallies, told.minutes);
    told
}

fn groups(tallies: HashMap<Key, Tally<'_>>, minutes: f64) -> Vec<PreviewGroup> {
    let mut tallies: Vec<(Key, Tally<'_>)> = tallies.into_iter().collect();
    tallies.sort_by(|(key, tally), (other, its)| {
        let order = |key: &Key| (key.route.clone(), key.application.clone(), key.before.clone(), key.after.clone());
        (Reverse(tally.requests), order(key)).cmp(&(Reverse(its.requests), order(other)))
    });
    let group = |(key, tally): (Key, Tally<'_>)| {
        let Key { route, application, before, after } = key;
        #[expect(clippy::cast_precision_loss, reason = "a rate need not be exact beyond 52 bits")]
        let per_minute = rounded(tally.requests as f64 / minutes);
        let examples = tally.examples.into_iter().map(PreviewExample::of).collect();
        PreviewGroup { route, application, before, after, per_minute, examples }
    };
    tallies.into_iter().take(MOST_GROUPS).map(group).collect()
}

impl PreviewExample {
    fn of(sample: &Sample) -> Self {
        let request = &sample.request;
        Self {
            at: sample.at,
            method: request.method.clone(),
            host: request.host.clone(),
            path: request.path.clone(),
            address: request.address.map(|address| address.to_string()),
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "a quarter of an hour in microseconds fits")]
fn minutes(oldest: Timestamp, now: Timestamp) -> f64 {
    let micros = now.micros().saturating_sub(oldest.micros()).max(LEAST_MICROS);
    rounded(micros as f64 / MINUTE_MICROS)
}

fn rounded(number: f64) -> f64 {
    (number * 100.0).round() / 100.0
}
