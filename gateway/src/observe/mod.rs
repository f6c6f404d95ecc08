//! What the gateway tells about itself: metrics, logs, samples of traffic.

pub(crate) mod logs;
pub(crate) mod metrics;
pub(crate) mod traffic;

use pingora::Error;
use pingora::proxy::Session;

use crate::request::RequestCtx;
use metrics::Metrics;
use traffic::Traffic;

/// Accounts for a request that is over.
pub(crate) fn account(
    session: &Session,
    error: Option<&Error>,
    ctx: &RequestCtx,
    metrics: &Metrics,
    traffic: &Traffic,
) {
    let status = session.response_written().map_or(0, |head| head.status.as_u16());
    let seconds = ctx.started.elapsed().as_secs_f64();
    match ctx.live.as_ref().and_then(|live| live.series.get(ctx.route_name())) {
        Some(series) => series.observe(status, seconds),
        None => metrics.unrouted.observe(status, seconds),
    }
    if let Some(code) = ctx.refused {
        metrics.refused(code);
    }
    if let Some(attempt) = &ctx.attempt {
        metrics.attempts(attempt.made(), attempt.used_fallback);
    }
    traffic.note(session, ctx);
    let Some(error) = error else { return };
    // Once, here: the error's text names addresses of backends, which operators may know and clients may not.
    tracing::info!(
        request_id = ctx.id(),
        route = ctx.route_name(),
        code = ctx.refused.map_or("client_gone", gateway_config::snapshot::Code::as_str),
        status,
        %error,
        "a request failed"
    );
}
