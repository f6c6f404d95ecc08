//! Two writers: nobody overwrites what they have not seen.

use serde_json::json;

use crate::client::{Admin, SERVICES};

const AUTH: &str = "/admin/routing/services/auth";

#[tokio::test]
async fn the_second_of_two_writers_is_refused() {
    let admin = Admin::with_auth().await;
    let tag = admin.get(AUTH).send().await.expect(200).header("etag").to_owned();
    assert!(tag.starts_with('"') && tag.ends_with('"'), "{tag} is a strong tag");
    let first =
        admin.patch(AUTH).header("if-match", &tag).json(json!({"description": "mine"})).send().await.expect(200);
    let second = admin.patch(AUTH).header("if-match", &tag).json(json!({"description": "yours"})).send().await;
    second.refused(412, "stale");
    admin.delete(AUTH).header("if-match", &tag).send().await.refused(412, "stale");
    admin.put(AUTH).header("if-match", &tag).json(json!({})).send().await.refused(412, "stale");
    let read = admin.get(AUTH).send().await.expect(200);
    assert_eq!((read.body["description"].clone(), read.header("etag")), (json!("mine"), first.header("etag")));
}

#[tokio::test]
async fn concurrent_writers_with_one_tag_let_exactly_one_through() {
    let admin = Admin::with_auth().await;
    let tag = admin.get(AUTH).send().await.expect(200).header("etag").to_owned();
    let writes = (0..10).map(|at| {
        admin.patch(AUTH).header("if-match", &tag).json(json!({"description": format!("writer {at}")})).send()
    });
    let answers = futures::future::join_all(writes).await;
    let mut statuses: Vec<u16> = answers.iter().map(|answer| answer.status).collect();
    statuses.sort_unstable();
    assert_eq!(statuses, [&[200][..], &[412; 9]].concat());
    assert_eq!(admin.store.head().await.unwrap().generation, 3);
}

#[tokio::test]
async fn if_match_takes_lists_and_a_star() {
    let admin = Admin::with_auth().await;
    let tag = admin.get(AUTH).send().await.expect(200).header("etag").to_owned();
    let patch = |value: String| admin.patch(AUTH).header("if-match", &value).json(json!({})).send();
    patch(format!("\"x\", {tag}")).await.expect(200);
    patch("*".to_owned()).await.expect(200);
    patch("\"x\", \"y\"".to_owned()).await.refused(412, "stale");
    patch(String::new()).await.refused(412, "stale");
    patch(format!("W/{tag}")).await.refused(412, "stale");
    let nowhere = format!("{SERVICES}/ghost");
    admin.put(&nowhere).header("if-match", "*").json(json!({})).send().await.refused(412, "stale");
    admin.delete(&nowhere).header("if-match", "*").send().await.refused(412, "stale");
}

#[tokio::test]
async fn if_none_match_star_creates_only() {
    let admin = Admin::with_auth().await;
    admin.put(AUTH).header("if-none-match", "*").json(json!({})).send().await.refused(412, "stale");
    let fresh = admin.put(format!("{SERVICES}/new")).header("if-none-match", "*");
    fresh.json(json!({"defaultUrl": "http://a:1"})).send().await.expect(201);
    let refused = admin.put(AUTH).header("if-none-match", "\"x\"").json(json!({})).send().await.refused(422, "invalid");
    assert_eq!(refused.problems(), ["If-None-Match"]);
    let post = admin.post(SERVICES).header("if-match", "*").json(json!({"serviceName": "z"})).send().await;
    assert_eq!(post.refused(422, "invalid").problems(), ["If-Match"]);
}

#[tokio::test]
async fn a_reader_who_has_it_gets_304() {
    let admin = Admin::with_auth().await;
    for path in [AUTH, SERVICES, "/admin/config/export", "/admin/nodes", "/openapi.json"] {
        let tag = admin.get(path).send().await.expect(200).header("etag").to_owned();
        admin.get(path).header("if-none-match", &tag).send().await.expect(304);
        admin.get(path).header("if-none-match", "\"other\"").send().await.expect(200);
    }
}
