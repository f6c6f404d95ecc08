//! From settings to a running gateway: sockets, runtimes, tasks, and the way out.
//!
//! Pingora's own `Server` is not used: its stop sleeps a fixed time instead of leaving when idle, and it can't tell which port
//! it was given. Its services run as well on runtimes of ours.

use std::net::SocketAddr;
use std::os::fd::IntoRawFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use gateway_config::clock::{Clock, SystemClock};
use gateway_config::store;
use pingora::listeners::{L4BufferSettings, ListenerConfig};
use pingora::prelude::fast_timeout::set_fast_timeout_to_tokio_threshold;
use pingora::proxy::http_proxy;
use pingora::server::configuration::ServerConf;
use pingora::server::{Fds, ListenFds};
use pingora::services::listening::Service;
use pingora::services::{ServiceReadyNotifier, ServiceWithDependents};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::net::TcpSocket;
use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::connection::{Http2, Patience, Watch, http2_options};
use crate::drain::{Counted, Load};
use crate::gate::{Gate, Surroundings};
use crate::identity::secrets::Secrets;
use crate::live::Current;
use crate::observe::metrics::Metrics;
use crate::observe::traffic::{self, Traffic};
use crate::ops::Ops;
use crate::proxy::Gateway;
use crate::queue::Queues;
use crate::relay::Relay;
use crate::settings::ServeSettings;
use crate::streams::Streams;
use crate::sync::{self, DiskSnapshot, NodeIdentity, Status, Sync};
use crate::tls::{Certificates, Tls};
use crate::upstream::{self, Endpoints, POOL_IDLE, Pool};

/// The kernel cuts it to its own limit.
const BACKLOG: u32 = 4096;
/// Of a client's connection: none. Heads and bodies, HTTP/2 and TLS have buffers of their own; Pingora's 64 KiB would be most of what an idle
/// connection takes.
const READ_BUFFER: usize = 0;
/// Of a client's connection: the head of an answer and a small body go out in one system call, also with all the headers of limits.
/// Larger would hold up the pieces of a body that comes slowly.
const WRITE_BUFFER: usize = 2560;
/// Attempts of one request; the real bound is in `upstream::Attempt`.
const MAX_ATTEMPTS: usize = 20;
/// What is left to be told to the fleet after the last request.
const FAREWELL: Duration = Duration::from_secs(2);

pub(crate) fn serve(settings: &ServeSettings) -> anyhow::Result<()> {
    raise_file_limit();
    let control = runtime("control", 2)?;
    let threads = match settings.threads {
        0 => std::thread::available_parallelism().map_or(1, usize::from),
        given => given,
    };
    // Pingora's own timers keep a tree of 10 ms slots behind a lock and read the clock for every read and write, also where
    // nothing has to be waited for; tokio's wheel costs a third. Deadlines below a second stay with Pingora's.
    set_fast_timeout_to_tokio_threshold(Some(Duration::ZERO));
    let proxy = runtime("proxy", threads)?;
    let outcome = control.block_on(run(settings, threads, &proxy));
    proxy.shutdown_background();
    control.shutdown_timeout(Duration::from_millis(100));
    outcome
}

/// Every connection is a file, and the usual soft limit of 1024 is far below what the hard one allows.
fn raise_file_limit() {
    let limit = getrlimit(Resource::Nofile);
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }) {
        tracing::warn!(%error, "could not raise the limit of open files");
    }
}

fn runtime(name: &str, threads: usize) -> anyhow::Result<Runtime> {
    let mut builder = Builder::new_multi_thread();
    builder.worker_threads(threads).thread_name(name).enable_all().build().context("could not start threads")
}

