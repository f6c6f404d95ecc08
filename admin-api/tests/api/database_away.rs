//! With the database away everything that needs it is 503 while it is away, and the rest still answers.

use std::time::Duration;

use gateway_config::store::{Options, open_with};
use serde_json::json;
use tokio::net::TcpListener;

use crate::client::Admin;

const AUTH: &str = "/admin/routing/services/auth";
const PATIENCE: Duration = Duration::from_secs(30);

/// Takes connections and never says a word, like a stopped Postgres.
async fn over_a_hung_database() -> (Admin, TcpListener) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("postgres://gateway@{}/gateway", listener.local_addr().unwrap());
    let store = open_with(&url, Options::default()).await.unwrap();
    (Admin::over(store, None), listener)
}

/// Nobody listens there any more.
async fn over_a_closed_database() -> Admin {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("postgres://gateway:canary@{}/gateway", listener.local_addr().unwrap());
    drop(listener);
    Admin::over(open_with(&url, Options::default()).await.unwrap(), None)
}

async fn everything_is_503(admin: &Admin) {
    // Of the same fleet: it is not forged, and whether it is still good can't be told.
    let elsewhere = Admin::start().await;
    elsewhere.person("ada@example.com", "viewer").await;
    let session = elsewhere.login("ada@example.com").await;
    let (_, token) = elsewhere.token_of(&session, json!({"name": "ci"})).await;
    let body = json!({"defaultUrl": "http://a:1"});
    let calls = [
        admin.get(AUTH),
        admin.get("/admin/routing/services"),
        admin.put(format!("{AUTH}?wait=60s")).json(body.clone()),
        admin.patch(AUTH).json(body),
        admin.delete(AUTH),
        admin.get("/admin/nodes"),
        admin.get("/admin/config/export"),
        admin.post("/admin/config/validate").json(json!({"changes": []})),
        admin.post("/admin/explain").json(json!({"method": "GET", "path": "/"})),
        admin.get("/readyz"),
        admin.get("/admin/users"),
        admin.try_login("ada@example.com", "correct horse battery"),
        admin.get("/admin/auth/me").token(Some(&session.access)),
        admin.refresh(&session.refresh),
        admin.get("/admin/auth/me").token(Some(&token)),
    ];
    for answer in futures::future::join_all(calls.map(crate::client::Call::send)).await {
        let answer = answer.refused(503, "database_unavailable");
        assert_eq!(answer.header("retry-after"), "1");
        assert!(!answer.text.contains("canary") && !answer.text.contains("127.0.0.1"), "{}", answer.text);
    }
}

#[tokio::test]
async fn a_closed_database_is_503() {
    everything_is_503(&over_a_closed_database().await).await;
}

#[tokio::test]
async fn a_hung_database_is_503_and_no_writer_waits_for_those_before_it() {
    let (admin, _listener) = over_a_hung_database().await;
    // One after the other they would wait for a minute and a half: three seconds each.
    let writers = (0..30).map(|at| admin.put(format!("/admin/routing/services/s{at}")).json(json!({})).send());
    let all = futures::future::join(everything_is_503(&admin), futures::future::join_all(writers));
    let ((), answers) = tokio::time::timeout(PATIENCE, all).await.expect("everybody is answered");
    for answer in answers {
        answer.refused(503, "database_unavailable");
    }
}

#[tokio::test]
async fn what_needs_no_database_still_answers() {
    let admin = over_a_closed_database().await;
    for path in ["/livez", "/metrics", "/openapi.json"] {
        admin.get(path).send().await.expect(200);
    }
    admin.get("/admin/nodes").token(None).send().await.refused(401, "unauthorized");
    let forged = format!("gaa_{}", "0".repeat(80));
    admin.get("/admin/nodes").token(Some(&forged)).send().await.refused(401, "unauthorized");
    admin.get("/admin/auth/me").send().await.expect(200);
}
