//! Accounts and sessions. Two versions run side by side on one database, as the two sides of a canary do: whoever registers at one can
//! log in at the other. Version v2 names the instance that served in every answer.

use std::sync::{Arc, LazyLock};

use anyhow::Result;
use argon2::{
    Argon2,
    password_hash::{PasswordHasher, PasswordVerifier, phc::PasswordHash},
};
use axum::{
    Json, Router,
    extract::State,
    http::{HeaderMap, StatusCode, header::AUTHORIZATION},
    routing::{get, post},
};
use serde::Deserialize;
use serde_json::{Value, json};
use sqlx::SqlitePool;
use tokio::sync::Semaphore;
use uuid::Uuid;

use super::{
    Service, Surroundings,
    password_reset::{self, Resets},
};
use crate::{
    clock::{Clock, new_id, shown},
    database,
    exchange::{self, Body, Refusal, introduction},
    token,
};

const SCHEMA: &str = "
CREATE TABLE IF NOT EXISTS users (
    id BLOB PRIMARY KEY,
    email TEXT NOT NULL UNIQUE,
    password_hash TEXT NOT NULL,
    created_at_ms INTEGER NOT NULL
) STRICT;
-- Tokens are kept as digests: who reads the file can't log in with it.
CREATE TABLE IF NOT EXISTS sessions (
    token_digest BLOB PRIMARY KEY,
    user_id BLOB NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    expires_at_ms INTEGER NOT NULL
) STRICT;
CREATE INDEX IF NOT EXISTS sessions_by_expiry ON sessions (expires_at_ms);
";

const SESSION_MS: i64 = 24 * 60 * 60 * 1000;
const PASSWORD_BYTES: std::ops::RangeInclusive<usize> = 8..=256;
const MAX_EMAIL_BYTES: usize = 254;

/// Each hash takes 19 MiB: a crowd that logs in at once must not take the machine.
static HASHES_AT_ONCE: Semaphore = Semaphore::const_new(4);

/// Checked where an account does not exist, so that the time of the answer does not tell.
static HASH_OF_NOBODY: LazyLock<String> =
    LazyLock::new(|| Argon2::default().hash_password(b"").map(|hash| hash.to_string()).unwrap_or_default());

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Version {
    V1,
    V2,
}

impl Version {
    fn as_str(self) -> &'static str {
        match self {
            Self::V1 => "v1",
            Self::V2 => "v2",
        }
    }
}

#[derive(Clone)]
struct Auth {
    version: Version,
    instance: Uuid,
    database: SqlitePool,
    clock: Clock,
}

type Answer = Result<(StatusCode, Json<Value>), Refusal>;

