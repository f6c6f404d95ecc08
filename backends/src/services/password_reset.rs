//! A forgotten password: a worker that is known gets a token for the account, mails it to the account's owner, and whoever shows it within an
//! hour chooses a new password. That ends all sessions of the account.

use std::sync::Arc;

use axum::{
    Json, Router,
    extract::State,
    http::{
        HeaderMap, HeaderName, HeaderValue, StatusCode,
        header::{AUTHORIZATION, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY},
    },
    routing::{get, post},
};
use serde::Deserialize;
use serde_json::{Value, json};
use sqlx::SqlitePool;
use uuid::Uuid;

use super::auth::{acceptable_password, digest, hash, new_token};
use crate::{
    clock::{Clock, shown},
    exchange::{Body, Refusal},
    token::Token,
};

/// Digests, as with sessions.
pub(super) const SCHEMA: &str = "
CREATE TABLE IF NOT EXISTS resets (
    token_digest BLOB PRIMARY KEY,
    user_id BLOB NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    expires_at_ms INTEGER NOT NULL
) STRICT;
CREATE INDEX IF NOT EXISTS resets_by_user ON resets (user_id);
CREATE INDEX IF NOT EXISTS resets_by_expiry ON resets (expires_at_ms);
";

const RESET_MS: i64 = 60 * 60 * 1000;
const PAGE: &str = include_str!("password_reset.html");

#[derive(Clone)]
pub(super) struct Resets {
    pub(super) database: SqlitePool,
    pub(super) clock: Clock,
    pub(super) workers: Token,
}

type Answer = Result<(StatusCode, Json<Value>), Refusal>;

pub(super) fn routes(resets: Resets) -> Router {
    Router::new()
        .route("/auth/password-reset", get(async || (page_headers(), PAGE)))
        .route("/auth/password-reset/tokens", post(make))
        .route("/auth/password-reset/confirm", post(confirm))
        .with_state(Arc::new(resets))
}

/// Nothing of the page is kept, framed or told to others.
fn page_headers() -> [(HeaderName, HeaderValue); 4] {
    let policy = "default-src 'none'; connect-src 'self'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; frame-ancestors 'none'";
    [
        (CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8")),
        (CACHE_CONTROL, HeaderValue::from_static("no-store")),
        (REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
        (CONTENT_SECURITY_POLICY, HeaderValue::from_static(policy)),
    ]
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Forgotten {
    email: String,
}

/// For workers alone: whoever holds the token holds the account.
async fn make(State(resets): State<Arc<Resets>>, headers: HeaderMap, Body(forgotten): Body<Forgotten>) -> Answer {
    let shown_token = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "));
    if !shown_token.is_some_and(|token| resets.workers.is(token)) {
        return Err(Refusal::unauthorized("only the workers of this service get tokens"));
    }
    let user: Option<(Uuid,)> = sqlx::query_as("SELECT id FROM users WHERE email = $1")
        .bind(forgotten.email.trim().to_lowercase())
        .fetch_optional(&resets.database)
        .await?;
    let (user,) = user.ok_or_else(|| Refusal::not_found("there is no such account"))?;
    let (token, now_ms) = (new_token(), resets.clock.now_ms());
    sqlx::query("DELETE FROM resets WHERE expires_at_ms <= $1").bind(now_ms).execute(&resets.database).await?;
    // Those that were sent before stay good: the mails may arrive in any order.
    sqlx::query("INSERT INTO resets (token_digest, user_id, expires_at_ms) VALUES ($1, $2, $3)")
        .bind(digest(&token))
        .bind(user)
        .bind(now_ms + RESET_MS)
        .execute(&resets.database)
        .await?;
    Ok((StatusCode::CREATED, Json(json!({"token": token, "expiresAt": shown(now_ms + RESET_MS)}))))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Choice {
    token: String,
    password: String,
}

async fn confirm(State(resets): State<Arc<Resets>>, Body(choice): Body<Choice>) -> Answer {
    acceptable_password(&choice.password)?;
    let find = "SELECT user_id FROM resets WHERE token_digest = $1 AND expires_at_ms > $2";
    let (proof, now_ms) = (digest(&choice.token), resets.clock.now_ms());
    let unknown = || Refusal::unauthorized("the link is unknown, was used, or has expired");
    // Before the hash is paid for, and again below, where only one of two gets it.
    let found: Option<(Uuid,)> =
        sqlx::query_as(find).bind(&proof).bind(now_ms).fetch_optional(&resets.database).await?;
    found.ok_or_else(unknown)?;
    let hash = hash(choice.password).await?;
    let mut all = resets.database.begin_with("BEGIN IMMEDIATE").await?;
    let found: Option<(Uuid,)> = sqlx::query_as(find).bind(&proof).bind(now_ms).fetch_optional(&mut *all).await?;
    let (user,) = found.ok_or_else(unknown)?;
    sqlx::query("UPDATE users SET password_hash = $2 WHERE id = $1").bind(user).bind(hash).execute(&mut *all).await?;
    for forget in ["DELETE FROM resets WHERE user_id = $1", "DELETE FROM sessions WHERE user_id = $1"] {
        sqlx::query(forget).bind(user).execute(&mut *all).await?;
    }
    all.commit().await?;
    Ok((StatusCode::OK, Json(json!({"message": "the password was changed; all sessions have ended"}))))
}
