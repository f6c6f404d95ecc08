//! The ops listener: `/livez`, `/readyz`, `/metrics`, `/status`.

use std::fmt::Write;
use std::sync::Arc;

use async_trait::async_trait;
use gateway_config::clock::Clock;
use http::{Method, Response, StatusCode, header};
use pingora::apps::http_app::ServeHttp;
use pingora::protocols::http::ServerSession;
use serde_json::json;
use uuid::Uuid;

use crate::drain::Load;
use crate::live::Current;
use crate::observe::metrics::Metrics;
use crate::sync::{Degraded, Status};

pub(crate) struct Ops {
    pub(crate) node: Uuid,
    pub(crate) current: Arc<Current>,
    pub(crate) load: Arc<Load>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) status: Arc<Status>,
    pub(crate) clock: Arc<dyn Clock>,
}

#[async_trait]
impl ServeHttp for Ops {
    async fn response(&self, session: &mut ServerSession) -> Response<Vec<u8>> {
        let head = session.req_header();
        if !matches!(head.method, Method::GET | Method::HEAD) {
            return text(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD\n");
        }
        match head.uri.path() {
            "/livez" => text(StatusCode::OK, "ok\n"),
            "/readyz" => self.readiness(),
            "/metrics" => self.metrics(),
            "/status" => self.status(),
            _ => text(StatusCode::NOT_FOUND, "there is /livez, /readyz, /metrics and /status\n"),
        }
    }
}

impl Ops {
    /// Degraded is still ready: the last good configuration serves.
    fn readiness(&self) -> Response<Vec<u8>> {
        if self.load.is_draining() {
            return text(StatusCode::SERVICE_UNAVAILABLE, "draining\n");
        }
        if self.current.get().is_none() {
            return text(StatusCode::SERVICE_UNAVAILABLE, "no configuration yet\n");
        }
        let mut body = String::from("ready\n");
        for it in self.status.degraded() {
            let _ = writeln!(body, "degraded: {}: {}", it.reason.word(), it.detail);
        }
        text(StatusCode::OK, &body)
    }

    fn metrics(&self) -> Response<Vec<u8>> {
        let count = |number: usize| i64::try_from(number).unwrap_or(i64::MAX);
        self.metrics.requests_in_flight.set(count(self.load.requests()));
        self.metrics.connections.set(count(self.load.connections()));
        answer(StatusCode::OK, "text/plain; version=0.0.4; charset=utf-8", self.metrics.encode())
    }

    fn status(&self) -> Response<Vec<u8>> {
        let live = self.current.get();
        let degraded: Vec<_> = self.status.degraded().iter().map(in_json).collect();
        let status = json!({
            "nodeId": self.node,
            "version": env!("CARGO_PKG_VERSION"),
            "generation": live.as_ref().map(|live| live.snapshot.generation()),
            "digest": live.as_ref().map(|live| live.snapshot.digest()),
            "since": live.as_ref().map(|_| self.status.since()),
            "snapshotSource": live.as_ref().map(|_| self.status.source().word()),
            "draining": self.load.is_draining(),
            "requestsInFlight": self.load.requests(),
            "connections": self.load.connections(),
            "degraded": degraded,
            "now": self.clock.now(),
        });
        answer(StatusCode::OK, "application/json", status.to_string())
    }
}

fn in_json(degraded: &Degraded) -> serde_json::Value {
    json!({"reason": degraded.reason.word(), "detail": degraded.detail})
}

fn text(status: StatusCode, body: &str) -> Response<Vec<u8>> {
    answer(status, "text/plain; charset=utf-8", body.to_owned())
}

fn answer(status: StatusCode, content_type: &'static str, body: String) -> Response<Vec<u8>> {
    let mut response = Response::new(body.into_bytes());
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, http::HeaderValue::from_static(content_type));
    headers.insert(header::CACHE_CONTROL, http::HeaderValue::from_static("no-store"));
    let length = http::HeaderValue::from(response.body().len());
    response.headers_mut().insert(header::CONTENT_LENGTH, length);
    response
}
