//! Logging in, staying in and getting out.

use admin_api::SessionSettings;
use futures::future::join_all;
use gateway_config::model::Action;
use serde_json::json;

use crate::client::{Admin, TOKEN};
use crate::people::{LOGIN, LOGOUT, ME, PASSWORD, PASSWORD_PATH, REFRESH, Session, USERS};

const MINUTE: i64 = 60_000;
const DAY: i64 = 24 * 60 * MINUTE;
const ADA: &str = "ada@example.com";

async fn with_ada() -> Admin {
    let admin = Admin::start().await;
    admin.person(ADA, "operator").await;
    admin
}

#[tokio::test]
async fn a_login_gives_tokens_that_say_who_one_is() {
    let admin = with_ada().await;
    let answer = admin.try_login(" ADA@Example.com ", PASSWORD).from("192.0.2.7").send().await.expect(200);
    assert_eq!(answer.body["expiresIn"], 900);
    assert_eq!(answer.header("cache-control"), "no-store");
    assert!(answer.headers.get("set-cookie").is_none() && answer.body.get("csrfToken").is_none());
    let session = Session::of(&answer);
    let me = admin.get(ME).token(Some(&session.access)).send().await.expect(200);
    for (field, value) in
        [("email", ADA), ("role", "operator"), ("via", "session"), ("expiresAt", "2026-12-18T11:06:40Z")]
    {
        assert_eq!(me.body[field], value, "{}", me.text);
    }
    let [entry] = admin.audited(Action::AuthLogin).await.try_into().unwrap();
    assert_eq!((entry.actor.as_str(), entry.address), (ADA, Some("192.0.2.7".parse().unwrap())));
    assert_eq!(entry.request_id.as_deref(), Some(answer.header("x-request-id")));

    let scripts = admin.get(ME).send().await.expect(200);
    assert_eq!((&scripts.body["via"], &scripts.body["id"]), (&json!("ADMIN_TOKEN"), &json!(null)));
}

#[tokio::test]
async fn every_wrong_login_is_refused_in_the_same_words() {
    let admin = with_ada().await;
    let idle = admin.person("idle@example.com", "viewer").await;
    admin.patch(format!("{USERS}/{idle}")).json(json!({"isActive": false})).send().await.expect(200);
    let mut said = Vec::new();
    for (email, password) in [
        (ADA, "wrong horse battery"),
        ("nobody@example.com", PASSWORD),
        ("idle@example.com", PASSWORD),
        ("no email", PASSWORD),
        ("", ""),
        (ADA, &"x".repeat(4000)),
        ("nul\0@example.com", PASSWORD),
    ] {
        let refused = admin.try_login(email, password).send().await.refused(401, "unauthorized");
        assert!(refused.header("www-authenticate").starts_with("Bearer"));
        said.push(refused.body["message"].clone());
    }
    assert!(said.iter().all(|message| *message == said[0]), "{said:?}");
    let failed = admin.audited(Action::AuthLoginFailed).await;
    assert_eq!(failed.len(), 7);
    assert_eq!((failed[0].actor.as_str(), failed[0].changes[0].name.as_str()), ("anonymous", ADA));
}

#[tokio::test]
async fn a_login_with_a_wrong_body_is_told_what_is_wrong() {
    let admin = with_ada().await;
    let login = || admin.post(LOGIN).token(None);
    assert_eq!(login().json(json!({})).send().await.refused(422, "invalid").problems(), ["email"]);
    let extra = json!({"email": ADA, "password": PASSWORD, "remember": true});
    assert_eq!(login().json(extra).send().await.refused(422, "invalid").problems(), ["remember"]);
    let wrong = json!({"email": ADA, "password": 7});
    assert_eq!(login().json(wrong).send().await.refused(422, "invalid").problems(), ["password"]);
    login().body("application/json", "{").send().await.refused(400, "bad_request");
    login().body("text/plain", "{}").send().await.refused(415, "unsupported_media_type");
    login().body("application/json", "x".repeat(17 << 10)).send().await.refused(413, "body_too_large");
    admin.post(format!("{LOGIN}?x=1")).token(None).json(json!({})).send().await.refused(422, "invalid");
}

#[tokio::test]
async fn an_access_token_is_good_for_its_time_and_a_session_for_its_own() {
    let admin = with_ada().await;
    let mut session = admin.login(ADA).await;
    let me = |session: &Session| admin.get(ME).token(Some(&session.access)).send();
    admin.clock.advance_millis(15 * MINUTE - 1);
    me(&session).await.expect(200);
    admin.clock.advance_millis(1);
    me(&session).await.refused(401, "unauthorized");
    session = Session::of(&admin.refresh(&session.refresh).send().await.expect(200));
    me(&session).await.expect(200);

    // However often it is renewed, a session ends thirty days after its login.
    admin.clock.advance_millis(30 * DAY - 16 * MINUTE);
    let last = admin.refresh(&session.refresh).send().await.expect(200);
    assert_eq!(last.body["expiresIn"], 60);
    admin.clock.advance_millis(MINUTE);
    me(&Session::of(&last)).await.refused(401, "unauthorized");
    admin.refresh(&Session::of(&last).refresh).send().await.refused(401, "unauthorized");
}

