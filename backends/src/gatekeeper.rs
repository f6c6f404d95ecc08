//! Who may come in where a gateway stands in front: a request must bring `X-Gateway-Identity`, a token that the gateway signed for this
//! very service a moment ago. Its public keys are fetched from the gateway, kept, and fetched again when a token names one that is not
//! known. Whoever comes around the gateway is refused.

use std::{
    collections::HashMap,
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use anyhow::{Context, Result};
use axum::http::{HeaderMap, StatusCode};
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header, jwk::JwkSet};
use reqwest::{Client, Url, redirect::Policy};
use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;
use tracing::warn;

use crate::{clock::Clock, exchange::Refusal};

pub(crate) const IDENTITY: &str = "x-gateway-identity";
const ISSUER: &str = "gatehouse";
/// Tokens with unknown keys cost the gateway no more than one request in this time.
const BETWEEN_FETCHES_MS: i64 = 10_000;
/// Known keys are fetched again after this time, so that one that was withdrawn is forgotten.
const KEPT_MS: i64 = 5 * 60 * 1000;
/// By so much clocks may differ.
const LEEWAY_MS: i64 = 5000;
const PATIENCE: Duration = Duration::from_secs(3);

/// What the gateway says of the caller.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Identity {
    #[serde(rename(deserialize = "sub"))]
    subject: Option<String>,
    issuer: Option<String>,
    application: Option<String>,
    #[serde(default)]
    roles: Vec<String>,
    #[serde(default)]
    scopes: Vec<String>,
    #[serde(default)]
    anonymous: bool,
    #[serde(skip_serializing)]
    exp: i64,
    #[serde(skip_serializing)]
    iat: i64,
}

#[derive(Debug)]
pub(crate) struct Gatekeeper {
    url: Url,
    service: &'static str,
    client: Client,
    clock: Clock,
    keys: RwLock<Keys>,
    /// When a fetch was begun last; held while one runs.
    tried_at_ms: Mutex<Option<i64>>,
}

#[derive(Debug, Default)]
struct Keys {
    by_id: HashMap<String, Arc<DecodingKey>>,
    fetched_at_ms: Option<i64>,
}

impl Gatekeeper {
    /// For `service`, whose tokens are signed with the keys at `url`. Nothing is fetched before it is needed.
    pub(crate) fn new(service: &'static str, url: Url, clock: Clock) -> Result<Self> {
        // The HTTP client does not choose a TLS provider by itself. Another service of this process may have been first.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = Client::builder().no_proxy().redirect(Policy::none()).timeout(PATIENCE).build();
        let client = client.context("could not make an HTTP client")?;
        Ok(Self { url, service, client, clock, keys: RwLock::default(), tried_at_ms: Mutex::default() })
    }

    /// Who calls, if the request came through the gateway.
    pub(crate) async fn admit(&self, headers: &HeaderMap) -> Result<Identity, Refusal> {
        let mut given = headers.get_all(IDENTITY).iter();
        let (Some(token), None) = (given.next(), given.next()) else {
            return Err(around("there is not one X-Gateway-Identity"));
        };
        let token = token.to_str().map_err(|_| around("X-Gateway-Identity is not readable"))?;
        let head = decode_header(token).map_err(|_| around("X-Gateway-Identity is no token"))?;
        let kid = head.kid.ok_or_else(|| around("the token names no key"))?;
        let key = self.key(&kid).await.ok_or_else(|| self.unknown())?;
        let mut expected = Validation::new(Algorithm::ES256);
        expected.set_audience(&[self.service]);
        expected.set_issuer(&[ISSUER]);
        expected.set_required_spec_claims(&["exp", "aud", "iss"]);
        // Checked below, by the clock of the services.
        expected.validate_exp = false;
        let identity = decode::<Identity>(token, &key, &expected);
        let identity = identity.map_err(|_| around("the token is not one for this service"))?.claims;
        self.check_time(&identity)?;
        Ok(identity)
    }

    fn check_time(&self, identity: &Identity) -> Result<(), Refusal> {
        let now_ms = self.clock.now_ms();
        if identity.exp.saturating_mul(1000).saturating_add(LEEWAY_MS) <= now_ms {
            return Err(around("the token has expired"));
        }
        if identity.iat.saturating_mul(1000) > now_ms.saturating_add(LEEWAY_MS) {
            return Err(around("the token is from the future"));
        }
        Ok(())
    }

    /// Without any key there is no telling who came through the gateway, and it is not the caller's fault.
    fn unknown(&self) -> Refusal {
        let keys = self.keys.read().unwrap_or_else(PoisonError::into_inner);
        if keys.fetched_at_ms.is_none() {
            return Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "the gateway's keys cannot be had at the moment");
        }
        around("the token's key is not the gateway's")
    }

    async fn key(&self, kid: &str) -> Option<Arc<DecodingKey>> {
        let (known, is_old) = self.known(kid);
        if known.is_some() && !is_old {
            return known;
        }
        let tried_at_ms = if known.is_some() {
            // Others need not wait while one of them looks.
            let Ok(turn) = self.tried_at_ms.try_lock() else { return known };
            turn
        } else {
            self.tried_at_ms.lock().await
        };
        self.fetch_again(kid, tried_at_ms).await;
        self.known(kid).0
    }

    async fn fetch_again(&self, kid: &str, mut tried_at_ms: tokio::sync::MutexGuard<'_, Option<i64>>) {
        let now_ms = self.clock.now_ms();
        if matches!(self.known(kid), (Some(_), false))
            || tried_at_ms.is_some_and(|tried| now_ms.saturating_sub(tried) < BETWEEN_FETCHES_MS)
        {
            return;
        }
        *tried_at_ms = Some(now_ms);
        match self.fetch().await {
            Ok(by_id) => {
                let mut keys = self.keys.write().unwrap_or_else(PoisonError::into_inner);
                *keys = Keys { by_id, fetched_at_ms: Some(now_ms) };
            }
            // Those that are known serve on.
            Err(cause) => warn!(url = %self.url, "could not fetch the gateway's keys: {cause:#}"),
        }
    }

    /// The key, and whether it was fetched long ago.
    fn known(&self, kid: &str) -> (Option<Arc<DecodingKey>>, bool) {
        let keys = self.keys.read().unwrap_or_else(PoisonError::into_inner);
        let age_ms = keys.fetched_at_ms.map_or(i64::MAX, |at| self.clock.now_ms().saturating_sub(at));
        (keys.by_id.get(kid).cloned(), age_ms >= KEPT_MS)
    }

    async fn fetch(&self) -> Result<HashMap<String, Arc<DecodingKey>>> {
        let answer = self.client.get(self.url.clone()).send().await?.error_for_status()?;
        let set: JwkSet = answer.json().await?;
        let keys = set.keys.into_iter().filter_map(|jwk| {
            let key = DecodingKey::from_jwk(&jwk).ok()?;
            Some((jwk.common.key_id?, Arc::new(key)))
        });
        Ok(keys.collect())
    }
}

fn around(why: &str) -> Refusal {
    Refusal::not_through_gateway(format!("only what comes through the gateway is answered here: {why}"))
}
