//! What an attacker, or a script gone wrong, sends: every one of these is refused clearly or taken for what it is, and nothing else
//! happens.

use serde_json::{Value, json};

use crate::client::{Admin, ROUTES, SERVICES};

const AUTH: &str = "/admin/routing/services/auth";

/// Percent-encoded, as it stands in a path or a query.
const INJECTIONS: [&str; 6] = [
    "'%20OR%20'1'%3D'1",
    "'%3B%20DROP%20TABLE%20gateway_service_config%3B%20--",
    "%22%3B%20DELETE%20FROM%20config_head%3B%20--",
    "auth'%20UNION%20SELECT%20api_key_hash%20FROM%20gateway_api_key--",
    "$1",
    "auth%5C",
];

async fn assert_untouched(admin: &Admin) {
    assert_eq!(admin.store.head().await.unwrap().generation, 2);
    assert_eq!(admin.get(SERVICES).send().await.expect(200).names("serviceName"), ["auth"]);
}

#[tokio::test]
async fn sql_in_names_finds_nothing_and_in_a_search_is_only_text() {
    let admin = Admin::with_auth().await;
    for sql in INJECTIONS {
        for list in [SERVICES, ROUTES, "/admin/access/applications", "/admin/audit", "/admin/config/generations"] {
            let found = admin.get(format!("{list}?q={sql}")).send().await.expect(200);
            assert_eq!(found.body["items"], json!([]), "{list} {sql}");
        }
        admin.get(format!("{SERVICES}/{sql}")).send().await.refused(404, "not_found");
        admin.delete(format!("{SERVICES}/{sql}")).send().await.refused(404, "not_found");
        admin.put(format!("{SERVICES}/{sql}")).json(json!({})).send().await.refused(422, "invalid");
        admin.get(format!("{SERVICES}?cursor={sql}")).send().await.refused(422, "invalid");
        admin.get(format!("{SERVICES}?limit={sql}")).send().await.refused(422, "invalid");
    }
    assert_untouched(&admin).await;
}

#[tokio::test]
async fn the_wildcards_of_sql_stand_for_themselves_in_a_search() {
    let admin = Admin::with_auth().await;
    for wildcard in ["%25", "_", "a%25h", "____", "%2a", "[a]"] {
        let found = admin.get(format!("{SERVICES}?q={wildcard}")).send().await.expect(200);
        assert_eq!(found.names("serviceName"), [] as [&str; 0], "{wildcard}");
    }
}

#[tokio::test]
async fn sql_in_values_is_kept_as_it_is() {
    let admin = Admin::with_auth().await;
    let text = "Robert'); DROP TABLE students;-- \" \\ $1 %s ${x} {{y}} \u{2028} 🦀";
    admin.patch(AUTH).json(json!({"description": text})).send().await.expect(200);
    assert_eq!(admin.get(AUTH).send().await.expect(200).body["description"], text);
}

#[tokio::test]
async fn no_spelling_of_a_path_leads_around_the_token_or_to_another_place() {
    let admin = Admin::with_auth().await;
    for path in [
        "/admin/routing/services/auth/",
        "/admin/routing/services/../services/auth",
        "/admin/routing/services/%2e%2e/services/auth",
        "/admin/routing/services/auth/..",
        "/admin/routing/services/auth%2f",
        "/admin/routing/services/x%2f..%2fauth",
        "/admin/routing/services/auth%00",
        "/admin/routing/services/auth%5c",
        "/admin/routing/services/auth;v=1",
        "/admin/routing/services/AUTH",
        "/admin/./routing/services/auth",
        "//admin/routing/services/auth",
        "/%61dmin/routing/services/auth",
        "/admin%2frouting/services/auth",
        "/ADMIN/routing/services/auth",
        "/docs/../admin/routing/services/auth",
        "/docs/%2e%2e%2fadmin/routing/services/auth",
        "/docs/..%2f..%2fCargo.toml",
    ] {
        let answer = admin.get(path).send().await;
        assert!([404, 400].contains(&answer.status), "{path}: {} {}", answer.status, answer.text);
        let answer = admin.get(path).token(None).send().await;
        assert!([404, 400, 401].contains(&answer.status), "{path}: {} {}", answer.status, answer.text);
    }
    for not_utf8 in ["/admin/routing/services/%ff", "/admin/routing/services/auth/versions/%c3%28"] {
        admin.get(not_utf8).send().await.refused(400, "bad_request");
    }
}

#[tokio::test]
async fn nothing_but_the_method_says_the_method() {
    let admin = Admin::with_auth().await;
    for name in ["x-http-method-override", "x-http-method", "x-method-override"] {
        admin.get(AUTH).header(name, "DELETE").send().await.expect(200);
        let posted = admin.post(SERVICES).header(name, "DELETE").json(json!({"serviceName": "auth"}));
        posted.send().await.refused(409, "conflict");
    }
    admin.get(format!("{AUTH}?_method=DELETE")).send().await.refused(422, "invalid");
    for method in ["TRACE", "CONNECT", "PROPFIND", "delete"] {
        admin.call(method, AUTH).send().await.refused(405, "method_not_allowed");
    }
    assert_untouched(&admin).await;
}

