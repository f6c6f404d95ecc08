//! What every handler shares. Two of them can live in one test: nothing here is global.

use std::future::Future;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use gateway_config::api_key::{Argon2Settings, ChecksumKey, Hasher};
use gateway_config::change::Changer;
use gateway_config::clock::Clock;
use gateway_config::master_key::MasterKey;
use gateway_config::model::{Action, Actor, AuditChange, ChainKey, NewAudit};
use gateway_config::store::Store;
use tokio_util::sync::CancellationToken;

use crate::error::Failure;
use crate::metrics::Metrics;
use crate::settings::AdminToken;

/// The longest that a caller waits to hear that the database does not answer: one step's deadline in the store and a little for
/// the turns of those before it.
const PATIENCE: Duration = Duration::from_millis(3800);

/// Hashes of new keys that are made in parallel; each takes a core for tens of milliseconds.
const HASHES_AT_ONCE: usize = 2;

#[derive(Clone, Debug)]
pub struct AppState(Arc<Shared>);

#[derive(Debug)]
pub struct Shared {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) changer: Changer,
    pub(crate) chain: ChainKey,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) token: Option<AdminToken>,
    pub(crate) checksum: ChecksumKey,
    pub(crate) hasher: Hasher,
    pub(crate) metrics: Metrics,
    /// The process was told to end: nobody is kept waiting.
    pub(crate) stopping: CancellationToken,
}

impl AppState {
    /// Without a token nobody gets in.
    #[must_use]
    pub fn new(
        store: Arc<dyn Store>,
        clock: Arc<dyn Clock>,
        token: Option<AdminToken>,
        master: &MasterKey,
        argon2: Argon2Settings,
    ) -> Self {
        let chain = ChainKey::of(master);
        let (checksum, hasher) = (ChecksumKey::of(master), Hasher::new(argon2, HASHES_AT_ONCE));
        let changer = Changer::new(store.clone(), clock.clone(), chain.clone());
        let (metrics, stopping) = (Metrics::new(), CancellationToken::new());
        Self(Arc::new(Shared { store, changer, chain, clock, token, checksum, hasher, metrics, stopping }))
    }

    /// What goes into the audit for something that is no write of the configuration.
    pub(crate) fn deed(&self, actor: &Actor, action: Action, summary: String, changes: Vec<AuditChange>) -> NewAudit {
        NewAudit { at: self.clock.now(), actor: actor.clone(), action, summary, generation: None, changes }
    }

    /// Asks the database, and gives up after a while even where many callers queue before a database that hangs. What is
    /// dropped half-way is rolled back.
    pub(crate) async fn ask<T, E: Into<Failure>>(
        &self,
        question: impl Future<Output = Result<T, E>> + Send,
    ) -> Result<T, Failure> {
        match tokio::time::timeout(PATIENCE, question).await {
            Ok(answer) => answer.map_err(Into::into),
            Err(_) => Err(Failure::database_silent(PATIENCE)),
        }
    }
}

impl Deref for AppState {
    type Target = Shared;

    fn deref(&self) -> &Shared {
        &self.0
    }
}
