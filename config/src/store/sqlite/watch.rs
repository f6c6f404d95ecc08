//! Notices of commits on SQLite: a cheap poll of `PRAGMA data_version`, which changes on one connection when another one,
//! of this process or a different one, has committed to the file.

use std::time::Duration;

use async_trait::async_trait;
use sqlx::Connection;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use tokio::time::{Instant, Interval, MissedTickBehavior};

use crate::store::deadline::within;
use crate::store::pace::{POLL, Pace};
use crate::store::{Result, Watch};

const TICK: Duration = Duration::from_millis(50);

pub(super) struct SqliteWatch {
    file: SqliteConnectOptions,
    deadline: Duration,
    connection: Option<SqliteConnection>,
    seen: i64,
    pace: Pace,
    tick: Interval,
    look_at: Instant,
}

impl SqliteWatch {
    pub(super) fn new(file: SqliteConnectOptions, deadline: Duration) -> Self {
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self { file, deadline, connection: None, seen: 0, pace: Pace::default(), tick, look_at: Instant::now() + POLL }
    }

    async fn notice(&mut self) -> Result<()> {
        let Some(connection) = &mut self.connection else {
            let mut connection = within(self.deadline, SqliteConnection::connect_with(&self.file)).await?;
            self.seen = version(&mut connection, self.deadline).await?;
            self.connection = Some(connection);
            // Whatever was committed while nobody watched has to be looked for.
            return Ok(());
        };
        loop {
            self.tick.tick().await;
            let version = version(connection, self.deadline).await?;
            if version != self.seen || Instant::now() >= self.look_at {
                self.seen = version;
                return Ok(());
            }
        }
    }
}

async fn version(connection: &mut SqliteConnection, deadline: Duration) -> Result<i64> {
    within(deadline, sqlx::query_scalar("PRAGMA data_version").fetch_one(connection)).await
}

#[async_trait]
impl Watch for SqliteWatch {
    async fn changed(&mut self) -> Result<()> {
        self.pace.wait().await;
        let outcome = self.notice().await;
        self.look_at = Instant::now() + POLL;
        if outcome.is_ok() {
            self.pace.succeeded();
        } else {
            self.connection = None;
            self.pace.failed();
        }
        outcome
    }
}
