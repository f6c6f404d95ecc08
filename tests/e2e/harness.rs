//! The harness itself: what the other tests lean on must be able to fail.

use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use e2e::client::Failure;
use e2e::process::stack_binary;
use e2e::stack::metric;
use e2e::{
    Backend, Connection, Database, Exit, Fault, Gate, Load, PostgresCluster, Process, Reply, Request, Signal,
    eventually, eventually_within, proof, raw_request, route, service,
};
use serde_json::json;
use sqlx::{Connection as _, PgConnection};

fn shell(script: &str) -> Process {
    let mut command = Command::new("sh");
    command.args(["-c", script]);
    Process::start("shell", command)
}

fn backend() -> Backend {
    Backend::http().route("/hello", |_| Reply::text("hello").header("X-Kind", "greeting")).start()
}

// === processes ===

#[test]
fn the_binary_under_test_is_the_one_that_was_built_with_the_tests() {
    assert_eq!(
        stack_binary().canonicalize().unwrap(),
        std::path::Path::new(env!("CARGO_BIN_EXE_stack")).canonicalize().unwrap()
    );
}

#[tokio::test]
async fn addresses_are_read_from_the_listening_line_of_a_json_log() {
    let process = shell(
        r#"echo starting >&2; echo '{"level":"INFO","message":"listening traffic=127.0.0.1:4200 ops=127.0.0.1:4202"}' >&2; sleep 60"#,
    );
    let addresses = process.wait_listening().await;
    assert_eq!(addresses["traffic"], "127.0.0.1:4200".parse().unwrap());
    assert_eq!(addresses["ops"], "127.0.0.1:4202".parse().unwrap());
    assert!(process.lines()[1].is_level("info"));
}

#[tokio::test]
async fn output_log_and_exit_code_of_a_command_are_kept_apart() {
    let process = shell("echo answer; echo trouble >&2; exit 3");
    assert_eq!(process.wait_exit().await, Exit::Code(3));
    assert_eq!(process.output(), "answer\n");
    assert_eq!(process.lines()[0].message(), "trouble");
}

#[tokio::test]
#[should_panic(expected = "ended without a line: ready")]
async fn waiting_for_a_line_gives_up_when_the_process_ends() {
    shell("echo something else >&2").wait_for_line("ready", |line| line.text == "ready").await;
}

#[tokio::test]
async fn a_signal_reaches_the_process() {
    let process = shell("trap 'echo caught >&2; exit 7' TERM; echo ready >&2; while :; do sleep 0.01; done");
    process.wait_for_line("ready", |line| line.text == "ready").await;
    process.signal(Signal::TERM);
    assert_eq!(process.wait_exit().await, Exit::Code(7));
    process.wait_for_line("caught", |line| line.text == "caught").await;
}

#[tokio::test]
async fn a_dropped_process_is_dead() {
    let process = shell("echo ready >&2; exec sleep 1000");
    process.wait_for_line("ready", |line| line.text == "ready").await;
    let pid = process.pid();
    drop(process);
    assert!(!std::path::Path::new(&format!("/proc/{pid}")).exists());
}

// === eventually ===

#[tokio::test]
async fn eventually_hands_back_what_it_waited_for() {
    let mut looks = 0;
    let seen = eventually("the third look", async || {
        looks += 1;
        if looks == 3 { Ok(looks) } else { Err(format!("look {looks}")) }
    })
    .await;
    assert_eq!(seen, 3);
}

#[tokio::test]
#[should_panic(expected = "for: the impossible; last seen: 1 + 1 is 2")]
async fn eventually_tells_the_last_state_when_it_gives_up() {
    let limit = Duration::from_millis(30);
    eventually_within(limit, "the impossible", async || Err::<(), _>("1 + 1 is 2")).await;
}

