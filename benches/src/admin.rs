//! What the admin API takes on a large fleet: single writes, pages, exports, documents, and how long until fifty nodes have all heard
//! of a change.

use std::fmt::Write;
use std::net::SocketAddr;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use gateway_config::clock::{Clock, SystemClock, new_id};
use gateway_config::model::{FORMAT_VERSION, Node};
use gateway_config::snapshot::{Snapshot, compile};
use gateway_config::store::{self, Options, Since, Store};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::{Mutex, mpsc};

use crate::compare::micros;
use crate::consumers::Consumers;
use crate::process::{Process, beside};
use crate::stack::{MASTER_KEY, TOKEN, postgres_database};
use crate::{fleet, http};

/// Milliseconds that are promised.
const WRITE_POSTGRES: f64 = 10.0;
const PAGE: f64 = 20.0;
const APPLY: f64 = 5000.0;
const HEARD_POSTGRES: f64 = 100.0;

#[derive(Clone, Copy, Debug, clap::Args)]
pub struct Plan {
    #[arg(long, default_value_t = 10_000)]
    routes: usize,
    #[arg(long, default_value_t = 1_000)]
    services: usize,
    /// With ten keys each
    #[arg(long, default_value_t = 10_000)]
    applications: usize,
    /// Single writes, and as many pages
    #[arg(long, default_value_t = 200)]
    writes: usize,
    /// Nodes that hear of changes
    #[arg(long, default_value_t = 50)]
    readers: usize,
    /// Changes that they hear of
    #[arg(long, default_value_t = 50)]
    changes: usize,
}

/// Answers which promises were missed.
pub fn run(plan: &Plan, postgres: Option<&str>) -> anyhow::Result<Vec<String>> {
    let consumers = Consumers::new(plan.applications)?;
    let mut missed = on("SQLite", None, plan, &consumers)?;
    match postgres {
        Some(cluster) => missed.extend(on("Postgres", Some(postgres_database(cluster)?), plan, &consumers)?),
        None => println!("Postgres: not measured, GATEHOUSE_TEST_POSTGRES is not set"),
    }
    Ok(missed)
}

fn on(database: &str, url: Option<String>, plan: &Plan, consumers: &Consumers) -> anyhow::Result<Vec<String>> {
    let is_postgres = url.is_some();
    let admin = AdminApi::start(url)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    println!("{database}, {} routes, {} services, {} keys", plan.routes, plan.services, consumers.keys.len());
    let mut missed = Vec::new();
    let mut held = |what: &str, measured: f64, limit: Option<f64>| {
        if let Some(limit) = limit.filter(|limit| measured > *limit) {
            missed.push(format!("{database}: {what} takes {measured:.1} ms, at most {limit}"));
        }
    };
    let postgres = |limit: f64| is_postgres.then_some(limit);

    let document = document(plan).to_string();
    let (first, _) = admin.timed("POST", "/config/apply", &document)?;
    println!(
        "  a first document of all routes and services ({} MiB) is applied in {first:.0} ms",
        mebibytes(&document)
    );
    runtime.block_on(async { consumers.write(&*admin.store().await?, "127.0.0.1:1".parse()?).await })?;

    let (first, _) = admin.timed("GET", "/config/export", "")?;
    let (exporting, exported) = admin.timed("GET", "/config/export", "")?;
    let size = mebibytes(&exported);
    println!(
        "  the export ({size} MiB) takes {exporting:.0} ms; the first, when all was written by another process, {first:.0} ms"
    );
    let busy = admin.process.cpu()?;
    let (unchanged, report) = admin.timed("POST", "/config/apply?prune=true", &exported)?;
    let busy = micros(admin.process.cpu()?.saturating_sub(busy)) / 1000.0;
    let report: Value = serde_json::from_str(&report)?;
    if [&report["create"], &report["update"], &report["delete"]] != [&json!([]), &json!([]), &json!([])] {
        bail!("the export applied changes something");
    }
    println!("  the same applied again takes {unchanged:.0} ms, {busy:.0} ms of them the admin API's CPU");
    held("applying what stands already", unchanged, Some(APPLY));

    let (mut writes, mut pages) = (Vec::new(), Vec::new());
    for number in 0..plan.writes {
        writes.push(change(&admin, plan, number)?);
        let list = ["/routing/routes", "/routing/services", "/access/applications"];
        let path = format!("{}?limit=50&cursor={}", list[number % list.len()], cursor(number * 37 % plan.routes));
        pages.push(admin.timed("GET", &path, "")?.0);
    }
    let (write, page) = (Tail::of(writes), Tail::of(pages));
    println!("  a single write is answered within {write}, a page of a list within {page}");
    held("a single write", write.p50, postgres(WRITE_POSTGRES));
    held("a page", page.p50, Some(PAGE));

    let heard = runtime.block_on(listen(&admin, plan))?;
    println!("  {} nodes have all reported a change {heard} after its answer", plan.readers);
    held("the last node", heard.p99, postgres(HEARD_POSTGRES));
    Ok(missed)
}

