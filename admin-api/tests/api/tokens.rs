//! Personal tokens: shown once, never worth more than their owner, and gone at once when they are revoked.

use gateway_config::model::Action;
use serde_json::json;

use crate::client::Admin;
use crate::people::{ME, Session, USERS};

const ADA: &str = "ada@example.com";
const BOB: &str = "bob@example.com";
const MINE: &str = "/admin/users/me/tokens";

async fn with_ada() -> (Admin, Session) {
    let admin = Admin::start().await;
    admin.person(ADA, "operator").await;
    let session = admin.login(ADA).await;
    (admin, session)
}

#[tokio::test]
async fn a_token_is_shown_once_and_stands_for_its_owner() {
    let (admin, session) = with_ada().await;
    let made = admin.post(MINE).token(Some(&session.access)).json(json!({"name": "ci"})).send().await.expect(201);
    let token = made.body["token"].as_str().unwrap();
    assert!(token.starts_with("gat_") && token.len() == 100, "{token}");
    assert_eq!((&made.body["role"], made.header("cache-control")), (&json!("operator"), "no-store"));
    let me = admin.get(ME).token(Some(token)).send().await.expect(200);
    assert_eq!(
        (&me.body["via"], &me.body["tokenName"], &me.body["email"]),
        (&json!("token"), &json!("ci"), &json!(ADA))
    );
    admin.put("/admin/routing/services/a").token(Some(token)).json(json!({})).send().await.expect(201);
    assert_eq!(admin.audit().await.last().unwrap().actor, "ada@example.com (token ci)");

    let listed = admin.get(MINE).token(Some(token)).send().await.expect(200);
    assert_eq!(listed.names("name"), ["ci"]);
    let audit = format!("{:?}", admin.audit().await);
    assert!(!listed.text.contains(&token[4..]) && !audit.contains(&token[4..]));
}

#[tokio::test]
async fn a_token_may_do_no_more_than_its_owner_may_now() {
    let (admin, session) = with_ada().await;
    let make = |role: &str| {
        let body = json!({"name": "ci", "role": role});
        admin.post(MINE).token(Some(&session.access)).json(body).send()
    };
    assert_eq!(make("admin").await.refused(422, "invalid").problems(), ["role"]);
    let reader = make("viewer").await.expect(201).body["token"].as_str().unwrap().to_owned();
    let writer = make("operator").await.expect(201).body["token"].as_str().unwrap().to_owned();
    let write = |token: &str| admin.put("/admin/routing/services/a").token(Some(token)).json(json!({})).send();
    write(&reader).await.refused(403, "forbidden");
    write(&writer).await.expect(201);
    admin.patch(format!("{USERS}/{ADA}")).json(json!({"role": "viewer"})).send().await.expect(200);
    write(&writer).await.refused(403, "forbidden");
    admin.patch(format!("{USERS}/{ADA}")).json(json!({"role": "admin"})).send().await.expect(200);
    admin.get(USERS).token(Some(&writer)).send().await.refused(403, "forbidden");
}

#[tokio::test]
async fn a_revoked_or_expired_token_is_401_and_stays_in_the_list() {
    let (admin, session) = with_ada().await;
    let (id, token) = admin.token_of(&session, json!({"name": "ci"})).await;
    let end = "2026-11-18T11:08:00Z";
    let (_, short) = admin.token_of(&session, json!({"name": "short", "expiresAt": end})).await;
    let me = |token: &str| admin.get(ME).token(Some(token)).send();
    assert_eq!(me(&short).await.expect(200).body["expiresAt"], end);
    for _ in 0..2 {
        admin.delete(format!("{MINE}/{id}")).token(Some(&session.access)).send().await.expect(204);
    }
    admin.another().get(ME).token(Some(&token)).send().await.refused(401, "unauthorized");
    admin.clock.advance_millis(200_000);
    me(&short).await.refused(401, "unauthorized");
    let listed = admin.get(MINE).token(Some(&session.access)).send().await.expect(200);
    assert_eq!(listed.body["items"][0]["revokedAt"], "2026-11-18T11:06:40Z");
    assert_eq!(listed.names("name"), ["ci", "short"]);
    assert_eq!(admin.audited(Action::TokenRevoke).await.len(), 1, "once");
    assert_eq!(admin.audited(Action::TokenCreate).await[0].changes[0].name, "ada@example.com/ci");
    admin.delete(format!("{MINE}/x")).token(Some(&session.access)).send().await.refused(404, "not_found");
}

