//! The description of the API is committed, whole, and true.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::client::Admin;

#[test]
fn the_committed_description_is_what_the_code_says() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/openapi.json");
    let committed: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap_or_default()).unwrap_or_default();
    let said: Value = serde_json::from_str(&admin_api::document()).unwrap();
    // Compared by parts: a diff of the whole says nothing to anybody.
    let is_same = committed == said;
    assert!(is_same, "openapi.json differs; run: cargo run -p admin-api -- openapi > admin-api/openapi.json");
}

#[tokio::test]
async fn every_documented_path_is_served() {
    let admin = Admin::start().await;
    for (template, method, _) in admin.operations() {
        let path = template.split('/').map(|part| if part.starts_with('{') { "x" } else { part });
        let path = path.collect::<Vec<_>>().join("/");
        let answer = admin.call("BREW", path).send().await.refused(405, "method_not_allowed");
        assert!(answer.header("allow").contains(&method.to_uppercase()), "{method} {template}");
    }
}

#[test]
fn every_reference_leads_somewhere_and_every_operation_documents_its_refusals() {
    let document: Value = serde_json::from_str(&admin_api::document()).unwrap();
    assert_eq!(document["openapi"], "3.1.0");
    let mut references = BTreeSet::new();
    gather(&document, &mut references);
    assert!(references.len() > 30);
    for reference in references {
        assert!(document.pointer(reference.trim_start_matches('#')).is_some(), "{reference} leads nowhere");
    }
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let responses = operation["responses"].as_object().unwrap();
            assert!(responses.contains_key("405"), "{method} {path}");
            if path.starts_with("/admin/") {
                assert!(responses.contains_key("401") && responses.contains_key("422"), "{method} {path}");
            }
        }
    }
}

fn gather(value: &Value, references: &mut BTreeSet<String>) {
    match value {
        Value::Object(fields) => {
            if let Some(Value::String(reference)) = fields.get("$ref") {
                references.insert(reference.clone());
            }
            fields.values().for_each(|value| gather(value, references));
        }
        Value::Array(items) => items.iter().for_each(|value| gather(value, references)),
        _ => {}
    }
}
