//! The credentials of a question. An API key is looked at as the gateway looks at it, and hashed; a token can't be, for its issuer
//! is for gateways alone to ask.

use gateway_config::api_key::{HashError, parse, shape};
use gateway_config::snapshot::{Caller, Code, KeyOf, Snapshot, TrailStep, Verified};
use http::header::{AUTHORIZATION, HeaderName};
use http::{HeaderMap, HeaderValue};

use crate::error::Failure;
use crate::state::AppState;

const API_KEY: HeaderName = HeaderName::from_static("x-api-key");
const TOKEN: &str =
    "a bearer token can't be verified here; leave it out, and say whom to suppose: application, subject, roles, scopes";

/// Whom the headers make the caller, and how that came about.
#[derive(Debug)]
pub(super) struct Shown {
    pub(super) caller: Caller,
    pub(super) steps: Vec<TrailStep>,
}

impl Shown {
    pub(super) async fn of(state: &AppState, snapshot: &Snapshot, headers: &HeaderMap) -> Result<Self, Failure> {
        let keys: Vec<&HeaderValue> = headers.get_all(API_KEY).iter().collect();
        let lines: Vec<&HeaderValue> = headers.get_all(AUTHORIZATION).iter().collect();
        let has_token = lines.iter().any(|line| is_bearer(line));
        let mut shown = Self { caller: Caller::Anonymous, steps: Vec::new() };
        if keys.is_empty() && !has_token {
            return Ok(shown);
        }
        if keys.len() > 1 || lines.len() > 1 {
            shown.reject(Code::CredentialsInvalid, "the same header is there twice".to_owned());
            return Ok(shown);
        }
        if let Some(key) = keys.first() {
            shown.look_at(state, snapshot, key.as_bytes()).await?;
        }
        // A bad key is refused whatever comes with it.
        if has_token && !matches!(shown.caller, Caller::Rejected(_)) {
            shown.reject(Code::CredentialsInvalid, TOKEN.to_owned());
        }
        Ok(shown)
    }

    async fn look_at(&mut self, state: &AppState, snapshot: &Snapshot, key: &[u8]) -> Result<(), Failure> {
        match judged(state, snapshot, key).await? {
            Ok(found) => {
                let KeyOf { key, application } = found;
                self.caller = Caller::Verified(Verified {
                    application: Some(application.clone()),
                    key: Some(key.id),
                    token: None,
                });
                let (prefix, name) = (&key.prefix, &application.name);
                self.step("verified", format!("the API key {prefix} (\"{}\") of application \"{name}\"", key.name));
            }
            Err((code, why)) => self.reject(code, format!("the API key {why}")),
        }
        Ok(())
    }

    fn reject(&mut self, code: Code, why: String) {
        self.caller = Caller::Rejected(code);
        self.step(code.as_str(), why);
    }

    fn step(&mut self, result: &str, detail: String) {
        self.steps.push(TrailStep { step: "credentials".to_owned(), result: result.to_owned(), detail });
    }
}

/// The key, or the code by which the gateway refuses it and what it does not tell its sender.
async fn judged<'s>(
    state: &AppState,
    snapshot: &'s Snapshot,
    key: &[u8],
) -> Result<Result<KeyOf<'s>, (Code, String)>, Failure> {
    let invalid = |why: String| Ok(Err((Code::CredentialsInvalid, why)));
    let Some(presented) = parse(&state.checksum, key) else {
        let has_shape = shape(key).is_some();
        let why =
            if has_shape { "has a wrong checksum: mistyped, or of another fleet" } else { "has not the shape of one" };
        return invalid(why.to_owned());
    };
    let prefix = presented.prefix();
    let Some(found) = snapshot.key(prefix) else { return invalid(format!("{prefix} is not known")) };
    match state.hasher.verify(presented.whole(), &found.key.api_key_hash).await {
        Ok(true) => {}
        Ok(false) => return invalid(format!("{prefix} has a wrong secret")),
        Err(HashError::Stored) => return invalid(format!("{prefix} has a stored hash that can't be used")),
        Err(error) => return Err(Failure::internal(error.to_string())),
    }
    if !found.key.is_active {
        return invalid(format!("{prefix} was revoked"));
    }
    match found.key.expires_at.filter(|end| *end <= state.clock.now()) {
        Some(end) => Ok(Err((Code::KeyExpired, format!("{prefix} expired at {end}")))),
        None => Ok(Ok(found)),
    }
}

fn is_bearer(line: &HeaderValue) -> bool {
    line.as_bytes().get(..7).is_some_and(|scheme| scheme.eq_ignore_ascii_case(b"bearer "))
        || line.as_bytes().eq_ignore_ascii_case(b"bearer")
}
