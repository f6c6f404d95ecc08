//! The history of the configuration: what each write changed, what lies between two generations, and the way back.

use std::time::Instant;

use axum::extract::{FromRequestParts, State};
use axum::response::Response;
use gateway_config::change::{Applied, ChangeError, Diff, tag_of_member};
use gateway_config::model::{Generation, GenerationLine, Kind};
use gateway_config::store::HistoryPage;
use http::HeaderMap;
use http::request::Parts;
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::apply::reported;
use super::conditional::{expected_of_all, read};
use super::page;
use super::query::{Given, NoQuery, Paging, Wait, read_wait, switch};
use super::target::parameter_of;
use crate::auth::{Caller, Operator, Viewer};
use crate::error::Failure;
use crate::state::AppState;

/// What leads from one generation to another.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = GenerationDiff)]
pub(crate) struct Between {
    from: u64,
    to: u64,
    #[serde(flatten)]
    diff: Diff,
}

/// The generation that the path names.
#[derive(Debug)]
pub(crate) struct Number(u64);

/// `?from=7`
#[derive(Debug)]
pub(crate) struct From(Option<u64>);

/// `?wait=5s&dryRun=true`. Whoever rolls back must be an operator; to ask what it would do, a viewer is enough.
#[derive(Debug)]
pub(crate) struct RollBack {
    /// `None`: it is a dry run.
    by: Option<Caller>,
    wait: Wait,
}

pub(crate) async fn list(
    _: Viewer,
    State(state): State<AppState>,
    paging: Paging,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    let Paging { limit, after, search } = paging;
    let before = after.map(|cursor| read_number(&cursor)).transpose()?;
    // One more than asked for tells whether there is a next page.
    let page = HistoryPage { before, limit: limit + 1, search };
    let mut lines = state.ask(state.store.generations(&page)).await?;
    let has_more = lines.len() > limit as usize;
    lines.truncate(limit as usize);
    let next = lines.last().filter(|_| has_more).map(|line| line.number.to_string());
    let to_json = |line: &GenerationLine| serde_json::to_value(line).unwrap_or(Value::Null);
    let items: Vec<Value> = lines.iter().map(to_json).collect();
    // Any kind would do: a list's tag covers all that is in it.
    Ok(page::answer(&headers, Kind::Defaults, &items, next.as_deref()))
}

pub(crate) async fn show(
    _: Viewer,
    State(state): State<AppState>,
    Number(number): Number,
    _: NoQuery,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    let found = async {
        if let Some(generation) = state.store.generation(number).await? {
            return Ok::<Generation, ChangeError>(generation);
        }
        state.changer.expect_generation(number).await?;
        Err(ChangeError::Gap { number, wanted: number })
    };
    answered(&headers, &state.ask(found).await?)
}

pub(crate) async fn diff(
    _: Viewer,
    State(state): State<AppState>,
    Number(to): Number,
    From(from): From,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    let told = async {
        state.changer.expect_generation(to).await?;
        let from = from.unwrap_or(to.saturating_sub(1));
        let newest = state.store.head().await?.generation;
        if from > newest {
            state.changer.expect_generation(from).await?;
        }
        let past = state.changer.past(from.min(to), from.max(to)).await?;
        let changes = if from <= to { past.changes() } else { past.backwards() };
        Ok::<_, ChangeError>(Between { from, to, diff: Diff::of(changes) })
    };
    answered(&headers, &state.ask_at_length(told).await?)
}

pub(crate) async fn roll_back(
    RollBack { by, wait }: RollBack,
    State(state): State<AppState>,
    Number(to): Number,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    let started = Instant::now();
    let expect = expected_of_all(&headers)?;
    let applied: Applied = match &by {
        Some(caller) => {
            let applied = state.ask_at_length(state.changer.roll_back(&caller.actor, to, &expect)).await?;
            state.metrics.wrote(started.elapsed(), applied.generation);
            applied
        }
        None => state.ask_at_length(state.changer.try_rolling_back(to, &expect)).await?,
    };
    reported(&state, applied, by.is_none(), wait).await
}

fn answered(headers: &HeaderMap, what: &impl Serialize) -> Result<Response, Failure> {
    let value = serde_json::to_value(what).map_err(|error| Failure::internal(error.to_string()))?;
    Ok(read(headers, &tag_of_member(Kind::Defaults, &value), &value))
}

/// The cursor of a list whose items have numbers.
pub(super) fn read_number(cursor: &str) -> Result<u64, Failure> {
    cursor.parse().map_err(|_| Failure::invalid_at("cursor", "is not a nextCursor of this list"))
}

impl FromRequestParts<AppState> for Number {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, Failure> {
        let text = parameter_of(parts, state, "number").await?;
        let number = text.parse().ok().filter(|_| text.bytes().all(|byte| byte.is_ascii_digit()));
        number.map(Self).ok_or_else(|| Failure::not_found(&format!("generation \"{text}\"")))
    }
}

impl<S: Sync> FromRequestParts<S> for From {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Failure> {
        let mut given = Given::of(parts, &["from"])?;
        let from = given.take("from", |text| text.parse().map_err(|_| "must be a generation, or 0".to_owned()));
        given.into_result(Self(from))
    }
}

impl FromRequestParts<AppState> for RollBack {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, Failure> {
        let mut given = Given::of(parts, &["wait", "dryRun"])?;
        let dry_run = given.take("dryRun", switch).unwrap_or_default();
        let wait = Wait(given.take("wait", read_wait).filter(|_| !dry_run));
        let by = if dry_run {
            Viewer::from_request_parts(parts, state).await?;
            None
        } else {
            Some(Operator::from_request_parts(parts, state).await?.0)
        };
        given.into_result(Self { by, wait })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_history_with_a_gap_is_a_conflict_that_names_it() {
        let failure = Failure::from(ChangeError::Gap { number: 5, wanted: 4 });
        let body = serde_json::to_value(failure.body(String::new(), "", "")).unwrap();
        assert_eq!(body["statusCode"], 409);
        assert_eq!(body["message"], "the history lacks generation 5, so what stood at generation 4 can't be told");
    }
}
