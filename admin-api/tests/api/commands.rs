//! The commands that work on documents, as a CI pipeline runs them: what they print, and the codes they end with. Each on the database
//! itself and through a running admin API.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use gateway_config::clock::{Clock, SystemClock, new_id};
use gateway_config::model::{FORMAT_VERSION, Node};
use gateway_config::store::{self, Store};
use tempfile::TempDir;

use crate::client::{MASTER_KEY, TOKEN};
use crate::serve::Served;

const DOCUMENT: &str = "\
services:
- serviceName: auth
  defaultUrl: http://127.0.0.1:7200
routes:
- name: auth
  path: /auth/{*rest}
  target:
    service: auth
";

/// A folder with a migrated database, and how to reach it.
struct Place {
    folder: TempDir,
    served: Option<Served>,
}

impl Place {
    fn direct() -> Self {
        let place = Self { folder: tempfile::tempdir().unwrap(), served: None };
        assert_eq!(place.run(&["migrate"]).status.code(), Some(0));
        place
    }

    fn served() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let served = Served::start(folder.path(), "sqlite://gateway.db");
        Self { folder, served: Some(served) }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).unwrap();
    }

    fn run(&self, args: &[&str]) -> Output {
        self.command(args).output().unwrap()
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = program(self.folder.path(), args);
        command.env("DATABASE_URL", "sqlite://gateway.db").env("GATEWAY_MASTER_KEY", MASTER_KEY).env("USER", "ann");
        if let Some(served) = &self.served {
            command.env("ADMIN_URL", format!("http://{}/", served.address)).env("ADMIN_TOKEN", TOKEN);
            // It must not be touched.
            command.env("DATABASE_URL", "sqlite://other/gateway.db");
        }
        command
    }

    async fn store(&self) -> std::sync::Arc<dyn Store> {
        store::open(&format!("sqlite://{}", self.path("gateway.db").display())).await.unwrap()
    }
}

fn program(folder: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_admin-api"));
    command.current_dir(folder).args(args).env_clear().stdin(Stdio::null());
    command
}

#[track_caller]
fn expect(output: &Output, code: i32) -> (String, String) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(code), "{stdout}{stderr}");
    assert!(!stderr.contains(TOKEN), "{stderr}");
    (stdout, stderr)
}

fn each() -> [Place; 2] {
    [Place::direct(), Place::served()]
}

#[test]
fn a_document_is_compared_applied_and_exported() {
    for place in each() {
        place.write("fleet.yaml", DOCUMENT);
        let (told, _) = expect(&place.run(&["diff", "fleet.yaml"]), 3);
        assert_eq!(told, "+ service auth\n+ route auth\n2 to create, 0 to change, 0 to delete, 0 unchanged\n");
        let (told, _) = expect(&place.run(&["apply", "fleet.yaml", "--dry-run"]), 0);
        assert!(told.ends_with("2 to create, 0 to change, 0 to delete, 0 unchanged\n"), "{told}");
        let (told, _) = expect(&place.run(&["apply", "fleet.yaml"]), 0);
        assert!(told.ends_with("2 created, 0 changed, 0 deleted, 0 unchanged; generation 1\n"), "{told}");
        let (told, _) = expect(&place.run(&["diff", "fleet.yaml"]), 0);
        assert_eq!(told, "0 to create, 0 to change, 0 to delete, 2 unchanged\n");

        let (exported, said) = expect(&place.run(&["export"]), 0);
        assert!(exported.starts_with("services:\n- serviceName: auth\n") && said.is_empty(), "{exported}{said}");
        expect(&place.run(&["export", "--output", "all.json"]), 0);
        expect(&place.run(&["export", "--sections", "routes", "--format", "yaml", "-o", "routes.txt"]), 0);
        for file in ["all.json", "routes.txt"] {
            let (told, _) = expect(&place.run(&["apply", file, "--prune"]), 0);
            assert!(told.starts_with("nothing to do, ") && told.ends_with("generation 1 still holds\n"), "{told}");
        }
        let json: serde_json::Value = serde_json::from_slice(&std::fs::read(place.path("all.json")).unwrap()).unwrap();
        assert_eq!(json["routes"][0]["name"], "auth");
        let left: Vec<_> = std::fs::read_dir(place.folder.path()).unwrap().map(|it| it.unwrap().file_name()).collect();
        assert!(!left.iter().any(|name| name.to_string_lossy().starts_with('.') || name == "other"), "{left:?}");
    }
}

