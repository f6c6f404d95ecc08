//! What all services share of HTTP: one shape of errors, extractors that answer in it, a size limit, a deadline and a log line.

use std::time::Duration;

use axum::{
    Json, Router,
    extract::{
        DefaultBodyLimit, FromRequest, FromRequestParts, Request, State,
        rejection::{BytesRejection, JsonRejection, PathRejection, QueryRejection},
    },
    http::{HeaderValue, StatusCode, header::WWW_AUTHENTICATE},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::get,
};
use serde_json::{Value, json};
use tokio::time::{Instant, timeout};
use tracing::{debug, error};

/// The largest request body that a service reads.
pub(crate) const MAX_BODY_BYTES: usize = 64 * 1024;
/// How long a request may take until its answer begins; what is streamed afterwards may take longer.
const DEADLINE: Duration = Duration::from_secs(30);

/// An answer that says why there is no other, in the one shape of all services: `{"statusCode", "error", "message"}`.
#[derive(Debug)]
pub(crate) struct Refusal {
    status: StatusCode,
    message: String,
    /// What a 401 asks for.
    scheme: &'static str,
}

impl Refusal {
    pub(crate) fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self { status, message: message.into(), scheme: "Session" }
    }

    pub(crate) fn unprocessable(message: impl Into<String>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, message)
    }

    pub(crate) fn not_found(message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, message)
    }

    pub(crate) fn conflict(message: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, message)
    }

    pub(crate) fn unauthorized(message: impl Into<String>) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, message)
    }

    /// For whoever has no proof that it came through the gateway; only the gateway can give one.
    pub(crate) fn not_through_gateway(message: impl Into<String>) -> Self {
        Self { scheme: "Gateway", ..Self::unauthorized(message) }
    }

    /// A fault of the service itself: the log learns what it was, the caller does not.
    pub(crate) fn internal(cause: &(dyn std::fmt::Display + Sync)) -> Self {
        error!(cause = %cause, "could not answer a request");
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "the service failed, see its log")
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let body = json!({
            "statusCode": self.status.as_u16(),
            "error": self.status.canonical_reason().unwrap_or_default(),
            "message": self.message,
        });
        let scheme = HeaderValue::from_static(self.scheme);
        let mut response = (self.status, Json(body)).into_response();
        if self.status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(WWW_AUTHENTICATE, scheme);
        }
        response
    }
}

impl From<sqlx::Error> for Refusal {
    fn from(cause: sqlx::Error) -> Self {
        Self::internal(&cause)
    }
}

impl From<JsonRejection> for Refusal {
    fn from(rejection: JsonRejection) -> Self {
        Self::new(rejection.status(), rejection.body_text())
    }
}

impl From<BytesRejection> for Refusal {
    fn from(rejection: BytesRejection) -> Self {
        Self::new(rejection.status(), rejection.body_text())
    }
}

impl From<QueryRejection> for Refusal {
    fn from(rejection: QueryRejection) -> Self {
        Self::new(rejection.status(), rejection.body_text())
    }
}

/// A broken id in a path names nothing that exists.
impl From<PathRejection> for Refusal {
    fn from(rejection: PathRejection) -> Self {
        Self::not_found(rejection.body_text())
    }
}

/// A JSON body.
#[derive(FromRequest)]
#[from_request(via(axum::Json), rejection(Refusal))]
pub(crate) struct Body<T>(pub(crate) T);

/// The parameters behind the `?`.
#[derive(FromRequestParts)]
#[from_request(via(axum::extract::Query), rejection(Refusal))]
pub(crate) struct Parameters<T>(pub(crate) T);

/// The named segments of the path.
#[derive(FromRequestParts)]
#[from_request(via(axum::extract::Path), rejection(Refusal))]
pub(crate) struct Segments<T>(pub(crate) T);

/// Puts around a service's own routes what each of them has: `/livez`, refusals for what it does not know, and the limits.
pub(crate) fn finish(routes: Router, service: &'static str) -> Router {
    routes
        .route("/livez", get(async || Json(json!({"status": "ok"}))))
        .fallback(async |request: Request| Refusal::not_found(format!("there is no {}", request.uri().path())))
        .method_not_allowed_fallback(async |request: Request| {
            let message = format!("{} does not take {}", request.uri().path(), request.method());
            Refusal::new(StatusCode::METHOD_NOT_ALLOWED, message)
        })
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
        .layer(middleware::from_fn_with_state(service, attend))
}

/// Sees one request through: in time, and with a line in the log.
async fn attend(State(service): State<&'static str>, request: Request, next: Next) -> Response {
    let started = Instant::now();
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let response = timeout(DEADLINE, next.run(request)).await.unwrap_or_else(|_| {
        Refusal::new(StatusCode::REQUEST_TIMEOUT, format!("the request took longer than {} s", DEADLINE.as_secs()))
            .into_response()
    });
    let duration_ms = started.elapsed().as_millis();
    debug!(service, %method, path, status = response.status().as_u16(), duration_ms, "answered");
    response
}

/// What `/info` tells: enough to see which version and which process answered.
pub(crate) fn introduction(service: &str, version: &str, instance: uuid::Uuid) -> Value {
    json!({"service": service, "version": version, "instance": instance})
}
