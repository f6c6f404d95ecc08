//! The first admin and the way back in: the program's own words, and what they are good for.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use gateway_config::model::Action;
use gateway_config::store::{self, Page};

use crate::client::{MASTER_KEY, TOKEN};
use crate::serve::Served;

const USUAL: &str = "admin@gatehouse.local";

fn url(dir: &Path) -> String {
    format!("sqlite://{}", dir.join("gateway.db").display())
}

fn serve(dir: &Path, environment: &[(&str, &str)]) -> Served {
    Served::start_with(dir, &url(dir), environment)
}

/// Serves, ends, and answers what it said on its standard output.
fn said_by(served: Served) -> String {
    served.end()
}

fn login(served: &Served, email: &str, password: &str) -> u16 {
    let body = format!(r#"{{"email": "{email}", "password": "{password}"}}"#);
    served.send("POST /admin/auth/login", &body).0
}

fn password(dir: &Path, email: &str, input: &str) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_admin-api"))
        .args(["password", email, "--database-url", &url(dir)])
        .current_dir(dir)
        .env_clear()
        .envs([("GATEWAY_MASTER_KEY", MASTER_KEY)])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn the_first_start_makes_an_admin_and_prints_the_password_once() {
    let dir = tempfile::tempdir().unwrap();
    let first = said_by(serve(dir.path(), &[]));
    let lines: Vec<&str> = first.lines().collect();
    let [admin, password] = lines.as_slice() else { panic!("{first}") };
    assert_eq!(admin.split_whitespace().last(), Some(USUAL));
    let password = password.strip_prefix("password:").unwrap().split_whitespace().next().unwrap();

    let second = serve(dir.path(), &[("ADMIN_PASSWORD", "another good password")]);
    assert_eq!(login(&second, USUAL, password), 200);
    assert_eq!(login(&second, USUAL, "another good password"), 401, "there is an admin already");
    assert_eq!(said_by(second), "", "it is shown once");
}

#[test]
fn the_first_admin_is_the_one_of_the_environment() {
    let dir = tempfile::tempdir().unwrap();
    let environment = [("ADMIN_EMAIL", "Ada@Example.com"), ("ADMIN_PASSWORD", "correct horse battery")];
    let served = serve(dir.path(), &environment);
    assert_eq!(login(&served, "ada@example.com", "correct horse battery"), 200);
    assert_eq!(said_by(served), "", "nobody has to be told");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_that_start_at_once_one_makes_the_first_admin_and_prints() {
    let dir = tempfile::tempdir().unwrap();
    let (one, other) = std::thread::scope(|scope| {
        let starts = [scope.spawn(|| serve(dir.path(), &[])), scope.spawn(|| serve(dir.path(), &[]))];
        let [one, other] = starts.map(|start| start.join().unwrap());
        (one, other)
    });
    let mut said = [said_by(one), said_by(other)];
    said.sort_unstable();
    assert!(said[0].is_empty() && said[1].contains(USUAL), "{said:?}");
    let store = store::open(&url(dir.path())).await.unwrap();
    let admins = store.admins(&Page { limit: 10, ..Page::default() }).await.unwrap();
    assert_eq!(admins.len(), 1);
    let entries = store.audit_behind(0, 10).await.unwrap();
    assert_eq!(entries[0].as_ref().unwrap().action, Action::AdminCreate);
    assert_eq!(entries.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_audit_of_a_process_knows_from_where() {
    let dir = tempfile::tempdir().unwrap();
    let served = serve(dir.path(), &[("ADMIN_PASSWORD", "correct horse battery")]);
    assert_eq!(login(&served, USUAL, "correct horse battery"), 200);
    let entries = store::open(&url(dir.path())).await.unwrap().audit_behind(1, 10).await.unwrap();
    let entry = entries[0].as_ref().unwrap();
    assert_eq!((entry.action, entry.address), (Action::AuthLogin, Some("127.0.0.1".parse().unwrap())));
}

#[test]
fn a_bad_first_admin_is_refused_at_the_start_and_not_shown() {
    let dir = tempfile::tempdir().unwrap();
    for (name, value, why) in [
        ("ADMIN_PASSWORD", "canary", "ADMIN_PASSWORD has 6 characters and needs at least 12"),
        ("ADMIN_EMAIL", "canary", "ADMIN_EMAIL is no email"),
    ] {
        for command in ["serve", "check"] {
            let mut program = Command::new(env!("CARGO_BIN_EXE_admin-api"));
            program.args([command, "--listen", "127.0.0.1:0"]).current_dir(dir.path()).env_clear();
            let output = program.envs([("ADMIN_TOKEN", TOKEN), (name, value)]).output().unwrap();
            assert_eq!(output.status.code(), Some(if command == "serve" { 2 } else { 1 }));
            let said = text(&output.stderr);
            assert!(said.contains(why) && !said.contains("canary"), "{said}");
        }
    }
}

#[test]
fn who_is_locked_out_gets_a_new_password_on_the_machine_itself() {
    let dir = tempfile::tempdir().unwrap();
    let served = serve(dir.path(), &[("ADMIN_PASSWORD", "correct horse battery")]);
    for _ in 0..5 {
        assert_eq!(login(&served, USUAL, "wrong horse battery"), 401);
    }
    assert_eq!(login(&served, USUAL, "correct horse battery"), 429);

    let given = password(dir.path(), "Admin@gatehouse.local", "another good password\n");
    assert_eq!((given.status.code(), text(&given.stderr)), (Some(0), String::new()));
    assert!(!text(&given.stdout).contains("another"), "what one knows is not repeated");
    assert_eq!(login(&served, USUAL, "correct horse battery"), 401);
    assert_eq!(login(&served, USUAL, "another good password"), 200);

    let made = password(dir.path(), USUAL, "");
    let printed = text(&made.stdout);
    let generated = printed.trim_end().rsplit(' ').next().unwrap();
    assert_eq!(login(&served, USUAL, generated), 200);

    let short = password(dir.path(), USUAL, "short\n");
    assert_eq!(short.status.code(), Some(1));
    assert_eq!(text(&short.stderr), "admin-api: the password has 5 characters and needs at least 12\n");
    let unknown = password(dir.path(), "nobody@example.com", "");
    assert_eq!(text(&unknown.stderr), "admin-api: there is no admin \"nobody@example.com\"\n");
    assert_eq!(login(&served, USUAL, generated), 200);
}
