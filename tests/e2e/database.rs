//! The database away: requests go on, writes are refused and never half-done, and all is well when it returns.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use e2e::{Backend, Database, Load, PostgresCluster, Stack, eventually, proof, route, service};

struct Fleet {
    stack: Stack,
    cluster: Arc<PostgresCluster>,
    _backend: Backend,
}

async fn fleet() -> Fleet {
    let cluster = Arc::new(PostgresCluster::start().await);
    let backend = Backend::saying("hello");
    let stack = Stack::builder().database(Database::on(&cluster).await).gateways(2).start().await;
    stack.put(&[service("one").url(backend.url()), route("one").pattern("/one").to_service("one").public()]).await;
    Fleet { stack, cluster, _backend: backend }
}

impl Fleet {
    /// Every generation has its record, and the head is the newest.
    async fn assert_whole(&self) {
        let database = self.stack.database();
        let head = database.number("SELECT generation FROM config_head").await;
        let count = database.number("SELECT COUNT(*) FROM config_generation").await;
        let newest = database.number("SELECT MAX(number) FROM config_generation").await;
        assert_eq!((count, newest), (head, head), "the history has gaps");
    }

    /// To be called while the database is away: who waited for its return would never be answered.
    async fn assert_writes_are_refused(&self) {
        let answer = self
            .stack
            .admin()
            .put("/admin/routing/services/late", &service("late").url("http://127.0.0.1:9").json())
            .await;
        assert_eq!(answer.status, 503, "{answer}");
        assert!(answer.header("retry-after").is_some(), "{answer}");
        let answer = self.stack.admin().get("/admin/routing/services").await;
        assert_eq!(answer.status, 503, "{answer}");
    }

    async fn assert_back(&self) {
        eventually("the admin API to take writes again", async || {
            let path = "/admin/routing/routes/two?wait=10s";
            let answer =
                self.stack.admin().put(path, &route("two").pattern("/two").to_service("one").public().json()).await;
            if answer.status == 200 || answer.status == 201 { Ok(()) } else { Err(answer.to_string()) }
        })
        .await;
        for gateway in self.stack.gateways() {
            eventually("the new route", async || gateway.get("/two").await.with_status(200)).await;
        }
        self.assert_whole().await;
    }
}

#[tokio::test]
async fn a_killed_database_fails_no_request_refuses_writes_and_is_found_again() {
    let fleet = fleet().await;
    let load = Load::start(&fleet.stack.gateway(0).url("/one"), 2);
    for _ in 0..proof::count(2, 10) {
        fleet.cluster.stop_hard().await;
        fleet.assert_writes_are_refused().await;
        load.wait_for(500).await;
        fleet.stack.gateway(0).ops("/readyz").await.expect_status(200);
        fleet.cluster.start_again().await;
        fleet.assert_back().await;
    }
    load.stop().await.assert_nothing_failed();
}

#[tokio::test]
async fn a_frozen_database_fails_no_request_refuses_writes_and_is_found_again() {
    let fleet = fleet().await;
    let load = Load::start(&fleet.stack.gateway(0).url("/one"), 2);
    fleet.cluster.freeze();
    fleet.assert_writes_are_refused().await;
    load.wait_for(u64::try_from(proof::count(1_000, 1_000_000)).unwrap()).await;
    fleet.cluster.thaw();
    fleet.assert_back().await;
    load.stop().await.assert_nothing_failed();
}

#[tokio::test]
async fn a_database_killed_in_mid_write_leaves_nothing_half_written() {
    let fleet = fleet().await;
    let admin = fleet.stack.admin();
    let mut acknowledged = Vec::new();
    for round in 0..proof::count(3, 30) {
        let answered = AtomicUsize::new(0);
        let writes = async {
            let mut done = Vec::new();
            for number in 0.. {
                let name = format!("w-{round}-{number}");
                let request = e2e::Request::new("PUT", &format!("/admin/routing/services/{name}"))
                    .header("Content-Type", "application/json")
                    .body(service(&name).url("http://127.0.0.1:9").json().to_string());
                match admin.try_send(&request).await {
                    Ok(answer) if answer.status == 201 => {
                        done.push(name);
                        answered.fetch_add(1, Ordering::Relaxed);
                    }
                    Ok(answer) => {
                        assert_eq!(answer.status, 503, "{answer}");
                        return done;
                    }
                    Err(failure) => panic!("the admin API: {failure}"),
                }
            }
            done
        };
        let kill = async {
            // Each round after more writes, so that the kill meets another one at another step.
            eventually("writes to be answered", async || {
                let count = answered.load(Ordering::Relaxed);
                if count > 2 * round { Ok(()) } else { Err(count) }
            })
            .await;
            fleet.cluster.stop_hard().await;
        };
        let (done, ()) = tokio::join!(writes, kill);
        acknowledged.extend(done);
        fleet.cluster.start_again().await;
        eventually("the admin API to read again", async || admin.get("/admin/routing/services").await.with_status(200))
            .await;
        fleet.assert_whole().await;
    }
    assert!(!acknowledged.is_empty(), "no write came through before the kill");
    for name in acknowledged {
        admin.get(&format!("/admin/routing/services/{name}")).await.expect_status(200);
    }
    fleet.assert_back().await;
}
