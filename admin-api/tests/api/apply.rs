//! Applying documents: the diff that is answered, what is written, and what is refused.

use serde_json::{Value, json};

use crate::client::{Admin, Answer, SERVICES, route};

const APPLY: &str = "/admin/config/apply";
const EXPORT: &str = "/admin/config/export";

async fn apply(admin: &Admin, query: &str, document: Value) -> Answer {
    admin.post(format!("{APPLY}{query}")).json(document).send().await
}

/// The names in a list of the answer, each with its kind.
fn listed(answer: &Answer, list: &str) -> Vec<String> {
    let list = answer.body[list].as_array().unwrap_or_else(|| panic!("no {list} in {}", answer.text));
    list.iter().map(|it| format!("{} {}", it["kind"].as_str().unwrap(), it["name"].as_str().unwrap())).collect()
}

fn shop() -> Value {
    json!({
        "services": [{"serviceName": "shop", "defaultUrl": "http://127.0.0.1:1"}, {"serviceName": "auth", "defaultUrl": "http://127.0.0.1:2"}],
        "routes": [{"name": "shop", "path": "/shop", "target": {"service": "shop"}}],
    })
}

#[tokio::test]
async fn a_document_is_applied_in_one_step_and_its_diff_told() {
    let admin = Admin::with_auth().await;
    let dry = apply(&admin, "?dryRun=true", shop()).await.expect(200);
    assert_eq!(
        (dry.body["generation"].as_u64(), dry.body["dryRun"].as_bool(), dry.generation()),
        (Some(2), Some(true), 2)
    );
    assert_eq!(admin.store.head().await.unwrap().generation, 2, "a dry run writes nothing");

    assert_eq!(
        dry.header("etag"),
        admin.get(EXPORT).send().await.expect(200).header("etag"),
        "what it was compared with"
    );
    let done = admin.post(APPLY).header("if-match", dry.header("etag")).json(shop()).send().await.expect(200);
    assert_eq!(done.header("etag"), admin.get(EXPORT).send().await.expect(200).header("etag"));
    for answer in [&dry, &done] {
        assert_eq!(listed(answer, "create"), ["service shop", "route shop"]);
        assert_eq!(listed(answer, "update"), ["service auth"]);
        assert_eq!((listed(answer, "delete"), answer.body["unchanged"].as_u64()), (Vec::new(), Some(0)));
    }
    let update = &done.body["update"][0];
    assert_eq!(update["changed"], json!(["defaultUrl"]));
    assert_eq!(
        (&update["before"]["defaultUrl"], &update["after"]["defaultUrl"]),
        (&json!("http://127.0.0.1:7200"), &json!("http://127.0.0.1:2"))
    );
    assert_eq!(
        (done.generation(), done.body["generation"].as_u64(), done.body["dryRun"].as_bool()),
        (3, Some(3), Some(false))
    );

    let again = apply(&admin, "", shop()).await.expect(200);
    assert_eq!((again.generation(), again.body["unchanged"].as_u64()), (3, Some(3)));
    assert_eq!((listed(&again, "create"), listed(&again, "update")), (Vec::new(), Vec::new()));
}

#[tokio::test]
async fn an_export_applied_changes_nothing_in_either_form() {
    let admin = Admin::with_auth().await;
    admin.put("/admin/access/applications/shop").json(json!({"allowedServices": ["auth"]})).send().await.expect(201);
    admin.post("/admin/access/applications/shop/keys").json(json!({"name": "ci"})).send().await.expect(201);
    let head = admin.store.head().await.unwrap();
    for (form, content_type) in
        [("json", "application/json"), ("yaml", "application/yaml"), ("yaml", "text/yaml; charset=utf-8")]
    {
        let exported = admin.get(format!("{EXPORT}?format={form}")).send().await.expect(200);
        let call = admin.post(format!("{APPLY}?prune=true")).header("if-match", exported.header("etag"));
        let applied = call.body(content_type, exported.text).send().await.expect(200);
        assert_eq!((applied.generation(), applied.body["unchanged"].as_u64()), (head.generation, Some(4)));
        assert_eq!(applied.body["warnings"], json!([]));
    }
    assert_eq!(admin.store.head().await.unwrap(), head);
}

