//! The program: exit codes, and one clear line for each thing that is wrong.

use std::path::Path;
use std::process::{Command, Output};

use crate::client::TOKEN;

fn run(dir: &Path, args: &[&str], token: Option<&str>) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_admin-api"));
    command.current_dir(dir).args(args).env_clear();
    if let Some(token) = token {
        command.env("ADMIN_TOKEN", token);
    }
    command.output().unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn a_short_token_is_refused_at_the_start_and_not_shown() {
    let dir = tempfile::tempdir().unwrap();
    let output = run(dir.path(), &["serve"], Some("canary"));
    assert_eq!(output.status.code(), Some(2));
    assert_eq!(stderr(&output), "admin-api: ADMIN_TOKEN has 6 characters and needs at least 32\n");
}

#[test]
fn on_postgres_a_missing_master_key_is_told_at_the_start() {
    let dir = tempfile::tempdir().unwrap();
    let output = run(dir.path(), &["serve", "--database-url", "postgres://gateway@127.0.0.1:1/gateway"], Some(TOKEN));
    assert_eq!(output.status.code(), Some(2));
    let said = stderr(&output);
    assert!(said.starts_with("admin-api: GATEWAY_MASTER_KEY is not set: on Postgres every"), "{said}");
}

#[test]
fn there_is_no_flag_for_the_token() {
    let dir = tempfile::tempdir().unwrap();
    let output = run(dir.path(), &["serve", "--admin-token", TOKEN], None);
    assert_eq!(output.status.code(), Some(2));
}

#[test]
fn check_says_what_is_wrong_line_by_line() {
    let dir = tempfile::tempdir().unwrap();
    let good = run(dir.path(), &["check", "--listen", "127.0.0.1:0"], Some(TOKEN));
    assert_eq!((good.status.code(), stderr(&good)), (Some(0), String::new()));
    let url = "postgres://gateway:canary@127.0.0.1:1/gateway";
    let args = ["check", "--listen", "127.0.0.1:0", "--database-url", url, "--secrets-dir", "nowhere"];
    let bad = run(dir.path(), &args, Some("short"));
    assert_eq!(bad.status.code(), Some(1));
    let said = stderr(&bad);
    let lines: Vec<&str> = said.lines().collect();
    assert!(
        matches!(lines.as_slice(), [token, master, secrets, database, sum]
        if token.starts_with("token: ") && master.starts_with("master-key: GATEWAY_MASTER_KEY is not set") && secrets.starts_with("secrets-dir: ") && database.starts_with("database: ")
        && *sum == "admin-api: 4 things are wrong"),
        "{said}"
    );
    assert!(!said.contains("canary"), "{said}");
}

#[test]
fn migrate_makes_the_tables_and_a_database_of_no_kind_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let output = run(dir.path(), &["migrate", "--database-url", "sqlite://x/gateway.db"], None);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert!(dir.path().join("x/gateway.db").exists());
    let output = run(dir.path(), &["migrate", "--database-url", "mysql://user:canary@x/y"], None);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("mysql://…") && !stderr(&output).contains("canary"), "{}", stderr(&output));
}

#[test]
fn openapi_prints_the_description() {
    let dir = tempfile::tempdir().unwrap();
    let output = run(dir.path(), &["openapi"], None);
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim_end(), admin_api::document());
}
