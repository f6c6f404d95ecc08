//! Secrets behind a gateway: whoever comes around it is refused, and `/vault` shows what the gateway says of whoever came through.

use std::sync::Arc;

use anyhow::Result;
use axum::{Json, Router, extract::State, http::HeaderMap, routing::get};
use serde_json::{Value, json};

use super::{Service, Surroundings};
use crate::{
    exchange::{self, Refusal},
    gatekeeper::Gatekeeper,
};

pub(super) fn open(surroundings: &Surroundings) -> Result<Service> {
    let gatekeeper = Gatekeeper::new("vault", surroundings.gateway_jwks.clone(), surroundings.clock.clone())?;
    let routes = Router::new().route("/vault", get(show)).with_state(Arc::new(gatekeeper));
    Ok(Service { router: exchange::finish(routes, "vault"), database: None })
}

async fn show(State(gatekeeper): State<Arc<Gatekeeper>>, headers: HeaderMap) -> Result<Json<Value>, Refusal> {
    let caller = gatekeeper.admit(&headers).await?;
    Ok(Json(json!({
        "service": "vault",
        "message": "you came through the gateway, and this is what it says of you",
        "caller": caller,
    })))
}
