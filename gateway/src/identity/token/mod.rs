//! Bearer tokens: JWTs are verified with their issuer's keys, opaque ones by asking their issuer. What was verified is remembered,
//! because a signature by a key pair costs more than the rest of a request. One by a secret costs little: it is verified at once, and
//! remembered when it comes again.
//!
//! A verdict is remembered with what it rests on: the issuer as it was configured, and the key. Each look compares both with what
//! is served now, so that nothing outlives a change of the issuer, its secret or its key set.

mod claims;
mod compact;
mod cryptography;
mod fetch;
mod introspection;
mod json;
mod jwks;
mod key;
mod memory;
mod verifier;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use foldhash::quality::RandomState;
use futures::future::join_all;
use gateway_config::clock::Clock;
use gateway_config::model::{JwtIssuer, Timestamp};
use gateway_config::snapshot::{Code, Snapshot, Token};
use parking_lot::RwLock;
use prometheus::IntCounterVec;
use serde_json::Value;
use tokio::sync::Semaphore;

use crate::flight::Flights;
use crate::identity::egress::Egress;
use crate::identity::secrets::Secrets;
use crate::live::Current;
use compact::{Compact, Form, Headers};
use fetch::Fetcher;
use introspection::{Answer, Introspection, MAX_CALLS, REFUSAL_MEMORY_MICROS};
use json::Object;
pub(crate) use jwks::Pace;
use jwks::{Pick, Source};
use key::Key;
use memory::{Hashed, Hashing, Memory};
use verifier::Verifier;

/// For verified tokens: fifty thousand of the usual size.
const MEMORY_BYTES: usize = 64 * 1024 * 1024;
/// For refused ones: only floods of the same few are worth it.
const REFUSALS_BYTES: usize = 4 * 1024 * 1024;
/// How often it is looked whether a key set must be fetched.
const TICK: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(crate) struct Tokens {
    good: Arc<Memory<Arc<Accepted>>>,
    bad: Memory<Refused>,
    hashing: Hashing,
    headers: Headers,
    verifiers: RwLock<HashMap<String, Arc<Verifier>, RandomState>>,
    secrets: Arc<Secrets>,
    fetcher: Arc<Fetcher>,
    introspection: Arc<Introspection>,
    asking: Flights<(Box<str>, u64), Answer>,
    pace: Pace,
}

/// A good token and what that rests on.
#[derive(Debug)]
struct Accepted {
    token: Arc<Token>,
    issuer: Arc<JwtIssuer>,
    /// That signed it; none: its issuer was asked.
    key: Option<Arc<Key>>,
    until: Timestamp,
}

/// Why a token was refused, and for how long that need not be looked at again.
#[derive(Clone, Debug)]
enum Refused {
    /// No signature by this key; the issuer would have to change.
    Forged { issuer: Arc<JwtIssuer>, key: Arc<Key> },
    /// No issuer of this generation knows it.
    Unknown { code: Code, generation: u64, until: Timestamp },
}

impl Tokens {
    /// `counts` is by `what` (jwks, introspection) and `result` (ok, failed).
    pub(crate) fn new(secrets: Arc<Secrets>, egress: Arc<Egress>, counts: IntCounterVec, pace: Pace) -> Self {
        let fetcher = Arc::new(Fetcher::new(egress, counts));
        let introspection =
            Introspection { fetcher: fetcher.clone(), secrets: secrets.clone(), calls: Semaphore::new(MAX_CALLS) };
        Self {
            good: Arc::new(Memory::new(MEMORY_BYTES)),
            bad: Memory::new(REFUSALS_BYTES),
            hashing: Hashing::default(),
            headers: Headers::default(),
            verifiers: RwLock::default(),
            secrets,
            fetcher,
            introspection: Arc::new(introspection),
            asking: Flights::default(),
            pace,
        }
    }

    /// The verdict, if this token was judged before and what that rested on still stands. Otherwise ask [`Tokens::verify`].
    fn remembered(
        &self,
        snapshot: &Snapshot,
        presented: Hashed<'_>,
        now: Timestamp,
    ) -> Option<Result<Arc<Token>, Code>> {
        if let Some(accepted) = self.good.get(presented) {
            let is_signed = accepted.key.is_some();
            return match stands(snapshot, &accepted.issuer, accepted.key.as_ref()) {
                true if now < accepted.until => Some(Ok(accepted.token.clone())),
                true if is_signed => Some(Err(Code::TokenExpired)),
                _ => None,
            };
        }
        match self.bad.get(presented)? {
            Refused::Forged { issuer, key } => {
                stands(snapshot, &issuer, Some(&key)).then_some(Err(Code::CredentialsInvalid))
            }
            Refused::Unknown { code, generation, until } => {
                (generation == snapshot.generation() && now < until).then_some(Err(code))
            }
        }
    }

