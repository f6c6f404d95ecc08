//! The API keys of applications: shown once, listed, rotated, revoked.

use gateway_config::api_key::{ChecksumKey, parse, verify};
use gateway_config::model::{Application, Id, Item, Kind, Timestamp};
use serde_json::{Value, json};

use crate::client::{Admin, Answer, master_key};

const SHOP: &str = "/admin/access/applications/shop";
const KEYS: &str = "/admin/access/applications/shop/keys";
/// One second after the clock of the tests.
const LATER: &str = "2026-11-18T11:06:41Z";

async fn with_shop() -> Admin {
    let admin = Admin::start().await;
    admin.put(SHOP).json(json!({})).send().await.expect(201);
    admin
}

async fn issue(admin: &Admin, name: &str) -> Answer {
    admin.post(KEYS).json(json!({"name": name})).send().await.expect(201)
}

fn path(key: &Answer) -> String {
    format!("{KEYS}/{}", key.body["id"].as_str().unwrap())
}

async fn stored(admin: &Admin) -> Application {
    match admin.store.get(Kind::Application, "shop").await.unwrap() {
        Some(Item::Application(application)) => (*application).clone(),
        other => panic!("{other:?}"),
    }
}

/// Of the fields of a key, without the key.
fn fields(value: &Value) -> Vec<&str> {
    value.as_object().unwrap().keys().map(String::as_str).collect()
}

#[tokio::test]
async fn a_key_is_shown_once_and_verifies_against_what_is_stored() {
    let admin = with_shop().await;
    let made = issue(&admin, "the till").await;
    let text = made.body["key"].as_str().unwrap();
    let presented = parse(&ChecksumKey::of(&master_key()), text.as_bytes()).unwrap();
    assert_eq!(presented.prefix(), made.body["prefix"]);
    let kept = &stored(&admin).await.api_keys[0];
    assert!(verify(text.as_bytes(), &kept.api_key_hash).unwrap());
    assert_eq!((made.generation(), made.header("location")), (2, path(&made).as_str()));
    assert_eq!(made.header("cache-control"), "no-store");
    let mut shown = fields(&made.body);
    shown.sort_unstable();
    assert_eq!(shown, ["createdAt", "expiresAt", "id", "isActive", "key", "lastUsedAt", "name", "prefix"]);

    let read = admin.get(path(&made)).send().await.expect(200);
    let mut without = made.body.clone();
    without.as_object_mut().unwrap().remove("key");
    assert_eq!((read.body.clone(), read.header("etag")), (without, made.header("etag")));
    let by_prefix = format!("{KEYS}/{}", made.body["prefix"].as_str().unwrap());
    assert_eq!(admin.get(by_prefix).send().await.expect(200).body, read.body);
}

#[tokio::test]
async fn no_answer_holds_a_hash_and_none_but_the_first_a_key() {
    let admin = with_shop().await;
    let made = issue(&admin, "a").await;
    let secret = &made.body["key"].as_str().unwrap()[16..];
    let rotated = admin.post(format!("{}/rotate", path(&made))).send().await.expect(201);
    let hash = stored(&admin).await.api_keys[0].api_key_hash.clone();
    let patched = admin.patch(path(&rotated)).json(json!({"name": "b"})).send().await.expect(200);
    let mut texts = vec![made.text.clone(), rotated.text.clone(), patched.text];
    for path in
        [path(&made), KEYS.to_owned(), SHOP.to_owned(), "/admin/config/export".to_owned(), "/metrics".to_owned()]
    {
        texts.push(admin.get(path).send().await.expect(200).text);
    }
    texts.push(admin.patch(SHOP).json(json!({"description": "x"})).send().await.expect(200).text);
    for (at, text) in texts.iter().enumerate() {
        assert!(!text.contains("argon2") && !text.contains(&hash) && !text.contains("apiKeyHash"), "{text}");
        assert_eq!(text.contains(secret), at == 0, "{text}");
    }
}

#[tokio::test]
async fn the_list_has_pages_a_search_and_the_last_use() {
    let admin = with_shop().await;
    let mut made = Vec::new();
    for at in 0..5 {
        made.push(issue(&admin, &format!("Till {at}")).await);
    }
    let used = Id::new(made[3].body["id"].as_str().unwrap().parse().unwrap());
    admin.store.record_key_usage(&[(used, Timestamp::from_micros(1_795_000_000_000_000))]).await.unwrap();

    let first = admin.get(format!("{KEYS}?limit=3")).send().await.expect(200);
    assert_eq!(first.names("name"), ["Till 0", "Till 1", "Till 2"]);
    let cursor = first.body["nextCursor"].as_str().unwrap();
    let second = admin.get(format!("{KEYS}?limit=3&cursor={cursor}")).send().await.expect(200);
    assert_eq!((second.names("name"), &second.body["nextCursor"]), (vec!["Till 3", "Till 4"], &json!(null)));
    let times: Vec<&Value> = second.body["items"].as_array().unwrap().iter().map(|key| &key["lastUsedAt"]).collect();
    assert_eq!(times, [&json!("2026-11-18T11:06:40Z"), &json!(null)]);
    assert_eq!(admin.get(format!("{KEYS}?q=TILL%204")).send().await.names("name"), ["Till 4"]);
    let prefix = made[1].body["prefix"].as_str().unwrap();
    assert_eq!(admin.get(format!("{KEYS}?q={prefix}")).send().await.names("name"), ["Till 1"]);
    assert_eq!(admin.get(format!("{KEYS}?q=nobody")).send().await.body["items"], json!([]));
    assert_eq!(admin.get(format!("{KEYS}?limt=1")).send().await.refused(422, "invalid").problems(), ["limt"]);
}

