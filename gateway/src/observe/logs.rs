//! Logs on stderr, for people or for machines.

use std::io::IsTerminal;

use gateway_config::settings::LogFormat;
use tracing_subscriber::EnvFilter;

/// Starts logging; a second call in one process, as tests make it, changes nothing.
pub(crate) fn start(format: LogFormat) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info,pingora=error"));
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    // A file or another program reads no colours.
    let builder = builder.with_ansi(std::io::stderr().is_terminal());
    let _ = match format {
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
        LogFormat::Pretty => builder.try_init(),
    };
}
