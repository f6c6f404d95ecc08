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
    workers,
};

/// How long requests in flight may take to finish once the process was told to stop.
const GRACE: Duration = Duration::from_secs(10);

/// What is to run, where, and on what.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Each with its address, where that is not the usual one.
    pub services: Vec<(Name, Option<SocketAddr>)>,
    pub data_dir: PathBuf,
    pub clock: Clock,
    pub pace: Pace,
    pub gateway_jwks: Url,
    pub workers: workers::Settings,
}

impl Plan {
    #[must_use]
    pub fn new(data_dir: impl Into<PathBuf>, gateway_jwks: Url) -> Self {
        let (clock, pace) = (Clock::default(), Pace::default());
        let workers = workers::Settings::default();
        Self { services: Vec::new(), data_dir: data_dir.into(), clock, pace, gateway_jwks, workers }
    }

    /// Adds a service or a worker at `address`, or else at its usual port of this host alone.
    #[must_use]
    pub fn with(mut self, name: Name, address: Option<SocketAddr>) -> Self {
        self.services.push((name, address));
        self
    }

    /// Where this one listens. A worker that takes messages from a broker needs no port, and gets one only if it was asked for.
    fn listens(&self, name: Name, address: Option<SocketAddr>) -> Option<SocketAddr> {
        let usual = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), name.port());
        let needs_one = !name.is_worker() || self.workers.sources(name).next().is_none();
        address.or(needs_one.then_some(usual))
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
        for (name, address) in &plan.services {
            let listener = match plan.listens(*name, *address) {
                Some(address) => {
                    let listener = TcpListener::bind(address).await;
                    Some(listener.with_context(|| format!("could not listen on {address} for {name}"))?)
                }
                None => None,
            };
            bound.push((*name, listener));
        }
        let stop = CancellationToken::new();
        let surroundings = Surroundings {
            data_dir: plan.data_dir,
            clock: plan.clock,
            pace: plan.pace,
            gateway_jwks: plan.gateway_jwks,
            workers: plan.workers,
            stop: stop.clone(),
        };
        let (mut addresses, mut databases, mut tasks) = (Vec::new(), Vec::new(), JoinSet::new());
        let (mut opened, mut ready) = (Vec::new(), Vec::new());
        for (name, listener) in bound {
            let failed = || format!("could not start {name}");
            let router = if name.is_worker() {
                let mut worker = workers::open(name, listener.is_some(), &surroundings).await.with_context(failed)?;
                databases.push(worker.database.clone());
                let router = worker.router.take();
                ready.push(worker);
                router
            } else {
                let service = services::open(name, &surroundings).await.with_context(failed)?;
                databases.extend(service.database);
                Some(service.router)
            };
            opened.extend(listener.zip(router).map(|(listener, router)| (name, listener, router)));
        }
        for (name, listener, router) in opened {
            addresses.push((name, listener.local_addr()?));
            let stopped = stop.clone().cancelled_owned();
            tasks.spawn(axum::serve(listener, router).with_graceful_shutdown(stopped).into_future());
        }
        for worker in ready {
            let running = worker.run(stop.clone());
            tasks.spawn(async move {
                running.await;
                Ok(())
            });
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