/// Lets a route answer `number` by itself; the milliseconds that it took.
fn change(admin: &AdminApi, plan: &Plan, number: usize) -> anyhow::Result<f64> {
    let at = number * 7919 % plan.routes;
    let mut route = fleet::route(at, plan.services);
    route["target"] = json!({"respond": {"body": format!("change {number}")}});
    let (took, _) = admin.timed("PUT", &format!("/routing/routes/{}", fleet::route_name(at)), &route.to_string())?;
    Ok(took)
}

fn document(plan: &Plan) -> Value {
    let services: Vec<Value> = (0..plan.services).map(|number| fleet::service(number, "http://127.0.0.1:1")).collect();
    let routes: Vec<Value> = (0..plan.routes).map(|number| fleet::route(number, plan.services)).collect();
    json!({"services": services, "routes": routes})
}

/// As the admin API writes cursors. Wherever it stands, a page begins behind it.
fn cursor(number: usize) -> String {
    fleet::route_name(number).bytes().fold(String::new(), |mut cursor, byte| {
        // Writing to a string can't fail.
        let _ = write!(cursor, "{byte:02x}");
        cursor
    })
}

/// The admin API alone, as a process of its own.
struct AdminApi {
    process: Process,
    address: SocketAddr,
    url: String,
    // Declared last: the process ends before its folder goes.
    _folder: TempDir,
}

impl AdminApi {
    fn start(url: Option<String>) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let url = url.unwrap_or_else(|| format!("sqlite://{}", folder.path().join("gateway.db").display()));
        let mut command = Command::new(beside("admin-api")?);
        command.args(["serve", "--listen", "127.0.0.1:0"]).env_remove("RUST_LOG").env("DATABASE_URL", &url);
        command.env("LOG_FORMAT", "json").env("ADMIN_TOKEN", TOKEN).env("GATEWAY_MASTER_KEY", MASTER_KEY);
        let mut process = Process::start("admin-api", command, folder.path())?;
        let address = process.wait_listening("admin")?;
        Ok(Self { process, address, url, _folder: folder })
    }

    async fn store(&self) -> anyhow::Result<Arc<dyn Store>> {
        Ok(store::open_with(&self.url, Options { connections: 2, ..Options::default() }).await?)
    }

    /// The milliseconds until all of the answer was there, and its body; anything but a success is an error.
    fn timed(&self, method: &str, path: &str, body: &str) -> anyhow::Result<(f64, String)> {
        let bearer = format!("authorization: Bearer {TOKEN}");
        let start = Instant::now();
        let answer = http::send(self.address, method, &format!("/admin{path}"), Some(&bearer), body)?;
        let took = micros(start.elapsed()) / 1000.0;
        if !matches!(answer.status, 200 | 201 | 204) {
            bail!("{method} {path} was answered {} {}", answer.status, answer.body.get(..2000).unwrap_or(&answer.body));
        }
        Ok((took, answer.body))
    }
}

