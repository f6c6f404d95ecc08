//! The configuration written out: the same document for the same configuration, in any fleet.

use serde_json::{Value, json};

use crate::client::{Admin, route};

const EXPORT: &str = "/admin/config/export";

#[tokio::test]
async fn an_export_holds_nothing_that_another_fleet_would_not_have() {
    let (one, other) = (Admin::with_auth().await, Admin::start().await);
    one.put("/admin/access/applications/shop").json(json!({})).send().await.expect(201);
    let key = one.post("/admin/access/applications/shop/keys").json(json!({"name": "ci"})).send().await.expect(201);
    let exported = one.get(EXPORT).send().await.expect(200);
    for secret in ["apiKey", "\"id\"", "createdAt", "updatedAt", key.body["prefix"].as_str().unwrap()] {
        assert!(!exported.text.contains(secret), "{secret} in {}", exported.text);
    }
    other.post("/admin/config/apply").json(exported.body.clone()).send().await.expect(200);
    for form in ["json", "yaml"] {
        let path = format!("{EXPORT}?format={form}");
        assert_eq!(other.get(&path).send().await.expect(200).text, one.get(&path).send().await.expect(200).text);
    }
}

#[tokio::test]
async fn the_form_is_asked_for_by_accept_or_by_name() {
    let admin = Admin::with_auth().await;
    for (query, accept, expected) in [
        ("", "*/*", "application/json"),
        ("", "application/yaml", "application/yaml"),
        ("", "text/yaml", "application/yaml"),
        ("?format=json", "application/yaml", "application/json"),
        ("?format=yaml", "application/json", "application/yaml"),
    ] {
        let answer = admin.get(format!("{EXPORT}{query}")).header("accept", accept).send().await.expect(200);
        assert_eq!(answer.header("content-type"), expected);
        assert_eq!(
            answer.text.starts_with("services:\n- serviceName: auth\n"),
            expected.ends_with("yaml"),
            "{}",
            answer.text
        );
    }
    assert_eq!(admin.get(format!("{EXPORT}?format=xml")).send().await.refused(422, "invalid").problems(), ["format"]);
}

#[tokio::test]
async fn sections_are_exported_alone() {
    let admin = Admin::with_auth().await;
    let fields = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<String>>();
    let part = admin.get(format!("{EXPORT}?sections=routes,defaults")).send().await.expect(200);
    assert_eq!(fields(&part.body), ["defaults", "routes"]);
    let whole = admin.get(EXPORT).send().await.expect(200);
    assert_eq!(fields(&whole.body).len(), 7);
    assert_eq!(part.body["routes"], whole.body["routes"]);
    for bad in ["", "routes,rutes", "route"] {
        let refused = admin.get(format!("{EXPORT}?sections={bad}")).send().await.refused(422, "invalid");
        assert_eq!(refused.problems(), ["sections"]);
    }
}

#[tokio::test]
async fn each_form_and_part_has_a_tag_that_changes_with_the_configuration() {
    let admin = Admin::with_auth().await;
    let queries = ["", "?format=yaml", "?sections=routes", "?sections=routes&format=yaml"];
    let mut tags = Vec::new();
    for query in queries {
        let path = format!("{EXPORT}{query}");
        let tag = admin.get(&path).send().await.expect(200).header("etag").to_owned();
        let known = admin.get(&path).header("if-none-match", &tag).send().await.expect(304);
        assert_eq!((known.header("etag"), known.text.as_str()), (tag.as_str(), ""));
        tags.push(tag);
    }
    let mut different = tags.clone();
    different.sort();
    different.dedup();
    assert_eq!(different.len(), queries.len());
    admin.put("/admin/routing/routes/new").json(route("/new", "auth")).send().await.expect(201);
    for (query, tag) in queries.iter().zip(tags) {
        admin.get(format!("{EXPORT}{query}")).header("if-none-match", &tag).send().await.expect(200);
    }
}

#[tokio::test]
async fn a_large_export_comes_in_pieces_and_whole() {
    let admin = Admin::start().await;
    let services: Vec<Value> =
        (0..500).map(|at| json!({"serviceName": format!("s{at:03}"), "defaultUrl": "http://a:1"})).collect();
    admin.post("/admin/config/apply").json(json!({ "services": services })).send().await.expect(200);
    let exported = admin.get(EXPORT).send().await.expect(200);
    assert!(!exported.headers.contains_key("content-length"), "it is written while it is sent");
    let names: Vec<&str> =
        exported.body["services"].as_array().unwrap().iter().map(|it| it["serviceName"].as_str().unwrap()).collect();
    let expected: Vec<String> = (0..500).map(|at| format!("s{at:03}")).collect();
    assert_eq!(names, expected);
}