#[tokio::test]
async fn a_refresh_token_that_is_used_twice_ends_its_session() {
    let admin = with_ada().await;
    let (first, other) = (admin.login(ADA).await, admin.login(ADA).await);
    let second = Session::of(&admin.refresh(&first.refresh).send().await.expect(200));
    admin.get(ME).token(Some(&second.access)).send().await.expect(200);
    admin.refresh(&first.refresh).from("192.0.2.66").send().await.refused(401, "unauthorized");
    for access in [&first.access, &second.access] {
        admin.get(ME).token(Some(access)).send().await.refused(401, "unauthorized");
    }
    admin.refresh(&second.refresh).send().await.refused(401, "unauthorized");
    let [entry] = admin.audited(Action::AuthRefreshReused).await.try_into().unwrap();
    assert_eq!((entry.changes[0].name.as_str(), entry.address), (ADA, Some("192.0.2.66".parse().unwrap())));
    admin.get(ME).token(Some(&other.access)).send().await.expect(200);
}

#[tokio::test]
async fn of_two_who_refresh_at_once_one_gets_tokens_and_both_have_to_log_in_again() {
    let admin = with_ada().await;
    let another = admin.another();
    let session = admin.login(ADA).await;
    let calls = [admin.refresh(&session.refresh).send(), another.refresh(&session.refresh).send()];
    let mut answers = join_all(calls).await;
    answers.sort_by_key(|answer| answer.status);
    assert_eq!(answers.iter().map(|answer| answer.status).collect::<Vec<_>>(), [200, 401]);
    let won = Session::of(&answers[0]);
    admin.get(ME).token(Some(&won.access)).send().await.refused(401, "unauthorized");
}

#[tokio::test]
async fn after_a_logout_nothing_of_the_session_is_good() {
    let admin = with_ada().await;
    let session = admin.login(ADA).await;
    let logout = |session: &Session| admin.post(LOGOUT).token(Some(&session.access)).send();
    logout(&session).await.expect(204);
    admin.another().get(ME).token(Some(&session.access)).send().await.refused(401, "unauthorized");
    admin.refresh(&session.refresh).send().await.refused(401, "unauthorized");
    logout(&session).await.refused(401, "unauthorized");
    let [entry] = admin.audited(Action::AuthLogout).await.try_into().unwrap();
    assert_eq!(entry.actor, ADA);
}

#[tokio::test]
async fn who_can_not_call_any_more_can_still_log_out() {
    let admin = with_ada().await;
    let (late, other) = (admin.login(ADA).await, admin.login(ADA).await);
    admin.clock.advance_millis(DAY);
    admin.post(LOGOUT).token(Some(&late.access)).send().await.expect(204);
    admin.refresh(&late.refresh).send().await.refused(401, "unauthorized");
    admin.post(LOGOUT).token(None).json(json!({"refreshToken": other.refresh})).send().await.expect(204);
    admin.refresh(&other.refresh).send().await.refused(401, "unauthorized");

    admin.post(LOGOUT).token(None).send().await.refused(401, "unauthorized");
    admin.post(LOGOUT).send().await.refused(409, "conflict");
}

#[tokio::test]
async fn forged_truncated_and_foreign_tokens_are_401() {
    let admin = with_ada().await;
    let session = admin.login(ADA).await;
    let (_, token) = admin.token_of(&session, json!({"name": "ci"})).await;
    for good in [&session.access, &token] {
        for at in [0, 4, 20, good.len() / 2, good.len() - 1] {
            let mut forged = good.clone().into_bytes();
            forged[at] = if forged[at] == b'a' { b'b' } else { b'a' };
            let forged = String::from_utf8(forged).unwrap();
            for bad in [forged.as_str(), &good[..at], &format!("{good}0")] {
                admin.get(ME).token(Some(bad)).send().await.refused(401, "unauthorized");
            }
        }
    }
    // Each is good for its own purpose only.
    admin.get(ME).token(Some(&session.refresh)).send().await.refused(401, "unauthorized");
    for other in [session.access.as_str(), &token, TOKEN, "", "gar_", "\u{1}"] {
        admin.refresh(other).send().await.refused(401, "unauthorized");
    }
    admin.post(REFRESH).token(None).send().await.refused(401, "unauthorized");
    admin.refresh(&session.refresh).send().await.expect(200);
}

