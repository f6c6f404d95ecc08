//! Workers: they take messages from a broker, do the work once, say what came of it, and only then acknowledge. `worker` is what they have in
//! common, `source` where messages come from, and one file each says what they do.

mod ai;
mod analytics;
mod email;
mod event;
mod execution;
mod report;
pub mod settings;
mod signature;
mod sms;
mod source;
mod store;
mod worker;

use std::sync::Arc;

use anyhow::Result;
use axum::Router;
use sqlx::SqlitePool;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::services::{Name, Surroundings};
use analytics::Analytics;
use email::Email;
use event::Event;
use report::Reporter;
pub use settings::Settings;
use signature::Secrets;
use sms::Sms;
use store::Store;
use worker::{Outcome, UnderWay, Worker};

/// What each worker does with a message.
#[derive(Debug)]
enum Work {
    Email(Box<Email>),
    Sms(Sms),
    Ai,
    Analytics(Analytics),
    Execution,
}

impl Work {
    async fn handle(&self, event: &Event) -> Outcome {
        match self {
            Self::Email(email) => email.handle(event).await,
            Self::Sms(sms) => sms.handle(event).await,
            Self::Ai => ai::handle(event),
            Self::Analytics(analytics) => analytics.handle(event).await,
            Self::Execution => execution::handle(event),
        }
    }
}

/// A worker that is ready.
pub(crate) struct Ready {
    worker: Arc<Worker>,
    /// What takes pushed messages, where it is to listen.
    pub(crate) router: Option<Router>,
    pub(crate) database: SqlitePool,
}

/// Opens the worker's memory. `listens`: whether messages are pushed to it.
pub(crate) async fn open(name: Name, listens: bool, around: &Surroundings) -> Result<Ready> {
    let settings = around.workers.clone();
    let store = Store::open(&around.data_dir, name.as_str(), around.clock.clone()).await?;
    let work = match name {
        Name::Email => Work::Email(Box::new(Email::open(&settings, &around.data_dir).await?)),
        Name::Sms => Work::Sms(Sms::open(&settings)?),
        Name::Analytics => Work::Analytics(Analytics::open(&store).await?),
        Name::Execution => Work::Execution,
        // The services are no workers and are opened elsewhere.
        _ => Work::Ai,
    };
    let database = store.pool().clone();
    let (reporter, under_way) = (Reporter::new()?, UnderWay::default());
    let worker = Arc::new(Worker { name, work, store, reporter, settings, under_way });
    for from in worker.settings.sources(name) {
        source::check(&worker, from)?;
    }
    let secrets = listens.then(|| Secrets::new(worker.settings.webhook_secret.as_deref())).transpose()?;
    let router = secrets.map(|secrets| source::embedded::router(worker.clone(), secrets, around.clock.clone()));
    Ok(Ready { worker, router, database })
}

impl Ready {
    /// Consumes from its brokers and reports, until `stop` and the end of what was begun.
    pub(crate) async fn run(self, stop: CancellationToken) {
        let Self { worker, .. } = self;
        let reported = CancellationToken::new();
        let reporting = tokio::spawn(worker.reporter.clone().run(worker.store.clone(), reported.clone()));
        let mut consuming = JoinSet::new();
        for from in worker.settings.sources(worker.name) {
            consuming.spawn(source::consume(worker.clone(), from.clone(), stop.clone()));
        }
        while consuming.join_next().await.is_some() {}
        stop.cancelled().await;
        worker.under_way.emptied().await;
        reported.cancel();
        let _ = reporting.await;
    }
}
