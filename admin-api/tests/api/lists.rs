//! Lists: pages, search, and parameters that are wrong.

use serde_json::{Value, json};

use crate::client::{Admin, SERVICES};

async fn with_services(count: usize) -> Admin {
    let admin = Admin::start().await;
    for at in 0..count {
        let body = json!({"defaultUrl": "http://a:1", "description": format!("Number {at}")});
        admin.put(format!("{SERVICES}/s-{at:03}")).json(body).send().await.expect(201);
    }
    admin
}

#[tokio::test]
async fn pages_over_120_services_show_each_once_in_order() {
    let admin = with_services(120).await;
    let (mut seen, mut pages, mut cursor) = (Vec::new(), 0, None::<String>);
    loop {
        let after = cursor.map(|cursor| format!("&cursor={cursor}")).unwrap_or_default();
        let page = admin.get(format!("{SERVICES}?limit=40{after}")).send().await.expect(200);
        seen.extend(page.names("serviceName").into_iter().map(ToOwned::to_owned));
        pages += 1;
        match &page.body["nextCursor"] {
            Value::String(next) => cursor = Some(next.clone()),
            _ => break,
        }
    }
    let all: Vec<String> = (0..120).map(|at| format!("s-{at:03}")).collect();
    assert_eq!((seen, pages), (all, 3));

    let usual = admin.get(SERVICES).send().await.expect(200);
    assert_eq!(usual.names("serviceName").len(), 50);
    assert!(usual.body["nextCursor"].is_string());
    let whole = admin.get(format!("{SERVICES}?limit=500")).send().await.expect(200);
    assert_eq!((whole.names("serviceName").len(), whole.body["nextCursor"].clone()), (120, json!(null)));
}

#[tokio::test]
async fn q_finds_names_and_descriptions_in_any_case() {
    let admin = with_services(12).await;
    assert_eq!(
        admin.get(format!("{SERVICES}?q=NUMBER%201")).send().await.names("serviceName"),
        ["s-001", "s-010", "s-011"]
    );
    assert_eq!(admin.get(format!("{SERVICES}?q=s-00&limit=2")).send().await.names("serviceName"), ["s-000", "s-001"]);
    assert_eq!(admin.get(format!("{SERVICES}?q=%25")).send().await.body["items"], json!([]));
}

#[tokio::test]
async fn a_bad_query_parameter_is_422_and_named() {
    let admin = Admin::start().await;
    for (query, name) in [
        ("limit=0", "limit"),
        ("limit=501", "limit"),
        ("limit=-1", "limit"),
        ("limit=ten", "limit"),
        ("limit=", "limit"),
        ("cursor=!", "cursor"),
        ("limt=5", "limt"),
        ("limit=5&limit=6", "limit"),
        ("wait=5s", "wait"),
    ] {
        let refused = admin.get(format!("{SERVICES}?{query}")).send().await.refused(422, "invalid");
        assert_eq!(refused.problems(), [name], "{query}");
    }
    let both = admin.get(format!("{SERVICES}?limit=0&cursor=z")).send().await.refused(422, "invalid");
    assert_eq!(both.problems(), ["limit", "cursor"]);
    admin.get(format!("{SERVICES}/auth?limit=5")).send().await.refused(422, "invalid");
}

#[tokio::test]
async fn a_list_has_a_tag_that_moves_with_its_content() {
    let admin = with_services(2).await;
    let list = admin.get(SERVICES).send().await.expect(200);
    let tag = list.header("etag").to_owned();
    let same = admin.get(SERVICES).header("if-none-match", &tag).send().await.expect(304);
    assert_eq!((same.text.as_str(), same.header("etag")), ("", tag.as_str()));
    admin.delete(format!("{SERVICES}/s-000")).send().await.expect(204);
    admin.get(SERVICES).header("if-none-match", &tag).send().await.expect(200);
}
