//! Admins: made, changed and deleted by admins, and never nobody is left.

use futures::future::join_all;
use gateway_config::model::Action;
use serde_json::json;

use crate::client::Admin;
use crate::people::{PASSWORD, USERS};

const ADA: &str = "ada@example.com";

#[tokio::test]
async fn an_admin_is_made_shown_changed_and_deleted() {
    let admin = Admin::start().await;
    let body = json!({"email": " Ada@Example.com", "name": "Ada", "role": "operator", "password": PASSWORD});
    let made = admin.post(USERS).json(body.clone()).from("192.0.2.1").send().await.expect(201);
    let id = made.body["id"].as_str().unwrap();
    assert_eq!(made.header("location"), format!("{USERS}/{id}"));
    assert_eq!((&made.body["email"], &made.body["isActive"]), (&json!(ADA), &json!(true)));
    admin.post(USERS).json(body).send().await.refused(409, "conflict");

    for path in [format!("{USERS}/{id}"), format!("{USERS}/{ADA}"), format!("{USERS}/ADA@example.com")] {
        let shown = admin.get(&path).send().await.expect(200);
        assert_eq!((&shown.body, shown.header("etag")), (&made.body, made.header("etag")), "{path}");
        admin.get(&path).header("if-none-match", shown.header("etag")).send().await.expect(304);
    }
    let path = format!("{USERS}/{ADA}");
    let renamed = admin.patch(&path).json(json!({"name": "A. L."})).send().await.expect(200);
    assert_eq!(renamed.body["name"], "A. L.");
    assert_ne!(renamed.header("etag"), made.header("etag"));
    let same = admin.patch(&path).json(json!({"name": "A. L."})).send().await.expect(200);
    assert_eq!(same.header("etag"), renamed.header("etag"));
    admin.delete(&path).send().await.expect(204);
    admin.get(&path).send().await.refused(404, "not_found");

    let actions: Vec<Action> = admin.audit().await.iter().map(|entry| entry.action).collect();
    assert_eq!(actions, [Action::AdminCreate, Action::AdminUpdate, Action::AdminDelete]);
    let first = &admin.audit().await[0];
    assert_eq!((first.actor.as_str(), first.address), ("ADMIN_TOKEN", Some("192.0.2.1".parse().unwrap())));
    assert!(first.request_id.is_some());
}

#[tokio::test]
async fn no_answer_and_no_entry_shows_a_password_or_its_hash() {
    let admin = Admin::start().await;
    admin.person(ADA, "admin").await;
    let path = format!("{USERS}/{ADA}");
    let patched = admin.patch(&path).json(json!({"password": "another good password"})).send().await.expect(200);
    let (shown, listed) = (admin.get(&path).send().await, admin.get(USERS).send().await);
    let audit = format!("{:?}", admin.audit().await);
    for text in [&patched.text, &shown.text, &listed.text, &audit] {
        assert!(!text.contains("argon2") && !text.contains("good password") && !text.contains("Hash\""), "{text}");
    }
    assert!(audit.contains("new password"), "{audit}");
}

#[tokio::test]
async fn admins_are_listed_by_email_in_pages_and_searched_by_name_too() {
    let admin = Admin::start().await;
    for email in ["c@a.test", "a@a.test", "b@a.test"] {
        admin.person(email, "viewer").await;
    }
    admin.patch(format!("{USERS}/b@a.test")).json(json!({"name": "Countess"})).send().await.expect(200);
    let first = admin.get(format!("{USERS}?limit=2")).send().await.expect(200);
    assert_eq!(first.names("email"), ["a@a.test", "b@a.test"]);
    let cursor = first.body["nextCursor"].as_str().unwrap();
    let rest = admin.get(format!("{USERS}?limit=2&cursor={cursor}")).send().await.expect(200);
    assert_eq!((rest.names("email"), &rest.body["nextCursor"]), (vec!["c@a.test"], &json!(null)));
    assert_eq!(admin.get(format!("{USERS}?q=COUNT")).send().await.names("email"), ["b@a.test"]);
    admin.get(format!("{USERS}?role=x")).send().await.refused(422, "invalid");
}