#[tokio::test]
async fn tokens_of_others_are_for_admins() {
    let (admin, session) = with_ada().await;
    admin.person(BOB, "viewer").await;
    let bobs = admin.login(BOB).await;
    let (id, token) = admin.token_of(&bobs, json!({"name": "his"})).await;
    let path = format!("{USERS}/{BOB}/tokens");
    let as_ada = Some(session.access.as_str());
    admin.get(&path).token(as_ada).send().await.refused(403, "forbidden");
    admin.post(&path).token(as_ada).json(json!({"name": "x"})).send().await.refused(403, "forbidden");
    admin.delete(format!("{path}/{id}")).token(as_ada).send().await.refused(403, "forbidden");
    admin.get(format!("{USERS}/nobody@a.test/tokens")).token(as_ada).send().await.refused(403, "forbidden");
    admin.delete(format!("{MINE}/{id}")).token(as_ada).send().await.refused(404, "not_found");
    let own = format!("{USERS}/{ADA}/tokens");
    admin.get(&own).token(as_ada).send().await.expect(200);

    assert_eq!(admin.get(&path).send().await.expect(200).names("name"), ["his"]);
    let for_bob = json!({"name": "made for him", "role": "operator"});
    assert_eq!(admin.post(&path).json(for_bob).send().await.refused(422, "invalid").problems(), ["role"]);
    let made = admin.post(&path).json(json!({"name": "made for him"})).send().await.expect(201);
    assert_eq!(made.body["role"], "viewer");
    admin.delete(format!("{path}/{id}")).send().await.expect(204);
    admin.get(ME).token(Some(&token)).send().await.refused(401, "unauthorized");
    admin.get(MINE).send().await.refused(404, "not_found");
}

#[tokio::test]
async fn a_token_makes_none_that_outlives_or_outranks_it() {
    let (admin, session) = with_ada().await;
    let end = "2026-12-01T00:00:00Z";
    let body = json!({"name": "ci", "role": "viewer", "expiresAt": end});
    let (_, token) = admin.token_of(&session, body).await;
    let make = |body| admin.post(MINE).token(Some(&token)).json(body).send();
    assert_eq!(make(json!({"name": "x", "expiresAt": end, "role": "operator"})).await.problems(), ["role"]);
    assert_eq!(make(json!({"name": "x"})).await.problems(), ["expiresAt"]);
    assert_eq!(make(json!({"name": "x", "expiresAt": "2026-12-01T00:00:01Z"})).await.problems(), ["expiresAt"]);
    let next = make(json!({"name": "x", "expiresAt": end})).await.expect(201);
    assert_eq!(next.body["role"], "viewer");
    assert_eq!(make(json!({"name": "x", "expiresAt": "2026-01-01T00:00:00Z"})).await.problems(), ["expiresAt"]);
    assert_eq!(make(json!({"name": " "})).await.problems(), ["name"]);
}

#[tokio::test]
async fn the_last_use_of_a_token_is_told() {
    let (admin, session) = with_ada().await;
    let (_, token) = admin.token_of(&session, json!({"name": "ci"})).await;
    let last_use = async || {
        let listed = admin.get(MINE).token(Some(&session.access)).send().await.expect(200);
        listed.body["items"][0]["lastUsedAt"].clone()
    };
    assert_eq!(last_use().await, json!(null));
    admin.get(ME).token(Some(&token)).send().await.expect(200);
    // It is written behind the request.
    while last_use().await == json!(null) {
        tokio::task::yield_now().await;
    }
    assert_eq!(last_use().await, "2026-11-18T11:06:40Z");
}

#[tokio::test]
async fn an_admin_has_a_hundred_good_tokens_at_most() {
    let (admin, session) = with_ada().await;
    let make = || admin.post(MINE).token(Some(&session.access)).json(json!({"name": "x"})).send();
    let first = make().await.expect(201).body["id"].as_str().unwrap().to_owned();
    for _ in 1..100 {
        make().await.expect(201);
    }
    make().await.refused(409, "conflict");
    admin.delete(format!("{MINE}/{first}")).token(Some(&session.access)).send().await.expect(204);
    make().await.expect(201);
}
