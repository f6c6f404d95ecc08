//! The command lines: what is wrong with settings is said in one clear line each, and nothing half-starts.

use std::net::TcpListener;

use e2e::{Database, Exit, Process, Signal, Stack};
use tempfile::TempDir;

async fn run(arguments: &[&str], environment: &[(&str, String)]) -> (Exit, String) {
    let arguments: Vec<_> = arguments.iter().map(|&word| word.to_owned()).collect();
    let process = Process::stack("command", &arguments, environment);
    let exit = process.wait_exit().await;
    let log: Vec<_> = process.lines().into_iter().map(|line| line.text).collect();
    (exit, format!("{}{}", process.output(), log.join("\n")))
}

fn data() -> (TempDir, [(&'static str, String); 2]) {
    let folder = TempDir::with_prefix("gatehouse-command-").unwrap();
    let environment = [
        ("DATA_DIR", folder.path().display().to_string()),
        ("GATEWAY_MASTER_KEY", "test-master-key-0123456789abcdef01234".to_owned()),
    ];
    (folder, environment)
}

#[tokio::test]
async fn an_unknown_flag_is_a_usage_error() {
    for part in ["gateway", "admin-api"] {
        let (exit, text) = run(&[part, "serve", "--lisen", "127.0.0.1:0"], &[]).await;
        assert_eq!(exit, Exit::Code(2), "{text}");
        assert!(text.contains("--lisen"), "{text}");
    }
}

#[tokio::test]
async fn a_port_that_is_taken_is_named() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let database = Database::sqlite();
    let (_folder, environment) = data();
    for (part, others) in
        [("gateway", vec!["--listen-tls", "127.0.0.1:0", "--ops-listen", "127.0.0.1:0"]), ("admin-api", vec![])]
    {
        let url = database.url();
        let arguments = [vec![part, "serve", "--listen", &address, "--database-url", &url], others].concat();
        let mut environment = environment.to_vec();
        environment.push(("ADMIN_TOKEN", "t".repeat(32)));
        let (exit, text) = run(&arguments, &environment).await;
        assert!(matches!(exit, Exit::Code(1..)), "{text}");
        assert!(text.contains(&address), "{text}");
    }
}

#[tokio::test]
async fn check_names_each_broker_that_can_not_be_reached_and_no_password() {
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let (_folder, environment) = data();
    let redis = std::env::var("GATEHOUSE_TEST_REDIS").expect("tests/with-servers starts a Redis");
    let mut environment = environment.to_vec();
    environment.extend([
        ("AMQP_URL", format!("amqp://guest:canary@{closed}/%2f")),
        ("KAFKA_BROKERS", closed.to_string()),
        ("REDIS_URL", redis),
        ("GATEWAY_CONNECTIONS", format!("events=redis://:canary@{closed},bad=amqp://guest:canary@[/%2f")),
    ]);
    let sound =
        ["gateway", "check", "--listen", "127.0.0.1:0", "--listen-tls", "127.0.0.1:0", "--ops-listen", "127.0.0.1:0"];
    let (exit, text) = run(&sound, &environment).await;
    assert!(matches!(exit, Exit::Code(1..)), "{text}");
    assert!(text.contains("ok      redis: "), "{text}");
    for wrong in ["rabbitmq", "rabbitmq bad", "redis events", "kafka"] {
        assert!(text.contains(&format!("wrong   {wrong}: ")), "{wrong} in {text}");
    }
    assert!(!text.contains("canary"), "{text}");
}

#[tokio::test]
async fn an_admin_token_that_is_too_short_is_refused_without_being_shown() {
    let database = Database::sqlite();
    let (_folder, environment) = data();
    let mut environment = environment.to_vec();
    environment.push(("ADMIN_TOKEN", "short-secret".to_owned()));
    let url = database.url();
    let (exit, text) =
        run(&["admin-api", "serve", "--listen", "127.0.0.1:0", "--database-url", &url], &environment).await;
    assert!(matches!(exit, Exit::Code(1..)), "{text}");
    assert!(text.contains("ADMIN_TOKEN") && !text.contains("short-secret"), "{text}");
}

#[tokio::test]
async fn check_passes_on_what_serves_and_fails_on_what_cannot() {
    let stack = Stack::start().await;
    let (_folder, environment) = data();
    let url = stack.database().url();
    let sound = ["--listen", "127.0.0.1:0", "--listen-tls", "127.0.0.1:0", "--ops-listen", "127.0.0.1:0"];
    let (exit, text) = run(&[&["gateway", "check", "--database-url", &url], &sound[..]].concat(), &environment).await;
    assert_eq!(exit, Exit::Code(0), "{text}");
    let away = "postgres://nobody@127.0.0.1:1/none";
    let (exit, text) = run(&[&["gateway", "check", "--database-url", away], &sound[..]].concat(), &environment).await;
    assert!(matches!(exit, Exit::Code(1..)), "{text}");
    assert!(text.contains("database"), "{text}");
    let (exit, text) =
        run(&["admin-api", "check", "--listen", "127.0.0.1:0", "--database-url", away], &environment).await;
    assert!(matches!(exit, Exit::Code(1..)), "{text}");
    assert!(text.contains("database"), "{text}");
}

#[tokio::test]
async fn a_database_url_that_is_none_is_refused_without_showing_its_password() {
    let (_folder, environment) = data();
    for url in ["mysql://root:hunter2@127.0.0.1/x", "nonsense"] {
        let (exit, text) = run(
            &[
                "gateway",
                "serve",
                "--listen",
                "127.0.0.1:0",
                "--listen-tls",
                "127.0.0.1:0",
                "--ops-listen",
                "127.0.0.1:0",
                "--database-url",
                url,
            ],
            &environment,
        )
        .await;
        assert!(matches!(exit, Exit::Code(1..)), "{text}");
        assert!(!text.contains("hunter2"), "{text}");
    }
}

#[tokio::test]
async fn the_admin_api_ends_well_when_told_to() {
    let stack = Stack::builder().gateways(0).start().await;
    let process = stack.admin().process();
    process.signal(Signal::TERM);
    assert_eq!(process.wait_exit().await, Exit::Code(0));
}