#[tokio::test]
#[should_panic(expected = "the last look did not end")]
async fn eventually_does_not_wait_for_a_look_that_hangs() {
    let limit = Duration::from_millis(30);
    eventually_within(limit, "an answer", async || std::future::pending::<Result<(), String>>().await).await;
}

// === databases ===

#[tokio::test]
async fn every_test_has_a_database_of_its_own() {
    for (one, other) in
        [(Database::sqlite(), Database::sqlite()), (Database::postgres().await, Database::postgres().await)]
    {
        if one.is_sqlite() {
            for database in [&one, &other] {
                std::fs::File::create(database.url().trim_start_matches("sqlite://")).unwrap();
            }
        }
        one.execute("CREATE TABLE fact (value BIGINT)").await;
        other.execute("CREATE TABLE fact (value BIGINT)").await;
        assert_eq!(one.execute("INSERT INTO fact VALUES (1), (2)").await, 2);
        assert_eq!(one.number("SELECT COUNT(*) FROM fact").await, 2);
        assert_eq!(other.number("SELECT COUNT(*) FROM fact").await, 0);
    }
}

#[tokio::test]
async fn a_test_database_is_gone_with_its_owner() {
    let database = Database::postgres().await;
    let url = database.url();
    PgConnection::connect(&url).await.expect("the database is there");
    drop(database);
    let error = PgConnection::connect(&url).await.expect_err("the database is gone");
    assert!(error.to_string().contains("does not exist"), "{error}");
}

#[tokio::test]
async fn a_cluster_of_ones_own_can_be_killed_and_frozen() {
    let cluster = Arc::new(PostgresCluster::start().await);
    let database = Database::on(&cluster).await;
    database.execute("CREATE TABLE fact (value BIGINT)").await;
    let mut open = PgConnection::connect(&database.url()).await.unwrap();

    cluster.freeze();
    let hung = tokio::time::timeout(Duration::from_millis(300), sqlx::query("SELECT 1").execute(&mut open)).await;
    assert!(hung.is_err(), "a frozen server answered");
    cluster.thaw();
    assert_eq!(database.number("SELECT COUNT(*) FROM fact").await, 0);

    cluster.stop_hard().await;
    assert!(PgConnection::connect(&database.url()).await.is_err(), "a killed server took a connection");
    cluster.start_again().await;
    assert_eq!(database.number("SELECT COUNT(*) FROM fact").await, 0);
}

// === backends and clients ===

#[tokio::test]
async fn a_backend_answers_by_route_and_remembers_what_it_saw() {
    let backend = backend();
    let request = Request::post("/hello?a=%2F", "body").header("X-One", "1");
    let answer = request.send(backend.address()).await.unwrap().expect_status(200);
    assert_eq!((answer.text().as_str(), answer.header("x-kind")), ("hello", Some("greeting")));
    let seen = backend.only_request();
    assert_eq!((seen.method.as_str(), seen.target.as_str()), ("POST", "/hello?a=%2F"));
    assert_eq!((seen.header("x-one"), &seen.body[..]), (Some("1"), &b"body"[..]));
    Request::get("/other").send(backend.address()).await.unwrap().expect_status(404);
}

#[tokio::test]
async fn the_target_goes_out_byte_for_byte() {
    let backend = Backend::echo();
    let answer = Request::get("/a/../b//%2f%00?x=//..").send(backend.address()).await.unwrap();
    assert_eq!(answer.json()["target"], "/a/../b//%2f%00?x=//..");
}

#[tokio::test]
async fn one_connection_carries_many_requests() {
    let backend = backend();
    let mut connection = Connection::open(backend.address()).await.unwrap();
    for _ in 0..3 {
        connection.send(&Request::get("/hello")).await.unwrap().expect_status(200);
    }
    assert!(connection.is_open());
    assert_eq!((backend.connections(), backend.count()), (1, 3));
}

