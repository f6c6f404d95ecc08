//! The side-by-side runner. `benches/README.md` says how to read what it prints.

use std::net::SocketAddr;

use anyhow::bail;
use benches::compare::Rounds;
use benches::peer::PeerName;
use benches::stack::postgres_database;
use benches::{admin, flood, keys, memory, nodes, origin, policy, queues, reload, routes};
use clap::{Args, Parser, Subcommand};

#[derive(Parser)]
#[command(about = "What Gatehouse costs, beside bare Pingora and nginx", args_conflicts_with_subcommands = true)]
struct Settings {
    /// The first is what the others are compared with
    #[arg(long, value_delimiter = ',', default_value = "bare,nginx,gateway")]
    peers: Vec<PeerName>,
    #[arg(long, value_delimiter = ',', default_value = "1k,100k")]
    sizes: Vec<String>,
    #[command(flatten)]
    rounds: RoundSettings,
    /// Compare the gateway with itself at these numbers of routes instead
    #[arg(long, value_delimiter = ',')]
    routes: Vec<usize>,
    /// Fail when a promise is missed
    #[arg(long, global = true)]
    gate: bool,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Args, Clone, Copy)]
struct RoundSettings {
    #[arg(long, default_value_t = 20)]
    rounds: usize,
    /// In each round, to each peer
    #[arg(long, default_value_t = 100_000)]
    requests: usize,
    #[arg(long, default_value_t = 64)]
    connections: usize,
}

impl From<RoundSettings> for Rounds {
    fn from(RoundSettings { rounds, requests, connections }: RoundSettings) -> Self {
        Self { rounds, requests, connections }
    }
}

/// What 10,000 routes may cost of ten's CPU.
const LARGE: f64 = 1.3;
/// Milliseconds until a change is served, at the 99th percentile.
const SERVED_SQLITE: f64 = 300.0;
const SERVED_POSTGRES: f64 = 100.0;

#[derive(Subcommand)]
enum Command {
    /// From the answer to the write of one route among 10,000 to the first request served by it
    Reload {
        #[arg(long, default_value_t = 100)]
        changes: usize,
        /// A Postgres to measure too; a database is made in it
        #[arg(long, env = "GATEHOUSE_TEST_POSTGRES", hide_env_values = true)]
        postgres: Option<String>,
    },
    /// The same for a fleet: from the answer to the write until each of many gateways serves it
    Nodes {
        #[command(flatten)]
        plan: nodes::Plan,
        /// A Postgres to measure too; a database is made in it
        #[arg(long, env = "GATEHOUSE_TEST_POSTGRES", hide_env_values = true)]
        postgres: Option<String>,
    },
    /// Requests with and without changes of the configuration beside them
    Calm(nodes::Calm),
    /// Memory of the gateway with 10,000 routes, and over reloads
    Memory {
        #[arg(long, default_value_t = 10_000)]
        reloads: usize,
    },
    /// 100,000 API keys beside ten: CPU of a request, memory, and the time until a revocation holds
    Keys {
        #[command(flatten)]
        rounds: RoundSettings,
        /// With ten keys each
        #[arg(long, default_value_t = 10_000)]
        applications: usize,
        /// Keys that the measured requests carry in turn
        #[arg(long, default_value_t = 10_000)]
        used: usize,
        #[arg(long, default_value_t = 100)]
        revocations: usize,
        /// A Postgres to measure revocations in too; a database is made in it
        #[arg(long, env = "GATEHOUSE_TEST_POSTGRES", hide_env_values = true)]
        postgres: Option<String>,
    },
    /// The admin API on a large fleet: single writes, pages, export, documents, and the time until all nodes have heard of a change
    Admin {
        #[command(flatten)]
        plan: admin::Plan,
        /// A Postgres to measure too; a database is made in it
        #[arg(long, env = "GATEHOUSE_TEST_POSTGRES", hide_env_values = true)]
        postgres: Option<String>,
    },
    /// Good requests with and without wrong keys beside them
    Flood(flood::Plan),
    /// Confirmed publishes beside the brokers' own clients, embedded queues, and brokers that go away
    Queues {
        #[command(flatten)]
        plan: queues::Plan,
        /// A Postgres to keep embedded queues in too; a database is made in it
        #[arg(long, env = "GATEHOUSE_TEST_POSTGRES", hide_env_values = true)]
        postgres: Option<String>,
    },
}