#[tokio::test]
async fn a_name_that_stands_twice_in_a_body_is_refused_rather_than_guessed() {
    let admin = Admin::with_auth().await;
    for twice in [
        r#"{"description": "a", "description": "b"}"#,
        r#"{"timeouts": {"readMs": 1, "readMs": 2}}"#,
        r#"{"description": "a", "d\u0065scription": "b"}"#,
    ] {
        for call in [admin.put(AUTH), admin.patch(AUTH)] {
            call.body("application/json", twice).send().await.refused(400, "bad_request");
        }
    }
    let yaml = "services: []\nservices: []\n";
    admin.post("/admin/config/validate").body("application/yaml", yaml).send().await.refused(400, "bad_request");
    assert_untouched(&admin).await;
}

#[tokio::test]
async fn an_encoded_body_is_415_and_its_length_is_not_believed() {
    let admin = Admin::with_auth().await;
    for coding in ["gzip", "br", "deflate, gzip", "zstd", "GZIP", "x"] {
        let refused = admin.put(AUTH).header("content-encoding", coding).json(json!({})).send().await;
        let refused = refused.refused(415, "unsupported_media_type");
        assert_eq!(refused.header("accept-encoding"), "identity");
    }
    assert_untouched(&admin).await;
    admin.patch(AUTH).header("content-encoding", "identity").json(json!({})).send().await.expect(200);
}

#[tokio::test]
async fn of_headers_that_contradict_each_other_none_is_chosen() {
    let admin = Admin::with_auth().await;
    let two_types = admin.put(AUTH).header("content-type", "text/plain").json(json!({}));
    two_types.send().await.refused(415, "unsupported_media_type");
    let (tag, other) = (admin.get(AUTH).send().await.header("etag").to_owned(), "\"0\"");
    admin.put(AUTH).header("if-match", &tag).header("if-none-match", "*").json(json!({})).send().await.expect(422);
    admin.put(AUTH).header("if-match", "\u{fc}").json(json!({})).send().await.refused(412, "stale");
    let many = vec![other; 5000].join(", ");
    admin.put(AUTH).header("if-match", &many).json(json!({})).send().await.refused(412, "stale");
    assert_untouched(&admin).await;
}

#[tokio::test]
async fn numbers_beyond_all_bounds_are_refused_where_they_stand() {
    let admin = Admin::with_auth().await;
    for (number, status) in [
        ("1e400", 400),
        ("-1", 422),
        ("0.5", 422),
        ("1e3", 422),
        ("4294967296", 422),
        ("9223372036854775808", 422),
        ("18446744073709551616", 422),
        ("123456789012345678901234567890", 422),
        ("0x10", 400),
        ("Infinity", 400),
        ("01", 400),
    ] {
        let body = format!("{{\"maxConcurrent\": {number}}}");
        let answer = admin.put(AUTH).body("application/json", body).send().await;
        assert_eq!(answer.status, status, "{number}: {}", answer.text);
        if status == 422 {
            assert_eq!(answer.problems(), ["services/auth/maxConcurrent"], "{number}");
        }
    }
    for wait in ["-1s", "1e9", "61s", "99999999999999999999s", "NaN", "5s5s", "%00"] {
        admin.put(format!("{AUTH}?wait={wait}")).json(json!({})).send().await.refused(422, "invalid");
    }
    assert_untouched(&admin).await;
}

#[tokio::test]
async fn what_could_not_be_stored_is_not_called_valid_either() {
    let admin = Admin::with_auth().await;
    let route = json!({"path": "/x", "target": {"service": "auth"}, "maxBodyBytes": u64::MAX, "cache": {"maxBodyBytes": u64::MAX}});
    let queue = json!({"destination": {"deliverTo": "http://127.0.0.1:9"}, "maxBodyBytes": u64::MAX});
    let defaults = json!({"maxBodyBytes": 9_223_372_036_854_775_808_u64});
    for (kind, name, value, wrong) in [
        ("route", "r", route, vec!["routes/r/cache/maxBodyBytes", "routes/r/maxBodyBytes"]),
        ("queue", "q", queue, vec!["queues/q/maxBodyBytes"]),
        ("defaults", "defaults", defaults, vec!["defaults/defaults/maxBodyBytes"]),
    ] {
        let changes = json!([{"op": "put", "kind": kind, "name": name, "value": value}]);
        for path in ["/admin/config/validate", "/admin/preview"] {
            let refused = admin.post(path).json(json!({"changes": changes})).send().await.refused(422, "invalid");
            assert_eq!(refused.problems(), wrong, "{path}");
        }
    }
}

