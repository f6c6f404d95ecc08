//! What the process reads once at its start. The token comes from the environment alone: a flag would show in the process list.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use gateway_config::api_key::Argon2Settings;
use gateway_config::settings::CommonSettings;
use subtle::ConstantTimeEq;
use thiserror::Error;

use crate::audit::AuditCommand;
use crate::backup::{BackupSettings, RestoreSettings};
use crate::commands::{ApplySettings, DiffSettings, ExportSettings};

pub(crate) const TOKEN_VARIABLE: &str = "ADMIN_TOKEN";
const SHORTEST_TOKEN: usize = 32;

pub(crate) const UNUSED_AFTER_DAYS: u32 = 30;

/// Gatehouse's control plane.
#[derive(Debug, Parser)]
#[command(name = "admin-api", version)]
pub(crate) struct CommandLine {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Serve the admin API until SIGTERM or SIGINT
    Serve(Settings),
    /// Bring the database's tables up to date
    Migrate(Settings),
    /// Look whether the settings are sound and the database answers
    Check(Settings),
    /// Give an admin a new password: the line on the standard input, or a generated one that is printed
    Password(PasswordSettings),
    /// Write the configuration out as a document
    Export(ExportSettings),
    /// Show what applying a document would change
    Diff(DiffSettings),
    /// Make the configuration what a document says: what it names is created or replaced, in one step
    Apply(ApplySettings),
    /// Write everything that the database holds to a file, sealed with a passphrase or the master key
    Backup(BackupSettings),
    /// Make the database what a backup says
    Restore(RestoreSettings),
    /// Look at the audit: who did what
    #[command(subcommand)]
    Audit(AuditCommand),
    /// Print the description of the API, OpenAPI 3.1
    Openapi,
}

#[derive(Args, Clone, Debug)]
pub(crate) struct Settings {
    #[command(flatten)]
    pub(crate) common: CommonSettings,
    /// Where the admin API listens; port 0 takes a free one
    #[arg(long, env = "ADMIN_LISTEN", default_value = "127.0.0.1:4201")]
    pub(crate) listen: SocketAddr,
    /// Leave the database's tables as they are
    #[arg(long)]
    pub(crate) no_migrate: bool,
    /// How often the whole configuration is read again, to find rows that were edited by hand
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub(crate) reconcile_seconds: u64,
    /// How many generations are kept to go back to; older ones are forgotten, and the audit is kept whole
    #[arg(long, env = "GATEWAY_KEEP_GENERATIONS", default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) keep_generations: u64,
    /// Validation warns of API keys and routes that nothing used for so many days; 0: of none
    #[arg(long, env = "GATEWAY_UNUSED_AFTER_DAYS", default_value_t = UNUSED_AFTER_DAYS, value_parser = clap::value_parser!(u32).range(0..=3650))]
    pub(crate) unused_after_days: u32,
    #[command(flatten)]
    pub(crate) sessions: SessionSettings,
    #[command(flatten)]
    pub(crate) argon2: Argon2Settings,
}

#[derive(Args, Clone, Debug)]
pub(crate) struct PasswordSettings {
    /// Whose password it is
    pub(crate) email: String,
    #[command(flatten)]
    pub(crate) common: CommonSettings,
    #[command(flatten)]
    pub(crate) argon2: Argon2Settings,
}

/// How callers are known, and for how long.
#[derive(Args, Clone, Debug)]
pub struct SessionSettings {
    /// Proxies before the admin API whose X-Forwarded-For, X-Forwarded-Proto and Forwarded are believed: networks, separated by commas
    #[arg(long, env = "ADMIN_TRUSTED_PROXIES", value_delimiter = ',')]
    pub trusted_proxies: Vec<ipnet::IpNet>,
    /// Mark the panel's cookie as one for HTTPS only, also where no trusted proxy says that the request came over it
    #[arg(long, env = "ADMIN_SECURE_COOKIES")]
    pub secure_cookies: bool,
    /// How long an access token is good before the session has to be renewed
    #[arg(long, env = "ADMIN_ACCESS_SECONDS", default_value_t = 900, value_parser = clap::value_parser!(u32).range(60..=86_400))]
    pub access_seconds: u32,
    /// How long a login lasts, however often it is renewed
    #[arg(long, env = "ADMIN_SESSION_DAYS", default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..=365))]
    pub session_days: u32,
}

impl Default for SessionSettings {
    fn default() -> Self {
        Self { trusted_proxies: Vec::new(), secure_cookies: false, access_seconds: 900, session_days: 30 }
    }
}

impl SessionSettings {
    pub(crate) fn access_millis(&self) -> i64 {
        i64::from(self.access_seconds) * 1000
    }

    pub(crate) fn whole_micros(&self) -> i64 {
        i64::try_from(Duration::from_hours(24 * u64::from(self.session_days)).as_micros()).unwrap_or(i64::MAX)
    }
}

impl Settings {
    /// Reachable from other machines: somebody asked for it, but should know.
    pub(crate) fn is_exposed(&self) -> bool {
        let ip = self.listen.ip();
        !ip.is_loopback() && !matches!(ip, IpAddr::V6(six) if six.to_ipv4_mapped().is_some_and(|it| it.is_loopback()))
    }
}

/// The bearer token with the role `admin`, for scripts.
#[derive(Clone)]
pub struct AdminToken(Box<str>);

#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum BadToken {
    #[error("{TOKEN_VARIABLE} has {0} characters and needs at least {SHORTEST_TOKEN}")]
    Short(usize),
    #[error("{TOKEN_VARIABLE} must be printable ASCII without blanks, for it travels in a header")]
    Unprintable,
}

impl AdminToken {
    pub fn new(token: &str) -> Result<Self, BadToken> {
        if token.chars().count() < SHORTEST_TOKEN {
            return Err(BadToken::Short(token.chars().count()));
        }
        if !token.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(BadToken::Unprintable);
        }
        Ok(Self(token.into()))
    }

    /// As the environment says; an empty one is none.
    pub(crate) fn from_environment() -> Result<Option<Self>, BadToken> {
        match std::env::var(TOKEN_VARIABLE) {
            Ok(token) if !token.is_empty() => Self::new(&token).map(Some),
            Ok(_) | Err(std::env::VarError::NotPresent) => Ok(None),
            Err(std::env::VarError::NotUnicode(_)) => Err(BadToken::Unprintable),
        }
    }

    /// Takes as long for a token that is nearly right as for one that is all wrong.
    pub(crate) fn is(&self, presented: &[u8]) -> bool {
        self.0.as_bytes().ct_eq(presented).into()
    }
}

impl fmt::Debug for AdminToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AdminToken(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_or_unprintable_token_is_refused_and_never_shown() {
        assert_eq!(AdminToken::new("canary").unwrap_err(), BadToken::Short(6));
        assert_eq!(AdminToken::new(&"ü".repeat(32)).unwrap_err(), BadToken::Unprintable);
        let token = AdminToken::new("canary-canary-canary-canary-canary").unwrap();
        assert!(!format!("{token:?}").contains("canary"));
        assert!(token.is(b"canary-canary-canary-canary-canary"));
        assert!(!token.is(b"canary-canary-canary-canary-canarx"));
        assert!(!token.is(b""));
    }
}