#[tokio::test]
async fn a_use_moves_the_tag_of_a_read_but_not_the_condition_of_a_write() {
    let admin = with_shop().await;
    let made = issue(&admin, "a").await;
    let tag = admin.get(path(&made)).send().await.expect(200).header("etag").to_owned();
    admin.get(path(&made)).header("if-none-match", &tag).send().await.expect(304);
    let used = Id::new(made.body["id"].as_str().unwrap().parse().unwrap());
    admin.store.record_key_usage(&[(used, Timestamp::from_micros(1))]).await.unwrap();
    let read = admin.get(path(&made)).header("if-none-match", &tag).send().await.expect(200);
    assert_eq!(read.body["lastUsedAt"], "1970-01-01T00:00:00.000001Z");
    for tag in [tag.as_str(), read.header("etag")] {
        admin.patch(path(&made)).header("if-match", tag).json(json!({"name": "a"})).send().await.expect(200);
    }
    admin.patch(path(&made)).header("if-match", &tag).json(json!({"name": "b"})).send().await.expect(200);
    for stale in [tag.as_str(), read.header("etag"), "\"-\"", ""] {
        let write = admin.patch(path(&made)).header("if-match", stale).json(json!({"name": "c"})).send().await;
        write.refused(412, "stale");
        admin.delete(path(&made)).header("if-match", stale).send().await.refused(412, "stale");
        admin.post(format!("{}/rotate", path(&made))).header("if-match", stale).send().await.refused(412, "stale");
    }
    let post = admin.post(KEYS).header("if-match", "*").json(json!({"name": "x"})).send().await;
    assert_eq!(post.refused(422, "invalid").problems(), ["If-Match"]);
}

#[tokio::test]
async fn a_rotated_key_ends_at_once_or_after_its_overlap() {
    let admin = with_shop().await;
    let first = issue(&admin, "a").await;
    let rotation = format!("{}/rotate", path(&first));
    let second = admin.post(&rotation).json(json!({"overlapSeconds": 60})).send().await.expect(201);
    assert_eq!((&second.body["name"], &second.body["expiresAt"]), (&json!("a"), &json!(null)));
    assert_ne!(second.body["key"], first.body["key"]);
    assert_eq!(second.header("location"), path(&second));
    let old = admin.get(path(&first)).send().await.expect(200);
    assert_eq!((&old.body["isActive"], &old.body["expiresAt"]), (&json!(true), &json!("2026-11-18T11:07:40Z")));
    let third = admin.post(format!("{}/rotate", path(&second))).json(json!({"expiresAt": LATER})).send().await;
    assert_eq!(third.expect(201).body["expiresAt"], LATER);
    assert_eq!(admin.get(path(&second)).send().await.body["isActive"], false);
    assert_eq!(admin.store.head().await.unwrap().generation, 4, "one for each call");
}

#[tokio::test]
async fn a_revoked_key_stays_listed_and_never_comes_back() {
    let admin = with_shop().await;
    let made = issue(&admin, "a").await;
    let key = path(&made);
    assert_eq!(admin.delete(&key).send().await.expect(204).generation(), 3);
    assert_eq!(admin.delete(&key).send().await.expect(204).generation(), 3, "once is enough");
    assert_eq!(admin.get(KEYS).send().await.body["items"][0]["isActive"], false);
    let refused = admin.patch(&key).json(json!({"isActive": true})).send().await.refused(422, "invalid");
    assert_eq!(
        refused.problems(),
        [format!("applications/shop/apiKeys/{}/isActive", made.body["id"].as_str().unwrap())]
    );
    admin.patch(&key).json(json!({"expiresAt": LATER})).send().await.refused(409, "conflict");
    admin.post(format!("{key}/rotate")).send().await.refused(409, "conflict");
    let body = json!({"apiKeys": [{"prefix": made.body["prefix"], "isActive": true}]});
    admin.put(SHOP).json(body.clone()).send().await.expect(200);
    admin.patch(SHOP).json(body).send().await.expect(200);
    assert_eq!(admin.get(&key).send().await.body["isActive"], false);
    admin.put(&key).json(json!({})).send().await.refused(405, "method_not_allowed");
}