/// The milliseconds from the answers to writes until the last of the nodes has reported what was written. The nodes have one compiled
/// configuration between them, for fifty of them would not be on one machine.
async fn listen(admin: &AdminApi, plan: &Plan) -> anyhow::Result<Tail> {
    let loaded = admin.store().await?.load().await?;
    let Ok(snapshot) = compile(&loaded.configuration, loaded.head.generation) else { bail!("it does not compile") };
    let shared = Arc::new(Mutex::new(Arc::new(snapshot)));
    let (heard, mut hearing) = mpsc::unbounded_channel();
    let mut readers = tokio::task::JoinSet::new();
    for _ in 0..plan.readers {
        readers.spawn(read(admin.store().await?, shared.clone(), heard.clone()));
    }
    let mut took = Vec::new();
    // The first tells that all of them listen.
    for number in 0..=plan.changes {
        let answered =
            tokio::task::block_in_place(|| change(admin, plan, plan.writes + number).map(|_| Instant::now()))?;
        let generation = admin.store().await?.head().await?.generation;
        let mut last = answered;
        for _ in 0..plan.readers {
            loop {
                let next = tokio::time::timeout(Duration::from_secs(30), hearing.recv());
                let (reported, at) = tokio::select! {
                    next = next => next.context("a node heard nothing for 30 s")?.context("the nodes ended")?,
                    Some(ended) = readers.join_next() => { ended??; bail!("a node ended") }
                };
                if reported == generation {
                    last = last.max(at);
                    break;
                }
            }
        }
        if number > 0 {
            took.push(micros(last - answered) / 1000.0);
        }
    }
    Ok(Tail::of(took))
}

/// A node: told that something happened it reads what, has it compiled, and reports.
async fn read(
    store: Arc<dyn Store>,
    shared: Arc<Mutex<Arc<Snapshot>>>,
    heard: mpsc::UnboundedSender<(u64, Instant)>,
) -> anyhow::Result<()> {
    let mut generation = shared.lock().await.generation();
    let mut watch = store.watch().await?;
    let id = new_id();
    loop {
        watch.changed().await?;
        match store.load_since(generation).await? {
            Since::UpToDate => continue,
            Since::Reload => bail!("the history does not reach back"),
            Since::Changed { change, .. } => {
                let mut newest = shared.lock().await;
                if newest.generation() < change.generation {
                    let next = newest.apply(&change);
                    *newest = Arc::new(next.map_err(|problems| anyhow::anyhow!("{problems:?}"))?);
                }
                generation = change.generation;
            }
        }
        let node = Node {
            id,
            version: "benches".to_owned(),
            format: FORMAT_VERSION,
            address: String::new(),
            generation,
            digest: String::new(),
            degraded: Vec::new(),
            last_seen: SystemClock.now(),
            has_left: false,
        };
        store.report_node(&node).await?;
        if heard.send((generation, Instant::now())).is_err() {
            return Ok(());
        }
    }
}

/// Milliseconds.
#[derive(Debug)]
struct Tail {
    p50: f64,
    p99: f64,
    worst: f64,
}

impl Tail {
    fn of(mut values: Vec<f64>) -> Self {
        values.sort_by(f64::total_cmp);
        let worst = values.last().copied().unwrap_or(f64::NAN);
        let at = |hundredth: usize| values.get(values.len() * hundredth / 100).copied().unwrap_or(worst);
        Self { p50: at(50), p99: at(99), worst }
    }
}

impl std::fmt::Display for Tail {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:.1} ms (p99 {:.1}, worst {:.1})", self.p50, self.p99, self.worst)
    }
}

fn mebibytes(text: &str) -> usize {
    text.len() >> 20
}
