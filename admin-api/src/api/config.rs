//! The configuration as a whole: written out, and tried on.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use gateway_config::change::{ChangeError, Proposal, tag};
use gateway_config::document::{self, DocumentError};
use gateway_config::model::Problem;
use http::header::{ACCEPT, CONTENT_TYPE, VARY};
use http::{HeaderMap, HeaderValue};
use serde_json::{Value, json};

use super::body::DocumentBody;
use super::conditional::{put_tag, read};
use super::query::NoQuery;
use crate::auth::Viewer;
use crate::error::Failure;
use crate::state::AppState;

const YAML: &str = "application/yaml";

/// The whole configuration as a document, JSON or YAML as the caller likes.
pub(crate) async fn export(
    _: Viewer,
    State(state): State<AppState>,
    _: NoQuery,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    let snapshot = state.ask(state.changer.snapshot()).await?;
    let document = document::export(&snapshot.configuration());
    let wants_yaml = headers.get(ACCEPT).and_then(|it| it.to_str().ok()).is_some_and(|it| it.contains("yaml"));
    // Two forms of one thing are two representations, and have two tags.
    let tag = format!("{}{}", tag(snapshot.digest()), if wants_yaml { "-yaml" } else { "" });
    let mut response = read(&headers, &tag, &document);
    if wants_yaml && response.status().is_success() {
        let text = document::to_yaml(&document).map_err(|error| Failure::internal(error.to_string()))?;
        response = ([(CONTENT_TYPE, YAML)], text).into_response();
        put_tag(&mut response, &tag);
    }
    response.headers_mut().insert(VARY, HeaderValue::from_static("accept"));
    Ok(response)
}

/// What a change would come to, without making it: 200, or 422 with all that is wrong with it.
pub(crate) async fn validate(
    _: Viewer,
    State(state): State<AppState>,
    _: NoQuery,
    DocumentBody(body): DocumentBody,
) -> Result<Response, Failure> {
    let proposals = proposals(body)?;
    let tried = async { state.changer.dry_run(&proposals).await.map_err(Failure::of_asked) };
    let applied = state.ask(tried).await?;
    Ok(axum::Json(json!({"valid": true, "warnings": applied.warnings})).into_response())
}

/// `{"changes": […]}`, `{"document": {…}}` or a document itself.
fn proposals(mut body: Value) -> Result<Vec<Proposal>, Failure> {
    let is_wrapped = body.get("changes").is_some() || body.get("document").is_some();
    if !is_wrapped {
        return of_document(&body);
    }
    let fields = body.as_object().into_iter().flat_map(|fields| fields.keys());
    let unknown: Vec<Problem> = fields
        .filter(|name| !["changes", "document"].contains(&name.as_str()))
        .map(|name| Problem::new(name, format!("unknown field `{name}`")))
        .collect();
    if !unknown.is_empty() {
        return Err(Failure::invalid(unknown));
    }
    match (body.get_mut("changes").map(Value::take), body.get_mut("document").map(Value::take)) {
        (Some(changes), None) => changes_in(changes),
        (None, Some(document)) => of_document(&document),
        _ => Err(Failure::invalid_at("document", "give either changes or a document")),
    }
}

fn of_document(document: &Value) -> Result<Vec<Proposal>, Failure> {
    document::proposals(document).map_err(|error| match error {
        DocumentError::Syntax(why) => Failure::bad_request(why),
        DocumentError::Shape(problems) => ChangeError::Invalid(problems).into(),
    })
}

/// The `changes` of a body, each problem with its place.
pub(crate) fn changes_in(changes: Value) -> Result<Vec<Proposal>, Failure> {
    serde_path_to_error::deserialize(changes).map_err(|error| {
        let place = error.path().to_string().replace(['.', '['], "/").replace(']', "");
        let place = place.trim_matches('/');
        let path = if place.is_empty() { "changes".to_owned() } else { format!("changes/{place}") };
        Failure::invalid_at(path.replace("//", "/"), error.into_inner().to_string())
    })
}