#[tokio::test]
async fn an_expired_key_can_not_be_given_more_time() {
    let admin = with_shop().await;
    let made = admin.post(KEYS).json(json!({"name": "a", "expiresAt": LATER})).send().await.expect(201);
    let sooner = json!({"expiresAt": "2026-11-18T11:06:40.5Z"});
    admin.patch(path(&made)).json(sooner).send().await.expect(200);
    admin.clock.advance_millis(500);
    admin.patch(path(&made)).json(json!({"expiresAt": LATER})).send().await.refused(409, "conflict");
    admin.patch(path(&made)).json(json!({"expiresAt": null})).send().await.refused(409, "conflict");
    admin.patch(path(&made)).json(json!({"name": "old"})).send().await.expect(200);
}

#[tokio::test]
async fn a_wrong_body_is_refused_with_its_place_and_makes_no_key() {
    let admin = with_shop().await;
    let made = issue(&admin, "a").await;
    let new = "applications/shop/apiKeys/?";
    for (body, place) in [
        (json!({}), format!("{new}/name")),
        (json!({"name": 1}), format!("{new}/name")),
        (json!({"name": ""}), format!("{new}/name")),
        (json!({"name": "x".repeat(129)}), format!("{new}/name")),
        (json!({"name": "x", "expiresAt": "tomorrow"}), format!("{new}/expiresAt")),
        (json!({"name": "x", "expiresAt": "2020-01-01T00:00:00Z"}), format!("{new}/expiresAt")),
        (json!({"name": "x", "apiKeyHash": "$argon2id$mine"}), format!("{new}/apiKeyHash")),
        (json!({"name": "x", "key": "gk_mine"}), format!("{new}/key")),
        (json!(["x", null]), new.to_owned()),
    ] {
        let refused = admin.post(KEYS).json(body.clone()).send().await.refused(422, "invalid");
        assert_eq!(refused.problems(), [place], "{body}");
    }
    let old = format!("applications/shop/apiKeys/{}", made.body["id"].as_str().unwrap());
    for (body, field) in [
        (json!({"overlapSeconds": -1}), "overlapSeconds"),
        (json!({"overlapSeconds": 2_592_001}), "overlapSeconds"),
        (json!({"overlap": 1}), "overlap"),
        (json!({"expiresAt": "2020-01-01T00:00:00Z"}), "expiresAt"),
    ] {
        let refused = admin.post(format!("{}/rotate", path(&made))).json(body).send().await.refused(422, "invalid");
        assert_eq!(refused.problems(), [format!("{old}/{field}")]);
    }
    admin.post(KEYS).body("text/plain", "name: x").send().await.refused(415, "unsupported_media_type");
    admin
        .post(format!("{}/rotate", path(&made)))
        .body("text/plain", "x")
        .send()
        .await
        .refused(415, "unsupported_media_type");
    admin.post(KEYS).send().await.refused(400, "bad_request");
    assert_eq!(stored(&admin).await.api_keys.len(), 1);
}

#[tokio::test]
async fn keys_of_what_is_not_there_are_not_found() {
    let admin = with_shop().await;
    let ghost = "/admin/access/applications/ghost/keys";
    admin.get(ghost).send().await.refused(404, "not_found");
    admin.post(ghost).json(json!({"name": "x"})).send().await.refused(404, "not_found");
    for path in [format!("{ghost}/x"), format!("{KEYS}/gk_000000000000"), format!("{KEYS}/%00")] {
        admin.get(&path).send().await.refused(404, "not_found");
        admin.patch(&path).json(json!({"name": "x"})).send().await.refused(404, "not_found");
        admin.delete(&path).send().await.refused(404, "not_found");
        admin.post(format!("{path}/rotate")).send().await.refused(404, "not_found");
    }
    let made = issue(&admin, "a").await;
    admin.put("/admin/access/applications/other").json(json!({})).send().await.expect(201);
    let elsewhere = path(&made).replace("/shop/", "/other/");
    admin.delete(elsewhere).send().await.refused(404, "not_found");
}

#[tokio::test]
async fn a_key_is_shown_also_when_nodes_lag() {
    let admin = with_shop().await;
    admin.report(0).await;
    let made = admin.post(format!("{KEYS}?wait=50ms")).json(json!({"name": "a"})).send().await.expect(202);
    assert!(made.body["key"].as_str().unwrap().starts_with("gk_"), "{}", made.text);
    assert_eq!((&made.body["generation"], made.body["waitingFor"].as_array().unwrap().len()), (&json!(2), 1));
    assert_eq!(made.header("location"), path(&made));
    let rotated = admin.post(format!("{}/rotate?wait=50ms", path(&made))).send().await.expect(202);
    assert!(rotated.body["key"].is_string());
    let patched =
        admin.patch(format!("{}?wait=50ms", path(&rotated))).json(json!({"name": "b"})).send().await.expect(202);
    assert_eq!(fields(&patched.body), ["generation", "waitingFor"]);
    admin.delete(format!("{}?wait=50ms", path(&rotated))).send().await.expect(202);
}

#[tokio::test]
async fn keys_that_are_made_at_once_all_stay() {
    let admin = with_shop().await;
    let calls = (0..10).map(|at| admin.post(KEYS).json(json!({"name": format!("{at}")})).send());
    for answer in futures::future::join_all(calls).await {
        answer.expect(201);
    }
    assert_eq!(stored(&admin).await.api_keys.len(), 10);
}
