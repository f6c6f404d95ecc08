//! Messages that the gateway pushes over HTTP. The answer is the acknowledgement: 2xx done, 503 again, 410 never again.

use std::sync::Arc;

use axum::{
    Router,
    body::Bytes,
    extract::{DefaultBodyLimit, State},
    http::{HeaderMap, StatusCode, header::RETRY_AFTER},
    response::{IntoResponse, Response},
    routing::post,
};

use crate::{
    clock::Clock,
    exchange::{self, Refusal},
    workers::{
        signature::Secrets,
        worker::{Verdict, Worker, to_its_end},
    },
};

/// More than a gateway pushes.
const MAX_BYTES: usize = 32 << 20;

struct Door {
    worker: Arc<Worker>,
    secrets: Secrets,
    clock: Clock,
}

/// Takes pushes on every path: the operator chooses it.
pub(in crate::workers) fn router(worker: Arc<Worker>, secrets: Secrets, clock: Clock) -> Router {
    let name = worker.name.as_str();
    let door = Arc::new(Door { worker, secrets, clock });
    let routes = Router::new().route("/", post(take)).route("/{*path}", post(take));
    exchange::finish(routes.layer(DefaultBodyLimit::max(MAX_BYTES)).with_state(door), name)
}

async fn take(State(door): State<Arc<Door>>, headers: HeaderMap, body: Bytes) -> Response {
    if let Err(why) = door.secrets.verify(&headers, &body, door.clock.now_ms()) {
        tracing::warn!(worker = %door.worker.name, why, "a message was pushed that is not to be believed");
        return Refusal::unauthorized(why).into_response();
    }
    // The gateway counts the attempts, too, and does not say.
    match to_its_end(&door.worker, body.to_vec(), 1).await {
        Verdict::Over => StatusCode::NO_CONTENT.into_response(),
        // A shorter pause is the gateway's to choose.
        Verdict::Later(pause) if pause.as_secs() == 0 => StatusCode::SERVICE_UNAVAILABLE.into_response(),
        Verdict::Later(pause) => {
            (StatusCode::SERVICE_UNAVAILABLE, [(RETRY_AFTER, pause.as_secs().to_string())]).into_response()
        }
        Verdict::Dead(why) => Refusal::new(StatusCode::GONE, why).into_response(),
    }
}
