//! The catalogue of services, one file each.

mod auth;
mod monolith;
mod password_reset;
mod pipeline;
mod standby;
mod vault;

use std::{
    fmt::{Display, Formatter},
    path::PathBuf,
};

use anyhow::Result;
use axum::Router;
use clap::ValueEnum;
use reqwest::Url;
use sqlx::SqlitePool;
use tokio_util::sync::CancellationToken;

use crate::{clock::Clock, workers::Settings};
pub use pipeline::Pace;

/// A service's name, as the command line and the log spell it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Name {
    Auth,
    AuthV2,
    Monolith,
    Pipeline,
    Standby,
    Vault,
    Email,
    Sms,
    Ai,
    Analytics,
    Execution,
}

impl Name {
    pub const ALL: [Self; 11] = [
        Self::Auth,
        Self::AuthV2,
        Self::Monolith,
        Self::Pipeline,
        Self::Standby,
        Self::Vault,
        Self::Email,
        Self::Sms,
        Self::Ai,
        Self::Analytics,
        Self::Execution,
    ];

    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Auth => "auth",
            Self::AuthV2 => "auth-v2",
            Self::Monolith => "monolith",
            Self::Pipeline => "pipeline",
            Self::Standby => "standby",
            Self::Vault => "vault",
            Self::Email => "email",
            Self::Sms => "sms",
            Self::Ai => "ai",
            Self::Analytics => "analytics",
            Self::Execution => "execution",
        }
    }

    /// Whether it takes messages rather than requests.
    #[must_use]
    pub fn is_worker(self) -> bool {
        matches!(self, Self::Email | Self::Sms | Self::Ai | Self::Analytics | Self::Execution)
    }

    /// The port where it listens unless told otherwise.
    #[must_use]
    pub fn port(self) -> u16 {
        match self {
            Self::Auth => 7200,
            Self::AuthV2 => 7210,
            Self::Monolith => 7000,
            Self::Pipeline => 7202,
            Self::Standby => 7290,
            Self::Vault => 7206,
            Self::Email => 7301,
            Self::Sms => 7302,
            Self::Ai => 7303,
            Self::Analytics => 7304,
            Self::Execution => 7305,
        }
    }

    /// What it does, in one line.
    #[must_use]
    pub fn purpose(self) -> &'static str {
        match self {
            Self::Auth => "accounts and sessions, version v1: /auth/register, /auth/login, /auth/me, /auth/info",
            Self::AuthV2 => "the same in version v2, on the same accounts: the other side of a canary",
            Self::Monolith => "orders: /orders, /orders/{id}; /headers shows what a request brought; /info",
            Self::Pipeline => "jobs that take a while: /jobs, /jobs/{id}, /jobs/{id}/events as a stream; /info",
            Self::Standby => "answers every path in place of a service that cannot",
            Self::Vault => "refuses whoever comes around the gateway: /vault shows what the gateway says of the caller",
            Self::Email => "worker: mails, {\"to\", \"subject\", \"text\"}; from the queue password-reset {\"email\"}",
            Self::Sms => "worker: text messages through a provider, {\"to\", \"text\"}",
            Self::Ai => "worker: summaries by rules of thumb, {\"text\", \"sentences\"}",
            Self::Analytics => "worker: counts, {\"key\", \"count\"}",
            Self::Execution => "worker: small programs, {\"program\": \"sum(items.price) * 2\", \"input\": {…}}",
        }
    }
}

impl Display for Name {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// What a service is given to live on.
#[derive(Clone, Debug)]
pub struct Surroundings {
    /// The folder of its database.
    pub data_dir: PathBuf,
    pub clock: Clock,
    /// How fast jobs advance.
    pub pace: Pace,
    /// Where the gateway publishes the keys with which it signs who calls.
    pub gateway_jwks: Url,
    /// What workers are told.
    pub workers: Settings,
    /// Cancelled when the process ends; streams and background work end with it.
    pub stop: CancellationToken,
}

/// A service that is ready: what answers its requests, and what it keeps its data in.
pub(crate) struct Service {
    pub(crate) router: Router,
    pub(crate) database: Option<SqlitePool>,
}

/// Opens the service's database and starts its background work.
pub(crate) async fn open(name: Name, surroundings: &Surroundings) -> Result<Service> {
    match name {
        Name::Auth => auth::open(auth::Version::V1, surroundings).await,
        Name::AuthV2 => auth::open(auth::Version::V2, surroundings).await,
        Name::Monolith => monolith::open(surroundings).await,
        Name::Pipeline => pipeline::open(surroundings).await,
        Name::Standby => Ok(standby::open()),
        Name::Vault => vault::open(surroundings),
        worker => anyhow::bail!("{worker} is a worker"),
    }
}
