//! `gateway check`: are the settings sound, and does everything that they name answer?

use std::io::Write;
use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use anyhow::bail;
use gateway_config::master_key::MasterKey;
use gateway_config::snapshot::compile;
use gateway_config::store;
use tokio::runtime::Handle;

use crate::observe::metrics::Metrics;
use crate::queue::broker::Brokers;
use crate::settings::ServeSettings;
use crate::sync::DiskSnapshot;

/// For each broker, greetings included.
const BROKER_PATIENCE: Duration = Duration::from_secs(6);

/// Says one line for each thing, and fails if any of them is wrong.
pub(crate) fn check(settings: &ServeSettings) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut wrong = Vec::new();
    let mut say = |what: &str, outcome: Result<String, String>| match outcome {
        Ok(fine) => tell(&format!("ok      {what}: {fine}")),
        Err(why) => {
            tell(&format!("wrong   {what}: {why}"));
            wrong.push(what.to_owned());
        }
    };
    for (flag, address) in
        [("--listen", settings.listen), ("--listen-tls", settings.listen_tls), ("--ops-listen", settings.ops_listen)]
    {
        say(flag, can_bind(address));
    }
    say("--data-dir", can_write(settings));
    say("master key", master_key(settings));
    say("database", runtime.block_on(can_load(settings)));
    say("snapshot on disk", snapshot_on_disk(settings));
    for (broker, outcome) in runtime.block_on(reach_brokers(settings)) {
        say(&broker, outcome);
    }
    if !wrong.is_empty() {
        bail!("{} of the settings can't work: {}", wrong.len(), wrong.join(", "));
    }
    Ok(())
}

/// Whoever reads may have gone; the exit code still tells.
fn tell(line: &str) {
    let _ = writeln!(std::io::stdout(), "{line}");
}

fn can_bind(address: SocketAddr) -> Result<String, String> {
    TcpListener::bind(address)
        .map(|_| address.to_string())
        .map_err(|error| format!("could not listen on {address}: {error}"))
}

fn can_write(settings: &ServeSettings) -> Result<String, String> {
    let dir = &settings.common.data_dir;
    let probe = dir.join(format!(".check-{}", std::process::id()));
    let written = std::fs::create_dir_all(dir)
        .and_then(|()| std::fs::write(&probe, b""))
        .and_then(|()| std::fs::remove_file(&probe));
    written
        .map(|()| dir.display().to_string())
        .map_err(|error| format!("could not write to {}: {error}", dir.display()))
}

fn master_key(settings: &ServeSettings) -> Result<String, String> {
    match MasterKey::find(&settings.common.database_url) {
        Ok(Some(_)) => Ok("there".to_owned()),
        Ok(None) => Ok("none yet; serve makes one beside the database".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

async fn can_load(settings: &ServeSettings) -> Result<String, String> {
    let store = store::open(&settings.common.database_url).await.map_err(|error| error.to_string())?;
    let loaded = store.load().await.map_err(|error| error.to_string())?;
    if let Some(problem) = loaded.spoilt.first() {
        return Err(problem.to_string());
    }
    match compile(&loaded.configuration, loaded.head.generation) {
        Ok(snapshot) => Ok(format!("generation {}, {} routes", snapshot.generation(), snapshot.routes().count())),
        Err(problems) => Err(problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")),
    }
}

async fn reach_brokers(settings: &ServeSettings) -> Vec<(String, Result<String, String>)> {
    let metrics = match Metrics::new() {
        Ok(metrics) => metrics,
        Err(error) => return vec![("brokers".to_owned(), Err(error.to_string()))],
    };
    let redis = settings.redis_url.as_deref();
    let brokers = Brokers::new(&settings.queues, redis, metrics.queues.clone(), Handle::current());
    brokers.check(BROKER_PATIENCE).await
}

fn snapshot_on_disk(settings: &ServeSettings) -> Result<String, String> {
    match DiskSnapshot::in_dir(&settings.common.data_dir).read() {
        Ok(Some((_, generation))) => Ok(format!("generation {generation}")),
        Ok(None) => Ok("none yet".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}
