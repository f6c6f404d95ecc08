//! Members: the versions of a service and the whitelist of an application.

use serde_json::{Value, json};

use crate::client::Admin;

const VERSIONS: &str = "/admin/routing/services/auth/versions";
const WHITELIST: &str = "/admin/access/applications/shop/whitelist";

fn version(url: &str, weight: u16) -> Value {
    json!({"url": url, "weight": weight})
}

#[tokio::test]
async fn versions_are_put_patched_listed_and_deleted_below_their_service() {
    let admin = Admin::with_auth().await;
    let v1 = format!("{VERSIONS}/v1");
    let made = admin.put(&v1).json(version("http://a:1", 9)).send().await.expect(201);
    assert_eq!((made.generation(), made.header("location")), (3, v1.as_str()));
    assert_eq!(made.body["version"], "v1");
    let mut body = version("http://b:1", 1);
    body["version"] = json!("v2");
    admin.post(VERSIONS).json(body.clone()).send().await.expect(201);
    admin.post(VERSIONS).json(body).send().await.refused(409, "conflict");
    let patched = admin.patch(&v1).json(json!({"weight": 3})).send().await.expect(200);
    assert_eq!((patched.body["weight"].clone(), patched.body["url"].clone()), (json!(3), json!("http://a:1")));
    assert_eq!(patched.body["id"], made.body["id"]);

    let list = admin.get(VERSIONS).send().await.expect(200);
    assert_eq!(list.names("version"), ["v1", "v2"]);
    let service = admin.get("/admin/routing/services/auth").send().await.expect(200);
    assert_eq!(service.body["versions"], list.body["items"]);

    admin.delete(&v1).send().await.expect(204);
    admin.get(&v1).send().await.refused(404, "not_found");
    assert_eq!(admin.get(VERSIONS).send().await.names("version"), ["v2"]);
}

#[tokio::test]
async fn a_version_is_found_by_its_id_too() {
    let admin = Admin::with_auth().await;
    let made = admin.put(format!("{VERSIONS}/v1")).json(version("http://a:1", 9)).send().await.expect(201);
    let by_id = format!("{VERSIONS}/{}", made.body["id"].as_str().unwrap());
    assert_eq!(admin.get(&by_id).send().await.expect(200).body, made.body);
    let renamed = admin.patch(&by_id).json(json!({"version": "v9"})).send().await.expect(200);
    assert_eq!((renamed.body["version"].clone(), renamed.body["id"].clone()), (json!("v9"), made.body["id"].clone()));
    admin.get(format!("{VERSIONS}/v1")).send().await.refused(404, "not_found");
}

#[tokio::test]
async fn a_version_has_a_tag_of_its_own() {
    let admin = Admin::with_auth().await;
    let v1 = format!("{VERSIONS}/v1");
    let made = admin.put(&v1).json(version("http://a:1", 9)).send().await.expect(201);
    let tag = admin.get(&v1).send().await.expect(200).header("etag").to_owned();
    assert_eq!(made.header("etag"), tag);
    // Somebody else changes another version: that does not touch this one.
    admin.put(format!("{VERSIONS}/v2")).json(version("http://b:1", 1)).send().await.expect(201);
    let mine = admin.put(&v1).header("if-match", &tag).json(version("http://a:1", 8)).send().await.expect(200);
    assert_ne!(mine.header("etag"), tag);
    admin.put(&v1).header("if-match", &tag).json(version("http://a:1", 7)).send().await.refused(412, "stale");
    admin.put(&v1).header("if-none-match", "*").json(version("http://a:1", 7)).send().await.refused(412, "stale");
}

#[tokio::test]
async fn members_of_what_is_not_there_are_not_found() {
    let admin = Admin::start().await;
    for path in [VERSIONS.to_owned(), format!("{VERSIONS}/v1")] {
        admin.get(path).send().await.refused(404, "not_found");
    }
    admin.put(format!("{VERSIONS}/v1")).json(version("http://a:1", 1)).send().await.refused(404, "not_found");
    let mut body = version("http://a:1", 1);
    body["version"] = json!("v1");
    admin.post(VERSIONS).json(body).send().await.refused(404, "not_found");
    let auth = Admin::with_auth().await;
    auth.delete(format!("{VERSIONS}/v1")).send().await.refused(404, "not_found");
    auth.patch(format!("{VERSIONS}/v1")).json(json!({})).send().await.refused(404, "not_found");
}

#[tokio::test]
async fn a_wrong_member_is_refused_with_its_place() {
    let admin = Admin::with_auth().await;
    let refused = admin.put(format!("{VERSIONS}/v1")).json(json!({"wieght": 1})).send().await.refused(422, "invalid");
    assert_eq!(refused.problems(), ["services/auth/versions/0/wieght"]);
    let refused = admin.post(VERSIONS).json(json!({"weight": 1})).send().await.refused(422, "invalid");
    assert_eq!(refused.problems(), ["services/auth/versions/?/version"]);
}

#[tokio::test]
async fn whitelist_entries_are_found_by_id_because_their_paths_hold_slashes() {
    let admin = Admin::start().await;
    admin.put("/admin/access/applications/shop").json(json!({})).send().await.expect(201);
    let entry = json!({"endpointPath": "/api/{version}/orders/{*rest}", "allowedMethods": ["GET"]});
    let made = admin.post(WHITELIST).json(entry).send().await.expect(201);
    let at = made.header("location").to_owned();
    assert!(at.ends_with(made.body["id"].as_str().unwrap()), "{at}");
    let patched = admin.patch(&at).json(json!({"rateLimit": 5})).send().await.expect(200);
    assert_eq!((patched.body["rateLimit"].clone(), patched.body["id"].clone()), (json!(5), made.body["id"].clone()));
    let replaced = admin.put(&at).json(json!({"endpointPath": "/other"})).send().await.expect(200);
    assert_eq!(replaced.body["endpointPath"], "/other");
    assert_eq!(replaced.body["id"], made.body["id"], "another path, but the same entry");
    admin.delete(&at).send().await.expect(204);
    assert_eq!(admin.get(WHITELIST).send().await.expect(200).body["items"], json!([]));
}

#[tokio::test]
async fn a_list_of_members_has_pages() {
    let admin = Admin::with_auth().await;
    let versions: Vec<Value> =
        (0..7).map(|at| json!({"version": format!("v{at}"), "url": "http://a:1", "weight": 1})).collect();
    admin.patch("/admin/routing/services/auth").json(json!({"versions": versions})).send().await.expect(200);
    let first = admin.get(format!("{VERSIONS}?limit=5")).send().await.expect(200);
    assert_eq!(first.names("version"), ["v0", "v1", "v2", "v3", "v4"]);
    let cursor = first.body["nextCursor"].as_str().unwrap();
    let second = admin.get(format!("{VERSIONS}?limit=5&cursor={cursor}")).send().await.expect(200);
    assert_eq!(second.names("version"), ["v5", "v6"]);
    assert_eq!(second.body["nextCursor"], json!(null));
    assert_eq!(admin.get(format!("{VERSIONS}?q=V3")).send().await.names("version"), ["v3"]);
    admin.get(format!("{VERSIONS}?cursor=aa")).send().await.refused(422, "invalid");
}
