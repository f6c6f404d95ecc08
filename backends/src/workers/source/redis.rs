//! Messages of a Redis stream, for a consumer group that has the worker's name. What is worked on gives a sign of life; what has given none for
//! a while belonged to somebody who died, and is taken over. `<stream>.dead` holds what was given up.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use anyhow::{Context, Result};
use redis::{
    AsyncConnectionConfig, Client, RedisError, Value,
    aio::MultiplexedConnection,
    streams::{StreamAutoClaimReply, StreamId, StreamPendingCountReply, StreamReadReply},
};
use tokio::{
    task::JoinSet,
    time::{Instant, MissedTickBehavior, interval, sleep},
};
use tokio_util::sync::CancellationToken;
use tracing::debug;

use super::announce;
use crate::workers::{
    settings::Consume,
    worker::{Verdict, Worker, to_its_end},
};

const PATIENCE: Duration = Duration::from_secs(5);
/// How long Redis waits for a message before it says that there is none.
const BLOCK_MS: u32 = 500;
/// Messages that wait for another attempt are held beside those that are worked on.
const HELD_BESIDE: usize = 64;

struct Desk {
    worker: Arc<Worker>,
    stream: String,
    consumer: String,
    connection: MultiplexedConnection,
    /// The entries that are worked on or wait here.
    held: Mutex<HashSet<String>>,
    working: tokio::sync::Semaphore,
    stop: CancellationToken,
}

pub(super) async fn consume(worker: &Arc<Worker>, from: &Consume, stop: &CancellationToken) -> Result<()> {
    // What the client says may repeat the password.
    let url = worker.settings.redis_url.as_deref().unwrap_or_default();
    let client = Client::open(url).ok().context("REDIS_URL is no redis:// URL")?;
    let config =
        || AsyncConnectionConfig::new().set_connection_timeout(Some(PATIENCE)).set_response_timeout(Some(PATIENCE));
    // One waits for messages, and nothing else gets through on it meanwhile.
    let mut incoming = client.get_multiplexed_async_connection_with_config(&config()).await?;
    let connection = client.get_multiplexed_async_connection_with_config(&config()).await?;
    let desk = Arc::new(Desk {
        worker: worker.clone(),
        stream: from.place.clone(),
        consumer: crate::clock::new_id().to_string(),
        connection,
        held: Mutex::default(),
        working: tokio::sync::Semaphore::new(worker.settings.concurrency.into()),
        stop: stop.clone(),
    });
    desk.make_group().await?;
    announce(from);

    let mut tasks = JoinSet::new();
    let takeover = Duration::from_secs(worker.settings.takeover_seconds.into());
    let mut look_at = Instant::now();
    let ended = loop {
        while tasks.try_join_next().is_some() {}
        let room = (usize::from(worker.settings.concurrency) + HELD_BESIDE).saturating_sub(tasks.len());
        if room == 0 {
            tokio::select! {
                () = stop.cancelled() => break Ok(()),
                _ = tasks.join_next() => continue,
            }
        }
        if stop.is_cancelled() {
            break Ok(());
        }
        // Not more than can be begun at once, or one process would sit on what another could do.
        let count = room.min(desk.working.available_permits().max(1));
        let came = if Instant::now() >= look_at {
            look_at = Instant::now() + takeover / 4;
            desk.take_over(takeover, count).await
        } else {
            desk.read(&mut incoming, count).await
        };
        match came {
            Ok(entries) => {
                for (entry, told) in entries {
                    desk.clone().start(&mut tasks, entry, told);
                }
            }
            Err(cause) => break Err(cause.into()),
        }
    };
    while tasks.join_next().await.is_some() {}
    desk.leave().await;
    ended
}

