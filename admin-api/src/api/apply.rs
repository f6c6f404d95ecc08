//! `POST /admin/config/apply`: the configuration becomes what a document says, whole or section by section.

use std::time::Instant;

use axum::extract::{FromRequestParts, State};
use axum::response::Response;
use gateway_config::change::{Applied, Diff, Terms, tag};
use gateway_config::document::Declared;
use gateway_config::model::{Kind, Problem};
use http::HeaderMap;
use http::request::Parts;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::body::DocumentBody;
use super::conditional::expected_of_all;
use super::config::declared;
use super::query::{Applying, Wait};
use super::write::{Standing, answer};
use crate::auth::{Caller, Operator, Viewer};
use crate::error::Failure;
use crate::state::AppState;

/// What applying a document did, or would do.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Report {
    /// That holds now. After a dry run: that the document was compared with.
    pub(crate) generation: u64,
    pub(crate) dry_run: bool,
    #[serde(flatten)]
    pub(crate) diff: Diff,
    /// How many of the entities that the document names stand as it says already.
    pub(crate) unchanged: usize,
    pub(crate) warnings: Vec<Problem>,
}

impl Report {
    pub(crate) fn of(applied: &Applied, dry_run: bool) -> Self {
        Self {
            generation: if dry_run { applied.before } else { applied.generation },
            dry_run,
            diff: Diff::of(applied.changes.iter().cloned()),
            unchanged: applied.unchanged(),
            warnings: applied.warnings.clone(),
        }
    }
}

/// The terms under which a document is applied: with `prune`, its sections are all that there is of their kinds.
pub(crate) fn terms(declared: &Declared, prune: bool) -> Terms {
    // There always are defaults.
    let sections = declared.sections.iter().copied().filter(|kind| *kind != Kind::Defaults);
    let prune = if prune { sections.collect() } else { Vec::new() };
    Terms { prune, ..Terms::default() }
}

/// Whoever applies must be an operator; to ask what applying would do, a viewer is enough.
#[derive(Debug)]
pub(crate) struct Applier {
    /// `None`: it is a dry run.
    by: Option<Caller>,
    query: Applying,
}

impl FromRequestParts<AppState> for Applier {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, Failure> {
        let query = Applying::from_request_parts(parts, state).await;
        let by = if query.as_ref().is_ok_and(|query| query.dry_run) {
            Viewer::from_request_parts(parts, state).await?;
            None
        } else {
            Some(Operator::from_request_parts(parts, state).await?.0)
        };
        Ok(Self { by, query: query? })
    }
}

pub(crate) async fn apply(
    Applier { by, query }: Applier,
    State(state): State<AppState>,
    headers: HeaderMap,
    DocumentBody(document): DocumentBody,
) -> Result<Response, Failure> {
    let started = Instant::now();
    let expect = expected_of_all(&headers)?;
    let declared = declared(document)?;
    let terms = Terms { expect, ..terms(&declared, query.prune) };
    let (applied, wait) = match by {
        Some(caller) => {
            let written = state.changer.write_under(&caller.actor, &declared.proposals, terms);
            let applied = state.ask_at_length(written).await?;
            state.metrics.wrote(started.elapsed(), applied.generation);
            (applied, query.wait)
        }
        None => {
            let tried = async {
                let tried = state.changer.dry_run_under(&declared.proposals, &terms).await;
                tried.map_err(Failure::of_asked)
            };
            (state.ask_at_length(tried).await?, Wait(None))
        }
    };
    reported(&state, applied, query.dry_run, wait).await
}

/// The answer to a write of many things: what it did, or would do.
pub(super) async fn reported(
    state: &AppState,
    applied: Applied,
    dry_run: bool,
    wait: Wait,
) -> Result<Response, Failure> {
    let report = Report::of(&applied, dry_run);
    let value = serde_json::to_value(&report).map_err(|error| Failure::internal(error.to_string()))?;
    // Of what stands there: after a dry run that is what the document was compared with.
    let tag = tag(if dry_run { applied.digest_before } else { applied.snapshot.digest() });
    let standing = Standing { value, tag, created_at: None, is_shown_once: true };
    let applied = Applied { generation: report.generation, ..applied };
    Ok(answer(state, &applied, wait, Some(standing)).await)
}
