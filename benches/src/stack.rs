//! Gatehouse as it is run: the release binaries of both planes over one database, in a folder that goes with them.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use gateway_config::change::{Changer, Proposal};
use gateway_config::clock::{SystemClock, new_id};
use gateway_config::master_key::MasterKey;
use gateway_config::model::{ChainKey, Kind};
use gateway_config::store::{self, Store};
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection};
use tempfile::TempDir;

use crate::process::{Process, beside};
use crate::{fleet, http};

pub(crate) const TOKEN: &str = "benches-token-benches-token-benches-token";
/// Of the fleet: whoever has it can make texts that look like keys.
pub const MASTER_KEY: &str = "benches-master-key-benches-master-key";
/// The secret that issuers of HS256 refer to, and what it holds.
pub const SECRET_VARIABLE: &str = "GATEWAY_SECRET_BENCHES";
pub const SECRET: &str = "a secret of the benches, long enough for HS256";

/// Proposals in one transaction; a write of ten thousand would hold the head's lock for long.
const BATCH: usize = 1000;

/// How a gateway is started.
#[derive(Clone, Copy, Debug)]
pub struct Start<'a> {
    /// Of the database; none: SQLite.
    pub url: Option<&'a str>,
    /// Proxy workers.
    pub threads: usize,
    /// Variables of its environment, beside what every gateway gets.
    pub variables: &'a [(&'a str, String)],
}

impl Default for Start<'_> {
    fn default() -> Self {
        Self { url: None, threads: 1, variables: &[] }
    }
}

/// A gateway of a fleet.
#[derive(Debug)]
pub struct Node {
    pub(crate) traffic: SocketAddr,
    pub(crate) ops: SocketAddr,
    _process: Process,
}

#[derive(Debug)]
pub struct Stack {
    pub gateway: Process,
    pub traffic: SocketAddr,
    pub(crate) ops: SocketAddr,
    admin_process: Process,
    admin: SocketAddr,
    database: String,
    // Declared last: the processes end before their folder goes.
    folder: TempDir,
}

impl Stack {
    /// Over SQLite, or over the database at `url`, with `routes` routes and `services` services in front of `origin`, written
    /// before the gateway starts.
    pub fn start(url: Option<&str>, origin: SocketAddr, routes: usize, services: usize) -> anyhow::Result<Self> {
        Self::start_filled(url, async |store| write(store, origin, routes, services).await)
    }

    /// Over the database at `url`, or over SQLite, with what `fill` writes before the gateway starts.
    pub fn start_filled(
        url: Option<&str>,
        fill: impl AsyncFnOnce(Arc<dyn Store>) -> anyhow::Result<()>,
    ) -> anyhow::Result<Self> {
        Self::start_as(&Start { url, ..Start::default() }, fill)
    }

    /// With what `fill` writes before the gateway starts.
    pub fn start_as(
        start: &Start<'_>,
        fill: impl AsyncFnOnce(Arc<dyn Store>) -> anyhow::Result<()>,
    ) -> anyhow::Result<Self> {
        let Start { url, threads, variables } = start;
        let folder = tempfile::tempdir()?;
        let url = url.map_or_else(|| format!("sqlite://{}", folder.path().join("gateway.db").display()), str::to_owned);
        let admin = command("admin-api", &url, &folder.path().join("admin-api"))?;
        let mut admin_process = Process::start("admin-api", admin, folder.path())?;
        let admin = admin_process.wait_listening("admin")?;
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        runtime.block_on(async { fill(store::open(&url).await?).await })?;
        let mut gateway = gateway_command(&url, &folder.path().join("gateway"), *threads)?;
        gateway.envs(variables.iter().map(|(name, value)| (name, value)));
        let mut gateway = Process::start("gateway", gateway, folder.path())?;
        let (traffic, ops) = (gateway.wait_listening("traffic")?, gateway.wait_listening("ops")?);
        wait_ready(ops)?;
        Ok(Self { gateway, traffic, ops, admin_process, admin, database: url, folder })
    }

    /// One more over the same database, with one worker.
    pub fn another_gateway(&self, number: usize) -> anyhow::Result<Node> {
        let name = format!("gateway-{number}");
        let command = gateway_command(&self.database, &self.folder.path().join(&name), 1)?;
        let mut process = Process::start(&name, command, self.folder.path())?;
        let (traffic, ops) = (process.wait_listening("traffic")?, process.wait_listening("ops")?);
        wait_ready(ops)?;
        Ok(Node { traffic, ops, _process: process })
    }

    /// Puts an entity through the admin API; `path` is below `/admin`.
    pub fn put(&self, path: &str, value: &Value) -> anyhow::Result<http::Answer> {
        self.ask("PUT", path, value)
    }