#[tokio::test]
async fn an_answer_does_not_grow_with_all_that_is_wrong() {
    let admin = Admin::with_auth().await;
    let fields: serde_json::Map<String, Value> = (0..20_000).map(|at| (format!("unknown{at}"), json!(1))).collect();
    let refused = admin.post("/admin/config/validate").json(Value::Object(fields)).send().await.refused(422, "invalid");
    assert_eq!(refused.problems().len(), 1000);
    assert!(refused.body["message"].as_str().unwrap().contains("and 19999 more"), "{}", refused.body["message"]);
}

/// Deeper than a reader's stack: refused. As deep as it may be: kept, shown, exported and applied again.
#[tokio::test]
async fn nesting_is_bounded_when_it_is_read_and_nowhere_else() {
    let admin = Admin::with_auth().await;
    let queue = |depth: usize| {
        let schema = format!("{}{{}}{}", "{\"not\":".repeat(depth), "}".repeat(depth));
        let body = format!("{{\"destination\": {{\"deliverTo\": \"http://127.0.0.1:9\"}}, \"schema\": {schema}}}");
        admin.put("/admin/routing/queues/deep").body("application/json", body)
    };
    for depth in [130, 1000, 200_000] {
        queue(depth).send().await.refused(400, "bad_request");
    }
    let mut deepest = 125;
    while queue(deepest).send().await.status == 400 {
        deepest -= 1;
    }
    assert!(deepest > 60, "{deepest}");
    admin.get("/admin/routing/queues/deep").send().await.expect(200);
    for (accept, content_type) in [("application/json", "application/json"), ("application/yaml", "application/yaml")] {
        let exported = admin.get("/admin/config/export").header("accept", accept).send().await.expect(200);
        let applied = admin.post("/admin/config/apply").body(content_type, exported.text).send().await;
        assert!(applied.status < 500, "{accept}: {}", applied.text);
    }
}

#[tokio::test]
async fn yaml_that_grows_when_it_is_read_is_refused_soon() {
    let admin = Admin::with_auth().await;
    let level = |level: usize| match level {
        0 => format!("a0: &a0 [{}]", ["x"; 10].join(", ")),
        _ => format!("a{level}: &a{level} [{}]", vec![format!("*a{}", level - 1); 10].join(", ")),
    };
    let bomb = (0..12).map(level).collect::<Vec<_>>().join("\n");
    for yaml in [
        bomb,
        "a: &a [*a]\n".to_owned(),
        "[".repeat(100_000),
        "? ".repeat(50_000),
        "!!python/object:os.system x".to_owned(),
    ] {
        let answer = admin.post("/admin/config/validate").body("application/yaml", yaml).send().await;
        assert!(
            [400, 422].contains(&answer.status),
            "{} {}",
            answer.status,
            &answer.text[..200.min(answer.text.len())]
        );
    }
}

#[tokio::test]
async fn text_that_is_no_text_is_refused() {
    let admin = Admin::with_auth().await;
    for (body, status) in [
        (&b"{\"description\": \"\xc3\x28\"}"[..], 400),
        (b"{\"description\": \"\xed\xa0\x80\"}", 400),
        (br#"{"description": "\ud800"}"#, 400),
        (b"{\"description\": \"a\x00b\"}", 400),
        (br#"{"description": "a\u0000b"}"#, 422),
        (b"\xff\xfe{\x00}\x00", 400),
    ] {
        let answer = admin.put(AUTH).body("application/json", body).send().await;
        assert_eq!(answer.status, status, "{}: {}", String::from_utf8_lossy(body), answer.text);
    }
    for query in ["q=%00", "q=%ff", "cursor=00", "q=a%0d%0aSet-Cookie:x"] {
        let answer = admin.get(format!("{SERVICES}?{query}")).send().await;
        assert!(answer.status < 500, "{query}: {}", answer.text);
        assert!(answer.headers.get("set-cookie").is_none());
    }
    assert_untouched(&admin).await;
}

#[tokio::test]
async fn every_wrong_type_in_every_place_is_a_4xx() {
    let admin = Admin::with_auth().await;
    let whole = admin.get(AUTH).send().await.expect(200).body;
    let values = [
        json!(null),
        json!(true),
        json!(-1),
        json!(1.5),
        json!("x"),
        json!([]),
        json!([[]]),
        json!({}),
        json!({"x": 1}),
    ];
    for field in whole.as_object().unwrap().keys() {
        for value in &values {
            let body = json!({field.as_str(): value});
            for call in [admin.put("/admin/routing/services/other"), admin.patch(AUTH)] {
                let answer = call.json(body.clone()).send().await;
                assert!(answer.status < 500, "{body}: {}", answer.text);
            }
        }
    }
    for path in ["/admin/explain", "/admin/config/validate", "/admin/config/apply", "/admin/preview", SERVICES] {
        for value in &values {
            let answer = admin.post(path).json(value.clone()).send().await;
            assert!(answer.status < 500, "{path} {value}: {}", answer.text);
        }
    }
    let stands: Value = admin.get(AUTH).send().await.expect(200).body;
    assert_eq!(stands["serviceName"], "auth");
}
