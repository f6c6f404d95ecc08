//! Every answer that says no has one shape, and bad input is never a 500.

use serde_json::json;

use crate::client::{Admin, SERVICES};

const AUTH: &str = "/admin/routing/services/auth";

#[tokio::test]
async fn every_error_has_the_shape_of_the_contract() {
    let admin = Admin::start().await;
    let refused = admin.get(AUTH).header("x-request-id", "trace.me_7-x").send().await.refused(404, "not_found");
    assert_eq!(refused.header("content-type"), "application/json");
    assert_eq!(refused.header("x-request-id"), "trace.me_7-x");
    let expected = json!({
        "statusCode": 404, "error": "Not Found", "code": "not_found", "message": "there is no service \"auth\"",
        "timestamp": "2026-11-18T12:26:40Z", "path": AUTH, "requestId": "trace.me_7-x",
    });
    let mut body = refused.body.clone();
    body["timestamp"] = expected["timestamp"].clone();
    assert_eq!(body, expected);
    assert!(refused.body["timestamp"].as_str().unwrap().ends_with('Z'));
}

#[tokio::test]
async fn a_request_id_that_is_not_sane_is_replaced() {
    let admin = Admin::start().await;
    for bad in ["", "a b", "a\"b", "ü", &"a".repeat(129), "a/b"] {
        let made = admin.get("/livez").header("x-request-id", bad).send().await.expect(200);
        assert_eq!(made.header("x-request-id").len(), 36, "{bad}");
    }
    let kept = admin.get("/livez").header("x-request-id", &"a".repeat(128)).send().await;
    assert_eq!(kept.header("x-request-id").len(), 128);
}

#[tokio::test]
async fn malformed_json_is_400_and_repeats_nothing_of_it() {
    let admin = Admin::with_auth().await;
    for bad in ["", "{", "{\"a\": canary}", "{\"serviceName\": \"a\",}", "\u{feff}{}", "NaN", &"[".repeat(10_000)] {
        for call in [admin.put(AUTH), admin.patch(AUTH), admin.post(SERVICES), admin.post("/admin/explain")] {
            let refused = call.body("application/json", bad).send().await.refused(400, "bad_request");
            assert!(!refused.text.contains("canary"), "{}", refused.text);
        }
    }
    let not_utf8 = admin.put(AUTH).body("application/json", b"{\"description\": \"\xff\"}".to_vec());
    not_utf8.send().await.refused(400, "bad_request");
}

#[tokio::test]
async fn json_of_the_wrong_shape_is_422_with_the_path() {
    let admin = Admin::with_auth().await;
    for (body, path) in [
        (json!([]), "services/auth"),
        (json!("x"), "services/auth"),
        (json!(null), "services/auth"),
        (json!({"descripton": "x"}), "services/auth/descripton"),
        (json!({"isActive": "yes"}), "services/auth/isActive"),
        (json!({"timeouts": {"readMs": -1}}), "services/auth/timeouts/readMs"),
        (json!({"timeouts": [1, 2]}), "services/auth/timeouts"),
        (json!({"timeouts": {"red": 1}}), "services/auth/timeouts/red"),
        (json!({"versions": [{"version": "v1"}, {"x": 1}]}), "services/auth/versions/1/x"),
        (json!({"maxConcurrent": 1e300}), "services/auth/maxConcurrent"),
    ] {
        let refused = admin.put(AUTH).json(body).send().await.refused(422, "invalid");
        assert_eq!(refused.problems(), [path]);
    }
    let stale = admin.patch(AUTH).header("if-match", "\"old\"").json(json!([])).send().await;
    stale.refused(422, "invalid");
    assert_eq!(admin.store.head().await.unwrap().generation, 2);
}

#[tokio::test]
async fn other_content_types_are_415() {
    let admin = Admin::with_auth().await;
    for other in ["text/plain", "application/x-www-form-urlencoded", "application/jsonx", "application/yaml", ""] {
        admin.put(AUTH).body(other, "{}").send().await.refused(415, "unsupported_media_type");
    }
    let patch = admin.put(AUTH).body("application/merge-patch+json", "{}").send().await;
    patch.refused(415, "unsupported_media_type");
    admin.patch(AUTH).body("Application/JSON; charset=utf-8", "{}").send().await.expect(200);
}

#[tokio::test]
async fn a_body_over_10_mib_is_413() {
    let admin = Admin::start().await;
    let body = format!("{{\"description\": \"{}\"}}", "a".repeat(10 << 20));
    admin.put(AUTH).body("application/json", body).send().await.refused(413, "body_too_large");
    let body = format!("{{\"description\": \"{}\"}}", "a".repeat(9 << 20));
    let fits = admin.put(AUTH).body("application/json", body).send().await;
    assert_ne!(fits.status, 413);
}

#[tokio::test]
async fn a_method_that_is_not_served_is_405_with_allow() {
    let admin = Admin::start().await;
    for (method, path, allow) in [
        ("DELETE", SERVICES, "GET,HEAD,POST"),
        ("POST", AUTH, "GET,HEAD,PUT,PATCH,DELETE"),
        ("GET", "/admin/explain", "POST"),
        ("POST", "/livez", "GET,HEAD"),
        ("BREW", "/openapi.json", "GET,HEAD"),
    ] {
        let refused = admin.call(method, path).send().await.refused(405, "method_not_allowed");
        assert_eq!(refused.header("allow"), allow, "{method} {path}");
    }
}

#[tokio::test]
async fn an_unknown_address_is_404_in_the_same_shape() {
    let admin = Admin::start().await;
    for path in ["/", "/admin", "/admin/nope", "/nope", "/admin/routing/services/", "//admin/nodes"] {
        admin.get(path).send().await.refused(404, "not_found");
    }
}
