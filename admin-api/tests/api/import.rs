//! Foreign documents as ours: nothing is written, and what is answered can be handed to the other calls as it is. What each comes
//! to stands in `tests/import`.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::client::{Admin, Answer};

const IMPORT: &str = "/admin/config/import";
const VALIDATE: &str = "/admin/config/validate";

async fn import(admin: &Admin, query: &str, body: Value) -> Answer {
    let before = admin.store.head().await.unwrap();
    let answer = admin.post(format!("{IMPORT}{query}")).json(body).send().await;
    assert_eq!(admin.store.head().await.unwrap(), before, "importing writes nothing");
    answer
}

fn openapi() -> Value {
    json!({
        "openapi": "3.1.0",
        "info": {"title": "Pets"},
        "servers": [{"url": "/v1"}],
        "paths": {"/pets/{id}": {"get": {"security": [{"key": []}]}}},
        "components": {"securitySchemes": {"key": {"type": "apiKey", "in": "header", "name": "X-API-Key"}}},
    })
}

#[tokio::test]
async fn every_example_is_valid_as_it_comes_out() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/import");
    let files = std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().path());
    let files: Vec<PathBuf> = files.filter(|file| !file.display().to_string().contains(".golden.")).collect();
    let admin = Admin::start().await;
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap();
        let query = text.lines().next().and_then(|line| line.strip_prefix("# import: ")).unwrap_or_default();
        let call = admin.post(format!("{IMPORT}?{query}")).body("application/yaml", text.clone());
        let imported = call.send().await.expect(200);
        let document = json!({"document": imported.body["document"]});
        let valid = admin.post(VALIDATE).json(document).send().await;
        assert_eq!(valid.status, 200, "{}: {}", file.display(), valid.text);
    }
    assert_eq!(admin.store.head().await.unwrap().generation, 0);
}

#[tokio::test]
async fn an_openapi_document_becomes_a_service_routes_and_an_application() {
    let admin = Admin::with_auth().await;
    let query = "?url=http://pets:8080&pathPrefix=/shop&host=api.example.com&serviceName=pets-api&application=petters";
    let imported = import(&admin, query, openapi()).await.expect(200);
    assert_eq!(imported.body["format"], "openapi");
    let document = &imported.body["document"];
    assert_eq!(document["services"][0]["defaultUrl"], "http://pets:8080/v1");
    let route = &document["routes"][0];
    assert_eq!((&route["path"], &route["rewrite"]), (&json!("/shop/pets/{id}"), &json!("/pets/{id}")));
    assert_eq!((&route["hosts"], &route["access"]), (&json!(["api.example.com"]), &json!({"anyOf": ["api_key"]})));
    let application = &document["applications"][0];
    assert_eq!((&application["name"], &application["allowedServices"]), (&json!("petters"), &json!(["pets-api"])));
    assert_eq!(application["whitelist"][0]["endpointPath"], "/shop/pets/{id}");
}

#[tokio::test]
async fn what_is_wrong_with_a_question_is_told_by_its_place() {
    let admin = Admin::with_auth().await;
    for (query, body, paths) in [
        ("", openapi(), vec!["url"]),
        ("?urll=http://a", openapi(), vec!["urll"]),
        ("?url=http://a&url=http://b", openapi(), vec!["url"]),
        ("?url=http://user:canary@a", openapi(), vec!["url"]),
        ("?url=http://a", json!({"_format_version": "3.0"}), vec!["url"]),
        ("", json!({"swagger": "2.0"}), vec!["swagger"]),
        ("", json!({"services": []}), vec![""]),
        ("", json!("openapi"), vec![""]),
    ] {
        let refused = import(&admin, query, body).await.refused(422, "invalid");
        assert_eq!(refused.problems(), paths, "{query}");
        assert!(!refused.text.contains("canary"));
    }
    let call = admin.post(IMPORT).body("text/plain", "openapi: 3.1.0");
    call.send().await.refused(415, "unsupported_media_type");
    let call = admin.post(IMPORT).body("application/yaml", "openapi: [");
    call.send().await.refused(400, "bad_request");
    admin.post(IMPORT).json(openapi()).token(None).send().await.refused(401, "unauthorized");
}

#[tokio::test]
async fn bombs_are_refused_rather_than_unfolded() {
    let admin = Admin::with_auth().await;
    let mut laughs = "_format_version: '3.0'\na: &a [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for (name, of) in ["b", "c", "d", "e", "f", "g", "h"].iter().zip(["a", "b", "c", "d", "e", "f", "g"]) {
        let members = vec![format!("*{of}"); 10].join(", ");
        writeln!(laughs, "{name}: &{name} [{members}]").unwrap();
    }
    admin.post(IMPORT).body("application/yaml", laughs).send().await.refused(400, "bad_request");
    let deep = format!("{{\"openapi\": {}1{}}}", "[".repeat(5000), "]".repeat(5000));
    admin.post(IMPORT).body("application/json", deep).send().await.refused(400, "bad_request");
}