#[tokio::test]
async fn what_is_wrong_with_an_admin_is_told_all_at_once() {
    let admin = Admin::start().await;
    let body = json!({"email": "ada", "name": "a\nb", "role": "viewer", "password": "short"});
    let refused = admin.post(USERS).json(body).send().await.refused(422, "invalid");
    assert_eq!(refused.problems(), ["name", "email", "password"]);
    assert!(!refused.text.contains("short\""), "{}", refused.text);
    for (body, path) in [
        (json!({"role": "king"}), "role"),
        (json!({"email": "b@example.com"}), "email"),
        (json!({"passwordHash": "x"}), "passwordHash"),
        (json!({"isActive": "no"}), "isActive"),
        (json!({"password": "x".repeat(1025)}), "password"),
        (json!({"name": "x".repeat(201)}), "name"),
        (json!([]), ""),
    ] {
        let refused = admin.patch(format!("{USERS}/{ADA}")).json(body).send().await.refused(422, "invalid");
        assert_eq!(refused.problems(), [path]);
    }
    for who in ["nobody@example.com", "x", "me", "%00@example.com", "01a1fef9-f7a5-7c41-9d3e-5b8f0c2a6e17"] {
        admin.get(format!("{USERS}/{who}")).send().await.refused(404, "not_found");
    }
}

#[tokio::test]
async fn a_change_of_what_somebody_else_changed_is_412() {
    let admin = Admin::start().await;
    admin.person(ADA, "viewer").await;
    let path = format!("{USERS}/{ADA}");
    let tag = admin.get(&path).send().await.header("etag").to_owned();
    let rename = |tag: &str, name: &str| admin.patch(&path).header("if-match", tag).json(json!({"name": name})).send();
    let fresh = rename(&tag, "one").await.expect(200).header("etag").to_owned();
    rename(&tag, "two").await.refused(412, "stale");
    rename("\"x\", *", "three").await.expect(200);
    admin.delete(&path).header("if-match", &fresh).send().await.refused(412, "stale");
    admin.delete(&path).header("if-match", "*").send().await.expect(204);
}

#[tokio::test]
async fn changes_without_a_condition_do_not_undo_each_other() {
    let admin = Admin::start().await;
    admin.person(ADA, "viewer").await;
    let path = format!("{USERS}/{ADA}");
    let patches = [json!({"name": "Ada"}), json!({"role": "operator"}), json!({"password": "another good password"})];
    let another = admin.another();
    let calls =
        patches.into_iter().zip([&admin, &another, &admin]).map(|(body, api)| api.patch(&path).json(body).send());
    for answer in join_all(calls).await {
        answer.expect(200);
    }
    let shown = admin.get(&path).send().await;
    assert_eq!((&shown.body["name"], &shown.body["role"]), (&json!("Ada"), &json!("operator")));
    admin.try_login(ADA, "another good password").send().await.expect(200);
}

#[tokio::test]
async fn the_last_active_admin_can_not_be_deleted_deactivated_or_demoted() {
    let admin = Admin::start().await;
    admin.person(ADA, "admin").await;
    admin.person("idle@example.com", "admin").await;
    admin.person("op@example.com", "operator").await;
    let idle = format!("{USERS}/idle@example.com");
    admin.patch(&idle).json(json!({"isActive": false})).send().await.expect(200);
    let path = format!("{USERS}/{ADA}");
    for body in [json!({"isActive": false}), json!({"role": "operator"}), json!({"role": "viewer", "name": "x"})] {
        let refused = admin.patch(&path).json(body).send().await.refused(409, "conflict");
        assert!(refused.body["message"].as_str().unwrap().contains("last active admin"));
    }
    admin.delete(&path).send().await.refused(409, "conflict");
    admin.patch(&path).json(json!({"name": "Ada"})).send().await.expect(200);
    admin.patch(&idle).json(json!({"isActive": true})).send().await.expect(200);
    admin.delete(&path).send().await.expect(204);
}
