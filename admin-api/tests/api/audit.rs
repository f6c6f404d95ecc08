//! The audit: found by who, what and when; and whole, or it is told where not.

use std::path::Path;
use std::process::{Command, Output};

use gateway_config::clock::new_id;
use serde_json::{Value, json};

use crate::client::{Admin, Answer, MASTER_KEY, ROUTES, SERVICES, route};

const AUDIT: &str = "/admin/audit";

async fn find(admin: &Admin, query: &str) -> Answer {
    admin.get(format!("{AUDIT}{query}")).send().await.expect(200)
}

fn numbers(list: &Answer) -> Vec<u64> {
    list.body["items"].as_array().unwrap().iter().map(|item| item["number"].as_u64().unwrap()).collect()
}

/// Two writes a minute apart, and a node that is removed between them; then a delete.
async fn with_deeds() -> Admin {
    let admin = Admin::start().await;
    let service = json!({"defaultUrl": "http://127.0.0.1:7200"});
    admin.put(format!("{SERVICES}/auth")).header("x-request-id", "req-1").json(service).send().await.expect(201);
    admin.clock.advance_millis(60_000);
    let node = admin.report(1).await;
    admin.delete(format!("/admin/nodes/{}", node.id)).send().await.expect(204);
    admin.clock.advance_millis(60_000);
    admin.put(format!("{ROUTES}/auth")).json(route("/auth", "auth")).send().await.expect(201);
    admin.delete(format!("{ROUTES}/auth")).send().await.expect(204);
    admin
}

#[tokio::test]
async fn every_deed_is_listed_the_newest_first() {
    let admin = with_deeds().await;
    let all = find(&admin, "").await;
    let told = |field: &str| -> Vec<Value> {
        all.body["items"].as_array().unwrap().iter().map(|item| item[field].clone()).collect()
    };
    assert_eq!(numbers(&all), [4, 3, 2, 1]);
    assert_eq!(told("action"), ["config.write", "config.write", "node.remove", "config.write"]);
    assert_eq!(told("generation"), [json!(3), json!(2), json!(null), json!(1)]);
    let first = &all.body["items"][3];
    assert_eq!((&first["actor"], &first["summary"]), (&json!("ADMIN_TOKEN"), &json!("create service auth")));
    assert_eq!((&first["at"], &first["requestId"]), (&json!("2026-11-18T11:06:40Z"), &json!("req-1")));
    assert_eq!((&first["changes"][0]["kind"], &first["changes"][0]["before"]), (&json!("service"), &json!(null)));
    assert_eq!(first["changes"][0]["after"]["defaultUrl"], "http://127.0.0.1:7200");
    admin.get(AUDIT).header("if-none-match", all.header("etag")).send().await.expect(304);
    let page = find(&admin, "?limit=3").await;
    let rest = find(&admin, &format!("?limit=3&cursor={}", page.body["nextCursor"].as_str().unwrap())).await;
    assert_eq!((numbers(&page), numbers(&rest), &rest.body["nextCursor"]), (vec![4, 3, 2], vec![1], &json!(null)));
}

#[tokio::test]
async fn entries_are_found_by_who_what_and_when() {
    let admin = with_deeds().await;
    for (query, found) in [
        ("?q=CREATE", vec![3, 1]),
        ("?q=req-1", vec![1]),
        ("?actor=ADMIN_TOKEN", vec![4, 3, 2, 1]),
        ("?actor=admin_token", vec![]),
        ("?action=node.remove", vec![2]),
        ("?kind=route", vec![4, 3]),
        ("?name=auth", vec![4, 3, 1]),
        ("?kind=service&name=auth", vec![1]),
        ("?kind=service&name=other", vec![]),
        ("?since=2026-11-18T11:07:40Z", vec![4, 3, 2]),
        ("?until=2026-11-18T11:07:40Z", vec![1]),
        ("?since=2026-11-18T11:07:40Z&until=2026-11-18T11:07:41Z&actor=ADMIN_TOKEN", vec![2]),
        ("?q=route&kind=route&action=config.write&limit=1", vec![4]),
    ] {
        assert_eq!(numbers(&find(&admin, query).await), found, "{query}");
    }
    for (query, field) in [
        ("?action=config.wrote", "action"),
        ("?since=yesterday", "since"),
        ("?until=1", "until"),
        ("?cursor=zz", "cursor"),
        ("?cursor=6162", "cursor"),
        ("?name=a%00", "name"),
        ("?actor=a%0a", "actor"),
        ("?who=me", "who"),
        ("?limit=501", "limit"),
    ] {
        let refused = admin.get(format!("{AUDIT}{query}")).send().await.refused(422, "invalid");
        assert_eq!(refused.problems(), [field], "{query}");
    }
    assert_eq!(numbers(&find(&admin, "?q=%00auth").await), [4, 3, 1]);
}

#[tokio::test]
async fn who_asks_leaves_no_entry_and_who_is_refused_none_either() {
    let admin = with_deeds().await;
    find(&admin, "").await;
    admin.put(format!("{ROUTES}/x")).json(route("/x", "ghost")).send().await.refused(422, "invalid");
    admin.delete(format!("/admin/nodes/{}", new_id())).send().await.refused(404, "not_found");
    assert_eq!(numbers(&find(&admin, "").await), [4, 3, 2, 1]);
}

fn verify(dir: &Path, more: &[&str], master: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_admin-api"));
    let database = format!("sqlite://{}", dir.join("gateway.db").display());
    command.current_dir(dir).env_clear().env("GATEWAY_MASTER_KEY", master);
    command.args(["audit", "verify", "--database-url", &database]).args(more).output().unwrap()
}

#[track_caller]
fn broken(output: &Output) -> String {
    assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(1), &b""[..]));
    String::from_utf8_lossy(&output.stderr).trim_end().to_owned()
}

#[tokio::test]
async fn verify_says_that_the_audit_is_whole_or_what_does_not_fit() {
    let admin = with_deeds().await;
    let dir = admin.dir();
    let whole = verify(dir, &[], MASTER_KEY);
    let said = String::from_utf8_lossy(&whole.stdout).into_owned();
    assert_eq!(whole.status.code(), Some(0), "{}", String::from_utf8_lossy(&whole.stderr));
    let newest = admin.store.audit_head().await.unwrap().hash;
    assert_eq!(said, format!("audit: 4 entries, unbroken; newest 4:{newest}\n"));
    let noted = format!("4:{newest}");
    assert_eq!(verify(dir, &["--expect", &noted], MASTER_KEY).status.code(), Some(0));
    let other = format!("3:{newest}");
    let not_expected = "admin-api: the audit is broken: entry 3 is not the one that was expected";
    assert_eq!(broken(&verify(dir, &["--expect", &other], MASTER_KEY)), not_expected);
    assert_eq!(verify(dir, &["--expect", "4"], MASTER_KEY).status.code(), Some(2));
    let other_key = "another-master-key-of-more-than-32-characters";
    assert_eq!(broken(&verify(dir, &[], other_key)), "admin-api: the audit is broken: entry 1 was altered");
}

#[test]
fn verify_makes_no_database_and_no_master_key() {
    let dir = tempfile::tempdir().unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_admin-api"))
        .current_dir(dir.path())
        .env_clear()
        .args(["audit", "verify", "--database-url", "sqlite://nowhere.db"])
        .output()
        .unwrap();
    let said = broken(&output);
    assert!(said.starts_with("admin-api: there is no master key"), "{said}");
    assert!(broken(&verify(dir.path(), &[], MASTER_KEY)).contains("gateway.db"));
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
}