async fn run(settings: &ServeSettings, threads: usize, proxy: &Runtime) -> anyhow::Result<()> {
    // First of all: a signal that comes before somebody waits for it ends the process on the spot.
    let mut stop_signals = StopSignals::expect()?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let sockets = Sockets::bind(settings)?;
    let dir = &settings.common.data_dir;
    let node = NodeIdentity::take(dir).with_context(|| format!("could not use data directory {}", dir.display()))?;
    let store = store::open(&settings.common.database_url).await?;
    let metrics = Arc::new(Metrics::new()?);
    let status = Arc::new(Status::new(metrics.clone(), clock.clone()));
    let current = Arc::new(Current::default());
    let load = Arc::new(Load::new(Duration::from_secs(settings.drain_timeout_seconds)));
    let endpoints = Arc::new(Endpoints::default());
    let disk = DiskSnapshot::in_dir(dir);
    let stop = CancellationToken::new();

    tracing::info!("{}", sockets.announcement());
    let me = (node.id, sockets.traffic.address.to_string());
    let (listeners, ops_listener) = (watch::channel(false), watch::channel(false));
    let ops = Ops {
        node: node.id,
        current: current.clone(),
        load: load.clone(),
        metrics: metrics.clone(),
        status: status.clone(),
        clock: clock.clone(),
    };
    let (ops_bound, traffic_bound) = (sockets.ops.address, sockets.traffic.address);
    let (ops_fds, ops_address) = sockets.ops.into_fds();
    tokio::spawn(start(Service::new("ops".to_owned(), ops), ops_address, ops_fds, ops_listener.1));

    let secrets = Arc::new(Secrets::new(settings.common.secrets_dir.clone()));
    let certificates = Arc::new(Certificates::new(secrets.clone(), metrics.clone()));
    let around = Surroundings {
        settings,
        store: store.clone(),
        metrics: metrics.clone(),
        status: status.clone(),
        current: current.clone(),
        clock: clock.clone(),
        secrets,
        certificates: certificates.clone(),
        node: node.id,
        ops: ops_bound,
        stop: stop.clone(),
    };
    let gate = Gate::open(&around)?;
    // Before there is a snapshot: whoever is told that the gateway is ready may ask what waits on disk.
    let (queues, mut background) = Queues::open(&around, traffic_bound)?;
    let sync = Sync {
        store: store.clone(),
        me: me.clone(),
        current: current.clone(),
        endpoints: endpoints.clone(),
        certificates: certificates.clone(),
        metrics: metrics.clone(),
        status: status.clone(),
        clock: clock.clone(),
        disk: disk.clone(),
        reconcile_every: Duration::from_secs(settings.reconcile_seconds.max(1)),
    };
    tokio::spawn(sync.run(stop.clone()));
    tokio::spawn(upstream::refresh_forever(endpoints));
    let traffic = Arc::new(Traffic::new(&settings.traffic, node.id, clock.clone()));
    let writer = traffic::Writer {
        traffic: traffic.clone(),
        current: current.clone(),
        store: store.clone(),
        metrics: metrics.clone(),
    };
    let writer = tokio::spawn(writer.run(stop.clone()));
    let keeper = tokio::spawn(sync::keep_on_disk(disk, current.clone(), status.clone(), metrics.clone(), stop.clone()));
    let reporter = tokio::spawn(sync::report(store, current.clone(), status, clock, me, stop.clone()));

    let patience = |seconds: u64| Some(seconds).filter(|seconds| *seconds > 0).map(Duration::from_secs);
    let (idle, head) = (patience(settings.keepalive_seconds), patience(settings.header_timeout_seconds));
    let watch = Arc::new(Watch::new(Patience { idle, head }));
    tokio::spawn(watch.clone().run(stop.clone()));
    let streams = Arc::new(Streams::new(gate.clone(), current.clone()));
    tokio::spawn(streams.clone().run(stop.clone()));
    let tls = Arc::new(Tls::new(certificates, head, metrics.clone())?);
    let gateway =
        Gateway { current, load: load.clone(), metrics, gate: gate.clone(), streams, traffic, queues: queues.clone() };
    let pool = Arc::new(Pool::new(settings.upstream_pool.saturating_mul(threads), POOL_IDLE));
    tokio::spawn(pool.clone().run(stop.clone()));
    let app = traffic_app(gateway, pool, &Arc::new(pingora_conf(settings, threads)), watch, idle);
    let serving = proxy.spawn(take_traffic(app, tls, (sockets.traffic, sockets.tls), listeners.1));

    stop_signals.wait().await;
    tracing::info!("stopping: finishing what is in flight");
    let patience_ends = Instant::now() + Duration::from_secs(settings.drain_timeout_seconds);
    load.start_draining();
    queues.start_draining();
    tokio::time::sleep(Duration::from_millis(settings.drain_delay_ms)).await;
    let _ = listeners.0.send(true);
    // Ends when the last request is over; see `drain`.
    let _ = serving.await;
    background.deliveries_over(patience_ends.saturating_duration_since(Instant::now())).await;
    stop.cancel();
    let farewell =
        futures::future::join5(reporter, keeper, writer, gate.identity.keys.finished(), background.finished());
    let _ = tokio::time::timeout(FAREWELL, farewell).await;
    let _ = ops_listener.0.send(true);
    tracing::info!("stopped");
    Ok(())
}

