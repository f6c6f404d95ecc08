//! Nobody gets below `/admin` without credentials, nobody learns there what exists, and every operation needs its role.

use std::collections::BTreeSet;

use crate::client::{Admin, TOKEN};

/// These look at what their bodies hold.
const OPEN: [&str; 2] = ["/admin/auth/login", "/admin/auth/refresh"];

/// A path of a template, with something in each place. Everybody has tokens of their own.
fn concrete(template: &str) -> String {
    let template = template.replace("/admin/users/{id}/tokens", "/admin/users/me/tokens");
    template.split('/').map(|part| if part.starts_with('{') { "x" } else { part }).collect::<Vec<_>>().join("/")
}

fn named(method: &str) -> &'static str {
    match method {
        "get" => "GET",
        "put" => "PUT",
        "post" => "POST",
        "patch" => "PATCH",
        "delete" => "DELETE",
        other => panic!("{other}"),
    }
}

#[tokio::test]
async fn every_operation_is_refused_to_the_role_below_its_own_and_to_nobody_above() {
    let admin = Admin::start().await;
    let mut tokens = Vec::new();
    for role in ["viewer", "operator", "admin"] {
        let email = format!("{role}@example.com");
        admin.person(&email, role).await;
        tokens.push((role, admin.login(&email).await.access));
    }
    let mut seen = BTreeSet::new();
    for (template, method, operation) in admin.operations() {
        let Some(needed) = operation.get("x-role").and_then(serde_json::Value::as_str) else {
            assert!(operation.get("security").is_none(), "{method} {template} says no role");
            continue;
        };
        let rank = |role: &str| tokens.iter().position(|(it, _)| *it == role).unwrap();
        for (role, token) in &tokens {
            // Logging out is the end of the session that the others are asked with.
            if template == "/admin/auth/logout" {
                continue;
            }
            let answer = admin.call(named(method), concrete(template)).token(Some(token)).send().await;
            let is_refused = answer.status == 403 && answer.body["code"] == "forbidden";
            assert_eq!(is_refused, rank(role) < rank(needed), "{method} {template} as {role}: {}", answer.text);
            assert_ne!(answer.status, 401, "{method} {template} as {role}");
        }
        seen.insert(needed);
    }
    assert_eq!(seen.len(), 3, "{seen:?}");
}

#[tokio::test]
async fn every_documented_operation_below_admin_is_401_without_the_token() {
    let admin = Admin::start().await;
    let mut seen = 0;
    for (template, method, operation) in admin.operations() {
        let method = named(method);
        let is_public = operation.get("security").is_none();
        assert_eq!(is_public, !template.starts_with("/admin/") || OPEN.contains(&template), "{method} {template}");
        if is_public {
            continue;
        }
        let wrong = format!("{}x", &TOKEN[..TOKEN.len() - 1]);
        for token in [None, Some("short"), Some(wrong.as_str()), Some("")] {
            let refused = admin.call(method, concrete(template)).token(token).send().await;
            let refused = refused.refused(401, "unauthorized");
            assert!(refused.header("www-authenticate").starts_with("Bearer realm="), "{method} {template}");
            assert!(!refused.text.contains(TOKEN));
        }
        seen += 1;
    }
    assert!(seen >= 40, "only {seen} operations were documented");
}

#[tokio::test]
async fn unknown_addresses_and_methods_below_admin_are_401_before_anything_else() {
    let admin = Admin::start().await;
    for (method, path) in [("GET", "/admin"), ("GET", "/admin/nope"), ("BREW", "/admin/nodes"), ("PUT", "/admin/")] {
        admin.call(method, path).token(None).send().await.refused(401, "unauthorized");
    }
}

#[tokio::test]
async fn a_body_is_not_read_before_the_token() {
    let admin = Admin::start().await;
    let huge = "x".repeat(11 << 20);
    let call = admin.put("/admin/routing/services/a").token(None).body("application/json", huge);
    call.send().await.refused(401, "unauthorized");
}

#[tokio::test]
async fn the_scheme_may_be_written_in_any_case_but_only_one_is_taken() {
    let admin = Admin::start().await;
    let with = |value: String| admin.get("/admin/nodes").token(None).header("authorization", &value).send();
    with(format!("bearer {TOKEN}")).await.expect(200);
    with(format!("BEARER   {TOKEN}")).await.expect(200);
    with(format!("Basic {TOKEN}")).await.refused(401, "unauthorized");
    with(TOKEN.to_owned()).await.refused(401, "unauthorized");
    with(format!("Bearer {TOKEN} {TOKEN}")).await.refused(401, "unauthorized");
    let twice = admin.get("/admin/nodes").header("authorization", "Bearer other").send().await;
    twice.refused(401, "unauthorized");
}

#[tokio::test]
async fn operation_ids_are_unique() {
    let admin = Admin::start().await;
    let ids: Vec<&str> = admin.operations().map(|(_, _, it)| it["operationId"].as_str().unwrap()).collect();
    let unique: BTreeSet<&&str> = ids.iter().collect();
    assert_eq!(unique.len(), ids.len());
}