pub(super) async fn open(version: Version, surroundings: &Surroundings) -> Result<Service> {
    let database = database::open(&surroundings.data_dir, "auth.db", SCHEMA).await?;
    sqlx::raw_sql(password_reset::SCHEMA).execute(&database).await?;
    let workers = token::of_workers(&surroundings.data_dir, surroundings.workers.auth_worker_token.as_deref()).await?;
    let resets = Resets { database: database.clone(), clock: surroundings.clock.clone(), workers };
    let auth = Auth { version, instance: new_id(), database: database.clone(), clock: surroundings.clock.clone() };
    let routes = Router::new()
        .route("/auth/register", post(register))
        .route("/auth/login", post(log_in))
        .route("/auth/me", get(show_me))
        .route("/auth/info", get(introduce))
        .with_state(Arc::new(auth))
        .merge(password_reset::routes(resets));
    let name = if version == Version::V1 { "auth" } else { "auth-v2" };
    Ok(Service { router: exchange::finish(routes, name), database: Some(database) })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Credentials {
    email: String,
    password: String,
}

async fn register(State(auth): State<Arc<Auth>>, Body(credentials): Body<Credentials>) -> Answer {
    let email = acceptable_email(&credentials.email)?;
    acceptable_password(&credentials.password)?;
    let hash = hash(credentials.password).await?;
    let (id, created_at_ms) = (new_id(), auth.clock.now_ms());
    let made = sqlx::query(
        "INSERT INTO users (id, email, password_hash, created_at_ms) VALUES ($1, $2, $3, $4) ON CONFLICT (email) DO NOTHING",
    )
    .bind(id)
    .bind(&email)
    .bind(hash)
    .bind(created_at_ms)
    .execute(&auth.database)
    .await?;
    if made.rows_affected() == 0 {
        return Err(Refusal::conflict(format!("there is an account for {email} already")));
    }
    Ok(auth.answer(StatusCode::CREATED, json!({"id": id, "email": email, "createdAt": shown(created_at_ms)})))
}

async fn log_in(State(auth): State<Arc<Auth>>, Body(credentials): Body<Credentials>) -> Answer {
    let known: Option<(Uuid, String)> = sqlx::query_as("SELECT id, password_hash FROM users WHERE email = $1")
        .bind(credentials.email.trim().to_lowercase())
        .fetch_optional(&auth.database)
        .await?;
    let (user_id, stored) = known.map_or((None, None), |(id, stored)| (Some(id), Some(stored)));
    let right = verify(credentials.password, stored).await?;
    let Some(user_id) = user_id.filter(|_| right) else {
        return Err(Refusal::unauthorized("the email or the password is wrong"));
    };
    let now_ms = auth.clock.now_ms();
    let token = new_token();
    sqlx::query("DELETE FROM sessions WHERE expires_at_ms <= $1").bind(now_ms).execute(&auth.database).await?;
    sqlx::query("INSERT INTO sessions (token_digest, user_id, expires_at_ms) VALUES ($1, $2, $3)")
        .bind(digest(&token))
        .bind(user_id)
        .bind(now_ms + SESSION_MS)
        .execute(&auth.database)
        .await?;
    Ok(auth
        .answer(StatusCode::OK, json!({"token": token, "scheme": "Session", "expiresAt": shown(now_ms + SESSION_MS)})))
}

async fn show_me(State(auth): State<Arc<Auth>>, headers: HeaderMap) -> Answer {
    let token = session_token(&headers).ok_or_else(|| Refusal::unauthorized("send Authorization: Session TOKEN"))?;
    let known: Option<(Uuid, String, i64)> = sqlx::query_as(
        "SELECT users.id, users.email, users.created_at_ms FROM sessions JOIN users ON users.id = sessions.user_id
         WHERE sessions.token_digest = $1 AND sessions.expires_at_ms > $2",
    )
    .bind(digest(token))
    .bind(auth.clock.now_ms())
    .fetch_optional(&auth.database)
    .await?;
    let (id, email, created_at_ms) =
        known.ok_or_else(|| Refusal::unauthorized("the session is unknown or has expired"))?;
    Ok(auth.answer(StatusCode::OK, json!({"id": id, "email": email, "createdAt": shown(created_at_ms)})))
}

async fn introduce(State(auth): State<Arc<Auth>>) -> (StatusCode, Json<Value>) {
    auth.answer(StatusCode::OK, introduction("auth", auth.version.as_str(), auth.instance))
}

impl Auth {
    /// Adds what shows which version answered.
    fn answer(&self, status: StatusCode, mut body: Value) -> (StatusCode, Json<Value>) {
        if let Some(fields) = body.as_object_mut() {
            fields.insert("version".to_owned(), json!(self.version.as_str()));
            if self.version == Version::V2 {
                fields.insert("servedBy".to_owned(), json!(self.instance));
            }
        }
        (status, Json(body))
    }
}

/// The address as it is kept: without spaces around it, in small letters.
fn acceptable_email(given: &str) -> Result<String, Refusal> {
    let email = given.trim().to_lowercase();
    let plausible = email.len() <= MAX_EMAIL_BYTES
        && !email.contains(|letter: char| letter.is_whitespace() || letter.is_control())
        && email
            .split_once('@')
            .is_some_and(|(user, host)| !user.is_empty() && !host.is_empty() && !host.contains('@'));
    if plausible { Ok(email) } else { Err(Refusal::unprocessable("email must look like name@host")) }
}

pub(super) fn acceptable_password(given: &str) -> Result<(), Refusal> {
    if PASSWORD_BYTES.contains(&given.len()) {
        return Ok(());
    }
    let (least, most) = (PASSWORD_BYTES.start(), PASSWORD_BYTES.end());
    Err(Refusal::unprocessable(format!("password must have {least} to {most} bytes")))
}

fn session_token(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("Session").then(|| token.trim())
}

/// 256 random bits, so a plain digest of it is safe to keep.
pub(super) fn new_token() -> String {
    blake3::Hash::from_bytes(rand::random()).to_hex().to_string()
}

pub(super) fn digest(token: &str) -> Vec<u8> {
    blake3::hash(token.as_bytes()).as_bytes().to_vec()
}

pub(super) async fn hash(password: String) -> Result<String, Refusal> {
    let hashed =
        off_the_loop(move || Argon2::default().hash_password(password.as_bytes()).map(|hash| hash.to_string())).await?;
    hashed.map_err(|cause| Refusal::internal(&cause))
}

async fn verify(password: String, stored: Option<String>) -> Result<bool, Refusal> {
    off_the_loop(move || {
        let stored = stored.as_ref().unwrap_or(&HASH_OF_NOBODY);
        PasswordHash::new(stored)
            .is_ok_and(|hash| Argon2::default().verify_password(password.as_bytes(), &hash).is_ok())
    })
    .await
}

/// Runs what keeps a processor busy for tens of milliseconds on a thread where that disturbs no other request.
async fn off_the_loop<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Refusal> {
    let _permit = HASHES_AT_ONCE.acquire().await.map_err(|cause| Refusal::internal(&cause))?;
    tokio::task::spawn_blocking(work).await.map_err(|cause| Refusal::internal(&cause))
}
