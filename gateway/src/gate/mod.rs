//! What every request passes before anything is done with it: the limits of its address, its credentials, the decision, and
//! the limits of its identity. One chain for all, whatever they ask for.
//!
//! Most requests pass without waiting. One that must wait (for a hash, an issuer, a shared counter) is judged again
//! afterwards: judging costs less than carrying what was found through the wait.

mod build;

use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Instant;

use gateway_config::client::{Client, TrustedProxies};
use gateway_config::clock::{Clock, SystemClock};
use gateway_config::model::Timestamp;
use gateway_config::snapshot::{Caller, Code, Counter, Counters, Decision, Outcome, Refusal, Snapshot, Step, host_of};
use http::uri::{Authority, PathAndQuery};
use pingora::http::RequestHeader;
use pingora::proxy::Session;
use tokio::sync::watch;

pub(crate) use build::Surroundings;

use crate::identity::{Identity, Presented, Signer};
use crate::judge::{Inquiry, Judgement, Next, judge};
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
    /// Leaves in `ctx` where the request comes from.
    pub(crate) fn meet(&self, session: &Session, ctx: &mut RequestCtx) {
        let address = session.client_addr().and_then(|address| address.as_inet()).map(std::net::SocketAddr::ip);
        let is_tls = session.digest().is_some_and(|digest| digest.ssl_digest.is_some());
        ctx.is_tls = is_tls;
        ctx.client = self.proxies.client(address, is_tls, &session.req_header().headers);
    }

    /// Leaves the decision in `ctx`.
    pub(crate) async fn pass(&self, session: &mut Session, ctx: &mut RequestCtx, live: &Live) {
        let mut asked = Asked {
            gate: self,
            snapshot: &live.snapshot,
            now: self.at(ctx.started),
            verdict: None,
            is_counted: false,
            caller: None,
        };
        let judgement = loop {
            match judge(&live.snapshot, session.req_header(), &ctx.client, &mut asked) {
                Next::Decided(judgement) => break judgement,
                Next::Count(counters) => {
                    let verdict = Box::pin(self.limiter.count(&counters, asked.now)).await;
                    asked.now = self.now();
                    if let Err(refusal) = asked.counted(verdict) {
                        break Judgement::refused(refusal);
                    }
                }
                Next::Identify => {
                    asked.caller = Some(self.verify(session, ctx.client.address, &live.snapshot).await);
                    asked.now = self.now();
                }
            }
        };
        let now = asked.now;
        ctx.verdict = asked.verdict;
        ctx.enter(judgement);
        self.count_identity(ctx, now).await;
    }

    /// Who calls, whatever it takes; in a box, so that nobody else carries room for it.
    fn verify<'a>(
        &'a self,
        session: &Session,
        address: IpAddr,
        snapshot: &'a Snapshot,
    ) -> Pin<Box<dyn Future<Output = Caller> + Send + 'a>> {
        let kept = Presented::of(&session.req_header().headers).map(|presented| presented.keep());
        Box::pin(async move {
            match kept {
                Ok(kept) => self.identity.verify(snapshot, &kept, address, SystemClock.now()).await,
                Err(code) => Caller::Rejected(code),
            }
        })
    }

    /// The identity group: only who was let in is counted.
    async fn count_identity(&self, ctx: &mut RequestCtx, now: Nanos) {
        let Some(decision) = &ctx.decision else { return };
        if decision.counters.is_empty() || matches!(decision.outcome, Outcome::Refuse(_)) {
            return;
        }
        let verdict = if Limiter::is_here(&decision.counters) {
            self.limiter.count_here(&decision.counters, now)
        } else {
            let counters = decision.counters.clone();
            Box::pin(self.limiter.count(&counters, now)).await
        };
        if let Some(refusal) = stand(&mut ctx.verdict, verdict)
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

    pub(crate) fn now(&self) -> Nanos {
        self.at(Instant::now())
    }

    /// Monotonic: a clock that is set must not open or close anything.
    fn at(&self, moment: Instant) -> Nanos {
        let since = moment.saturating_duration_since(self.began);
        Nanos(u64::try_from(since.as_nanos()).unwrap_or(u64::MAX))
    }
}

/// The answers that can be given at once, and those that were waited for.
struct Asked<'a> {
    gate: &'a Gate,
    snapshot: &'a Snapshot,
    /// When the request came, or what it waited for: limits count no more exactly than that, and a clock is no cheaper than what they do.
    now: Nanos,
    verdict: Option<Verdict>,
    is_counted: bool,
    caller: Option<Caller>,
}

impl Asked<'_> {
    fn counted(&mut self, verdict: Verdict) -> Result<(), Refusal> {
        self.is_counted = true;
        stand(&mut self.verdict, verdict).map_or(Ok(()), Err)
    }
}

impl Inquiry for Asked<'_> {
    fn count(&mut self, counters: &Counters) -> Option<Result<(), Refusal>> {
        if self.is_counted {
            return Some(Ok(()));
        }
        Limiter::is_here(counters).then(|| self.counted(self.gate.limiter.count_here(counters, self.now)))
    }

    /// Nearly all are remembered.
    fn caller(&mut self, presented: &Presented<'_>, now: Timestamp) -> Option<Caller> {
        self.caller.take().or_else(|| self.gate.identity.at_once(self.snapshot, presented, now))
    }
}

/// Keeps how the limits stand for the answer's headers; the refusal where one of them says no.
fn stand(so_far: &mut Option<Verdict>, verdict: Verdict) -> Option<Refusal> {
    let refusal = verdict.refused.as_ref().map(|standing| Refusal {
        retry_after_seconds: Some(standing.retry_after_seconds.max(1)),
        ..Refusal::new(Code::RateLimited)
    });
    *so_far = Some(match so_far.take() {
        Some(earlier) => earlier.and(verdict),
        None => verdict,
    });
    refusal
}

fn refuse(decision: &mut Decision, refusal: Refusal) {
    decision.trail.push(Step::Refused(refusal.code));
    decision.outcome = Outcome::Refuse(refusal);
}
