//! The side-by-side runner. `benches/README.md` says how to read what it prints.

use benches::compare::{Contender, Rounds};
use benches::peer::{Peer, PeerName};
use benches::{memory, origin, reload, routes};
use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(about = "What Gatehouse costs, beside bare Pingora and nginx", args_conflicts_with_subcommands = true)]
struct Settings {
    /// The first is what the others are compared with
    #[arg(long, value_delimiter = ',', default_value = "bare,nginx,gateway")]
    peers: Vec<PeerName>,
    #[arg(long, value_delimiter = ',', default_value = "1k,100k")]
    sizes: Vec<String>,
    #[arg(long, default_value_t = 20)]
    rounds: usize,
    /// In each round, to each peer
    #[arg(long, default_value_t = 100_000)]
    requests: usize,
    #[arg(long, default_value_t = 64)]
    connections: usize,
    /// Compare the gateway with itself at these numbers of routes instead
    #[arg(long, value_delimiter = ',')]
    routes: Vec<usize>,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// From the answer to the write of one route among 10,000 to the first request served by it
    Reload {
        #[arg(long, default_value_t = 100)]
        changes: usize,
        /// A Postgres to measure too: an empty database, which is filled
        #[arg(long, env = "GATEHOUSE_TEST_POSTGRES", hide_env_values = true)]
        postgres: Option<String>,
    },
    /// Memory of the gateway with 10,000 routes, and over reloads
    Memory {
        #[arg(long, default_value_t = 10_000)]
        reloads: usize,
    },
}

fn main() -> anyhow::Result<()> {
    let settings = Settings::parse();
    let origin = origin::start()?;
    match settings.command {
        Some(Command::Reload { changes, postgres }) => {
            reload::run("SQLite", None, changes, origin)?;
            match postgres {
                Some(url) => reload::run("Postgres", Some(&url), changes, origin),
                None => {
                    println!("Postgres: not measured, GATEHOUSE_TEST_POSTGRES is not set");
                    Ok(())
                }
            }
        }
        Some(Command::Memory { reloads }) => memory::run(reloads, origin),
        None => {
            let Settings { rounds, requests, connections, .. } = settings;
            let rounds = Rounds { rounds, requests, connections };
            if !settings.routes.is_empty() {
                return routes::run(&rounds, &settings.routes, origin).map(drop);
            }
            for size in &settings.sizes {
                let mut contenders = Vec::new();
                for name in &settings.peers {
                    if let Some(peer) = Peer::start(*name, origin)? {
                        contenders.push(Contender { peer, paths: vec![format!("/{size}")] });
                    }
                }
                rounds.run(&format!("{size} answers"), &contenders)?;
            }
            Ok(())
        }
    }
}
