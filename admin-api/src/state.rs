//! What every handler shares. Two of them can live in one test: nothing here is global.

use std::future::Future;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use gateway_config::api_key::{Argon2Settings, ChecksumKey, Hasher};
use gateway_config::change::Changer;
use gateway_config::client::TrustedProxies;
use gateway_config::clock::Clock;
use gateway_config::master_key::MasterKey;
use gateway_config::model::{Action, Actor, AuditChange, ChainKey, NewAudit};
use gateway_config::store::Store;
use tokio_util::sync::CancellationToken;

use crate::auth::password::Passwords;
use crate::auth::{Secrets, TokenUses};
use crate::error::Failure;
use crate::metrics::Metrics;
use crate::settings::{AdminToken, SessionSettings, UNUSED_AFTER_DAYS};

/// The longest that a caller waits to hear that the database does not answer: one step's deadline in the store and a little for
/// the turns of those before it.
const PATIENCE: Duration = Duration::from_millis(3800);

const LONG_PATIENCE: Duration = Duration::from_mins(1);

/// Hashes of new keys that are made in parallel; each takes a core for tens of milliseconds.
const HASHES_AT_ONCE: usize = 2;

#[derive(Clone, Debug)]
pub struct AppState(Arc<Shared>);

#[derive(Debug)]
pub struct Shared {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) changer: Changer,
    pub(crate) chain: ChainKey,
    /// Receivers' secrets are derived from it.
    pub(crate) master: MasterKey,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) token: Option<AdminToken>,
    pub(crate) checksum: ChecksumKey,
    pub(crate) hasher: Hasher,
    pub(crate) passwords: Passwords,
    pub(crate) secrets: Secrets,
    pub(crate) token_uses: TokenUses,
    pub(crate) sessions: SessionSettings,
    pub(crate) proxies: TrustedProxies,
    /// Keys and routes that nothing used for so long are warned of; 0: none are.
    pub(crate) unused_after_days: u32,
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
        Self(Arc::new(Shared {
            store,
            changer,
            chain,
            master: master.clone(),
            clock,
            token,
            checksum,
            hasher,
            passwords: Passwords::new(argon2),
            secrets: Secrets::of(master),
            token_uses: TokenUses::default(),
            sessions: SessionSettings::default(),
            proxies: TrustedProxies::default(),
            unused_after_days: UNUSED_AFTER_DAYS,
            metrics,
            stopping,
        }))
    }

    /// To be called before the state is shared; afterwards it changes nothing.
    #[must_use]
    pub fn with_sessions(mut self, sessions: SessionSettings) -> Self {
        if let Some(shared) = Arc::get_mut(&mut self.0) {
            shared.proxies = TrustedProxies::new(&sessions.trusted_proxies);
            shared.sessions = sessions;
        }
        self
    }

    /// The same for what validation warns of.
    #[must_use]
    pub fn with_unused_after(mut self, days: u32) -> Self {
        if let Some(shared) = Arc::get_mut(&mut self.0) {
            shared.unused_after_days = days;
        }
        self
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
        ask_within(PATIENCE, question).await
    }

    /// The same for what is about a whole document: each step of it has a deadline of its own, but there are many.
    pub(crate) async fn ask_at_length<T, E: Into<Failure>>(
        &self,
        question: impl Future<Output = Result<T, E>> + Send,
    ) -> Result<T, Failure> {
        ask_within(LONG_PATIENCE, question).await
    }
}

async fn ask_within<T, E: Into<Failure>>(
    patience: Duration,
    question: impl Future<Output = Result<T, E>> + Send,
) -> Result<T, Failure> {
    match tokio::time::timeout(patience, question).await {
        Ok(answer) => answer.map_err(Into::into),
        Err(_) => Err(Failure::database_silent(patience)),
    }
}

impl Deref for AppState {
    type Target = Shared;

    fn deref(&self) -> &Shared {
        &self.0
    }
}
