//! What every request passes before anything is done with it: the limits of its address, its credentials, the decision, and
//! the limits of its identity. One chain for all, whatever they ask for.
//!
//! Most requests pass without waiting. One that must wait (for a hash, an issuer, a shared counter) is judged again
//! afterwards: judging costs less than carrying what was found through the wait.

mod build;

use std::sync::Arc;
use std::time::Instant;

use gateway_config::clock::{Clock, SystemClock};
use gateway_config::snapshot::{Caller, Code, Counter, Decision, Outcome, Refusal, Snapshot, Step, host_of};
use http::uri::{Authority, PathAndQuery};
use pingora::http::RequestHeader;
use pingora::proxy::Session;
use tokio::sync::watch;

pub(crate) use build::Surroundings;

use crate::client::{Client, TrustedProxies};
use crate::identity::{Identity, Presented, Signer};
use crate::judge::{Judgement, Next, Progress, judge};
use crate::live::{Current, Live};
use crate::policy::limits::{Limiter, Nanos, Standing, Verdict};
use crate::request::RequestCtx;

/// What the gate needs. It outlives every snapshot.
pub(crate) struct Gate {
    pub(crate) identity: Identity,
    pub(crate) limiter: Limiter,
    pub(crate) signer: Arc<Signer>,
    pub(crate) current: Arc<Current>,
    /// Wakes with every generation that is served.
    pub(crate) moved: watch::Receiver<u64>,
    pub(crate) proxies: TrustedProxies,
    /// The port of the HTTPS address that plain requests are sent to; `None`: plain requests are served.
    pub(crate) https_port: Option<u16>,
    /// What limits count time from.
    pub(crate) began: Instant,
}

impl Gate {
    /// Leaves the decision in `ctx`.
    pub(crate) async fn pass(&self, session: &mut Session, ctx: &mut RequestCtx, live: &Live) {
        let address = session.client_addr().and_then(|address| address.as_inet()).map(std::net::SocketAddr::ip);
        let is_tls = session.digest().is_some_and(|digest| digest.ssl_digest.is_some());
        ctx.is_tls = is_tls;
        ctx.client = self.proxies.client(address, is_tls, &session.req_header().headers);
        let mut progress = Progress::default();
        let judgement = loop {
            let verdict = match judge(&live.snapshot, session.req_header(), &ctx.client, &mut progress) {
                Next::Decided(judgement) => break judgement,
                Next::Count(counters) if Limiter::is_here(&counters) => self.limiter.count_here(&counters, self.now()),
                Next::Count(counters) => Box::pin(self.limiter.count(&counters, self.now())).await,
                Next::Identify => {
                    progress.caller = Some(self.caller(session.req_header(), &ctx.client, &live.snapshot).await);
                    continue;
                }
            };
            progress.is_counted = true;
            if let Some(judgement) = limited(ctx, verdict) {
                break judgement;
            }
        };
        ctx.enter(judgement);
        self.count_identity(ctx).await;
    }

    /// Who calls. Nearly all are remembered; the others are waited for in a box, so that nobody else carries room for it.
    fn caller<'a>(
        &'a self,
        head: &RequestHeader,
        client: &Client,
        snapshot: &'a Snapshot,
    ) -> impl Future<Output = Caller> + Send + use<'a> {
        let now = SystemClock.now();
        let known = match Presented::of(&head.headers) {
            Err(code) => Ok(Caller::Rejected(code)),
            Ok(presented) => self.identity.remembered(snapshot, &presented, now).ok_or_else(|| presented.keep()),
        };
        let address = client.address;
        async move {
            match known {
                Ok(caller) => caller,
                Err(kept) => Box::pin(async move { self.identity.verify(snapshot, &kept, address, now).await }).await,
            }
        }
    }

    /// The identity group: only who was let in is counted.
    async fn count_identity(&self, ctx: &mut RequestCtx) {
        let Some(decision) = &ctx.decision else { return };
        if decision.counters.is_empty() || matches!(decision.outcome, Outcome::Refuse(_)) {
            return;
        }
        let verdict = if Limiter::is_here(&decision.counters) {
            self.limiter.count_here(&decision.counters, self.now())
        } else {
            let counters = decision.counters.clone();
            Box::pin(self.limiter.count(&counters, self.now())).await
        };
        if let Some(refusal) = stand(ctx, verdict)
            && let Some(decision) = &mut ctx.decision
        {
            refuse(decision, refusal);
        }
    }

    /// Where a plain request is sent, if all are to use HTTPS.
    pub(crate) fn https_location(&self, head: &RequestHeader, client: &Client) -> Option<String> {
        let port = self.https_port.filter(|_| !client.is_secure)?;
        let mut buffer = String::new();
        let host = host_of(head.uri.authority().map(Authority::as_str), &head.headers, true, &mut buffer).ok()?;
        let target = head.uri.path_and_query().map_or("/", PathAndQuery::as_str);
        Some(if port == 443 { format!("https://{host}{target}") } else { format!("https://{host}:{port}{target}") })
    }

    /// What is left of these limits, without counting.
    pub(crate) fn standing(&self, counters: &[Counter]) -> Vec<Standing> {
        self.limiter.standing(counters, self.now())
    }

    /// Monotonic: a clock that is set must not open or close anything.
    pub(crate) fn now(&self) -> Nanos {
        Nanos(u64::try_from(self.began.elapsed().as_nanos()).unwrap_or(u64::MAX))
    }
}

/// The early group said no: nothing else is looked at.
fn limited(ctx: &mut RequestCtx, verdict: Verdict) -> Option<Judgement> {
    stand(ctx, verdict).map(Judgement::refused)
}

/// Keeps how the limits stand for the answer's headers; the refusal where one of them says no.
fn stand(ctx: &mut RequestCtx, verdict: Verdict) -> Option<Refusal> {
    let refusal = verdict.refused.as_ref().map(|standing| Refusal {
        retry_after_seconds: Some(standing.retry_after_seconds.max(1)),
        ..Refusal::new(Code::RateLimited)
    });
    let verdict = match ctx.verdict.take() {
        Some(earlier) => earlier.and(verdict),
        None => verdict,
    };
    ctx.verdict = Some(verdict);
    refusal
}

fn refuse(decision: &mut Decision, refusal: Refusal) {
    decision.trail.push(Step::Refused(refusal.code));
    decision.outcome = Outcome::Refuse(refusal);
}
