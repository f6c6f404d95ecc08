//! The command line: `admin-api serve | migrate | check | password | openapi`. Exit codes: 0 done, 1 could not be done, 2 wrong usage or
//! settings.

use std::ffi::OsString;
use std::future::Future;
use std::io::IsTerminal;
use std::process::ExitCode;

use anyhow::{Context, Result};
use gateway_config::master_key::MasterKey;
use gateway_config::settings::{LogFormat, SettingsError, load};
use gateway_config::store;
use tracing_subscriber::EnvFilter;

use crate::audit::{self, AuditCommand};
use crate::first_admin::{self, FirstAdmin};
use crate::settings::{AdminToken, Command, CommandLine, Settings};
use crate::{backup, check, commands, openapi, server};

const WRONG_SETTINGS: u8 = 2;

/// The generated reference of all flags, for docs and their test.
#[must_use]
pub fn command() -> clap::Command {
    <CommandLine as clap::CommandFactory>::command()
}

/// Does what the arguments say; the first one is the program's name.
pub fn run(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    // Another provider in the tree would make the choice ambiguous, so it is made here; a second call in one process is moot.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let command = match load::<CommandLine>(args, "admin-api") {
        Ok(given) => given.command,
        Err(SettingsError::Usage(told)) => {
            // Help and version come this way too, and are no failure. With the output closed there is nobody to tell.
            let _ = told.print();
            return ExitCode::from(u8::try_from(told.exit_code()).unwrap_or(WRONG_SETTINGS));
        }
        Err(error) => {
            eprintln!("admin-api: {error}");
            return ExitCode::from(WRONG_SETTINGS);
        }
    };
    match command {
        Command::Serve(settings) => serve(settings),
        Command::Migrate(settings) => outcome(in_runtime(settings.common.log_format, migrate(&settings))),
        Command::Check(settings) => outcome(in_runtime(settings.common.log_format, check::check(&settings))),
        Command::Password(settings) => {
            outcome(in_runtime(settings.common.log_format, first_admin::set_password(&settings)))
        }
        Command::Export(settings) => commands::export(&settings),
        Command::Diff(settings) => commands::diff(&settings),
        Command::Apply(settings) => commands::apply(&settings),
        Command::Audit(AuditCommand::Verify(settings)) => {
            outcome(in_runtime(settings.common.log_format, audit::verify(&settings)))
        }
        Command::Backup(settings) => backup::backup(&settings),
        Command::Restore(settings) => backup::restore(&settings),
        Command::Openapi => {
            println!("{}", openapi::document());
            ExitCode::SUCCESS
        }
    }
}

fn serve(settings: Settings) -> ExitCode {
    // Reading the master key may warn.
    start_log(settings.common.log_format);
    let wrong = |error: &dyn std::fmt::Display| {
        eprintln!("admin-api: {error}");
        ExitCode::from(WRONG_SETTINGS)
    };
    let token = match AdminToken::from_environment() {
        Ok(token) => token,
        Err(error) => return wrong(&error),
    };
    let first_admin = match FirstAdmin::from_environment() {
        Ok(first_admin) => first_admin,
        Err(error) => return wrong(&error),
    };
    match MasterKey::load(&settings.common.database_url) {
        Ok(master) => {
            let format = settings.common.log_format;
            outcome(in_runtime(format, server::serve(settings, token, first_admin, master)))
        }
        Err(error) => wrong(&error),
    }
}

async fn migrate(settings: &Settings) -> Result<()> {
    let store = store::open(&settings.common.database_url).await?;
    store.migrate().await?;
    println!("the database's tables are up to date");
    Ok(())
}

fn in_runtime(format: LogFormat, task: impl Future<Output = Result<()>>) -> Result<()> {
    start_log(format);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.context("could not start the async runtime")?;
    let done = runtime.block_on(task);
    // A thread that waits for a dead disk must not hold up the end.
    runtime.shutdown_background();
    done
}

fn outcome(done: Result<()>) -> ExitCode {
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(cause) => {
            eprintln!("admin-api: {cause:#}");
            ExitCode::FAILURE
        }
    }
}

/// `RUST_LOG` says how much is logged. A second log in one process is refused by the first, which goes on.
pub(crate) fn start_log(format: LogFormat) {
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
