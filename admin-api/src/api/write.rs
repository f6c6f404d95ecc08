//! Writes: one door, one answer.

use std::time::Instant;

use axum::response::{IntoResponse, Response};
use gateway_config::change::{Applied, ChangeError, Op, Proposal};
use http::header::{HeaderName, LOCATION};
use http::{HeaderValue, StatusCode};
use serde_json::{Value, json};

use super::conditional;
use super::query::Wait;
use super::wait::{Spread, wait};
use crate::auth::Caller;
use crate::error::Failure;
use crate::state::AppState;

const GENERATION: HeaderName = HeaderName::from_static("x-config-generation");
const APPLIED: HeaderName = HeaderName::from_static("x-config-applied");
const WARNINGS: HeaderName = HeaderName::from_static("x-config-warnings");

/// What stands there now.
#[derive(Debug)]
pub(crate) struct Standing {
    pub(crate) value: Value,
    pub(crate) tag: String,
    /// Its address, where it was created.
    pub(crate) created_at: Option<String>,
    /// No later read shows all of it: it is told whatever the nodes do.
    pub(crate) is_shown_once: bool,
}

/// Makes the change.
pub(crate) async fn write(state: &AppState, caller: &Caller, proposal: Proposal) -> Result<Applied, Failure> {
    write_or(state, caller, proposal, Failure::from).await
}

/// Creates or replaces. Who said `If-None-Match: *` and finds something failed its own condition: 412 rather than 409.
pub(crate) async fn put(state: &AppState, caller: &Caller, proposal: Proposal) -> Result<Applied, Failure> {
    let refused = |error| match error {
        ChangeError::Exists { .. } => Failure::stale(error.to_string()),
        other => other.into(),
    };
    write_or(state, caller, proposal, refused).await
}

async fn write_or(
    state: &AppState,
    caller: &Caller,
    proposal: Proposal,
    refused: fn(ChangeError) -> Failure,
) -> Result<Applied, Failure> {
    let started = Instant::now();
    // What is no object is wrong whatever stands there now, so this goes before the conditions.
    if proposal.op != Op::Delete && !proposal.value.is_object() {
        let path = format!("{}/{}", proposal.kind.plural(), proposal.name);
        return Err(Failure::invalid_at(path, "must be a JSON object"));
    }
    let proposals = [proposal];
    let written = async { state.changer.write(&caller.actor, &proposals).await.map_err(refused) };
    let applied = state.ask(written).await?;
    state.metrics.wrote(started.elapsed(), applied.generation);
    Ok(applied)
}

/// The answer to a write that was made, once its nodes are waited for. `standing` is `None` after a deletion.
pub(crate) async fn answer(
    state: &AppState,
    applied: &Applied,
    patience: Wait,
    standing: Option<Standing>,
) -> Response {
    let spread = match patience.0 {
        Some(at_most) => Some(wait(state, applied.generation, at_most).await),
        None => None,
    };
    let mut response = match (&spread, &standing) {
        (Some(spread), _) if !spread.is_done() => {
            let waiting = json!({"generation": applied.generation, "waitingFor": spread.waiting_for});
            let told =
                standing.as_ref().filter(|standing| standing.is_shown_once).map(|standing| standing.value.clone());
            (StatusCode::ACCEPTED, axum::Json(with(told.unwrap_or_default(), waiting))).into_response()
        }
        (_, None) => StatusCode::NO_CONTENT.into_response(),
        (_, Some(standing)) => {
            let status = if standing.created_at.is_some() { StatusCode::CREATED } else { StatusCode::OK };
            (status, conditional::json(&standing.value)).into_response()
        }
    };
    if let Some(standing) = &standing {
        conditional::put_tag(&mut response, &standing.tag);
        if let Some(location) = standing.created_at.as_deref().and_then(|it| HeaderValue::from_str(it).ok()) {
            response.headers_mut().insert(LOCATION, location);
        }
    }
    let headers = response.headers_mut();
    headers.insert(GENERATION, HeaderValue::from(applied.generation));
    headers.insert(WARNINGS, HeaderValue::from(applied.warnings.len()));
    if let Some(spread) = spread.filter(Spread::is_known)
        && let Ok(value) = HeaderValue::from_str(&format!("{}/{}", spread.applied, spread.live))
    {
        headers.insert(APPLIED, value);
    }
    response
}

/// The fields of both.
fn with(told: Value, more: Value) -> Value {
    match (told, more) {
        (Value::Object(mut told), Value::Object(more)) => {
            told.extend(more);
            Value::Object(told)
        }
        (_, more) => more,
    }
}
