//! The command line: `backends run NAME…` and `backends list`.

use std::{ffi::OsString, fmt::Write as _, io::IsTerminal, net::SocketAddr, path::PathBuf, process::ExitCode};

use anyhow::{Context, Result, bail};
use clap::{Args, Parser, Subcommand, ValueEnum};
use reqwest::Url;
use tokio::signal::unix::{SignalKind, signal};
use tracing::info;
use tracing_subscriber::EnvFilter;

use crate::{
    server::{Plan, Server},
    services::Name,
    workers::Settings,
};

/// Demo services and workers that stand behind Gatehouse.
#[derive(Debug, Parser)]
#[command(name = "backends", version)]
struct CommandLine {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run one service or worker or several, until SIGTERM or SIGINT.
    Run(Box<RunArguments>),
    /// List services and workers: name, port, what each does.
    List,
}

#[derive(Debug, Args)]
struct RunArguments {
    /// The services and workers to run.
    #[arg(required = true, value_name = "NAME")]
    names: Vec<Name>,
    /// Where a service listens instead of its usual port on 127.0.0.1; may be given once for each; port 0 takes a free one.
    #[arg(long, value_name = "NAME=ADDRESS", value_parser = parse_listen)]
    listen: Vec<(Name, SocketAddr)>,
    /// The folder for the services' databases.
    #[arg(long, env = "BACKENDS_DATA_DIR", default_value = "data/backends")]
    data_dir: PathBuf,
    /// Where the gateway publishes the keys with which it signs who calls; `vault` believes nobody else.
    #[arg(
        long,
        env = "GATEWAY_JWKS_URL",
        value_name = "URL",
        default_value = "http://127.0.0.1:4200/.well-known/gateway/jwks.json"
    )]
    gateway_jwks: Url,
    #[command(flatten)]
    workers: Settings,
    /// How the log on standard error is written.
    #[arg(long, env = "LOG_FORMAT", default_value = "pretty")]
    log_format: LogFormat,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum LogFormat {
    Pretty,
    Json,
}

fn parse_listen(given: &str) -> Result<(Name, SocketAddr), String> {
    let (name, address) = given.split_once('=').ok_or("write NAME=ADDRESS, such as auth=127.0.0.1:0")?;
    let name = Name::from_str(name, false).map_err(|_| format!("there is no service {name:?}"))?;
    let address = address.parse().map_err(|_| format!("{address:?} is not an address such as 127.0.0.1:7200"))?;
    Ok((name, address))
}

/// The generated reference of all flags, for docs and their test.
#[must_use]
pub fn command() -> clap::Command {
    <CommandLine as clap::CommandFactory>::command()
}

/// Does what the arguments say; the first one is the program's name. A failure is one line on standard error.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let given = match CommandLine::try_parse_from(arguments) {
        Ok(given) => given,
        Err(told) => {
            // Help and version come this way too, and are no failure. With the output closed there is nobody to tell.
            let _ = told.print();
            return ExitCode::from(u8::try_from(told.exit_code()).unwrap_or(2));
        }
    };
    let done = match given.command {
        Command::List => {
            print!("{}", listing());
            Ok(())
        }
        Command::Run(arguments) => serve(*arguments),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(cause) => {
            eprintln!("backends: {cause:#}");
            ExitCode::FAILURE
        }
    }
}

fn listing() -> String {
    let mut lines = String::new();
    for name in Name::ALL {
        // Writing to a string does not fail.
        let _ = writeln!(lines, "{:<9} {}  {}", name.as_str(), name.port(), name.purpose());
    }
    lines
}

fn plan(arguments: RunArguments) -> Result<Plan> {
    for (name, _) in &arguments.listen {
        if !arguments.names.contains(name) {
            bail!("--listen names {name}, which is not to run");
        }
        if arguments.listen.iter().filter(|(other, _)| other == name).count() > 1 {
            bail!("--listen names {name} twice");
        }
    }
    for from in &arguments.workers.consume {
        if !arguments.names.contains(&from.worker) {
            bail!("--consume names {}, which is not to run", from.worker);
        }
    }
    let mut plan = Plan::new(arguments.data_dir, arguments.gateway_jwks);
    plan.workers = arguments.workers;
    for name in arguments.names {
        if plan.services.iter().any(|(planned, _)| *planned == name) {
            bail!("{name} is named twice");
        }
        let address = arguments.listen.iter().find(|(other, _)| *other == name).map(|(_, address)| *address);
        plan = plan.with(name, address);
    }
    Ok(plan)
}

fn serve(arguments: RunArguments) -> Result<()> {
    start_log(arguments.log_format);
    let plan = plan(arguments)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    runtime.context("could not start the async runtime")?.block_on(async {
        // Before the first line that tells of life: whoever reads it may send a signal.
        let mut terminate = signal(SignalKind::terminate()).context("could not listen for SIGTERM")?;
        let mut interrupt = signal(SignalKind::interrupt()).context("could not listen for SIGINT")?;
        let server = Server::start(plan).await?;
        let listening: Vec<String> =
            server.addresses().iter().map(|(name, address)| format!("{name}={address}")).collect();
        info!("listening {}", listening.join(" "));
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        server.stop().await
    })
}

/// `RUST_LOG` says how much is logged. A second log in one process is refused by the first, which goes on.
fn start_log(format: LogFormat) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    let _ = match format {
        LogFormat::Pretty => log.with_target(false).try_init(),
        LogFormat::Json => log.json().flatten_event(true).try_init(),
    };
}