    /// The verdict, if nothing has to be waited for: it is remembered, or rests on a secret that is at hand, whose signature costs less than
    /// to wait would. Otherwise ask [`Tokens::verify`].
    pub(crate) fn at_once(
        &self,
        snapshot: &Snapshot,
        presented: &str,
        now: Timestamp,
    ) -> Option<Result<Arc<Token>, Code>> {
        let hashed = self.hashing.of(presented);
        self.remembered(snapshot, hashed, now).or_else(|| self.by_secret(snapshot, hashed, now))
    }

    fn by_secret(
        &self,
        snapshot: &Snapshot,
        presented: Hashed<'_>,
        now: Timestamp,
    ) -> Option<Result<Arc<Token>, Code>> {
        let parts = Compact::parse(presented.text(), &self.headers)?;
        if !key::is_by_secret(parts.algorithm) {
            return None;
        }
        let claims = parts.claims()?;
        let verifier = self.verifier(snapshot.issuer_of(claims.text("iss")?)?);
        match verifier.key(parts.algorithm, parts.kid.as_deref(), &self.secrets) {
            Pick::One(key) => Some(self.judge(presented, &parts, &claims, &verifier, key, now)),
            Pick::Missing | Pick::Refused => None,
        }
    }

    pub(crate) async fn verify(
        &self,
        snapshot: &Snapshot,
        presented: &str,
        now: Timestamp,
    ) -> Result<Arc<Token>, Code> {
        let hashed = self.hashing.of(presented);
        if let Some(verdict) = self.remembered(snapshot, hashed, now) {
            // It was another credential of the request that was not known.
            return verdict;
        }
        match Form::of(presented) {
            Form::Signed => self.verify_signed(snapshot, hashed, now).await,
            Form::Opaque => {
                let mut verifiers = self.introspecting(snapshot);
                verifiers.sort_by(|a, b| a.name.cmp(&b.name));
                self.introspect(snapshot, verifiers, hashed, now).await
            }
            Form::Unacceptable => Err(Code::CredentialsInvalid),
        }
    }

    async fn verify_signed(
        &self,
        snapshot: &Snapshot,
        presented: Hashed<'_>,
        now: Timestamp,
    ) -> Result<Arc<Token>, Code> {
        let refused = Err(Code::CredentialsInvalid);
        let Some(parts) = Compact::parse(presented.text(), &self.headers) else { return refused };
        let Some(claims) = parts.claims() else { return refused };
        let Some(issuer) = claims.text("iss").and_then(|iss| snapshot.issuer_of(iss)) else { return refused };
        let verifier = self.verifier(issuer);
        if !verifier.has_keys() {
            // This issuer signs for itself alone.
            return self.introspect(snapshot, vec![verifier], presented, now).await;
        }
        let Some(key) = self.find_key(&verifier, &parts, now).await else { return refused };
        self.judge(presented, &parts, &claims, &verifier, key, now)
    }

    /// Whether this key signed what its issuer lets count. What costs more to find out than to keep is remembered.
    fn judge(
        &self,
        presented: Hashed<'_>,
        parts: &Compact<'_>,
        claims: &Object<'_>,
        verifier: &Verifier,
        key: Arc<Key>,
        now: Timestamp,
    ) -> Result<Arc<Token>, Code> {
        let issuer = &verifier.issuer;
        // Cheaper than the signature, and as good a reason.
        let validity = claims::check_signed(claims, issuer, now)?;
        let is_costly = !key::is_by_secret(parts.algorithm);
        if !key.verify(parts.algorithm, parts.message, &parts.signature) {
            if is_costly {
                self.bad.insert(presented, Refused::Forged { issuer: issuer.clone(), key });
            }
            return Err(Code::CredentialsInvalid);
        }
        let token = Arc::new(claims::token_of(claims, &verifier.mapping, &verifier.name, validity));
        let until = validity.until.unwrap_or(now);
        let accepted = || Arc::new(Accepted { token: token.clone(), issuer: issuer.clone(), key: Some(key), until });
        if is_costly {
            self.good.insert(presented, accepted());
        } else {
            self.good.insert_if_again(presented, accepted);
        }
        if validity.is_over(now) { Err(Code::TokenExpired) } else { Ok(token) }
    }

    /// The key that the token names, fetched if need be.
    async fn find_key(&self, verifier: &Arc<Verifier>, parts: &Compact<'_>, now: Timestamp) -> Option<Arc<Key>> {
        if let Some(reference) = &verifier.issuer.secret {
            self.secrets.resolve_or_read(reference).await;
        }
        let pick = || verifier.key(parts.algorithm, parts.kid.as_deref(), &self.secrets);
        match (pick(), verifier.source()) {
            (Pick::One(key), _) => Some(key),
            (Pick::Missing, Some(source)) => {
                source.refresh(&self.fetcher, now, self.pace).await;
                match pick() {
                    Pick::One(key) => Some(key),
                    Pick::Missing | Pick::Refused => None,
                }
            }
            (Pick::Missing | Pick::Refused, _) => None,
        }
    }