#[tokio::test]
async fn prune_deletes_in_the_sections_that_are_there_and_nowhere_else() {
    let admin = Admin::with_auth().await;
    admin.put("/admin/access/applications/shop").json(json!({})).send().await.expect(201);
    admin.post("/admin/access/applications/shop/keys").json(json!({"name": "ci"})).send().await.expect(201);
    let stays = apply(&admin, "", json!({"routes": []})).await.expect(200);
    assert_eq!((stays.generation(), listed(&stays, "delete")), (4, Vec::new()));

    let refused = apply(&admin, "?prune=true", json!({"services": []})).await.refused(422, "invalid");
    assert_eq!(refused.problems(), ["services/auth"]);
    assert!(refused.text.contains("still used by route \\\"auth\\\""), "{}", refused.text);

    let gone = apply(&admin, "?prune=true", json!({"services": [], "routes": []})).await.expect(200);
    assert_eq!(
        (listed(&gone, "delete"), gone.generation()),
        (vec!["service auth".to_owned(), "route auth".to_owned()], 5)
    );
    let gone = apply(&admin, "?prune=true", json!({"applications": []})).await.expect(200);
    assert_eq!(gone.body["warnings"][0]["path"], "applications/shop");
    assert!(!gone.text.contains("apiKeyHash"), "{}", gone.text);
    let defaults = apply(&admin, "?prune=true", json!({"defaults": {}})).await.expect(200);
    assert_eq!((defaults.generation(), defaults.body["unchanged"].as_u64()), (6, Some(1)));
}

#[tokio::test]
async fn a_document_that_is_none_is_refused_with_every_place() {
    let admin = Admin::with_auth().await;
    let service = |name: &str| json!({"serviceName": name});
    let document =
        json!({"services": [service("a"), service("b"), service("a")], "servces": [], "rutes": [], "queues": {}});
    let refused = apply(&admin, "", document).await.refused(422, "invalid");
    assert_eq!(refused.problems(), ["rutes", "servces", "services/2/serviceName", "queues"]);
    apply(&admin, "", json!([])).await.refused(422, "invalid");
    let invalid = json!({
        "services": [{"serviceName": "a", "isActive": 7}, {"serviceName": "b", "nope": 1}],
        "routes": [{"name": "r", "path": "/r", "target": {"service": "ghost"}}, {"name": "s", "path": "no-slash"}],
    });
    for query in ["", "?dryRun=true"] {
        let refused = apply(&admin, query, invalid.clone()).await.refused(422, "invalid");
        let problems =
            ["routes/r/target/service", "routes/s/path", "routes/s/target", "services/a/isActive", "services/b/nope"];
        assert_eq!(refused.problems(), problems);
    }
    for twice in [r#"{"routes": [], "routes": []}"#, r#"{"services": [{"serviceName": "a", "serviceName": "b"}]}"#] {
        for content_type in ["application/json", "application/yaml"] {
            admin.post(APPLY).body(content_type, twice).send().await.refused(400, "bad_request");
        }
    }
    for (content_type, body) in [
        ("application/json", ""),
        ("application/yaml", ""),
        ("application/yaml", "a: ["),
        ("application/yaml", "\u{0}"),
    ] {
        admin.post(APPLY).body(content_type, body).send().await.refused(400, "bad_request");
    }
    admin.post(APPLY).body("application/yaml", [0xff, 0xfe].to_vec()).send().await.refused(400, "bad_request");
    admin.post(APPLY).body("text/plain", "{}").send().await.refused(415, "unsupported_media_type");
    assert_eq!(apply(&admin, "?dryrun=true", json!({})).await.refused(422, "invalid").problems(), ["dryrun"]);
    assert_eq!(
        apply(&admin, "?prune=yes&wait=soon", json!({})).await.refused(422, "invalid").problems(),
        ["prune", "wait"]
    );
    assert_eq!(admin.store.head().await.unwrap().generation, 2);
}

#[tokio::test]
async fn a_document_for_another_state_is_refused() {
    let admin = Admin::with_auth().await;
    let tag = admin.get(EXPORT).send().await.expect(200).header("etag").to_owned();
    let yaml =
        admin.get(format!("{EXPORT}?format=yaml&sections=routes")).send().await.expect(200).header("etag").to_owned();
    let applied = admin.post(APPLY).header("if-match", &yaml).json(shop()).send().await.expect(200);
    for stale in [&tag, &yaml, "\"\"", "\"-\""] {
        for query in ["", "?dryRun=true"] {
            let call = admin.post(format!("{APPLY}{query}")).header("if-match", stale);
            call.json(json!({})).send().await.refused(412, "stale");
        }
    }
    let next = admin.post(APPLY).header("if-match", applied.header("etag")).json(json!({"routes": []}));
    next.send().await.expect(200);
    admin.post(APPLY).header("if-match", "*").json(json!({})).send().await.expect(200);
    admin.post(APPLY).header("if-none-match", "*").json(json!({})).send().await.refused(422, "invalid");
}

