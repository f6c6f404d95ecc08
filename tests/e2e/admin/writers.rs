//! Several writers at once, while the database is killed again and again: what was acknowledged stands, nothing stands half, nobody's
//! update is lost, and the history has neither a gap nor a generation without its entry in the audit.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use e2e::{Admin, Answer, Database, PostgresCluster, Request, Stack, eventually, proof, service};
use serde_json::{Value, json};

const WRITERS: usize = 4;
const COUNTER: &str = "/admin/routing/services/counter";

/// What the writers were told.
#[derive(Debug, Default)]
struct Told {
    created: Vec<String>,
    /// Increments of the counter that were acknowledged.
    counted: u64,
    /// Of which nobody knows whether they were made.
    unknown: u64,
}

fn write(method: &str, path: &str, body: &Value) -> Request {
    Request::new(method, path).header("Content-Type", "application/json").body(body.to_string())
}

/// An answer that says yes, or `None` for one that says that the database is away. There is no third.
async fn done(admin: &Admin, request: &Request) -> Option<Answer> {
    let answer = admin.try_send(request).await.unwrap_or_else(|failure| panic!("the admin API: {failure}"));
    match answer.status {
        503 => None,
        _ => Some(answer),
    }
}

/// Reads the counter and writes one more, on the condition that nobody else did meanwhile; again until that holds.
async fn count(admin: &Admin, told: &mut Told) {
    loop {
        let Some(read) = done(admin, &Request::get(COUNTER)).await else { return };
        let read = read.expect_status(200);
        let number: u64 = read.json()["description"].as_str().unwrap().parse().unwrap();
        let next = json!({"description": (number + 1).to_string()});
        let condition = write("PATCH", COUNTER, &next).header("If-Match", read.header("etag").unwrap());
        match done(admin, &condition).await {
            None => told.unknown += 1,
            Some(answer) if answer.status == 412 => continue,
            Some(answer) => {
                answer.expect_status(200);
                told.counted += 1;
            }
        }
        return;
    }
}

async fn write_until(stop: &AtomicBool, admin: &Admin, writer: usize, answered: &AtomicUsize) -> Told {
    let mut told = Told::default();
    for number in 0.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let name = format!("w-{writer}-{number}");
        let body = service(&name).url("http://127.0.0.1:9").json();
        if let Some(answer) = done(admin, &write("PUT", &format!("/admin/routing/services/{name}"), &body)).await {
            answer.expect_status(201);
            told.created.push(name);
            answered.fetch_add(1, Ordering::Relaxed);
        }
        count(admin, &mut told).await;
    }
    told
}

async fn kill_and_start(cluster: &PostgresCluster, rounds: usize, answered: &AtomicUsize) {
    for round in 0..rounds {
        let before = answered.load(Ordering::Relaxed);
        // Each round after more writes than the one before, so that the kills meet them at other steps.
        eventually("writes to be answered", async || {
            let count = answered.load(Ordering::Relaxed) - before;
            if count > round { Ok(()) } else { Err(count) }
        })
        .await;
        cluster.stop_hard().await;
        cluster.start_again().await;
    }
}

async fn assert_whole(database: &Database) {
    let head = database.number("SELECT generation FROM config_head").await;
    for (query, what) in [
        ("SELECT COUNT(*) FROM config_generation", "generations"),
        ("SELECT MAX(number) FROM config_generation", "the newest generation"),
        ("SELECT COUNT(*) FROM audit_entry WHERE generation IS NOT NULL", "entries of generations"),
        ("SELECT COUNT(DISTINCT generation) FROM audit_entry", "generations with an entry"),
    ] {
        assert_eq!(database.number(query).await, head, "{what}, where the head is {head}");
    }
    let entries = database.number("SELECT COUNT(*) FROM audit_entry").await;
    assert_eq!(database.number("SELECT MAX(number) FROM audit_entry").await, entries, "the audit has gaps");
    assert_eq!(
        database.number("SELECT number FROM audit_head").await,
        entries,
        "the audit's end is not its newest entry"
    );
}

#[tokio::test]
async fn writers_beside_each_other_lose_nothing_while_the_database_is_killed_again_and_again() {
    let cluster = Arc::new(PostgresCluster::start().await);
    let stack = Stack::builder().database(Database::on(&cluster).await).gateways(0).start().await;
    let admin = stack.admin();
    admin.put(COUNTER, &json!({"description": "0", "defaultUrl": "http://127.0.0.1:9"})).await.expect_status(201);

    let (stop, answered) = (AtomicBool::new(false), AtomicUsize::new(0));
    let writers = (0..WRITERS).map(|writer| write_until(&stop, admin, writer, &answered));
    let killing = async {
        kill_and_start(&cluster, proof::count(4, 40), &answered).await;
        stop.store(true, Ordering::Relaxed);
    };
    let (told, ()) = tokio::join!(futures::future::join_all(writers), killing);

    eventually("the admin API to read again", async || admin.get(COUNTER).await.with_status(200)).await;
    for name in told.iter().flat_map(|told| &told.created) {
        admin.get(&format!("/admin/routing/services/{name}")).await.expect_status(200);
    }
    let counter: u64 = admin.get(COUNTER).await.json()["description"].as_str().unwrap().parse().unwrap();
    let least: u64 = told.iter().map(|told| told.counted).sum();
    let most = least + told.iter().map(|told| told.unknown).sum::<u64>();
    assert!((least..=most).contains(&counter), "{counter} is not {least} to {most}");
    assert!(least > 0 && told.iter().all(|told| !told.created.is_empty()), "{told:?}");
    assert_whole(stack.database()).await;
}
