//! Embedded queues: what is accepted is on disk, and is pushed to a worker meanwhile.

use std::time::{Duration, Instant};

use serde_json::json;
use sqlx::{Connection, PgConnection};

use super::gatehouse::Gatehouse;
use super::rounds::{Measured, Side, head};
use super::sink::Sink;
use super::{ORDERS, Plan};
use crate::stack::postgres_database;

/// While something waits, something is delivered in such a time.
const LOOK: Duration = Duration::from_millis(100);

/// Accepted messages a second.
const ENOUGH: f64 = 2000.0;

pub(super) fn run(plan: &Plan, postgres: Option<&str>) -> anyhow::Result<Vec<String>> {
    let mut missed = on("SQLite", None, plan)?;
    match postgres {
        Some(cluster) => {
            let is_synced = is_synced(cluster)?;
            let title = if is_synced { "Postgres" } else { "Postgres without fsync" };
            let too_slow = on(title, Some(&postgres_database(cluster)?), plan)?;
            missed.extend(too_slow.into_iter().filter(|_| is_synced));
        }
        None => println!("Postgres: not measured, GATEHOUSE_TEST_POSTGRES is not set"),
    }
    Ok(missed)
}

fn on(database: &str, url: Option<&str>, plan: &Plan) -> anyhow::Result<Vec<String>> {
    let (sink, worker) = Sink::start()?;
    let queue = json!({"broker": "embedded", "destination": {"deliverTo": format!("http://{worker}/")}});
    let gatehouse = Gatehouse::start(plan, url, &[], &[(ORDERS, queue)])?;
    let posts = gatehouse.posts(ORDERS, plan.connections, plan.lasts());
    Gatehouse::wait_accepted(&posts)?;
    let mut measured = Measured::default();
    let side = Side::Gateway(&gatehouse, &posts);
    side.measure(&mut Measured::default())?;
    let (before, start) = (sink.taken(), Instant::now());
    for _ in 0..plan.rounds {
        side.measure(&mut measured)?;
    }
    let meanwhile = rate_of(sink.taken() - before, start.elapsed());
    let alone = drained(&sink, plan);
    println!();
    head(&format!("Embedded on {database}"), plan);
    measured.print("gateway");
    println!("{meanwhile:.0}/s were delivered meanwhile; after that {alone}");
    let rate = measured.rate().median;
    let is_missed = rate < ENOUGH;
    Ok(is_missed
        .then(|| format!("embedded on {database}: {rate:.0} accepted a second, at least {ENOUGH}"))
        .into_iter()
        .collect())
}

/// What waits is delivered when nothing more comes.
fn drained(sink: &Sink, plan: &Plan) -> String {
    let (before, start) = (sink.taken(), Instant::now());
    let mut last = before;
    while start.elapsed() < plan.lasts() * 2 {
        std::thread::sleep(LOOK);
        let now = sink.taken();
        if now == last {
            break;
        }
        last = now;
    }
    let took = start.elapsed().as_secs_f64();
    format!("{} in {took:.1} s", last - before)
}

fn rate_of(count: u64, took: Duration) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX)) / took.as_secs_f64()
}

/// Whether the cluster waits for its disk.
fn is_synced(cluster: &str) -> anyhow::Result<bool> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut connection = PgConnection::connect(cluster).await?;
        let mut settings = Vec::new();
        for ask in ["SHOW fsync", "SHOW synchronous_commit"] {
            settings.push(sqlx::query_scalar::<_, String>(ask).fetch_one(&mut connection).await?);
        }
        Ok(settings.iter().all(|setting| setting != "off"))
    })
}