#[tokio::test]
async fn a_change_of_the_role_acts_on_the_next_request() {
    let admin = with_ada().await;
    let session = admin.login(ADA).await;
    let write = || admin.put("/admin/routing/services/a").token(Some(&session.access)).json(json!({})).send();
    write().await.expect(201);
    admin.patch(format!("{USERS}/{ADA}")).json(json!({"role": "viewer"})).send().await.expect(200);
    write().await.refused(403, "forbidden");
    admin.get("/admin/nodes").token(Some(&session.access)).send().await.expect(200);
}

#[tokio::test]
async fn a_deactivation_a_deletion_and_a_new_password_end_all_sessions() {
    let admin = with_ada().await;
    let me = |session: &Session| admin.get(ME).token(Some(&session.access)).send();
    let path = format!("{USERS}/{ADA}");

    let session = admin.login(ADA).await;
    admin.patch(&path).json(json!({"isActive": false})).send().await.expect(200);
    me(&session).await.refused(401, "unauthorized");
    admin.refresh(&session.refresh).send().await.refused(401, "unauthorized");
    admin.patch(&path).json(json!({"isActive": true})).send().await.expect(200);
    me(&session).await.refused(401, "unauthorized");

    let session = admin.login(ADA).await;
    admin.patch(&path).json(json!({"password": "another good password"})).send().await.expect(200);
    me(&session).await.refused(401, "unauthorized");
    admin.try_login(ADA, PASSWORD).send().await.refused(401, "unauthorized");
    let session = Session::of(&admin.try_login(ADA, "another good password").send().await.expect(200));
    admin.delete(&path).send().await.expect(204);
    me(&session).await.refused(401, "unauthorized");
    admin.refresh(&session.refresh).send().await.refused(401, "unauthorized");
}

#[tokio::test]
async fn who_changes_their_password_stays_and_all_their_other_sessions_end() {
    let admin = with_ada().await;
    let (mine, other) = (admin.login(ADA).await, admin.login(ADA).await);
    let change = |current: &str, new: &str| {
        let body = json!({"current": current, "new": new});
        admin.post(PASSWORD_PATH).token(Some(&mine.access)).json(body).send()
    };
    let wrong = change("wrong horse battery", "another good password").await.refused(422, "invalid");
    assert_eq!(wrong.problems(), ["current"]);
    assert_eq!(change(PASSWORD, "too short").await.refused(422, "invalid").problems(), ["new"]);
    change(PASSWORD, "another good password").await.expect(204);
    admin.get(ME).token(Some(&mine.access)).send().await.expect(200);
    admin.refresh(&mine.refresh).send().await.expect(200);
    admin.get(ME).token(Some(&other.access)).send().await.refused(401, "unauthorized");
    admin.try_login(ADA, PASSWORD).send().await.refused(401, "unauthorized");
    admin.try_login(ADA, "another good password").send().await.expect(200);
    assert_eq!(admin.audited(Action::AuthPassword).await[0].actor, ADA);

    let body = json!({"current": PASSWORD, "new": PASSWORD});
    admin.post(PASSWORD_PATH).json(body).send().await.refused(403, "forbidden");
}

#[tokio::test]
async fn settings_say_how_long_tokens_and_sessions_last() {
    let admin = with_ada().await;
    let sessions = SessionSettings { access_seconds: 60, session_days: 1, ..SessionSettings::default() };
    let short = Admin::with_sessions(admin.store.clone(), None, sessions);
    let answer = short.try_login(ADA, PASSWORD).send().await.expect(200);
    assert_eq!(answer.body["expiresIn"], 60);
    let session = Session::of(&answer);
    short.clock.advance_millis(MINUTE);
    short.get(ME).token(Some(&session.access)).send().await.refused(401, "unauthorized");
    short.clock.advance_millis(DAY);
    short.refresh(&session.refresh).send().await.refused(401, "unauthorized");
}

#[tokio::test]
async fn behind_a_trusted_proxy_the_audit_names_the_address_that_it_tells() {
    let admin = with_ada().await;
    let trusted_proxies = vec!["10.0.0.0/8".parse().unwrap()];
    let sessions = SessionSettings { trusted_proxies, ..SessionSettings::default() };
    let behind = Admin::with_sessions(admin.store.clone(), None, sessions);
    for (peer, told) in [("10.1.1.1", "192.0.2.9"), ("192.0.2.1", "192.0.2.1")] {
        let call = behind.put(format!("/admin/routing/services/s{}", told.len())).json(json!({"description": peer}));
        call.from(peer).header("x-forwarded-for", "6.6.6.6, 192.0.2.9").send().await;
        let entry = behind.audit().await.pop().unwrap();
        assert_eq!((entry.action, entry.address), (Action::ConfigWrite, Some(told.parse().unwrap())), "{peer}");
        assert!(entry.request_id.is_some());
    }
}
