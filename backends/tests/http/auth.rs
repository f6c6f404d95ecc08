//! Accounts, sessions, and what the two versions share.

use std::time::Duration;

use backends::services::Name::{Auth, AuthV2};
use serde_json::{Value, json};

use crate::stage::{Stage, answer, body, folder, refusal};

fn ada() -> Value {
    json!({"email": "ada@example.com", "password": "correct horse"})
}

async fn token_of_ada(stage: &Stage) -> String {
    answer(stage.post(Auth, "/auth/register").json(&ada())).await;
    let (_, session) = answer(stage.post(Auth, "/auth/login").json(&ada())).await;
    session["token"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_registered_account_logs_in_and_is_known_by_its_session() {
    let folder = folder();
    let stage = Stage::open(&[Auth], folder.path()).await;
    let (status, account) = answer(stage.post(Auth, "/auth/register").json(&ada())).await;
    assert_eq!((status.as_u16(), &account["email"]), (201, &json!("ada@example.com")));
    assert!(account.get("password").is_none());

    let (status, session) = answer(stage.post(Auth, "/auth/login").json(&ada())).await;
    assert_eq!((status.as_u16(), &session["scheme"]), (200, &json!("Session")));

    let token = session["token"].as_str().unwrap();
    let (status, me) = answer(stage.get(Auth, "/auth/me").header("authorization", format!("Session {token}"))).await;
    assert_eq!((status.as_u16(), &me["id"]), (200, &account["id"]));
}

#[tokio::test]
async fn an_email_can_be_registered_once_whatever_its_case() {
    let folder = folder();
    let stage = Stage::open(&[Auth], folder.path()).await;
    answer(stage.post(Auth, "/auth/register").json(&ada())).await;
    let again = json!({"email": " ADA@Example.com ", "password": "another password"});
    let message = refusal(stage.post(Auth, "/auth/register").json(&again), 409).await;
    assert!(message.contains("ada@example.com"), "{message}");
}

#[tokio::test]
async fn registration_refuses_an_address_without_host_and_a_short_password() {
    let folder = folder();
    let stage = Stage::open(&[Auth], folder.path()).await;
    for (field, given) in [
        ("email", json!({"email": "ada", "password": "correct horse"})),
        ("email", json!({"email": "@example.com", "password": "correct horse"})),
        ("email", json!({"email": "a b@example.com", "password": "correct horse"})),
        ("password", json!({"email": "ada@example.com", "password": "short"})),
        ("password", json!({"email": "ada@example.com", "password": "x".repeat(257)})),
        ("nickname", json!({"email": "ada@example.com", "password": "correct horse", "nickname": "ada"})),
        ("password", json!({"email": "ada@example.com"})),
    ] {
        let message = refusal(stage.post(Auth, "/auth/register").json(&given), 422).await;
        assert!(message.contains(field), "{given}: {message}");
    }
}

#[tokio::test]
async fn a_wrong_password_and_an_unknown_account_are_refused_in_the_same_words() {
    let folder = folder();
    let stage = Stage::open(&[Auth], folder.path()).await;
    answer(stage.post(Auth, "/auth/register").json(&ada())).await;
    let wrong = json!({"email": "ada@example.com", "password": "wrong horse"});
    let unknown = json!({"email": "bob@example.com", "password": "correct horse"});
    let said = refusal(stage.post(Auth, "/auth/login").json(&wrong), 401).await;
    assert_eq!(said, refusal(stage.post(Auth, "/auth/login").json(&unknown), 401).await);
}

#[tokio::test]
async fn no_session_a_foreign_scheme_and_a_made_up_token_are_refused() {
    let folder = folder();
    let stage = Stage::open(&[Auth], folder.path()).await;
    let token = token_of_ada(&stage).await;
    let response = stage.get(Auth, "/auth/me").send().await.unwrap();
    assert_eq!(response.headers()["www-authenticate"], "Session");
    assert_eq!(body(response).await["statusCode"], 401);
    for header in [format!("Bearer {token}"), "Session 0000".to_owned(), "Session".to_owned()] {
        refusal(stage.get(Auth, "/auth/me").header("authorization", &header), 401).await;
    }
}

#[tokio::test]
async fn a_session_ends_after_a_day() {
    let folder = folder();
    let stage = Stage::open(&[Auth], folder.path()).await;
    let header = format!("Session {}", token_of_ada(&stage).await);
    let ask = || stage.get(Auth, "/auth/me").header("authorization", &header);
    stage.clock.advance(Duration::from_hours(23));
    assert_eq!(answer(ask()).await.0.as_u16(), 200);
    stage.clock.advance(Duration::from_hours(1));
    refusal(ask(), 401).await;
}

#[tokio::test]
async fn both_versions_share_accounts_and_sessions() {
    let folder = folder();
    let stage = Stage::open(&[Auth, AuthV2], folder.path()).await;
    let header = format!("Session {}", token_of_ada(&stage).await);
    for (name, version) in [(Auth, "v1"), (AuthV2, "v2")] {
        let (status, me) = answer(stage.get(name, "/auth/me").header("authorization", &header)).await;
        assert_eq!((status.as_u16(), &me["version"]), (200, &json!(version)));
    }
}

#[tokio::test]
async fn only_the_second_version_says_in_every_answer_which_instance_served() {
    let folder = folder();
    let stage = Stage::open(&[Auth, AuthV2], folder.path()).await;
    let (_, first) = answer(stage.get(Auth, "/auth/info")).await;
    let (_, second) = answer(stage.get(AuthV2, "/auth/info")).await;
    assert_eq!((&first["service"], &first["version"]), (&json!("auth"), &json!("v1")));
    assert_eq!((&second["service"], &second["version"]), (&json!("auth"), &json!("v2")));
    assert_ne!(first["instance"], second["instance"]);
    assert_eq!((first.get("servedBy"), &second["servedBy"]), (None, &second["instance"]));
    let (_, account) = answer(stage.post(AuthV2, "/auth/register").json(&ada())).await;
    assert_eq!(account["servedBy"], second["instance"]);
}

#[tokio::test]
async fn the_database_holds_neither_the_password_nor_the_token() {
    let folder = folder();
    let stage = Stage::open(&[Auth], folder.path()).await;
    let token = token_of_ada(&stage).await;
    stage.server.stop().await.unwrap();
    for entry in std::fs::read_dir(folder.path()).unwrap() {
        let content = std::fs::read(entry.unwrap().path()).unwrap();
        for secret in ["correct horse", token.as_str()] {
            assert!(!content.windows(secret.len()).any(|window| window == secret.as_bytes()), "found {secret}");
        }
    }
}