#[tokio::test]
async fn a_held_answer_waits_for_its_gate() {
    let gate = Gate::default();
    let held = gate.clone();
    let backend = Backend::http().route("/slow", move |_| Reply::text("late").held_by(&held)).start();
    let address = backend.address();
    let answer = tokio::spawn(async move { Request::get("/slow").send(address).await });
    eventually("the request at the backend", async || if backend.count() == 1 { Ok(()) } else { Err("none") }).await;
    assert!(!answer.is_finished());
    gate.open();
    assert_eq!(answer.await.unwrap().unwrap().text(), "late");
}

#[tokio::test]
async fn an_answer_in_two_parts_streams() {
    let gate = Gate::default();
    let held = gate.clone();
    let backend = Backend::http().route("/parts", move |_| Reply::parts("first", &held, "second")).start();
    let mut connection = Connection::open(backend.address()).await.unwrap();
    connection.begin(&Request::get("/parts")).await.unwrap();
    assert_eq!(connection.wire().read_chunk().await.unwrap().unwrap(), "first");
    gate.open();
    assert_eq!(connection.wire().read_chunk().await.unwrap().unwrap(), "second");
    assert_eq!(connection.wire().read_chunk().await.unwrap(), None);
}

#[tokio::test]
async fn a_stopped_backend_refuses_until_it_is_started_again() {
    let mut backend = backend();
    let ask = |address| async move { Request::get("/hello").send(address).await };
    backend.stop();
    assert!(matches!(ask(backend.address()).await, Err(Failure::Connect(_))));
    backend.start_again();
    ask(backend.address()).await.unwrap().expect_status(200);
}

#[tokio::test]
async fn every_fault_is_a_failure_of_its_own_kind() {
    let ask = async |fault| {
        let backend = Backend::failing(fault);
        let mut connection = Connection::open(backend.address()).await?;
        let request = Request::get("/");
        match fault {
            Fault::Hang | Fault::HangInBody => connection.send_within(Duration::from_millis(500), &request).await,
            _ => connection.send(&request).await,
        }
    };
    assert!(matches!(ask(Fault::Refuse).await, Err(Failure::Connect(_))));
    assert!(matches!(ask(Fault::Hang).await, Err(Failure::TimedOut(_))));
    assert!(matches!(ask(Fault::HangInBody).await, Err(Failure::TimedOut(_))));
    assert!(matches!(ask(Fault::Close).await, Err(Failure::NoAnswer { reused: false, .. })));
    assert!(matches!(ask(Fault::ResetAfter(0)).await, Err(Failure::NoAnswer { .. })));
    assert!(matches!(ask(Fault::ResetAfter(200)).await, Err(Failure::NoAnswer { .. } | Failure::BrokenAnswer { .. })));
    assert!(matches!(ask(Fault::DieInBody).await, Err(Failure::BrokenAnswer { status: 200, .. })));
    assert!(matches!(ask(Fault::DieInChunks).await, Err(Failure::BrokenAnswer { status: 200, .. })));
    assert!(matches!(ask(Fault::Garbage).await, Err(Failure::NoAnswer { .. })));
    assert_eq!(ask(Fault::CloseAfterAnswer).await.unwrap().text(), "hello");
}

#[tokio::test]
async fn a_connection_closed_between_requests_counts_as_a_failure() {
    let backend = Backend::failing(Fault::CloseAfterAnswer);
    let mut connection = Connection::open(backend.address()).await.unwrap();
    connection.send(&Request::get("/")).await.unwrap().expect_status(200);
    let failure = connection.send(&Request::get("/")).await.unwrap_err();
    assert!(
        matches!(failure, Failure::NoAnswer { reused: true, .. } | Failure::Send { reused: true, .. }),
        "{failure}"
    );
    assert_eq!(backend.count(), 1, "the client tried again by itself");
}

