//! Opaque tokens: only their issuer can say what they are worth (RFC 7662).

use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use gateway_config::model::{JwtIssuer, Timestamp};
use gateway_config::snapshot::{Code, Token};
use http::HeaderValue;
use tokio::sync::Semaphore;

use super::claims::{check_introspected, token_of};
use super::compact::form_encode;
use super::fetch::{Fetched, Fetcher};
use super::json::{self, Json};
use super::verifier::Verifier;
use crate::identity::secrets::Secrets;

/// How long a good answer is believed: the issuer can revoke the token, and says so to nobody.
const MAX_MEMORY_MICROS: i64 = 60_000_000;
/// How long a token that nobody knew is refused without asking again.
pub(super) const REFUSAL_MEMORY_MICROS: i64 = 5_000_000;
/// An issuer that failed is left alone so long, and its tokens are refused at once.
const REST_MICROS: i64 = 1_000_000;
/// Calls under way at one time; more would be an attack on the issuer, in our name.
pub(super) const MAX_CALLS: usize = 64;
const PATIENCE: Duration = Duration::from_secs(5);

/// What the issuers said of a token.
#[derive(Clone, Debug)]
pub(super) enum Answer {
    Active {
        verifier: Arc<Verifier>,
        token: Arc<Token>,
        until: Timestamp,
    },
    Refused(Code),
    /// One of them could not be asked, so nobody knows.
    Unknown,
}

#[derive(Debug)]
pub(super) struct Introspection {
    pub(super) fetcher: Arc<Fetcher>,
    pub(super) secrets: Arc<Secrets>,
    pub(super) calls: Semaphore,
}

impl Introspection {
    /// Asks one issuer after the other, until one of them knows the token.
    pub(super) async fn ask(&self, verifiers: &[Arc<Verifier>], presented: &str, now: Timestamp) -> Answer {
        let mut verdict = Answer::Refused(Code::CredentialsInvalid);
        for verifier in verifiers {
            if verifier.failed_since(Timestamp::from_micros(now.micros().saturating_sub(REST_MICROS))) {
                verdict = Answer::Unknown;
                continue;
            }
            let outcome = self.call(&verifier.issuer, presented).await;
            verifier.note_introspection(outcome.as_ref().map(drop).map_err(String::as_str), now);
            match outcome {
                Ok(None) => {}
                Ok(Some(answer)) => return judge(verifier, &answer, now),
                Err(_) => verdict = Answer::Unknown,
            }
        }
        verdict
    }

    /// What the issuer says of the token, a JSON object; none: it is not active. The error is for the operator.
    async fn call(&self, issuer: &JwtIssuer, presented: &str) -> Result<Option<Bytes>, String> {
        let url = issuer.introspection_url.as_deref().ok_or("it has no introspectionUrl")?;
        let mut form = format!("token={}&token_type_hint=access_token", form_encode(presented));
        let mut authorization = None;
        match (&issuer.client_id, &issuer.client_secret) {
            (Some(client), Some(reference)) => {
                let secret =
                    self.secrets.resolve_or_read(reference).await.ok_or("its client secret can't be resolved")?;
                let secret = std::str::from_utf8(secret.expose()).map_err(|_| "its client secret is not text")?;
                authorization = Some(basic(client, secret)?);
            }
            (Some(client), None) => {
                form.push_str("&client_id=");
                form.push_str(&form_encode(client));
            }
            (None, _) => {}
        }
        let call = async {
            let _permit = self.calls.acquire().await;
            self.fetcher.post_form(Fetched::Introspection, url, form, authorization).await
        };
        let body = tokio::time::timeout(PATIENCE, call).await.map_err(|_| "it took too long")?;
        let body = body.map_err(|error| error.to_string())?;
        let is_active = match json::object(&body).ok_or("its answer is not a JSON object")?.get("active") {
            Some(Json::Bool(is_active)) => Some(*is_active),
            _ => None,
        };
        match is_active {
            Some(true) => Ok(Some(body)),
            Some(false) => Ok(None),
            None => Err("its answer does not say whether the token is active".to_owned()),
        }
    }
}

fn judge(verifier: &Arc<Verifier>, answer: &[u8], now: Timestamp) -> Answer {
    let Some(answer) = json::object(answer) else { return Answer::Unknown };
    match check_introspected(&answer, &verifier.issuer, now) {
        Ok(validity) => {
            let token = Arc::new(token_of(&answer, &verifier.mapping, &verifier.name, validity));
            let longest = Timestamp::from_micros(now.micros().saturating_add(MAX_MEMORY_MICROS));
            let until = validity.until.map_or(longest, |until| until.min(longest));
            Answer::Active { verifier: verifier.clone(), token, until }
        }
        Err(code) => Answer::Refused(code),
    }
}

/// RFC 6749 §2.3.1: both halves are form-encoded first, so that a colon in the name can't shift the boundary.
fn basic(client: &str, secret: &str) -> Result<HeaderValue, String> {
    let pair = format!("{}:{}", form_encode(client), form_encode(secret));
    let mut value = HeaderValue::try_from(format!("Basic {}", STANDARD.encode(pair)))
        .map_err(|_| "its client can't be written as a header")?;
    value.set_sensitive(true);
    Ok(value)
}