/// Takes it in plain text and over TLS, until the listeners are told to stop and what is in flight is over.
async fn take_traffic(app: TrafficApp, tls: Arc<Tls>, sockets: (Socket, Socket), stop: watch::Receiver<bool>) {
    let secured = app.over(tls);
    let (fds, address) = sockets.0.into_fds();
    let plain = start(Service::new("traffic".to_owned(), app), address, fds, stop.clone());
    let (fds, address) = sockets.1.into_fds();
    let secured = start(Service::new("tls".to_owned(), secured), address, fds, stop);
    futures::future::join(plain, secured).await;
}

type TrafficApp = Counted<Relay>;

/// The proxy, and around it what is beyond Pingora: requests of HTTP/2 that can be ended, connections that are counted and watched.
fn traffic_app(
    gateway: Gateway,
    pool: Arc<Pool>,
    conf: &Arc<ServerConf>,
    watch: Arc<Watch>,
    idle: Option<Duration>,
) -> TrafficApp {
    let (current, load) = (gateway.current.clone(), gateway.load.clone());
    let mut proxy = http_proxy(conf, gateway.clone());
    proxy.server_options = Some(http2_options(idle));
    Counted::new(Arc::new(Relay::new(gateway, pool, conf, Http2::new(proxy, current))), load, watch)
}

async fn start<A>(mut service: Service<A>, address: String, fds: Fds, stop: watch::Receiver<bool>)
where
    A: pingora::apps::ServerApp + Send + std::marker::Sync + 'static,
{
    let buffer = L4BufferSettings::new(READ_BUFFER, WRITE_BUFFER);
    service.add_listener(ListenerConfig::tcp(address).l4_buffer(buffer));
    let fds: ListenFds = Arc::new(parking_lot::Mutex::new(fds));
    let (ready, _) = watch::channel(false);
    ServiceWithDependents::start_service(&mut service, Some(fds), stop, 1, ServiceReadyNotifier::new(ready)).await;
}

fn pingora_conf(settings: &ServeSettings, threads: usize) -> ServerConf {
    ServerConf {
        threads,
        upstream_keepalive_pool_size: settings.upstream_pool,
        max_retries: MAX_ATTEMPTS,
        ..ServerConf::default()
    }
}

/// SIGTERM and SIGINT, from when this is made.
struct StopSignals {
    terminate: Signal,
    interrupt: Signal,
}

impl StopSignals {
    fn expect() -> anyhow::Result<Self> {
        let expect = |kind| signal(kind).context("could not wait for signals");
        Ok(Self { terminate: expect(SignalKind::terminate())?, interrupt: expect(SignalKind::interrupt())? })
    }

    async fn wait(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// A listening socket and the address that it really has.
struct Socket {
    address: SocketAddr,
    listener: std::net::TcpListener,
}

struct Sockets {
    traffic: Socket,
    tls: Socket,
    ops: Socket,
}

impl Sockets {
    /// Binds everything before anything runs: a port that is taken is told at once and by name.
    fn bind(settings: &ServeSettings) -> anyhow::Result<Self> {
        Ok(Self {
            traffic: Socket::bind(settings.listen, "--listen")?,
            tls: Socket::bind(settings.listen_tls, "--listen-tls")?,
            ops: Socket::bind(settings.ops_listen, "--ops-listen")?,
        })
    }

    fn announcement(&self) -> String {
        format!("listening traffic={} ops={} tls={}", self.traffic.address, self.ops.address, self.tls.address)
    }
}

impl Socket {
    fn bind(address: SocketAddr, flag: &str) -> anyhow::Result<Self> {
        let bind = || -> std::io::Result<Self> {
            let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
            socket.set_reuseaddr(true)?;
            socket.bind(address)?;
            let listener = socket.listen(BACKLOG)?.into_std()?;
            Ok(Self { address: listener.local_addr()?, listener })
        };
        bind().with_context(|| format!("could not listen on {address} ({flag})"))
    }

    /// Hands the socket over under the address that the service will ask for.
    fn into_fds(self) -> (Fds, String) {
        let mut fds = Fds::new();
        let address = self.address.to_string();
        fds.add(address.clone(), self.listener.into_raw_fd());
        (fds, address)
    }
}
