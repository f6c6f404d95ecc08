//! Every other kind, through the same code.

use serde_json::{Value, json};

use crate::client::Admin;

/// For each resource: its collection, a name, and the smallest sound body.
fn samples() -> Vec<(&'static str, &'static str, Value)> {
    vec![
        ("/admin/routing/queues", "orders", json!({"destination": {"deliverTo": "http://127.0.0.1:7300/x"}})),
        ("/admin/access/applications", "shop", json!({"allowedServices": ["*"]})),
        (
            "/admin/access/issuers",
            "idp",
            json!({"issuer": "https://idp", "algorithms": ["RS256"], "jwksUrl": "https://idp/jwks"}),
        ),
    ]
}

#[tokio::test]
async fn every_resource_is_created_read_listed_patched_and_deleted() {
    let admin = Admin::start().await;
    for (collection, name, body) in samples() {
        let path = format!("{collection}/{name}");
        admin.put(&path).json(body).send().await.expect(201);
        let read = admin.get(&path).send().await.expect(200);
        assert_eq!(read.body["name"], name);
        assert_eq!(admin.get(collection).send().await.expect(200).names("name"), [name]);
        let patched = admin.patch(&path).json(json!({})).send().await.expect(200);
        assert_eq!(patched.body, read.body, "{collection}");
        admin.delete(&path).send().await.expect(204);
        admin.get(&path).send().await.refused(404, "not_found");
    }
}

#[tokio::test]
async fn a_literal_secret_is_refused_and_not_repeated() {
    let admin = Admin::start().await;
    let body = json!({"issuer": "https://idp", "algorithms": ["HS256"], "secret": "canary-secret"});
    let refused = admin.put("/admin/access/issuers/idp").json(body).send().await.refused(422, "invalid");
    assert_eq!(refused.problems(), ["issuers/idp/secret"]);
    assert!(!refused.text.contains("canary"), "{}", refused.text);
}

#[tokio::test]
async fn keys_in_an_applications_body_are_ignored() {
    let admin = Admin::start().await;
    let body = json!({"apiKeys": [{"name": "n", "prefix": "p", "apiKeyHash": "canary"}]});
    let made = admin.put("/admin/access/applications/shop").json(body).send().await.expect(201);
    assert_eq!(made.body["apiKeys"], json!([]));
    admin.get("/admin/access/applications/shop/apiKeys").send().await.refused(404, "not_found");
}

#[tokio::test]
async fn the_defaults_are_always_there_and_can_not_be_deleted() {
    let admin = Admin::start().await;
    let path = "/admin/edge/defaults";
    let fresh = admin.get(path).send().await.expect(200);
    assert_eq!(fresh.body["maxUriBytes"], 8192);
    let patched = admin.patch(path).json(json!({"maxUriBytes": 4096})).send().await.expect(200);
    assert_eq!((patched.generation(), patched.body["maxUriBytes"].clone()), (1, json!(4096)));
    let put = admin.put(path).header("if-match", patched.header("etag")).json(json!({})).send().await.expect(200);
    assert_eq!(put.body["maxUriBytes"], 8192);
    let refused = admin.delete(path).send().await.refused(405, "method_not_allowed");
    assert_eq!(refused.header("allow"), "GET,HEAD,PUT,PATCH");
    admin.post(path).json(json!({})).send().await.refused(405, "method_not_allowed");
}
