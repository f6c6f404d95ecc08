//! Samples of recent requests, on which the admin API tries changes before they are made, and which routes are in use at all.
//! `sampler` chooses, `writer` writes behind; nothing secret gets as far as either.

mod sampler;
mod settings;
mod writer;

use std::sync::Arc;

use arc_swap::ArcSwap;
use gateway_config::clock::{Clock, new_id};
use gateway_config::model::{Sample, SampledCaller, SampledOutcome, SampledRequest, SampledToken};
use gateway_config::snapshot::{Caller, Decision, Keeping, Outcome, Snapshot, Token};
use pingora::proxy::Session;
use smol_str::SmolStr;
use uuid::Uuid;

use crate::identity::Presented;
use crate::judge::look_back;
use crate::request::RequestCtx;
use sampler::Sampler;

pub(crate) use settings::TrafficSettings;
pub(crate) use writer::Writer;

/// Longer words of tokens are cut: they are there to be compared with names.
const LONGEST: usize = 256;

/// What requests leave behind.
#[derive(Debug)]
pub(crate) struct Traffic {
    node: Uuid,
    /// `None`: nothing is kept.
    sampler: Option<Sampler>,
    allowed: Keeping,
    keeping: ArcSwap<Keeping>,
    clock: Arc<dyn Clock>,
}

impl Traffic {
    pub(crate) fn new(settings: &TrafficSettings, node: Uuid, clock: Arc<dyn Clock>) -> Self {
        let allowed = settings.keeping();
        let sampler = (!settings.no_sampling).then(|| Sampler::new(clock.now()));
        Self { node, sampler, keeping: ArcSwap::from_pointee(allowed.clone()), allowed, clock }
    }

    /// Looks at a request that is over. Most are counted and nothing else.
    pub(crate) fn note(&self, session: &Session, ctx: &RequestCtx) {
        let Some(sampler) = &self.sampler else { return };
        let (Some(live), Some(decision)) = (&ctx.live, &ctx.decision) else { return };
        // What the gateway answers itself follows from no route.
        if ctx.own.is_some() {
            return;
        }
        if let Some(number) = sampler.turn() {
            sampler.keep(number, self.sample(session, ctx, decision, live.snapshot.generation()));
        }
    }

    fn sample(&self, session: &Session, ctx: &RequestCtx, decision: &Decision, generation: u64) -> Sample {
        let (head, keeping) = (session.req_header(), self.keeping.load());
        let request = look_back(head, &ctx.client, ctx.entropy, |facts| {
            keeping.redact(facts, decision.route.as_deref(), ctx.client.is_secure)
        });
        let unreadable = || SampledRequest {
            address: Some(ctx.client.address),
            secure: ctx.client.is_secure,
            ..SampledRequest::default()
        };
        Sample {
            id: new_id(),
            at: self.clock.now(),
            node: self.node,
            weight: 1,
            generation,
            request: request.unwrap_or_else(|_| unreadable()),
            caller: caller(&ctx.caller, Presented::of(&head.headers).is_ok_and(|it| it.is_none())),
            outcome: outcome(session, ctx, decision),
        }
    }

    /// What conditions ask for changes with the configuration.
    fn keep_for(&self, snapshot: &Snapshot) {
        self.keeping.store(Arc::new(self.allowed.asked_by(snapshot)));
    }
}

fn caller(caller: &Caller, shows_nothing: bool) -> SampledCaller {
    match caller {
        Caller::Anonymous if shows_nothing => SampledCaller::Anonymous,
        Caller::Anonymous => SampledCaller::Unverified,
        Caller::Rejected(code) => SampledCaller::Rejected { code: code.as_str().to_owned() },
        Caller::Verified(verified) => SampledCaller::Verified {
            application: verified.application.as_ref().map(|it| it.name.to_string()),
            key: verified.key,
            token: verified.token.as_deref().map(said),
        },
    }
}

fn said(token: &Token) -> SampledToken {
    // No database holds NUL, and the word of one token must not cost all samples.
    let plain = |word: &str| word.chars().filter(|letter| *letter != '\0').take(LONGEST).collect::<String>();
    let all = |words: &[SmolStr]| words.iter().map(|word| plain(word)).collect();
    SampledToken {
        issuer: token.issuer.to_string(),
        subject: token.subject.as_deref().map(plain),
        client: token.client.as_deref().map(plain),
        roles: all(&token.roles),
        scopes: all(&token.scopes),
    }
}

fn outcome(session: &Session, ctx: &RequestCtx, decision: &Decision) -> SampledOutcome {
    let mut outcome = SampledOutcome {
        route: decision.route.as_ref().map(|route| route.source.name.clone()),
        application: decision.application.as_ref().map(|it| it.name.to_string()),
        status: session.response_written().map_or(0, |head| head.status.as_u16()),
        code: ctx.refused.map(|code| code.as_str().to_owned()),
        ..SampledOutcome::default()
    };
    match &decision.outcome {
        Outcome::Forward(forward) => {
            outcome.service = Some(forward.service.source.service_name.clone());
            outcome.version = forward.version().map(ToString::to_string);
        }
        Outcome::Publish(queue) | Outcome::Subscribe(queue, _) => outcome.queue = Some(queue.name().to_owned()),
        Outcome::Respond(_) | Outcome::Redirect { .. } | Outcome::Preflight(_) | Outcome::Refuse(_) => {}
    }
    outcome
}
