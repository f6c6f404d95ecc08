//! Notices of commits on Postgres: LISTEN on a connection of its own, a poll as the net under it, and reconnecting.

use std::time::Duration;

use async_trait::async_trait;
use futures::FutureExt;
use sqlx::postgres::{PgConnectOptions, PgListener, PgPoolOptions};
use tokio::time::{Instant, Interval, MissedTickBehavior};

use crate::store::deadline::within;
use crate::store::pace::{POLL, Pace};
use crate::store::{Result, Watch};

use super::CHANNEL;

pub(super) struct PostgresWatch {
    server: PgConnectOptions,
    deadline: Duration,
    listener: Option<PgListener>,
    pace: Pace,
    poll: Interval,
}

impl PostgresWatch {
    pub(super) fn new(server: PgConnectOptions, deadline: Duration) -> Self {
        let mut poll = tokio::time::interval_at(Instant::now() + POLL, POLL);
        poll.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self { server, deadline, listener: None, pace: Pace::default(), poll }
    }

    /// Each connection has a pool of its own, so that one that hangs can't keep the next from being made.
    async fn connect(&self) -> Result<PgListener> {
        let pool = PgPoolOptions::new()
            .max_connections(1)
            .max_lifetime(None)
            .idle_timeout(None)
            .acquire_timeout(self.deadline * 2 / 3)
            .connect_lazy_with(self.server.clone());
        let listen = async {
            let mut listener = PgListener::connect_with(&pool).await?;
            listener.eager_reconnect(false);
            listener.listen(CHANNEL).await?;
            Ok(listener)
        };
        within(self.deadline, listen).await
    }

    async fn notice(&mut self) -> Result<()> {
        let Some(listener) = &mut self.listener else {
            self.listener = Some(self.connect().await?);
            self.poll.reset();
            // Whatever was committed while nobody listened has to be looked for.
            return Ok(());
        };
        tokio::select! {
            notice = listener.try_recv() => match notice? {
                Some(_) => loop {
                    match listener.try_recv().now_or_never() {
                        Some(Ok(Some(_))) => {}
                        None => break,
                        Some(_) => {
                            self.listener = None;
                            break;
                        }
                    }
                },
                // The connection is lost. A new one is made by the next call; until then nobody listens, so look.
                None => self.listener = None,
            },
            // The query also finds out whether the connection is still alive.
            _ = self.poll.tick() => {
                within(self.deadline, sqlx::query("SELECT 1").execute(listener)).await?;
            }
        }
        Ok(())
    }
}

#[async_trait]
impl Watch for PostgresWatch {
    async fn changed(&mut self) -> Result<()> {
        self.pace.wait().await;
        let outcome = self.notice().await;
        if outcome.is_ok() {
            self.pace.succeeded();
        } else {
            self.listener = None;
            self.pace.failed();
        }
        outcome
    }
}
