//! From settings to a gate, with the tasks that keep what it needs fresh.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use gateway_config::client::TrustedProxies;
use gateway_config::clock::Clock;
use gateway_config::master_key::MasterKey;
use gateway_config::store::Store;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::Gate;
use crate::identity::egress::Egress;
use crate::identity::key::Keys;
use crate::identity::secrets::{self, Secrets};
use crate::identity::token::{self, Pace, Tokens};
use crate::identity::{Identity, Signer};
use crate::live::Current;
use crate::observe::metrics::Metrics;
use crate::policy::limits::{Limiter, SharedStore};
use crate::policy::screening::prepare;
use crate::settings::ServeSettings;
use crate::sync::{Reason, Status};
use crate::tls::Certificates;

const DAY: Duration = Duration::from_hours(24);
/// How often what is not well is looked at.
const LOOK: Duration = Duration::from_secs(1);

/// What the parts of the gate have in common.
pub(crate) struct Surroundings<'a> {
    pub(crate) settings: &'a ServeSettings,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) status: Arc<Status>,
    pub(crate) current: Arc<Current>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) secrets: Arc<Secrets>,
    pub(crate) certificates: Arc<Certificates>,
    /// This process among the fleet.
    pub(crate) node: Uuid,
    /// The operations port as it was bound.
    pub(crate) ops: SocketAddr,
    pub(crate) stop: CancellationToken,
}

impl Gate {
    /// Also starts the tasks that keep it fresh; they end with `stop`.
    pub(crate) fn open(around: &Surroundings<'_>) -> anyhow::Result<Arc<Self>> {
        let Surroundings { settings, store, metrics, status, current, clock, secrets, certificates, stop, .. } = around;
        let common = &settings.common;
        let master = MasterKey::load(&common.database_url)?;
        let forbidden = [around.ops].into_iter().chain(settings.admin_listen).collect();
        let egress = Arc::new(Egress::new(forbidden));
        let tokens = Arc::new(Tokens::new(secrets.clone(), egress, metrics.fetches.clone(), Pace::default()));
        let rotate_every = DAY.saturating_mul(settings.signing_key_days.max(1));
        let signer = Arc::new(Signer::open(master.clone(), &common.data_dir, rotate_every, clock.now()));
        let keys = Keys::open(&master, settings, store.clone(), clock.clone(), stop.clone());

        let until_stop = |task: futures::future::BoxFuture<'static, ()>| {
            let stop = stop.clone();
            tokio::spawn(async move {
                let _ = stop.run_until_cancelled(task).await;
            });
        };
        until_stop(Box::pin(secrets::refresh_forever(secrets.clone())));
        until_stop(Box::pin(token::refresh_forever(tokens.clone(), current.clone(), clock.clone())));
        until_stop(Box::pin(keep_secrets(secrets.clone(), current.clone(), status.clone())));
        until_stop(Box::pin(certificates.clone().follow_secrets()));
        let watched = Watched {
            secrets: secrets.clone(),
            certificates: certificates.clone(),
            tokens: tokens.clone(),
            signer: signer.clone(),
        };
        until_stop(Box::pin(watched.show_trouble(status.clone(), clock.clone())));
        tokio::spawn(signer.clone().keep(store.clone(), clock.clone(), stop.clone()));

        let gate = Arc::new(Self {
            identity: Identity { keys, tokens },
            limiter: Limiter::new(shared_store(around)?, metrics.limits_without_store.clone()),
            signer,
            current: current.clone(),
            moved: status.moved(),
            proxies: TrustedProxies::new(&settings.trusted_proxies),
            https_port: settings.https_redirect,
            began: Instant::now(),
        });
        until_stop(Box::pin(sweep_limits(gate.clone())));
        // Or the first request that is screened would wait for it.
        tokio::task::spawn_blocking(prepare);
        Ok(gate)
    }
}

fn shared_store(around: &Surroundings<'_>) -> anyhow::Result<Option<SharedStore>> {
    let Some(url) = around.settings.redis_url.as_deref().filter(|url| !url.is_empty()) else { return Ok(None) };
    let store = SharedStore::new(
        url,
        Duration::from_millis(around.settings.limits_store_deadline_ms),
        around.metrics.limits_store_up.clone(),
    );
    let store = store.context("could not use REDIS_URL")?;
    tokio::spawn(store.clone().keep_connected(around.stop.clone()));
    Ok(Some(store))
}

/// The secrets that the served configuration names are read before anybody needs them.
async fn keep_secrets(secrets: Arc<Secrets>, current: Arc<Current>, status: Arc<Status>) {
    let mut moved = status.moved();
    loop {
        if let Some(live) = current.get() {
            secrets.keep(secrets::named_by(&live.snapshot)).await;
        }
        if moved.changed().await.is_err() {
            return;
        }
    }
}

/// What fails closed.
struct Watched {
    secrets: Arc<Secrets>,
    certificates: Arc<Certificates>,
    tokens: Arc<Tokens>,
    signer: Arc<Signer>,
}

impl Watched {
    /// Shows it in the node's status.
    async fn show_trouble(self, status: Arc<Status>, clock: Arc<dyn Clock>) {
        let signing = self.signer.trouble();
        loop {
            let told = [
                (Reason::SecretMissing, join(&self.secrets.unresolved())),
                (Reason::Certificate, join(&self.certificates.troubles(clock.now()))),
                (Reason::Issuer, join(&self.tokens.troubles())),
                (Reason::SigningKeys, signing.borrow().clone()),
            ];
            for (reason, trouble) in told {
                match trouble {
                    Some(trouble) => drop(status.degrade(reason, trouble)),
                    None => status.mend(reason),
                }
            }
            tokio::time::sleep(LOOK).await;
        }
    }
}

fn join(list: &[String]) -> Option<String> {
    (!list.is_empty()).then(|| list.join("; "))
}

async fn sweep_limits(gate: Arc<Gate>) {
    loop {
        tokio::time::sleep(LOOK).await;
        gate.limiter.sweep(gate.now());
    }
}
