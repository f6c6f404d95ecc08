//! Embedded queues: what is accepted is on disk, and is pushed to a worker meanwhile.

use serde_json::json;
use sqlx::{Connection, PgConnection};

use super::gatehouse::Gatehouse;
use super::rounds::{Measured, Side, head};
use super::sink::Sink;
use super::{ORDERS, Plan};
use crate::stack::postgres_database;

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
    let before = sink.taken();
    for _ in 0..plan.rounds {
        side.measure(&mut measured)?;
    }
    let delivered = sink.taken() - before;
    println!();
    head(&format!("Embedded on {database}"), plan);
    measured.print("gateway");
    println!("{delivered} messages were delivered meanwhile");
    let rate = measured.rate().median;
    let is_missed = rate < ENOUGH;
    Ok(is_missed
        .then(|| format!("embedded on {database}: {rate:.0} accepted a second, at least {ENOUGH}"))
        .into_iter()
        .collect())
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
