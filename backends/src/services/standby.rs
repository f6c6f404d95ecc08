//! The service that stands in for another one which cannot be reached: it answers every path, and says that it is not the real thing.

use axum::{
    Json, Router, body::Bytes, extract::rejection::BytesRejection, http::Uri, response::IntoResponse, routing::any,
};
use serde_json::json;

use super::Service;
use crate::exchange::{self, Refusal};

pub(super) fn open() -> Service {
    let routes = Router::new().route("/", any(stand_in)).route("/{*rest}", any(stand_in));
    Service { router: exchange::finish(routes, "standby"), database: None }
}

/// The body is read to its end, or the sender would see its connection break instead of the answer.
async fn stand_in(uri: Uri, body: Result<Bytes, BytesRejection>) -> Result<impl IntoResponse, Refusal> {
    body?;
    Ok(Json(json!({
        "service": "standby",
        "path": uri.path(),
        "message": "the service behind this path cannot be reached; this answer stands in for it",
    })))
}
