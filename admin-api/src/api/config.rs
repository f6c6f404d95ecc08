//! The configuration as a whole: written out, and tried on.

use std::convert::Infallible;

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use futures::Stream;
use gateway_config::change::{ChangeError, Proposal, tag};
use gateway_config::document::{self, Declared, DocumentError, Export, Form};
use gateway_config::model::{Kind, Problem};
use http::header::{ACCEPT, CONTENT_TYPE, VARY};
use http::{HeaderMap, HeaderValue};
use serde_json::{Value, json};

use super::body::DocumentBody;
use super::conditional::read_with;
use super::query::{Exporting, NoQuery};
use crate::auth::Viewer;
use crate::error::Failure;
use crate::state::AppState;
use crate::unused;

const JSON: &str = "application/json";
const YAML: &str = "application/yaml";

/// Pieces of an export are sent together until they are so many bytes.
const CHUNK: usize = 32 << 10;

/// The configuration as a document, JSON or YAML as the caller likes, written while it is sent.
pub(crate) async fn export(
    _: Viewer,
    State(state): State<AppState>,
    Exporting { sections, form }: Exporting,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    let snapshot = state.ask(state.changer.snapshot()).await?;
    let wants_yaml = headers.get(ACCEPT).and_then(|it| it.to_str().ok()).is_some_and(|it| it.contains("yaml"));
    let form = form.unwrap_or(if wants_yaml { Form::Yaml } else { Form::Json });
    // Different forms and parts of one thing are different representations, and have different tags.
    let mut tag = tag(snapshot.digest());
    if form == Form::Yaml {
        tag.push_str("-yaml");
    }
    if !Kind::ALL.iter().all(|kind| sections.contains(kind)) {
        tag.extend(sections.iter().map(|kind| format!("-{}", kind.plural())));
    }
    let mut response = read_with(&headers, &tag, || {
        let content_type = if form == Form::Yaml { YAML } else { JSON };
        let export = Export::new(&snapshot.configuration(), &sections, form);
        ([(CONTENT_TYPE, content_type)], Body::from_stream(chunks(export))).into_response()
    });
    response.headers_mut().insert(VARY, HeaderValue::from_static("accept"));
    Ok(response)
}

fn chunks(export: Export) -> impl Stream<Item = Result<Bytes, Infallible>> + Send + 'static {
    futures::stream::unfold(export, |mut export| async move {
        let mut chunk = String::new();
        while chunk.len() < CHUNK
            && let Some(piece) = export.next()
        {
            chunk.push_str(&piece);
        }
        // Whoever reads fast must not keep the thread to themselves.
        tokio::task::yield_now().await;
        (!chunk.is_empty()).then(|| (Ok(Bytes::from(chunk)), export))
    })
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
    let applied = state.ask_at_length(tried).await?;
    let mut warnings = applied.warnings;
    warnings.extend(unused::warnings(&state, &applied.snapshot, &proposals).await?);
    Ok(axum::Json(json!({"valid": true, "warnings": warnings})).into_response())
}

/// `{"changes": […]}`, `{"document": {…}}` or a document itself.
pub(super) fn proposals(mut body: Value) -> Result<Vec<Proposal>, Failure> {
    let is_wrapped = body.get("changes").is_some() || body.get("document").is_some();
    if !is_wrapped {
        return of_document(body);
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
        (None, Some(document)) => of_document(document),
        _ => Err(Failure::invalid_at("document", "give either changes or a document")),
    }
}

fn of_document(document: Value) -> Result<Vec<Proposal>, Failure> {
    declared(document).map(|declared| declared.proposals)
}

/// What a document says, or all that keeps it from being one.
pub(crate) fn declared(document: Value) -> Result<Declared, Failure> {
    document::declared(document).map_err(|error| match error {
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
