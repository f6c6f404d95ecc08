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

#[test]
fn a_reader_is_told_what_everything_is() {
    let document: Value = serde_json::from_str(&admin_api::document()).unwrap();
    let mut silent = Vec::new();
    let tags: Vec<&Value> = document["tags"].as_array().unwrap().iter().map(|tag| &tag["name"]).collect();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let place = format!("{method} {path}");
            let tagged = operation["tags"].as_array().is_some_and(|own| own.iter().all(|tag| tags.contains(&tag)));
            if operation["summary"].as_str().unwrap_or_default().is_empty() || !tagged {
                silent.push(place.clone());
            }
            for parameter in operation["parameters"].as_array().into_iter().flatten() {
                if !parameter["description"].is_string()
                    || (parameter["in"] == "path" && parameter["example"].is_null())
                {
                    silent.push(format!("{place} {}", parameter["name"]));
                }
            }
            for (media_type, content) in operation["requestBody"]["content"].as_object().into_iter().flatten() {
                if content.get("example").is_none() && content.get("examples").is_none() {
                    silent.push(format!("{place} {media_type}"));
                }
            }
        }
    }
    for (name, schema) in document["components"]["schemas"].as_object().unwrap() {
        for (field, about) in schema["properties"].as_object().into_iter().flatten() {
            let speaks = ["description", "$ref", "oneOf", "enum"].iter().any(|keyword| about.get(keyword).is_some());
            let of_others = about.pointer("/items/$ref").is_some();
            if !speaks && !of_others {
                silent.push(format!("{name}.{field}"));
            }
            let is_unsigned = about["format"].as_str().is_some_and(|format| format.starts_with('u'));
            if is_unsigned
                && about["type"] == "integer"
                && (about.get("minimum").is_none() || about.get("maximum").is_none())
            {
                silent.push(format!("the range of {name}.{field}"));
            }
        }
    }
    assert!(silent.is_empty(), "nothing is said of {silent:#?}");
}

#[test]
fn every_refusal_has_the_shape_of_errors_and_an_example_of_its_code() {
    let document: Value = serde_json::from_str(&admin_api::document()).unwrap();
    let mut count = 0;
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            for (status, response) in
                operation["responses"].as_object().unwrap().iter().filter(|(it, _)| ***it >= *"400")
            {
                let reference = response["$ref"].as_str().unwrap_or_default().trim_start_matches('#');
                let response = document.pointer(reference).filter(|_| !reference.is_empty()).unwrap_or(response);
                let content = &response["content"]["application/json"];
                let place = format!("{method} {path} {status}");
                assert_eq!(content["schema"]["$ref"], "#/components/schemas/Error", "{place}");
                let examples = content["examples"].as_object().unwrap_or_else(|| panic!("no examples: {place}"));
                for (code, example) in examples {
                    assert_eq!(&example["value"]["code"], code, "{place}");
                    assert_eq!(example["value"]["statusCode"].to_string(), *status, "{place}");
                }
                assert!(!examples.is_empty(), "{place}");
                count += 1;
            }
        }
    }
    assert!(count > 400, "{count}");
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
