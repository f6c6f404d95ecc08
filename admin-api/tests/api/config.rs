//! The configuration as a whole: validated and exported.

use serde_json::{Value, json};

use crate::client::{Admin, Answer, route};

async fn validate(admin: &Admin, body: Value) -> Answer {
    let answer = admin.post("/admin/config/validate").json(body).send().await;
    assert_eq!(admin.store.head().await.unwrap().generation, 2, "validating writes nothing");
    answer
}

fn put(kind: &str, name: &str, value: Value) -> Value {
    json!({"op": "put", "kind": kind, "name": name, "value": value})
}

#[tokio::test]
async fn sound_changes_are_valid_and_their_warnings_told() {
    let admin = Admin::with_auth().await;
    let changes = json!([
        put("service", "new", json!({"defaultUrl": "http://a:1"})),
        put("route", "new", route("/new", "new")),
        {"op": "patch", "kind": "service", "name": "auth", "value": {"isActive": false}},
    ]);
    let answer = validate(&admin, json!({"changes": changes})).await.expect(200);
    assert_eq!(answer.body["valid"], true);
    assert_eq!(answer.body["warnings"][0]["path"], "services/auth/isActive");
    let answer = validate(&admin, json!({"changes": []})).await.expect(200);
    assert_eq!(answer.body, json!({"valid": true, "warnings": []}));
}

#[tokio::test]
async fn all_problems_of_all_changes_are_told_at_once() {
    let admin = Admin::with_auth().await;
    let changes = json!([
        put("service", "a", json!({"nope": 1})),
        put("service", "b", json!({"isActive": 1})),
        put("route", "c", json!({"path": 1})),
    ]);
    let refused = validate(&admin, json!({"changes": changes})).await.refused(422, "invalid");
    assert_eq!(refused.problems(), ["routes/c/path", "services/a/nope", "services/b/isActive"]);
    assert_eq!(refused.body["warnings"], json!([]));
}

#[tokio::test]
async fn what_a_write_would_conflict_with_is_a_problem_too() {
    let admin = Admin::with_auth().await;
    let delete = json!([{"op": "delete", "kind": "service", "name": "auth"}]);
    let refused = validate(&admin, json!({"changes": delete})).await.refused(422, "invalid");
    assert_eq!((refused.problems(), &refused.body["referrers"]), (vec!["services/auth"], &json!(["auth"])));
    let both =
        json!([{"op": "delete", "kind": "service", "name": "auth"}, {"op": "delete", "kind": "route", "name": "auth"}]);
    validate(&admin, json!({"changes": both})).await.expect(200);
    let ghost = json!([{"op": "delete", "kind": "queue", "name": "ghost"}]);
    let refused = validate(&admin, json!({"changes": ghost})).await.refused(422, "invalid");
    assert_eq!(refused.problems(), ["changes"]);
}

#[tokio::test]
async fn documents_are_taken_bare_wrapped_and_as_yaml() {
    let admin = Admin::with_auth().await;
    let document = json!({"services": [{"serviceName": "x", "defaultUrl": "http://a:1"}]});
    validate(&admin, document.clone()).await.expect(200);
    validate(&admin, json!({"document": document})).await.expect(200);
    let yaml = "services:\n  - serviceName: x\n    defaultUrl: http://a:1\n";
    let call = admin.post("/admin/config/validate").body("application/yaml", yaml);
    assert_eq!(call.send().await.expect(200).body["valid"], true);

    let refused = validate(&admin, json!({"document": {"servces": []}})).await.refused(422, "invalid");
    assert_eq!(refused.problems(), ["servces"]);
    validate(&admin, json!([])).await.refused(422, "invalid");
    validate(&admin, json!({"changes": [], "document": {}})).await.refused(422, "invalid");
    let refused = validate(&admin, json!({"changes": [], "dryRun": true})).await.refused(422, "invalid");
    assert_eq!(refused.problems(), ["dryRun"]);
    let call = admin.post("/admin/config/validate").body("application/yaml", "a: [");
    call.send().await.refused(400, "bad_request");
    let call = admin.post("/admin/config/validate").body("text/plain", "a");
    call.send().await.refused(415, "unsupported_media_type");
}

#[tokio::test]
async fn an_export_is_valid_again_in_both_forms() {
    let admin = Admin::with_auth().await;
    let exported = admin.get("/admin/config/export").send().await.expect(200);
    assert_eq!(exported.header("content-type"), "application/json");
    assert_eq!(exported.body["services"][0]["serviceName"], "auth");
    validate(&admin, exported.body.clone()).await.expect(200);

    let yaml = admin.get("/admin/config/export").header("accept", "application/yaml").send().await.expect(200);
    assert_eq!(yaml.header("content-type"), "application/yaml");
    assert_ne!(yaml.header("etag"), exported.header("etag"));
    let call = admin.post("/admin/config/validate").body("application/yaml", yaml.text);
    call.send().await.expect(200);
}