impl Desk {
    fn group(&self) -> &'static str {
        self.worker.name.as_str()
    }

    async fn make_group(&self) -> Result<(), RedisError> {
        let mut asking = redis::cmd("XGROUP");
        // From the beginning: what came before its first worker is work, too.
        asking.arg("CREATE").arg(&self.stream).arg(self.group()).arg("0").arg("MKSTREAM");
        match asking.query_async::<Value>(&mut self.connection.clone()).await {
            Err(cause) if cause.code() != Some("BUSYGROUP") => Err(cause),
            _ => Ok(()),
        }
    }

    async fn read(
        &self,
        incoming: &mut MultiplexedConnection,
        count: usize,
    ) -> Result<Vec<(StreamId, u32)>, RedisError> {
        let mut asking = redis::cmd("XREADGROUP");
        asking.arg("GROUP").arg(self.group()).arg(&self.consumer).arg("COUNT").arg(count);
        asking.arg("BLOCK").arg(BLOCK_MS).arg("STREAMS").arg(&self.stream).arg(">");
        let reply: Option<StreamReadReply> = asking.query_async(incoming).await?;
        let entries = reply.into_iter().flat_map(|reply| reply.keys).flat_map(|key| key.ids);
        Ok(entries.map(|entry| (entry, 1)).collect())
    }

    /// What others have left lying, with the number of the attempt.
    async fn take_over(&self, after: Duration, count: usize) -> Result<Vec<(StreamId, u32)>, RedisError> {
        let mut asking = redis::cmd("XAUTOCLAIM");
        asking.arg(&self.stream).arg(self.group()).arg(&self.consumer);
        asking.arg(u64::try_from(after.as_millis()).unwrap_or(u64::MAX)).arg("0").arg("COUNT").arg(count);
        let connection = &mut self.connection.clone();
        let reply: StreamAutoClaimReply = asking.query_async(connection).await?;
        let mut entries = Vec::new();
        for entry in reply.claimed {
            let mut asking = redis::cmd("XPENDING");
            asking.arg(&self.stream).arg(self.group()).arg(&entry.id).arg(&entry.id).arg(1);
            let pending: StreamPendingCountReply = asking.query_async(connection).await?;
            let told = pending.ids.first().map_or(1, |found| u32::try_from(found.times_delivered).unwrap_or(u32::MAX));
            entries.push((entry, told));
        }
        Ok(entries)
    }

    /// Unless it is worked on here already.
    fn start(self: Arc<Self>, tasks: &mut JoinSet<()>, entry: StreamId, told: u32) {
        if self.held.lock().unwrap_or_else(PoisonError::into_inner).insert(entry.id.clone()) {
            tasks.spawn(async move {
                if let Err(cause) = self.see_to(&entry, told).await {
                    debug!(stream = self.stream, %cause, "could not settle a message: it is taken over later");
                }
                self.held.lock().unwrap_or_else(PoisonError::into_inner).remove(&entry.id);
            });
        }
    }

    async fn see_to(&self, entry: &StreamId, told: u32) -> Result<(), RedisError> {
        let message = bytes(&entry.map, "event");
        let alive = self.stay_alive(&entry.id);
        tokio::pin!(alive);
        loop {
            let working = async {
                // It is never closed.
                let _permit = self.working.acquire().await;
                to_its_end(&self.worker, message.clone(), told).await
            };
            let verdict = tokio::select! {
                verdict = working => verdict,
                () = &mut alive => return Ok(()),
            };
            match verdict {
                Verdict::Over => return self.acknowledge(&entry.id).await,
                Verdict::Dead(why) => return self.put_aside(entry, &message, &why).await,
                Verdict::Later(pause) => tokio::select! {
                    () = sleep(pause) => {}
                    () = &mut alive => return Ok(()),
                    // Somebody else takes it over.
                    () = self.stop.cancelled() => return Ok(()),
                },
            }
        }
    }

    /// Never ends.
    async fn stay_alive(&self, id: &str) {
        let mut ticks = interval(Duration::from_secs(self.worker.settings.takeover_seconds.into()) / 3);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        ticks.tick().await;
        loop {
            ticks.tick().await;
            let mut claiming = redis::cmd("XCLAIM");
            claiming.arg(&self.stream).arg(self.group()).arg(&self.consumer).arg(0).arg(id).arg("JUSTID");
            let _ = claiming.query_async::<Value>(&mut self.connection.clone()).await;
        }
    }

    async fn acknowledge(&self, id: &str) -> Result<(), RedisError> {
        let mut asking = redis::cmd("XACK");
        asking.arg(&self.stream).arg(self.group()).arg(id);
        asking.query_async::<Value>(&mut self.connection.clone()).await.map(drop)
    }

    /// Both or neither.
    async fn put_aside(&self, entry: &StreamId, message: &[u8], why: &str) -> Result<(), RedisError> {
        let mut both = redis::pipe();
        both.atomic().cmd("XADD").arg(format!("{}.dead", self.stream)).arg("*");
        both.arg("id").arg(bytes(&entry.map, "id")).arg("event").arg(message).arg("error").arg(why);
        both.cmd("XACK").arg(&self.stream).arg(self.group()).arg(&entry.id);
        both.query_async::<Value>(&mut self.connection.clone()).await.map(drop)
    }

    /// Takes its name from the group, unless entries are still under it: those would be lost.
    async fn leave(&self) {
        let connection = &mut self.connection.clone();
        let mut asking = redis::cmd("XPENDING");
        asking.arg(&self.stream).arg(self.group()).arg("-").arg("+").arg(1).arg(&self.consumer);
        let pending = asking.query_async::<StreamPendingCountReply>(connection).await;
        if pending.is_ok_and(|pending| pending.ids.is_empty()) {
            let mut leaving = redis::cmd("XGROUP");
            leaving.arg("DELCONSUMER").arg(&self.stream).arg(self.group()).arg(&self.consumer);
            let _ = leaving.query_async::<Value>(connection).await;
        }
    }
}

/// A field of an entry; empty: there is none.
fn bytes(fields: &HashMap<String, Value>, name: &str) -> Vec<u8> {
    fields.get(name).and_then(|value| redis::from_redis_value_ref(value).ok()).unwrap_or_default()
}