#[test]
fn the_standard_input_is_a_document_too_and_pruning_is_shown_before_it_is_done() {
    for place in each() {
        place.write("fleet.yaml", DOCUMENT);
        expect(&place.run(&["apply", "fleet.yaml"]), 0);
        let piped = |args: &[&str]| {
            let mut child = place
                .command(args)
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
                .unwrap();
            child.stdin.take().unwrap().write_all(br#"{"routes": []}"#).unwrap();
            child.wait_with_output().unwrap()
        };
        expect(&piped(&["diff", "-"]), 0);
        let (told, _) = expect(&piped(&["diff", "-", "--prune"]), 3);
        assert_eq!(told, "- route auth\n0 to create, 0 to change, 1 to delete, 0 unchanged\n");
        let (told, _) = expect(&piped(&["apply", "-", "--prune"]), 0);
        assert!(told.ends_with("0 created, 0 changed, 1 deleted, 0 unchanged; generation 2\n"), "{told}");
    }
}

#[test]
fn problems_are_told_a_line_each_with_their_places() {
    for place in each() {
        place.write(
            "bad.yaml",
            "services:\n- serviceName: a\n  isActive: 7\nroutes:\n- {name: r, path: /r, target: {service: ghost}}\n",
        );
        for command in ["diff", "apply"] {
            let (told, said) = expect(&place.run(&[command, "bad.yaml"]), 1);
            let lines: Vec<&str> = said.lines().collect();
            let [route, service, sum] = lines.as_slice() else { panic!("{said}") };
            assert_eq!(*route, "routes/r/target/service: there is no service \"ghost\"");
            assert!(service.starts_with("services/a/isActive: ") && told.is_empty(), "{said}{told}");
            assert_eq!(*sum, "admin-api: the document is not valid: 2 problems");
        }
        place.write("broken.yaml", "services: [");
        let (_, said) = expect(&place.run(&["apply", "broken.yaml"]), 1);
        assert!(said.contains("could not read the document"), "{said}");
        let (_, said) = expect(&place.run(&["apply", "nowhere.yaml"]), 1);
        assert!(said.starts_with("admin-api: could not read nowhere.yaml: "), "{said}");
    }
}

#[test]
fn warnings_are_told_beside_what_is_done() {
    for place in each() {
        place.write("off.yaml", "services: [{serviceName: a, defaultUrl: \"http://a:1\", isActive: false}]\nroutes: [{name: r, path: /r, target: {service: a}}]");
        let (_, said) = expect(&place.run(&["apply", "off.yaml"]), 0);
        assert!(said.lines().any(|line| line.starts_with("warning: services/a/isActive: ")), "{said}");
    }
}

#[tokio::test]
async fn a_node_that_lags_makes_another_exit_code() {
    for place in each() {
        place.write("fleet.yaml", DOCUMENT);
        let node = Node {
            id: new_id(),
            version: "0.1.0".to_owned(),
            format: FORMAT_VERSION,
            address: "127.0.0.1:4200".to_owned(),
            generation: 0,
            digest: String::new(),
            degraded: Vec::new(),
            last_seen: SystemClock.now(),
            has_left: false,
        };
        place.store().await.report_node(&node).await.unwrap();
        let (told, said) = expect(&place.run(&["apply", "fleet.yaml", "--wait", "50ms"]), 4);
        assert!(told.ends_with("2 created, 0 changed, 0 deleted, 0 unchanged; generation 1\n"), "{told}");
        assert!(said.contains(&format!("node {} does not serve it yet", node.id)), "{said}");
        place.store().await.report_node(&Node { generation: 1, last_seen: SystemClock.now(), ..node }).await.unwrap();
        expect(&place.run(&["apply", "fleet.yaml", "--wait", "5s"]), 0);
    }
}

#[tokio::test]
async fn the_audit_names_who_sat_at_the_terminal() {
    let place = Place::direct();
    place.write("fleet.yaml", DOCUMENT);
    expect(&place.run(&["apply", "fleet.yaml"]), 0);
    let entries = place.store().await.audit_behind(0, 10).await.unwrap();
    let [Ok(entry)] = entries.as_slice() else { panic!("{entries:?}") };
    assert_eq!((entry.actor.as_str(), entry.generation), ("cli:ann", Some(1)));
}

#[test]
fn another_master_key_than_the_fleets_is_noticed() {
    let place = Place::direct();
    place.write("fleet.yaml", DOCUMENT);
    place.write("more.yaml", "services: [{serviceName: more, defaultUrl: \"http://a:1\"}]");
    expect(&place.run(&["apply", "fleet.yaml"]), 0);
    let other = |args: &[&str]| place.command(args).env("GATEWAY_MASTER_KEY", "x".repeat(32)).output().unwrap();
    let (_, said) = expect(&other(&["apply", "more.yaml"]), 1);
    assert!(said.contains("was not signed under this master key"), "{said}");
    expect(&other(&["diff", "more.yaml"]), 3);
    expect(&place.run(&["apply", "more.yaml"]), 0);
    expect(&place.run(&["apply", "fleet.yaml"]), 0);
}

#[test]
fn a_database_that_was_never_migrated_is_refused_and_none_is_made() {
    let folder = tempfile::tempdir().unwrap();
    let entries = || std::fs::read_dir(folder.path()).unwrap().map(|it| it.unwrap().file_name()).collect::<Vec<_>>();
    std::fs::write(folder.path().join("fleet.yaml"), DOCUMENT).unwrap();
    for args in [&["export"][..], &["diff", "fleet.yaml"], &["apply", "fleet.yaml"]] {
        let (_, said) = expect(&program(folder.path(), args).output().unwrap(), 1);
        assert_eq!(
            said,
            "admin-api: the database's tables are not ready: there is no file data/gateway.db; run `admin-api migrate`\n"
        );
        assert_eq!(entries(), ["fleet.yaml"]);
    }
    std::fs::write(folder.path().join("gateway.db"), "").unwrap();
    let mut command = program(folder.path(), &["export", "--database-url", "sqlite://gateway.db"]);
    let (_, said) = expect(&command.output().unwrap(), 1);
    assert!(said.contains("run `admin-api migrate`"), "{said}");
    assert_eq!(entries().len(), 2);
}

#[test]
fn wrong_usage_and_settings_are_told_from_failures() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("fleet.yaml"), DOCUMENT).unwrap();
    let url = "http://127.0.0.1:1";
    for (args, words) in [
        (&["apply"][..], "FILE"),
        (&["export", "--format", "xml"], "must be yaml or json"),
        (&["export", "--sections", "rutes"], "is no section"),
        (&["apply", "fleet.yaml", "--wait", "soon"], "must be a time"),
        (&["apply", "fleet.yaml", "--url", "127.0.0.1:1"], "must begin with http"),
        (&["apply", "fleet.yaml", "--url", url], "there is no token for --url"),
        (&["apply", "fleet.yaml", "--url", url, "--token-file", "nowhere"], "could not read the token in nowhere"),
        (&["apply", "fleet.yaml", "--token-file", "token"], "--url"),
        (&["apply", "fleet.yaml", "--database-url", "mysql://user:canary@x/y"], "mysql://…"),
    ] {
        let (_, said) = expect(&program(folder.path(), args).output().unwrap(), 2);
        assert!(said.contains(words) && !said.contains("canary"), "{args:?}: {said}");
    }
    std::fs::write(folder.path().join("token"), format!("{TOKEN}\n")).unwrap();
    let args = ["diff", "fleet.yaml", "--url", url, "--token-file", "token"];
    let (_, said) = expect(&program(folder.path(), &args).output().unwrap(), 1);
    assert!(said.starts_with("admin-api: could not reach http://127.0.0.1:1: "), "{said}");
}

#[test]
fn a_token_that_is_not_good_is_said_so() {
    let place = Place::served();
    let mut command = place.command(&["export", "--output", "all.yaml"]);
    let (_, said) = expect(&command.env("ADMIN_TOKEN", "x".repeat(32)).output().unwrap(), 1);
    assert_eq!(said, "admin-api: 401 Unauthorized: the token is not valid\n");
    assert!(!place.path("all.yaml").exists());
}

#[test]
fn the_exit_codes_stand_in_the_help() {
    let folder = tempfile::tempdir().unwrap();
    for (command, code) in
        [("export", "  2  wrong"), ("diff", "  3  there are differences"), ("apply", "  4  applied, but")]
    {
        let (told, _) = expect(&program(folder.path(), &[command, "--help"]).output().unwrap(), 0);
        assert!(told.contains(code), "{told}");
    }
}
