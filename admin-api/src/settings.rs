//! What the process reads once at its start. The token comes from the environment alone: a flag would show in the process list.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use clap::{Args, Parser, Subcommand};
use gateway_config::api_key::Argon2Settings;
use gateway_config::settings::CommonSettings;
use subtle::ConstantTimeEq;
use thiserror::Error;

pub(crate) const TOKEN_VARIABLE: &str = "ADMIN_TOKEN";
const SHORTEST_TOKEN: usize = 32;

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
    #[command(flatten)]
    pub(crate) argon2: Argon2Settings,
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
