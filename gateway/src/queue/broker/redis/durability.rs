//! When a message counts as taken: at once, once replicas have it, or once it is on disk.

use std::fmt;
use std::str::FromStr;

use redis::aio::MultiplexedConnection;
use tokio::sync::{mpsc, oneshot};

use super::judge;
use crate::queue::broker::PublishError;

/// So long one wait may take; all that come after it on the connection wait as long.
const BARRIER_MS: u64 = 1000;

/// What Redis must have done with a message before it counts as taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Durability {
    /// Taken: it is as safe as Redis' own settings make it.
    #[default]
    None,
    /// So many replicas have it.
    Wait(u8),
    /// It is on the disk of the one that took it.
    Aof,
}

impl FromStr for Durability {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once(':') {
            None if text == "none" => Ok(Self::None),
            None if text == "aof" => Ok(Self::Aof),
            Some(("wait", replicas)) => match replicas.parse() {
                Ok(replicas @ 1..) => Ok(Self::Wait(replicas)),
                _ => Err("wait:N needs the number of replicas, 1 or more".to_owned()),
            },
            _ => Err("write none, wait:N or aof".to_owned()),
        }
    }
}

impl fmt::Display for Durability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("none"),
            Self::Wait(replicas) => write!(f, "wait:{replicas}"),
            Self::Aof => f.write_str("aof"),
        }
    }
}

impl Durability {
    /// Whether this server can do it, and how it is waited for.
    pub(super) async fn check(self, connection: &mut MultiplexedConnection) -> Result<Option<Barrier>, String> {
        match self {
            Self::None => Ok(None),
            Self::Wait(replicas) => {
                let mut wait = redis::cmd("WAIT");
                wait.arg(replicas).arg(BARRIER_MS);
                Ok(Some(Barrier::start(connection.clone(), wait, u64::from(replicas))))
            }
            Self::Aof => aof(connection).await,
        }
    }
}

async fn aof(connection: &mut MultiplexedConnection) -> Result<Option<Barrier>, String> {
    let setting = async |name: &str| {
        let mut connection = connection.clone();
        let asked = redis::cmd("CONFIG").arg("GET").arg(name).query_async::<Vec<String>>(&mut connection).await;
        asked.ok().and_then(|answer| answer.into_iter().nth(1)).unwrap_or_default()
    };
    let is_on = setting("appendonly").await == "yes";
    if is_on && setting("appendfsync").await == "always" {
        // Redis answers after the fsync.
        return Ok(None);
    }
    let mut wait = redis::cmd("WAITAOF");
    // Asked for nothing it answers at once, if it is known at all (Redis 7.2) .
    let probe = redis::cmd("WAITAOF").arg(0).arg(0).arg(1).query_async::<Vec<u64>>(&mut connection.clone()).await;
    if is_on && probe.is_ok() {
        wait.arg(1).arg(0).arg(BARRIER_MS);
        return Ok(Some(Barrier::start(connection.clone(), wait, 1)));
    }
    Err("durability aof needs `appendonly yes`, and `appendfsync always` or Redis 7.2".to_owned())
}

/// Waits for what was written on one connection, for all that wrote meanwhile at once: a wait holds up what comes after it.
#[derive(Clone, Debug)]
pub(super) struct Barrier(mpsc::UnboundedSender<oneshot::Sender<Result<(), PublishError>>>);

impl Barrier {
    fn start(connection: MultiplexedConnection, wait: redis::Cmd, enough: u64) -> Self {
        let (sender, incoming) = mpsc::unbounded_channel();
        tokio::spawn(raise(connection, wait, enough, incoming));
        Self(sender)
    }

    /// Once what the connection wrote before is safe.
    pub(super) async fn pass(&self) -> Result<(), PublishError> {
        let (answer, answered) = oneshot::channel();
        // It was written already.
        self.0.send(answer).map_err(|_| PublishError::Unconfirmed)?;
        answered.await.unwrap_or(Err(PublishError::Unconfirmed))
    }
}

async fn raise(
    mut connection: MultiplexedConnection,
    wait: redis::Cmd,
    enough: u64,
    mut incoming: mpsc::UnboundedReceiver<oneshot::Sender<Result<(), PublishError>>>,
) {
    let mut waiting = Vec::new();
    while incoming.recv_many(&mut waiting, usize::MAX).await > 0 {
        let reached = wait.query_async::<redis::Value>(&mut connection).await.map(|value| first(&value));
        let outcome = match reached {
            Ok(Some(reached)) if reached >= enough => Ok(()),
            Ok(_) => Err(PublishError::Unconfirmed),
            Err(error) => {
                tracing::debug!(reason = ?judge(&error), "Redis did not say whether a message is safe");
                Err(PublishError::Unconfirmed)
            }
        };
        for answer in waiting.drain(..) {
            let _ = answer.send(outcome.clone());
        }
    }
}

/// WAIT answers a number, WAITAOF two, of which the first is the server's own.
fn first(value: &redis::Value) -> Option<u64> {
    match value {
        redis::Value::Int(number) => u64::try_from(*number).ok(),
        redis::Value::Array(numbers) => first(numbers.first()?),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_durability_reads_as_it_is_written() {
        for text in ["none", "wait:1", "wait:12", "aof"] {
            assert_eq!(text.parse::<Durability>().unwrap().to_string(), text);
        }
        for bad in ["", "wait", "wait:", "wait:0", "wait:-1", "wait:300", "aof:1", "always"] {
            assert!(bad.parse::<Durability>().is_err(), "{bad}");
        }
    }
}