    /// As an operator; anything but a success is an error.
    pub fn ask(&self, method: &str, path: &str, value: &Value) -> anyhow::Result<http::Answer> {
        let body = if value.is_null() { String::new() } else { value.to_string() };
        let bearer = format!("authorization: Bearer {TOKEN}");
        let answer = http::send(self.admin, method, &format!("/admin{path}"), Some(&bearer), &body)?;
        if !matches!(answer.status, 200 | 201 | 204) {
            bail!("{method} {path} was answered {} {}", answer.status, answer.body);
        }
        Ok(answer)
    }

    /// A new key of the application, served by the gateway when this returns.
    pub fn make_key(&self, application: &str) -> anyhow::Result<String> {
        let path = format!("/access/applications/{application}/keys?wait=5s");
        let answer = self.ask("POST", &path, &json!({"name": "benches"}))?.json()?;
        Ok(answer.get("key").and_then(Value::as_str).context("the answer shows no key")?.to_owned())
    }

    /// One service and one route to it for everything, served by the gateway when this returns.
    pub fn serve_everything_from(&self, origin: SocketAddr) -> anyhow::Result<()> {
        self.put("/routing/services/origin?wait=5s", &json!({"defaultUrl": format!("http://{origin}")}))?;
        let route = json!({"path": "/{*rest}", "target": {"service": "origin"}, "access": {"anyOf": ["public"]}});
        self.put("/routing/routes/everything?wait=5s", &route)?;
        let answer = http::send(self.traffic, "GET", "/1k", None, "")?;
        if answer.status != 200 {
            bail!("the gateway answers {} {}", answer.status, answer.body);
        }
        Ok(())
    }

    pub fn admin_resident_bytes(&self) -> anyhow::Result<u64> {
        self.admin_process.resident_bytes()
    }
}

fn command(program: &str, database: &str, data: &Path) -> anyhow::Result<Command> {
    let mut command = Command::new(beside(program)?);
    command.arg("serve").arg("--listen").arg("127.0.0.1:0");
    command.env_remove("RUST_LOG").env("DATABASE_URL", database).env("DATA_DIR", data);
    command.env("LOG_FORMAT", "json").env("ADMIN_TOKEN", TOKEN);
    // On Postgres it must be given.
    command.env("GATEWAY_MASTER_KEY", MASTER_KEY).env(SECRET_VARIABLE, SECRET);
    Ok(command)
}

fn gateway_command(database: &str, data: &Path, threads: usize) -> anyhow::Result<Command> {
    let mut gateway = command("gateway", database, data)?;
    gateway.args(["--listen-tls", "127.0.0.1:0", "--ops-listen", "127.0.0.1:0", "--threads", &threads.to_string()]);
    Ok(gateway)
}

fn wait_ready(ops: SocketAddr) -> anyhow::Result<()> {
    let start = Instant::now();
    while http::send(ops, "GET", "/readyz", None, "").is_ok_and(|answer| answer.status != 200) {
        if start.elapsed() > Duration::from_mins(1) {
            bail!("the gateway is not ready after a minute");
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}

/// Makes a fresh database in the cluster of `cluster`, a Postgres URL, and answers its URL.
pub fn postgres_database(cluster: &str) -> anyhow::Result<String> {
    let name = format!("benches_{}", new_id().simple());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut connection = PgConnection::connect(cluster).await.context("could not reach Postgres")?;
        connection.execute(AssertSqlSafe(format!("CREATE DATABASE {name}"))).await?;
        anyhow::Ok(())
    })?;
    let (server, _) = cluster.rsplit_once('/').context("a Postgres URL ends in /DATABASE")?;
    Ok(format!("{server}/{name}"))
}

async fn write(store: Arc<dyn Store>, origin: SocketAddr, routes: usize, services: usize) -> anyhow::Result<()> {
    let chain = ChainKey::of(&MasterKey::of(MASTER_KEY).context("the benches' master key")?);
    let changer = Changer::new(store, Arc::new(SystemClock), chain);
    let url = format!("http://{origin}");
    let services_first =
        (0..services).map(|number| (Kind::Service, fleet::service_name(number), fleet::service(number, &url)));
    let routes = (0..routes).map(|number| (Kind::Route, fleet::route_name(number), fleet::route(number, services)));
    let proposals: Vec<Proposal> =
        services_first.chain(routes).map(|(kind, name, value)| Proposal::put(kind, &name, value)).collect();
    for batch in proposals.chunks(BATCH) {
        changer.write("benches", batch).await.context("could not write the configuration")?;
    }
    Ok(())
}
