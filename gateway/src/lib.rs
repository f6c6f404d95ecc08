//! The data plane: takes requests, asks the snapshot what follows, and does it.
//!
//! `proxy` lists the phases of a request, `sync` brings changes in from the store, `server` puts settings and listeners together.

mod act;
mod check;
mod connection;
mod drain;
mod flight;
mod forward;
mod gate;
mod identity;
mod judge;
mod live;
mod observe;
mod ops;
mod own;
mod phase;
mod policy;
mod proxy;
mod queue;
mod quickstart;
mod relay;
mod replace;
mod reply;
mod request;
mod server;
mod settings;
mod streams;
mod sync;
mod tls;
mod upstream;

use std::ffi::OsString;
use std::process::ExitCode;

use gateway_config::settings::{SettingsError, load};

use settings::{Cli, Command};

/// Runs the program with `args`, the first of which is its own name.
pub fn run(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    // One provider for everything; a second one that a dependency switches on must not win.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let cli: Cli = match load(args, "gateway") {
        Ok(cli) => cli,
        Err(SettingsError::Usage(usage)) => {
            let _ = usage.print();
            return if usage.use_stderr() { ExitCode::from(2) } else { ExitCode::SUCCESS };
        }
        Err(error) => {
            fail(&error.into());
            return ExitCode::from(2);
        }
    };
    let outcome = match cli.command {
        Command::Serve(settings) => {
            observe::logs::start(settings.common.log_format);
            server::serve(&settings)
        }
        Command::Check(settings) => check::check(&settings),
        Command::Quickstart(settings) => quickstart::run(&settings),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&error),
    }
}

fn fail(error: &anyhow::Error) -> ExitCode {
    eprintln!("gateway: {error:#}");
    ExitCode::FAILURE
}

/// The generated reference of all flags, for docs and their test.
#[must_use]
pub fn command() -> clap::Command {
    <Cli as clap::CommandFactory>::command()
}