#[tokio::test]
async fn a_raw_request_reaches_the_server_as_it_is() {
    let backend = Backend::raw(|mut wire| async move {
        let bytes = wire.read_some().await.unwrap_or_default();
        let answer = if bytes.as_ref() == b"BROKEN\n\n" { "400 Bad Request" } else { "200 OK" };
        let _ = wire.write(format!("HTTP/1.1 {answer}\r\nContent-Length: 0\r\n\r\n").as_bytes()).await;
    });
    assert_eq!(raw_request(backend.address(), b"BROKEN\n\n").await.unwrap().status, 400);
    let silent = Backend::raw(|_| async {});
    assert!(raw_request(silent.address(), b"BROKEN\n\n").await.is_none());
}

// === load ===

#[tokio::test]
async fn load_keeps_its_connections_and_counts_every_answer() {
    let backend = backend();
    let load = Load::start(&format!("{}/hello", backend.url()), 4);
    load.wait_for(2_000).await;
    let report = load.stop().await;
    report.assert_nothing_failed();
    assert_eq!((report.ok, report.by_status[&200]), (report.sent, report.sent));
    assert_eq!((report.connections, backend.connections(), backend.count()), (4, 4, report.sent));
    assert!(report.latency(99) >= report.latency(50));
}

#[tokio::test]
async fn load_counts_a_status_that_was_not_expected_and_a_connection_that_broke() {
    let mut backend = backend();
    let wrong = Load::start(&format!("{}/nowhere", backend.url()), 1);
    wrong.wait_for(20).await;
    let report = wrong.stop().await;
    assert_eq!((report.ok, report.failed, report.failures.len()), (0, report.sent, 10));

    let broken = Load::start(&format!("{}/hello", backend.url()), 2);
    broken.wait_for(20).await;
    backend.stop();
    broken.wait_for(2).await;
    let report = broken.stop().await;
    assert!(report.failed >= 2, "{report}");
    assert_eq!(report.ok + report.failed, report.sent);
}

#[tokio::test]
async fn load_over_two_addresses_goes_on_when_one_refuses() {
    let (gone, there) = (Backend::failing(Fault::Refuse), backend());
    let load = Load::of(Request::get("/hello"), &[gone.address(), there.address()]).connections(2).start();
    load.wait_for(50).await;
    load.stop().await.assert_nothing_failed();
}

// === words ===

#[test]
fn entities_read_as_the_admin_api_takes_them() {
    let orders = service("orders").url("http://127.0.0.1:1").version("v1", "http://127.0.0.1:2", 100);
    assert_eq!(orders.path(), "/admin/routing/services/orders");
    assert_eq!(
        orders.json(),
        json!({
            "serviceName": "orders",
            "defaultUrl": "http://127.0.0.1:1",
            "versions": [{"version": "v1", "url": "http://127.0.0.1:2", "weight": 100}],
        })
    );
    let all = route("all").pattern("/api/{*rest}").to_service("orders").host("a.example").method("GET").public();
    assert_eq!(all.path(), "/admin/routing/routes/all");
    assert_eq!(
        all.json(),
        json!({
            "name": "all",
            "path": "/api/{*rest}",
            "target": {"service": "orders"},
            "hosts": ["a.example"],
            "methods": ["GET"],
            "access": {"anyOf": ["public"]},
        })
    );
}

#[test]
fn metrics_are_summed_over_the_series_that_match() {
    let text = "# TYPE hits counter\nhits{code=\"200\",route=\"a\"} 2\nhits{code=\"404\",route=\"a\"} 3\nhits_total 9\nbare 1.5\n";
    assert_eq!(metric(text, "hits", &[]), Some(5.0));
    assert_eq!(metric(text, "hits", &["code=\"404\""]), Some(3.0));
    assert_eq!(metric(text, "bare", &[]), Some(1.5));
    assert_eq!(metric(text, "hit", &[]), None);
}

#[test]
fn the_small_proof_is_the_rule() {
    let full = std::env::var("GATEHOUSE_PROVE").is_ok_and(|value| value == "1");
    assert_eq!(proof::count(10, 100_000), if full { 100_000 } else { 10 });
}
