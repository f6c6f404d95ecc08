//! `admin-api serve`: from settings to a listening socket, and to the end of the process.

use std::future::{Future, IntoFuture};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use axum::serve::ListenerExt;
use gateway_config::clock::SystemClock;
use gateway_config::master_key::MasterKey;
use gateway_config::store;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::first_admin::FirstAdmin;
use crate::settings::{AdminToken, Settings, TOKEN_VARIABLE};
use crate::state::AppState;
use crate::{background, router};

/// A database that is there answers within this; longer migrations go on while 503 is answered.
const FIRST_MIGRATION: Duration = Duration::from_secs(5);
/// Requests in flight get this long at the end. Those that wait for nodes are answered at once.
const DRAIN: Duration = Duration::from_secs(5);

pub(crate) async fn serve(
    settings: Settings,
    token: Option<AdminToken>,
    first_admin: FirstAdmin,
    master: MasterKey,
) -> Result<()> {
    // Before the first line that tells of life: whoever reads it may send a signal.
    let ended = end()?;
    warn(&settings, token.is_some());
    let store = store::open(&settings.common.database_url).await?;
    let state = AppState::new(store, Arc::new(SystemClock), token, &master, settings.argon2);
    let state = state.with_sessions(settings.sessions.clone()).with_unused_after(settings.unused_after_days);
    tokio::pin!(ended);
    let (attempted, first_attempt) = oneshot::channel();
    tokio::spawn(background::prepare(state.clone(), !settings.no_migrate, first_admin, attempted));
    tokio::select! {
        _ = timeout(FIRST_MIGRATION, first_attempt) => {}
        () = &mut ended => return Ok(()),
    }
    let every = Duration::from_secs(settings.reconcile_seconds);
    tokio::spawn(background::reconcile(state.clone(), every));
    tokio::spawn(background::forget(state.clone(), settings.keep_generations));
    listen(settings.listen, state, ended).await
}

async fn listen(address: SocketAddr, state: AppState, ended: impl Future<Output = ()>) -> Result<()> {
    let listener = TcpListener::bind(address).await.with_context(|| format!("could not listen on {address}"))?;
    let bound = listener.local_addr().context("could not learn the bound address")?;
    tracing::info!("listening admin={bound}");
    // Small answers must not wait for more to send.
    let listener = listener.tap_io(|stream| drop(stream.set_nodelay(true)));
    let stopping = state.stopping.clone();
    let service = router(state).into_make_service_with_connect_info::<SocketAddr>();
    let serving = axum::serve(listener, service).with_graceful_shutdown(stopping.clone().cancelled_owned());
    let mut serving = tokio::spawn(serving.into_future());
    tokio::select! {
        () = ended => {}
        failed = &mut serving => return failed?.context("the listener failed"),
    }
    stopping.cancel();
    // What is left after this is a client that does not read.
    match timeout(DRAIN, serving).await {
        Ok(drained) => drained?.context("the listener failed"),
        Err(_) => Ok(()),
    }
}

fn end() -> Result<impl Future<Output = ()>> {
    let mut terminate = signal(SignalKind::terminate()).context("could not listen for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("could not listen for SIGINT")?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}

fn warn(settings: &Settings, has_token: bool) {
    if !has_token {
        tracing::info!("{TOKEN_VARIABLE} is not set: only admins and their tokens get in");
    }
    if settings.is_exposed() {
        let listen = settings.listen;
        tracing::warn!(%listen, "the admin API listens beyond this machine and speaks plain HTTP; put TLS before it");
    }
}
