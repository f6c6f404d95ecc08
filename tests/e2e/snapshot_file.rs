//! The last good snapshot on disk: it serves when the database is away at start, and is refused when it is not whole.

use e2e::eventually::DEADLINE;
use e2e::{Backend, Database, Gateway, PostgresCluster, Request, Stack, eventually, proof, route, service};
use std::path::PathBuf;
use std::sync::Arc;

struct Away {
    stack: Stack,
    cluster: Arc<PostgresCluster>,
    _backend: Backend,
}

/// A gateway that has served `/one`, and can have its database taken away.
async fn serving() -> Away {
    let cluster = Arc::new(PostgresCluster::start().await);
    let backend = Backend::saying("hello");
    let stack = Stack::builder().database(Database::on(&cluster).await).start().await;
    stack.put(&[service("one").url(backend.url()), route("one").pattern("/one").to_service("one").public()]).await;
    Away { stack, cluster, _backend: backend }
}

/// The file with the snapshot, once it holds the generation that is served.
async fn snapshot_file(gateway: &Gateway) -> PathBuf {
    let file = gateway.data().join("snapshot.json");
    let served = gateway.generation().await;
    eventually("the snapshot on disk to be the one that is served", async || {
        let bytes = std::fs::read(&file).map_err(|error| error.to_string())?;
        let seal = bytes.trim_ascii_end().rsplit(|byte| *byte == b'\n').next().unwrap_or_default();
        let seal: serde_json::Value = serde_json::from_slice(seal).map_err(|error| error.to_string())?;
        if seal["generation"] == served { Ok(()) } else { Err(seal.to_string()) }
    })
    .await;
    file
}

/// Waits until a gateway that was just launched serves `/one`.
async fn answers(gateway: &Gateway) {
    eventually("an answer from the snapshot on disk", async || {
        gateway.try_send(&Request::get("/one")).await.map_err(|failure| failure.to_string())?.with_status(200)
    })
    .await;
}

#[tokio::test]
async fn a_gateway_started_without_its_database_serves_from_disk_and_finds_it_again() {
    let mut away = serving().await;
    snapshot_file(away.stack.gateway(0)).await;
    away.cluster.stop_hard().await;
    let gateway = away.stack.gateway_mut(0);
    let before = gateway.ops("/status").await.json();
    gateway.process().kill().await;
    gateway.launch();
    let gateway = away.stack.gateway(0);
    // The database stays away until this was answered.
    answers(gateway).await;
    let status = gateway.ops("/status").await.json();
    assert_eq!((&status["snapshotSource"], &status["generation"]), (&"disk".into(), &before["generation"]), "{status}");
    assert!(status["degraded"].as_array().is_some_and(|reasons| !reasons.is_empty()), "{status}");
    let ready = gateway.ops("/readyz").await.expect_status(200);
    assert!(ready.text().contains("degraded"), "{ready}");

    away.cluster.start_again().await;
    eventually("the database as source", async || {
        let status = gateway.ops("/status").await.json();
        if status["snapshotSource"] == "database" { Ok(()) } else { Err(status) }
    })
    .await;
}

#[tokio::test]
async fn a_truncated_or_altered_snapshot_is_refused_with_a_clear_line() {
    let mut away = serving().await;
    let file = snapshot_file(away.stack.gateway(0)).await;
    away.cluster.stop_hard().await;
    let whole = std::fs::read(&file).unwrap();
    let mut altered = whole.clone();
    let middle = altered.len() / 2;
    altered[middle] ^= 1;
    let mut cases = vec![whole[..whole.len() / 2].to_vec(), Vec::new(), altered, b"not a snapshot".to_vec()];
    cases.push([&whole[..], b"more"].concat());
    for bytes in cases {
        let gateway = away.stack.gateway_mut(0);
        gateway.process().kill().await;
        std::fs::write(&file, &bytes).unwrap();
        gateway.start_again().await;
        let line = gateway
            .process()
            .wait_for_line("a refusal of the snapshot", |line| {
                (line.is_level("warn") || line.is_level("error")) && line.text.contains("snapshot")
            })
            .await;
        assert!(line.text.contains(file.file_name().unwrap().to_str().unwrap()), "{}", line.text);
        gateway.ops("/readyz").await.expect_status(503);
        gateway.get("/one").await.expect_status(503);
    }
    std::fs::write(&file, &whole).unwrap();
    let gateway = away.stack.gateway_mut(0);
    gateway.process().kill().await;
    gateway.start_again().await;
    gateway.wait_ready().await;
    gateway.get("/one").await.expect_status(200);
}

/// How many files lie half-written in its folder.
fn half_written(gateway: &Gateway) -> usize {
    let entries = std::fs::read_dir(gateway.data()).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.starts_with(".snapshot.json.")).count()
}

/// Waits until the gateway writes its file anew: until that lies beside the old one, or only until it has taken its place.
async fn writes_its_file(gateway: &Gateway, is_half_way: bool) {
    let file = gateway.data().join("snapshot.json");
    let written = || std::fs::metadata(&file).and_then(|it| it.modified()).unwrap();
    let before = written();
    let begun = async {
        // Without a pause: the file beside it is there for a moment only.
        while written() == before && !(is_half_way && half_written(gateway) > 0) {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(DEADLINE, begun).await.expect("the gateway writes its snapshot");
}

#[tokio::test]
async fn killed_while_it_writes_a_gateway_still_has_a_whole_snapshot() {
    let mut away = serving().await;
    snapshot_file(away.stack.gateway(0)).await;
    for round in 0..proof::count(5, 50) {
        let admin = away.stack.admin();
        let writes = async {
            for number in 0..40 {
                let change = service("busy").url(format!("http://127.0.0.1:{}", 1000 + number));
                admin.put(&change.path(), &change.json()).await;
            }
        };
        let kill = async {
            let gateway = away.stack.gateway(0);
            writes_its_file(gateway, round % 2 == 0).await;
            gateway.process().kill().await;
        };
        tokio::join!(writes, kill);
        away.cluster.freeze();
        let gateway = away.stack.gateway_mut(0);
        gateway.launch();
        answers(gateway).await;
        away.cluster.thaw();
    }
    // The next write takes away what the killed ones left.
    away.stack.put(&[service("last").url("http://127.0.0.1:1")]).await;
    let gateway = away.stack.gateway(0);
    eventually("nothing half-written to be left", async || match half_written(gateway) {
        0 => Ok(()),
        left => Err(left),
    })
    .await;
}

#[tokio::test]
async fn killed_and_started_again_a_gateway_serves_what_was_acknowledged() {
    let backend = Backend::saying("hello");
    let mut stack = Stack::start().await;
    stack.put(&[service("one").url(backend.url())]).await;
    for round in 0..proof::count(5, 20) {
        let path = format!("/r{round}");
        let change = route(&format!("r{round}")).pattern(&path).to_service("one").public();
        let answer = stack.admin().put(&change.path(), &change.json()).await;
        assert_eq!(answer.status, 201, "{answer}");
        stack.gateway_mut(0).restart_hard().await;
        stack.gateway(0).wait_ready().await;
        stack.gateway(0).get(&path).await.expect_status(200);
    }
}
