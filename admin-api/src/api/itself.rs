//! The admin API about itself: alive, ready, its metrics and its description. Public, visibly: no caller is asked for.

use std::sync::LazyLock;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use gateway_config::change::tag_of_member;
use gateway_config::model::Kind;
use http::HeaderMap;
use http::header::CONTENT_TYPE;
use serde_json::{Value, json};

use super::conditional::read;
use crate::error::Failure;
use crate::state::AppState;

const METRICS: &str = "text/plain; version=0.0.4; charset=utf-8";

pub(crate) async fn livez() -> Response {
    status("live")
}

/// Ready to be asked: the database answers, its tables are there, and the process is not ending.
pub(crate) async fn readyz(State(state): State<AppState>) -> Result<Response, Failure> {
    if state.stopping.is_cancelled() {
        return Err(Failure::stopping());
    }
    let head = state.ask(state.store.head()).await?;
    state.metrics.head_is(head.generation);
    Ok(status("ready"))
}

pub(crate) async fn metrics(State(state): State<AppState>) -> Result<Response, Failure> {
    let text = state.metrics.as_text().map_err(|error| Failure::internal(error.to_string()))?;
    Ok(([(CONTENT_TYPE, METRICS)], text).into_response())
}

/// Made once: nothing in it changes while the process lives.
static DESCRIPTION: LazyLock<(String, Value)> = LazyLock::new(|| {
    let description = crate::openapi::value();
    // Any kind would do: the tag covers all of it.
    (tag_of_member(Kind::Defaults, &description), description)
});

pub(crate) async fn openapi(headers: HeaderMap) -> Result<Response, Failure> {
    let (tag, description) = &*DESCRIPTION;
    Ok(read(&headers, tag, description))
}

fn status(word: &str) -> Response {
    axum::Json(json!({"status": word})).into_response()
}