    async fn introspect(
        &self,
        snapshot: &Snapshot,
        verifiers: Vec<Arc<Verifier>>,
        presented: Hashed<'_>,
        now: Timestamp,
    ) -> Result<Arc<Token>, Code> {
        if verifiers.is_empty() {
            return Err(Code::CredentialsInvalid);
        }
        let start = || {
            let (introspection, good, hashing) = (self.introspection.clone(), self.good.clone(), self.hashing.clone());
            let presented = presented.text().to_owned();
            Some(async move {
                let answer = introspection.ask(&verifiers, &presented, now).await;
                if let Answer::Active { verifier, token, until } = &answer {
                    let issuer = verifier.issuer.clone();
                    good.insert(
                        hashing.of(&presented),
                        Arc::new(Accepted { token: token.clone(), issuer, key: None, until: *until }),
                    );
                }
                answer
            })
        };
        // Who asks under another generation may have other issuers to ask.
        let generation = snapshot.generation();
        match self.asking.join((presented.text().into(), generation), start).await {
            Some(Answer::Active { token, .. }) => Ok(token),
            Some(Answer::Refused(code)) => {
                let until = Timestamp::from_micros(now.micros().saturating_add(REFUSAL_MEMORY_MICROS));
                self.bad.insert(presented, Refused::Unknown { code, generation, until });
                Err(code)
            }
            // Nobody can say that it is good, so it is not.
            Some(Answer::Unknown) | None => Err(Code::CredentialsInvalid),
        }
    }

    fn introspecting(&self, snapshot: &Snapshot) -> Vec<Arc<Verifier>> {
        let introspecting = snapshot.issuers().filter(|issuer| issuer.introspection_url.is_some());
        introspecting.map(|issuer| self.verifier(issuer)).collect()
    }

    /// What is kept of this issuer, made anew when it changed.
    fn verifier(&self, issuer: &Arc<JwtIssuer>) -> Arc<Verifier> {
        if let Some(verifier) = self.verifiers.read().get(&issuer.name)
            && verifier.is_of(issuer)
        {
            return verifier.clone();
        }
        let mut verifiers = self.verifiers.write();
        let before = verifiers.get(&issuer.name).cloned();
        let source = |name: &Arc<str>, url: &str| {
            let known = before.as_ref().and_then(|it| it.source()).filter(|source| source.url == url);
            known.cloned().unwrap_or_else(|| Arc::new(Source::new(name.clone(), url.to_owned())))
        };
        let verifier = Arc::new(Verifier::new(issuer, source));
        verifiers.insert(issuer.name.clone(), verifier.clone());
        verifier
    }

    /// Why tokens of some issuers are refused though they may be good: for the node's status.
    pub(crate) fn troubles(&self) -> Vec<String> {
        let mut troubles: Vec<String> = self.verifiers.read().values().filter_map(|it| it.trouble()).collect();
        troubles.sort();
        troubles
    }

    /// Fetches the key sets that are new or old, and forgets issuers that are gone.
    async fn tend(&self, snapshot: &Snapshot, now: Timestamp) {
        self.verifiers.write().retain(|name, _| snapshot.issuer(name).is_some());
        let verifiers: Vec<_> = snapshot.issuers().map(|issuer| self.verifier(issuer)).collect();
        let sources = verifiers.iter().filter_map(|verifier| verifier.source());
        join_all(sources.map(|source| source.keep_fresh(&self.fetcher, now, self.pace))).await;
    }
}

/// What a signed token says. Whoever asks has seen to it that it was verified.
pub(crate) fn claims(presented: &str) -> Option<Value> {
    Compact::parse(presented, &Headers::default()).and_then(|parts| json::owned_object(parts.payload()))
}

/// Whether the issuer is served as it was, and the key still counts.
fn stands(snapshot: &Snapshot, issuer: &Arc<JwtIssuer>, key: Option<&Arc<Key>>) -> bool {
    let is_same = |now: &Arc<JwtIssuer>| Arc::ptr_eq(now, issuer) || now == issuer;
    snapshot.issuer(&issuer.name).is_some_and(is_same) && key.is_none_or(|key| key.stands())
}

/// Keeps the key sets of all issuers fresh, for as long as the process runs.
pub(crate) async fn refresh_forever(tokens: Arc<Tokens>, current: Arc<Current>, clock: Arc<dyn Clock>) {
    loop {
        if let Some(live) = current.get() {
            tokens.tend(&live.snapshot, clock.now()).await;
        }
        tokio::time::sleep(TICK).await;
    }
}

#[cfg(test)]
mod tests;
