//! By which secret receivers know our webhooks: whoever works for an embedded queue, and whoever is called back for an application.

use axum::extract::{Path, State};
use axum::response::Response;
use gateway_config::model::{Action, Actor, Item, Kind};
use gateway_config::webhook::WebhookSecret;
use http::header::{CACHE_CONTROL, HeaderValue};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::{embedded, find, note};
use crate::api::conditional::json;
use crate::api::query::NoQuery;
use crate::auth::Operator;
use crate::error::Failure;
use crate::state::AppState;

/// A secret of the Standard Webhooks specification, as receivers' libraries take it.
#[derive(Serialize, ToSchema)]
#[schema(as = WebhookSecret)]
pub(crate) struct ShownSecret {
    /// `whsec_` and the key in base64.
    #[schema(example = "whsec_…")]
    secret: String,
}

pub(crate) async fn of_queue(
    Operator(caller): Operator,
    State(state): State<AppState>,
    Path(name): Path<String>,
    _: NoQuery,
) -> Result<Response, Failure> {
    let queue = embedded(&state, &name, "gateways push nothing of it, so nothing is signed").await?;
    let secret = WebhookSecret::of_queue(&state.master, queue.id);
    show(&state, &caller.actor, &format!("queue {name}"), &secret).await
}

pub(crate) async fn of_application(
    Operator(caller): Operator,
    State(state): State<AppState>,
    Path(name): Path<String>,
    _: NoQuery,
) -> Result<Response, Failure> {
    let Some(Item::Application(application)) = find(&state, Kind::Application, &name).await? else {
        return Err(Failure::not_found(&format!("application \"{name}\"")));
    };
    let secret = WebhookSecret::of_application(&state.master, application.id);
    show(&state, &caller.actor, &format!("application {name}"), &secret).await
}

/// Noted before it is shown.
async fn show(state: &AppState, actor: &Actor, whose: &str, secret: &WebhookSecret) -> Result<Response, Failure> {
    note(state, actor, Action::SecretRead, format!("read the webhook secret of {whose}")).await?;
    let shown = ShownSecret { secret: secret.text() };
    let mut response = json(&serde_json::to_value(shown).unwrap_or(Value::Null));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

impl std::fmt::Debug for ShownSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ShownSecret").finish_non_exhaustive()
    }
}
