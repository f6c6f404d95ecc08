//! Several services in one process: all addresses are bound first, so that a taken port is found out before anything is touched; then the
//! services open; then they answer until they are stopped, and finish what they have begun.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use anyhow::{Context, Result, anyhow};
use reqwest::Url;
use sqlx::SqlitePool;
use tokio::{net::TcpListener, task::JoinSet, time::timeout};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::{
    clock::Clock,
    services::{self, Name, Pace, Surroundings},
};

/// How long requests in flight may take to finish once the process was told to stop.
const GRACE: Duration = Duration::from_secs(10);

/// What is to run, where, and on what.
#[derive(Clone, Debug)]
pub struct Plan {
    pub services: Vec<(Name, SocketAddr)>,
    pub data_dir: PathBuf,
    pub clock: Clock,
    pub pace: Pace,
    pub gateway_jwks: Url,
}

impl Plan {
    #[must_use]
    pub fn new(data_dir: impl Into<PathBuf>, gateway_jwks: Url) -> Self {
        let (clock, pace) = (Clock::default(), Pace::default());
        Self { services: Vec::new(), data_dir: data_dir.into(), clock, pace, gateway_jwks }
    }

    /// Adds a service at `address`, or else at its usual port of this host alone.
    #[must_use]
    pub fn with(mut self, name: Name, address: Option<SocketAddr>) -> Self {
        let usual = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), name.port());
        self.services.push((name, address.unwrap_or(usual)));
        self
    }
}

/// Services that answer.
#[derive(Debug)]
pub struct Server {
    addresses: Vec<(Name, SocketAddr)>,
    databases: Vec<SqlitePool>,
    stop: CancellationToken,
    tasks: JoinSet<std::io::Result<()>>,
}

impl Server {
    pub async fn start(plan: Plan) -> Result<Self> {
        let mut bound = Vec::new();
        for (name, address) in plan.services {
            let listener = TcpListener::bind(address).await;
            let listener = listener.with_context(|| format!("could not listen on {address} for {name}"))?;
            bound.push((name, listener.local_addr()?, listener));
        }
        let stop = CancellationToken::new();
        let surroundings = Surroundings {
            data_dir: plan.data_dir,
            clock: plan.clock,
            pace: plan.pace,
            gateway_jwks: plan.gateway_jwks,
            stop: stop.clone(),
        };
        let (mut addresses, mut databases, mut tasks) = (Vec::new(), Vec::new(), JoinSet::new());
        for (name, address, listener) in bound {
            let service = services::open(name, &surroundings).await;
            let service = service.with_context(|| format!("could not start {name}"))?;
            databases.extend(service.database);
            let stopped = stop.clone().cancelled_owned();
            tasks.spawn(axum::serve(listener, service.router).with_graceful_shutdown(stopped).into_future());
            addresses.push((name, address));
        }
        Ok(Self { addresses, databases, stop, tasks })
    }

    /// Where each service listens, in the order of the plan.
    #[must_use]
    pub fn addresses(&self) -> &[(Name, SocketAddr)] {
        &self.addresses
    }

    /// Takes no more connections, waits until the requests in flight are answered, for a while, and closes the databases.
    pub async fn stop(mut self) -> Result<()> {
        self.stop.cancel();
        info!("stopping");
        let finish = async {
            while let Some(ended) = self.tasks.join_next().await {
                ended.map_err(|cause| anyhow!(cause))?.context("could not serve")?;
            }
            for database in &self.databases {
                database.close().await;
            }
            Ok(())
        };
        timeout(GRACE, finish).await.unwrap_or_else(|_| {
            warn!("some requests were cut off because they did not finish within {} s", GRACE.as_secs());
            Ok(())
        })
    }
}

/// A server that is dropped takes its background work with it.
impl Drop for Server {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}
