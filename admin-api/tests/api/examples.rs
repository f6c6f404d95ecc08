//! The description's examples are no decoration: the API takes each of them.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::client::Admin;

/// What must stand before the rest, each after what its own example names.
const FIRST: [&str; 7] = [
    "/admin/routing/services",
    "/admin/access/issuers",
    "/admin/routing/queues",
    "/admin/edge/certificates",
    "/admin/access/applications",
    "/admin/routing/routes",
    "/admin/users",
];

/// Statuses by which a body is refused for what it is.
const NOT_TAKEN: [u16; 4] = [400, 413, 415, 422];

/// An operation and one example of what it takes.
struct Example {
    method: String,
    template: String,
    path: String,
    content_type: String,
    body: Value,
}

async fn furnished() -> Admin {
    let admin = Admin::start().await;
    for path in FIRST {
        let example =
            examples(&admin, &BTreeMap::new()).into_iter().find(|it| it.template == path && it.method == "post");
        let example = example.unwrap_or_else(|| panic!("POST {path} has no example"));
        admin.post(path).json(example.body).send().await.expect(201);
    }
    admin
}

/// Every example of every body, its path filled in with the examples of its parameters, or with what stands in `known`.
fn examples(admin: &Admin, known: &BTreeMap<&str, String>) -> Vec<Example> {
    let mut found = Vec::new();
    for (template, method, operation) in admin.operations() {
        let mut path = template.to_owned();
        for parameter in operation["parameters"].as_array().into_iter().flatten().filter(|it| it["in"] == "path") {
            let (name, example) = (parameter["name"].as_str().unwrap(), &parameter["example"]);
            let example = example.as_str().map_or_else(|| example.to_string(), ToOwned::to_owned);
            let at = format!("{template} {name}");
            path = path.replace(&format!("{{{name}}}"), known.get(at.as_str()).unwrap_or(&example));
        }
        let contents = operation["requestBody"]["content"].as_object();
        for (content_type, content) in contents.into_iter().flatten() {
            let single = content.get("example").into_iter();
            let several =
                content["examples"].as_object().into_iter().flat_map(|it| it.values().map(|one| &one["value"]));
            for body in single.chain(several).cloned() {
                let (method, template, path) = (method.to_owned(), template.to_owned(), path.clone());
                found.push(Example { method, template, path, content_type: content_type.clone(), body });
            }
        }
    }
    found
}

#[tokio::test]
async fn every_example_of_a_body_is_taken() {
    let admin = furnished().await;
    let shop = "/admin/access/applications/shop";
    let key = admin.post(format!("{shop}/keys")).json(json!({"name": "x"})).send().await.expect(201).body;
    let entry = admin.get(format!("{shop}/whitelist")).send().await.expect(200).body["items"][0]["id"].clone();
    let ada = admin.get("/admin/users").send().await.expect(200).body["items"][0]["id"].clone();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let keys = "/admin/access/applications/{name}/keys/{id}";
    let rotate = format!("{keys}/rotate id");
    let known = BTreeMap::from([
        ("/admin/access/applications/{name}/keys/{id} id", text(&key["id"])),
        (rotate.as_str(), text(&key["id"])),
        ("/admin/access/applications/{name}/whitelist/{id} id", text(&entry)),
        ("/admin/users/{id} id", text(&ada)),
        ("/admin/users/{id}/tokens id", text(&ada)),
        ("/admin/config/generations/{number}/rollback number", "2".to_owned()),
    ]);
    let examples = examples(&admin, &known);
    assert!(examples.len() > 40, "{}", examples.len());
    for Example { method, path, content_type, body, .. } in examples {
        let call = admin.call(leaked(&method), path.as_str());
        // An example may be whole text, as of a document in YAML; else JSON is YAML as well.
        let text = body.as_str().map_or_else(|| body.to_string(), ToOwned::to_owned);
        let answer = call.body(&content_type, text).send().await;
        // There is no gateway here that could publish a test message; that is found out behind the body.
        let is_alone = answer.body["code"] == "queue_unavailable";
        let is_taken = !NOT_TAKEN.contains(&answer.status) && answer.status < 500 || is_alone;
        assert!(is_taken, "{method} {path} refuses its example as {content_type}: {body}\n{}", answer.text);
        assert_ne!(answer.status, 404, "{method} {path} finds nothing there: {}", answer.text);
    }
}

fn leaked(method: &str) -> &'static str {
    method.to_uppercase().leak()
}