fn main() -> anyhow::Result<()> {
    let settings = Settings::parse();
    let origin = origin::start()?;
    let missed = match &settings.command {
        Some(Command::Reload { changes, postgres }) => reloads(*changes, postgres.as_deref(), origin)?,
        Some(Command::Nodes { plan, postgres }) => fleets(plan, postgres.as_deref(), origin)?,
        Some(Command::Calm(plan)) => nodes::calm(plan, origin)?,
        Some(Command::Memory { reloads }) => memory::run(*reloads, origin)?,
        Some(Command::Keys { rounds, applications, used, revocations, postgres }) => {
            let (applications, used, revocations) = (*applications, *used, *revocations);
            let (rounds, postgres) = ((*rounds).into(), postgres.as_deref());
            keys::run(&keys::Plan { rounds, applications, used, revocations, postgres }, origin)?
        }
        Some(Command::Admin { plan, postgres }) => admin::run(plan, postgres.as_deref())?,
        Some(Command::Flood(plan)) => flood::run(plan, origin)?,
        Some(Command::Queues { plan, postgres }) => queues::run(plan, postgres.as_deref())?,
        None => cpu(&settings, origin)?,
    };
    for promise in &missed {
        println!("missed: {promise}");
    }
    if settings.gate && !missed.is_empty() {
        bail!("{} promises were missed", missed.len());
    }
    Ok(())
}

fn cpu(settings: &Settings, origin: SocketAddr) -> anyhow::Result<Vec<String>> {
    let rounds = Rounds::from(settings.rounds);
    if !settings.routes.is_empty() {
        let ratios = routes::run(&rounds, &settings.routes, origin)?;
        return Ok(above(ratios.into_iter().skip(1), LARGE, "a large configuration"));
    }
    let mut missed = Vec::new();
    for size in &settings.sizes {
        let (mut contenders, mut limits) = (Vec::new(), Vec::new());
        for name in &settings.peers {
            if let Some(contender) = policy::contender(*name, origin, &format!("/{size}"), rounds.total())? {
                contenders.push(contender);
                limits.push(name.limit());
            }
        }
        let ratios = rounds.run(&format!("{size} answers"), &contenders)?;
        for ((contender, ratio), limit) in contenders.iter().zip(ratios).zip(limits) {
            let limit = limit.unwrap_or(f64::INFINITY);
            missed.extend(above([ratio].into_iter(), limit, &format!("{}, {size} answers", contender.peer.name)));
        }
    }
    Ok(missed)
}

fn above(ratios: impl Iterator<Item = f64>, limit: f64, what: &str) -> Vec<String> {
    ratios.filter(|ratio| *ratio > limit).map(|ratio| format!("{what}: {ratio:.3}, at most {limit}")).collect()
}

fn fleets(plan: &nodes::Plan, postgres: Option<&str>, origin: SocketAddr) -> anyhow::Result<Vec<String>> {
    let mut missed = nodes::run(plan, "SQLite", None, origin)?;
    match postgres {
        Some(cluster) => missed.extend(nodes::run(plan, "Postgres", Some(&postgres_database(cluster)?), origin)?),
        None => println!("Postgres: not measured, GATEHOUSE_TEST_POSTGRES is not set"),
    }
    Ok(missed)
}

fn reloads(changes: usize, postgres: Option<&str>, origin: SocketAddr) -> anyhow::Result<Vec<String>> {
    let mut p99 = vec![("SQLite", reload::run("SQLite", None, changes, origin)?, SERVED_SQLITE)];
    match postgres {
        Some(cluster) => {
            let url = postgres_database(cluster)?;
            p99.push(("Postgres", reload::run("Postgres", Some(&url), changes, origin)?, SERVED_POSTGRES));
        }
        None => println!("Postgres: not measured, GATEHOUSE_TEST_POSTGRES is not set"),
    }
    let late = p99.into_iter().filter(|(_, served, limit)| served > limit);
    Ok(late.map(|(database, served, limit)| format!("{database}: {served:.1} ms, at most {limit}")).collect())
}
