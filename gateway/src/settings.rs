//! The settings of the data plane.

use std::net::SocketAddr;

use clap::{Args, Parser, Subcommand};
use gateway_config::settings::CommonSettings;

use crate::identity::key::KeySettings;
use crate::observe::traffic::TrafficSettings;
use crate::queue::QueueSettings;

#[derive(Parser, Debug)]
#[command(name = "gateway", version, about = "Gatehouse's data plane: an API gateway whose configuration is data")]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Subcommand, Debug)]
pub(crate) enum Command {
    /// Serve traffic
    Serve(ServeSettings),
    /// Validate the settings and reach every dependency
    Check(ServeSettings),
    /// Everything on this machine for a first look: gateway, admin API, demo backends, demo configuration
    Quickstart(QuickstartSettings),
}

#[derive(Args, Clone, Debug)]
pub(crate) struct ServeSettings {
    #[command(flatten)]
    pub(crate) common: CommonSettings,
    /// Where traffic is taken
    #[arg(long, env = "GATEWAY_LISTEN", default_value = "0.0.0.0:4200")]
    pub(crate) listen: SocketAddr,
    /// Where TLS traffic is taken
    #[arg(long, env = "GATEWAY_LISTEN_TLS", default_value = "0.0.0.0:4243")]
    pub(crate) listen_tls: SocketAddr,
    /// Where health, metrics and status are answered
    #[arg(long, env = "GATEWAY_OPS_LISTEN", default_value = "127.0.0.1:4202")]
    pub(crate) ops_listen: SocketAddr,
    /// Threads that handle traffic; 0: one for each core
    #[arg(long, env = "GATEWAY_THREADS", default_value_t = 0)]
    pub(crate) threads: usize,
    /// Idle connections to backends kept for reuse: one pool of this many times the threads
    #[arg(long, env = "GATEWAY_UPSTREAM_POOL", default_value_t = 1024)]
    pub(crate) upstream_pool: usize,
    /// How long an idle client connection is kept; 0: for ever
    #[arg(long, env = "GATEWAY_KEEPALIVE_SECONDS", default_value_t = 75)]
    pub(crate) keepalive_seconds: u64,
    /// How long a TLS handshake may take, and a request's head from its first byte to its last, however they trickle; 0: for ever (a
    /// handshake: a minute)
    #[arg(long, env = "GATEWAY_HEADER_TIMEOUT_SECONDS", default_value_t = 20)]
    pub(crate) header_timeout_seconds: u64,
    /// After a stop signal: how long new connections are still taken, for load balancers to notice
    #[arg(long, env = "GATEWAY_DRAIN_DELAY_MS", default_value_t = 0)]
    pub(crate) drain_delay_ms: u64,
    /// After a stop signal: how long requests in flight may take at the most
    #[arg(long, env = "GATEWAY_DRAIN_TIMEOUT_SECONDS", default_value_t = 30)]
    pub(crate) drain_timeout_seconds: u64,
    /// How often everything is read again to find rows that were edited by hand
    #[arg(long, env = "GATEWAY_RECONCILE_SECONDS", default_value_t = 60)]
    pub(crate) reconcile_seconds: u64,
    /// Proxies before the gateway whose X-Forwarded-For, X-Forwarded-Proto and Forwarded are believed: networks, separated by commas
    #[arg(long, env = "GATEWAY_TRUSTED_PROXIES", value_delimiter = ',')]
    pub(crate) trusted_proxies: Vec<ipnet::IpNet>,
    /// Send whoever comes over plain HTTP to this port of HTTPS
    #[arg(long, env = "GATEWAY_HTTPS_REDIRECT", value_name = "PORT")]
    pub(crate) https_redirect: Option<u16>,
    /// Redis, for limits that the fleet shares: redis://… or rediss://…
    #[arg(long, env = "REDIS_URL", hide_env_values = true)]
    pub(crate) redis_url: Option<String>,
    /// How long a request waits for Redis before its shared limits do without; a little more may pass
    #[arg(long, env = "GATEWAY_LIMITS_STORE_DEADLINE_MS", default_value_t = 4, value_parser = clap::value_parser!(u64).range(1..=10_000))]
    pub(crate) limits_store_deadline_ms: u64,
    /// Where the admin API listens: the gateway itself never fetches from there, whatever a URL in the configuration says
    #[arg(long, env = "ADMIN_LISTEN", default_value = "127.0.0.1:4201")]
    pub(crate) admin_listen: Option<SocketAddr>,
    /// How long a key signs what backends are told of callers before the next one takes over
    #[arg(long, env = "GATEWAY_SIGNING_KEY_DAYS", default_value_t = 30)]
    pub(crate) signing_key_days: u32,
    #[command(flatten)]
    pub(crate) keys: KeySettings,
    #[command(flatten)]
    pub(crate) queues: QueueSettings,
    #[command(flatten)]
    pub(crate) traffic: TrafficSettings,
}

#[derive(Args, Clone, Debug)]
pub(crate) struct QuickstartSettings {
    /// Where the demo keeps its database and secrets
    #[arg(long, env = "DATA_DIR", default_value = "data")]
    pub(crate) data_dir: std::path::PathBuf,
    /// Where traffic is taken
    #[arg(long, env = "GATEWAY_LISTEN", default_value = "127.0.0.1:4200")]
    pub(crate) listen: SocketAddr,
    /// Where TLS traffic is taken
    #[arg(long, env = "GATEWAY_LISTEN_TLS", default_value = "127.0.0.1:4243")]
    pub(crate) listen_tls: SocketAddr,
    /// Where health, metrics and status are answered
    #[arg(long, env = "GATEWAY_OPS_LISTEN", default_value = "127.0.0.1:4202")]
    pub(crate) ops_listen: SocketAddr,
    /// Where the admin API listens
    #[arg(long, env = "ADMIN_LISTEN", default_value = "127.0.0.1:4201")]
    pub(crate) admin_listen: SocketAddr,
    /// Let the system choose the ports of the demo backends
    #[arg(long)]
    pub(crate) free_ports: bool,
    /// A program that runs the others as its subcommands, instead of the programs beside this one
    #[arg(long, hide = true)]
    pub(crate) launcher: Option<std::path::PathBuf>,
}
