//! Services, and what holds for every resource: put, patch, post, delete.

use serde_json::json;

use crate::client::{Admin, SERVICES};

const AUTH: &str = "/admin/routing/services/auth";

#[tokio::test]
async fn put_creates_then_replaces_and_each_makes_one_generation() {
    let admin = Admin::start().await;
    let made =
        admin.put(AUTH).json(json!({"defaultUrl": "http://a:1", "description": "first"})).send().await.expect(201);
    assert_eq!((made.generation(), made.header("location")), (1, AUTH));
    assert_eq!(made.body["serviceName"], "auth");
    let replaced = admin.put(AUTH).json(json!({"defaultUrl": "http://b:1"})).send().await.expect(200);
    assert_eq!(replaced.generation(), 2);
    assert_eq!(replaced.body["description"], "", "what a PUT does not say is the default again");
    assert_eq!(replaced.body["id"], made.body["id"]);
    assert_eq!(replaced.body["createdAt"], made.body["createdAt"]);
}

#[tokio::test]
async fn a_write_that_changes_nothing_makes_no_generation() {
    let admin = Admin::with_auth().await;
    let read = admin.get(AUTH).send().await.expect(200);
    let same = admin.put(AUTH).json(json!({"defaultUrl": "http://127.0.0.1:7200"})).send().await.expect(200);
    assert_eq!((same.generation(), same.header("etag")), (2, read.header("etag")));
    let same = admin.patch(AUTH).json(json!({})).send().await.expect(200);
    assert_eq!(same.generation(), 2);
}

#[tokio::test]
async fn patch_merges_and_null_takes_a_field_back() {
    let admin = Admin::with_auth().await;
    let change = json!({"description": "who is who", "timeouts": {"readMs": 5}, "fallbackUrl": "http://c:1"});
    let patched = admin.patch(AUTH).body("application/merge-patch+json", change.to_string()).send().await.expect(200);
    assert_eq!(patched.body["timeouts"]["readMs"], 5);
    assert_eq!(patched.body["defaultUrl"], "http://127.0.0.1:7200");
    let patched = admin.patch(AUTH).json(json!({"fallbackUrl": null})).send().await.expect(200);
    assert_eq!(patched.body["fallbackUrl"], json!(null));
    assert_eq!(patched.body["description"], "who is who");
    assert_eq!(patched.generation(), 4);
}

#[tokio::test]
async fn post_creates_and_a_taken_name_is_a_conflict() {
    let admin = Admin::start().await;
    let body = json!({"serviceName": "auth", "defaultUrl": "http://a:1"});
    let made = admin.post(SERVICES).json(body.clone()).send().await.expect(201);
    assert_eq!(made.header("location"), AUTH);
    admin.post(SERVICES).json(body).send().await.refused(409, "conflict");
    assert_eq!(admin.store.head().await.unwrap().generation, 1);
}

#[tokio::test]
async fn a_post_must_say_the_name() {
    let admin = Admin::start().await;
    let refused = admin.post(SERVICES).json(json!({"defaultUrl": "http://a:1"})).send().await.refused(422, "invalid");
    assert_eq!(refused.problems(), ["services/?/serviceName"]);
    admin.post(SERVICES).json(json!({"serviceName": 7})).send().await.refused(422, "invalid");
    admin.post(SERVICES).json(json!([])).send().await.refused(422, "invalid");
}

#[tokio::test]
async fn delete_answers_204_and_then_it_is_gone() {
    let admin = Admin::start().await;
    admin.put(AUTH).json(json!({"defaultUrl": "http://a:1"})).send().await.expect(201);
    let gone = admin.delete(AUTH).send().await.expect(204);
    assert_eq!((gone.generation(), gone.text.as_str()), (2, ""));
    admin.get(AUTH).send().await.refused(404, "not_found");
    admin.delete(AUTH).send().await.refused(404, "not_found");
    admin.patch(AUTH).json(json!({})).send().await.refused(404, "not_found");
}

#[tokio::test]
async fn deleting_what_is_used_names_the_referrers() {
    let admin = Admin::with_auth().await;
    let refused = admin.delete(AUTH).send().await.refused(409, "conflict");
    assert_eq!(refused.body["referrers"], json!(["auth"]));
    assert!(refused.body["message"].as_str().unwrap().contains("route \"auth\""), "{}", refused.text);
    admin.delete("/admin/routing/routes/auth").send().await.expect(204);
    admin.delete(AUTH).send().await.expect(204);
}

#[tokio::test]
async fn the_body_can_not_rename() {
    let admin = Admin::with_auth().await;
    let body = json!({"serviceName": "other", "defaultUrl": "http://a:1"});
    let refused = admin.put(AUTH).json(body).send().await.refused(422, "invalid");
    assert_eq!(refused.problems(), ["services/auth/serviceName"]);
}

#[tokio::test]
async fn a_name_that_no_service_may_have_is_refused_and_found_nowhere() {
    let admin = Admin::start().await;
    for name in ["A", "a_b", "%00", "a%2Fb", "%20", &"a".repeat(64)] {
        let path = format!("{SERVICES}/{name}");
        admin.put(&path).json(json!({"defaultUrl": "http://a:1"})).send().await.refused(422, "invalid");
        admin.get(&path).send().await.refused(404, "not_found");
        admin.delete(&path).send().await.refused(404, "not_found");
    }
}

#[tokio::test]
async fn everything_that_is_wrong_is_told_at_once() {
    let admin = Admin::start().await;
    let body = json!({"defaultUrl": "nonsense", "fallbackUrl": "ftp://x", "versions": [{"version": "v1", "url": "http://a:1", "weight": 5000}]});
    let refused = admin.put(AUTH).json(body).send().await.refused(422, "invalid");
    assert_eq!(
        refused.problems(),
        ["services/auth/defaultUrl", "services/auth/fallbackUrl", "services/auth/versions/0/weight"]
    );
    assert_eq!(admin.store.head().await.unwrap().generation, 0);
}

#[tokio::test]
async fn warnings_are_counted_in_a_header_and_the_entity_stays_pure() {
    let admin = Admin::with_auth().await;
    let written = admin.patch(AUTH).json(json!({"isActive": false})).send().await.expect(200);
    assert_eq!(written.header("x-config-warnings"), "1");
    assert!(written.body.get("warnings").is_none());
}

#[tokio::test]
async fn maintenance_is_one_call_and_one_switch() {
    let admin = Admin::with_auth().await;
    let maintained = async |value| {
        let patched = admin.patch(AUTH).json(json!({"maintenance": value})).send().await.expect(200);
        patched.body["maintenance"].clone()
    };
    let usual = json!({"statusCode": 503, "message": "this service is under maintenance", "retryAfterSeconds": 60});
    assert_eq!(maintained(json!({})).await, usual);
    let question = json!({"method": "GET", "path": "/auth/x"});
    let explained = admin.post("/admin/explain").json(question.clone()).send().await.expect(200);
    assert_eq!((&explained.body["outcome"], &explained.body["code"]), (&json!("refuse"), &json!("maintenance")));
    assert_eq!(maintained(json!({"message": "back at noon"})).await["message"], "back at noon");
    assert_eq!(maintained(json!({})).await["message"], "back at noon", "the switch is on already");
    assert_eq!(maintained(json!(null)).await, json!(null));
    let explained = admin.post("/admin/explain").json(question).send().await.expect(200);
    assert_eq!(explained.body["outcome"], "forward");
    assert_eq!(maintained(json!({})).await, usual, "nothing is left of the last time");
}