#[tokio::test]
async fn a_viewer_may_ask_but_not_apply() {
    let admin = Admin::with_auth().await;
    admin.person("eve@example.com", "viewer").await;
    let viewer = admin.login("eve@example.com").await.access;
    let call = |query: &str| admin.post(format!("{APPLY}{query}")).token(Some(&viewer));
    call("?dryRun=true").json(shop()).send().await.expect(200);
    for query in ["", "?dryRun=false", "?dryRun=maybe", "?dryRun=true&dryRun=false", "?prune=true"] {
        call(query).body("text/plain", "").send().await.refused(403, "forbidden");
    }
    admin.post(format!("{APPLY}?dryRun=true")).token(None).send().await.refused(401, "unauthorized");
}

#[tokio::test]
async fn a_node_that_lags_is_named_beside_what_was_done() {
    let admin = Admin::with_auth().await;
    let node = admin.report(2).await;
    let lagging = apply(&admin, "?wait=0", shop()).await.expect(202);
    assert_eq!((lagging.header("x-config-applied"), lagging.body["generation"].as_u64()), ("0/1", Some(3)));
    assert_eq!(lagging.body["waitingFor"][0]["node"], node.id.to_string());
    assert_eq!(listed(&lagging, "create"), ["service shop", "route shop"]);
    let dry = apply(&admin, "?wait=0&dryRun=true", json!({"services": []})).await.expect(200);
    assert!(!dry.headers.contains_key("x-config-applied"));
    admin.report(3).await;
    admin.delete(format!("/admin/nodes/{}", node.id)).send().await.expect(204);
    let served = apply(&admin, "?wait=1s", shop()).await.expect(200);
    assert_eq!((served.header("x-config-applied"), served.generation()), ("1/1", 3));
}

#[tokio::test]
async fn the_history_tells_who_applied_what() {
    let admin = Admin::with_auth().await;
    apply(&admin, "", shop()).await.expect(200);
    let entries = admin.store.audit_behind(2, 10).await.unwrap();
    let [Ok(entry)] = entries.as_slice() else { panic!("{entries:?}") };
    assert_eq!((entry.generation, entry.summary.as_str()), (Some(3), "create service shop and 2 more"));
    assert_eq!((entry.actor.as_str(), entry.changes.len()), ("ADMIN_TOKEN", 3));
}

#[tokio::test(flavor = "multi_thread")]
async fn two_documents_at_once_lose_nothing() {
    let admin = Admin::with_auth().await;
    let document = |prefix: &str| {
        let services: Vec<Value> =
            (0..300).map(|at| json!({"serviceName": format!("{prefix}{at}"), "defaultUrl": "http://a:1"})).collect();
        json!({ "services": services })
    };
    let (one, two, three) = tokio::join!(
        apply(&admin, "", document("one")),
        apply(&admin, "", document("two")),
        admin.put(format!("{SERVICES}/three")).json(json!({"defaultUrl": "http://a:1"})).send(),
    );
    let mut generations = [one.expect(200).generation(), two.expect(200).generation(), three.expect(201).generation()];
    generations.sort_unstable();
    assert_eq!(generations, [3, 4, 5]);
    let stored = admin.store.load().await.unwrap();
    assert_eq!((stored.configuration.services.len(), stored.head.digest), (602, stored.configuration.digest()));
}

#[tokio::test]
async fn a_document_may_be_larger_than_other_bodies_and_has_its_own_limit() {
    let admin = Admin::with_auth().await;
    let padded = |mebibytes: usize| format!("{{\"routes\": []}}{}", " ".repeat(mebibytes << 20));
    admin.post(format!("{APPLY}?dryRun=true")).body("application/json", padded(11)).send().await.expect(200);
    admin.post("/admin/config/validate").body("application/json", padded(11)).send().await.expect(200);
    let refused = admin.post(APPLY).body("application/json", padded(65)).send().await.refused(413, "body_too_large");
    assert_eq!(refused.body["message"], "the body is larger than 67108864 bytes");
    let service = admin.put(format!("{SERVICES}/auth")).body("application/json", padded(11)).send().await;
    assert_eq!(service.refused(413, "body_too_large").body["message"], "the body is larger than 10485760 bytes");
    admin.put(format!("{SERVICES}/auth")).json(route("/", "a")).send().await.refused(422, "invalid");
}
