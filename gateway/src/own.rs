//! What the gateway answers itself: below `/.well-known/gateway/` its keys for backends and who a caller is, below `/tasks/` what became of
//! what was accepted for later.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use gateway_config::model::Timestamp;
use gateway_config::snapshot::{
    Code, CompiledApplication, Match, Refusal, Snapshot, counters_of, entry_counters_of, known,
};
use http::{HeaderValue, Method, StatusCode, header};
use pingora::Result;
use pingora::proxy::Session;
use serde::{Deserialize, Serialize};
use smol_str::SmolStr;

use crate::gate::Gate;
use crate::identity::JWKS_CACHE_CONTROL;
use crate::policy::limits::Standing;
use crate::queue::task::TaskDoor;
use crate::reply::{self, Answer};
use crate::request::{RequestCtx, read_piece};

const PREFIX: &str = "/.well-known/gateway/";
/// For a change of our own to be served by ourselves.
const PATIENCE: Duration = Duration::from_secs(2);
/// Of a body that holds two short fields.
const BODY_LIMIT: usize = 4096;

/// One of the gateway's own endpoints.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Own {
    Jwks,
    Me,
    Rotate,
    /// A task's; see `queue::task`.
    Task(TaskDoor),
    /// It is there, for these methods.
    Other(&'static str),
}

impl Own {
    /// Only where nothing else refused it: addresses and sizes hold here, too.
    pub(crate) fn of(matched: &Match<'_>) -> Option<Self> {
        match matched.found.as_ref().err()?.code {
            Code::TaskNotFound => return TaskDoor::of(matched.facts.path, matched.facts.method).map(Self::Task),
            Code::RouteNotFound => {}
            _ => return None,
        }
        let rest = matched.facts.path.strip_prefix(PREFIX)?;
        let reads = matches!(*matched.facts.method, Method::GET | Method::HEAD);
        Some(match rest {
            "jwks.json" if reads => Self::Jwks,
            "me" if reads => Self::Me,
            "me/rotate" if *matched.facts.method == Method::POST => Self::Rotate,
            "jwks.json" | "me" => Self::Other("GET, HEAD"),
            "me/rotate" => Self::Other("POST"),
            _ => return None,
        })
    }

    pub(crate) fn wants_a_caller(&self) -> bool {
        match self {
            Self::Me | Self::Rotate => true,
            Self::Task(door) => door.wants_a_caller(),
            Self::Jwks | Self::Other(_) => false,
        }
    }
}

/// Who the caller is, what it may do, and what is left of its limits.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Me<'a> {
    application: Option<&'a str>,
    key: Option<MyKey<'a>>,
    subject: Option<&'a str>,
    roles: &'a [SmolStr],
    scopes: &'a [SmolStr],
    expires_at: Option<Timestamp>,
    allowed_services: &'a [String],
    allowed_versions: &'a [String],
    endpoints: Vec<Granted<'a>>,
    limits: Vec<Left<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct MyKey<'a> {
    id: String,
    name: &'a str,
    prefix: &'a str,
    expires_at: Option<Timestamp>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Granted<'a> {
    endpoint_path: &'a str,
    allowed_methods: &'a [String],
    allowed_versions: &'a [String],
    rate_limit: u32,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Left<'a> {
    name: &'a str,
    requests: u32,
    per_seconds: u32,
    remaining: u32,
    reset_seconds: u32,
}

/// What may be said of a rotation.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct Wish {
    overlap_seconds: u64,
}

/// Answers an own endpoint.
pub(crate) async fn answer(
    own: Own,
    session: &mut Session,
    ctx: &mut RequestCtx,
    gate: &Gate,
    snapshot: &Snapshot,
) -> Result<()> {
    let answered = match own {
        Own::Jwks => Ok(Answer::json(StatusCode::OK, gate.signer.jwks(), JWKS_CACHE_CONTROL)),
        Own::Other(allow) => Err(Refusal { allow: Some(allow.into()), ..Refusal::new(Code::MethodNotAllowed) }),
        Own::Me => me(ctx, gate, snapshot),
        Own::Rotate => rotate(session, ctx, gate, snapshot).await,
        // Answered where the queues are.
        Own::Task(_) => Err(Refusal::new(Code::TaskNotFound)),
    };
    match answered {
        Ok(answer) => reply::answer(session, answer, ctx.frame()).await,
        Err(refusal) => {
            ctx.refused = Some(refusal.code);
            reply::refuse(session, &refusal, ctx.frame()).await
        }
    }
}

fn me(ctx: &RequestCtx, gate: &Gate, snapshot: &Snapshot) -> Result<Answer, Refusal> {
    let caller = known(&ctx.caller, ctx.client.address)?;
    let application = caller.application.as_deref().map(|application| &*application.source);
    let key = caller.key.and_then(|id| application?.api_keys.iter().find(|key| key.id == id));
    let key = key.map(|key| MyKey {
        id: key.id.to_string(),
        name: &key.name,
        prefix: &key.prefix,
        expires_at: key.expires_at,
    });
    let mut counters = counters_of(snapshot, caller, ctx.client.address);
    counters.extend(entry_counters_of(caller, ctx.client.address));
    let standings = gate.standing(&counters);
    let me = Me {
        application: application.map(|it| it.name.as_str()),
        key,
        subject: caller.subject(),
        roles: caller.roles(),
        scopes: caller.scopes(),
        expires_at: caller.token.as_ref().and_then(|token| token.expires_at),
        allowed_services: application.map_or(&[], |it| &it.allowed_services),
        allowed_versions: application.map_or(&[], |it| &it.allowed_versions),
        endpoints: caller.application.as_deref().map(endpoints).unwrap_or_default(),
        limits: standings.iter().map(left).collect(),
    };
    let body = serde_json::to_vec(&me).map_err(|_| Refusal::new(Code::Internal))?;
    Ok(Answer::json(StatusCode::OK, body.into(), "no-store"))
}

fn endpoints(application: &CompiledApplication) -> Vec<Granted<'_>> {
    let entries = application.source.whitelist.iter();
    let endpoint = entries.map(|entry| Granted {
        endpoint_path: &entry.endpoint_path,
        allowed_methods: &entry.allowed_methods,
        allowed_versions: &entry.allowed_versions,
        rate_limit: entry.rate_limit,
    });
    endpoint.collect()
}

fn left(standing: &Standing) -> Left<'_> {
    let limit = &standing.limit;
    Left {
        name: &limit.name,
        requests: limit.requests,
        per_seconds: limit.per_seconds,
        remaining: standing.remaining,
        reset_seconds: standing.reset_seconds,
    }
}

/// A key changes itself for a new one, which is shown here and never again.
async fn rotate(session: &mut Session, ctx: &RequestCtx, gate: &Gate, snapshot: &Snapshot) -> Result<Answer, Refusal> {
    let caller = known(&ctx.caller, ctx.client.address)?;
    let Some((application, key)) = caller.application.as_ref().zip(caller.key) else {
        let message = "only a caller with an API key can rotate it";
        return Err(Refusal { message: Some(message.into()), ..Refusal::new(Code::CredentialsMissing) });
    };
    let wish = wish(session).await?;
    let verdict = gate.limiter.count(&counters_of(snapshot, caller, ctx.client.address), gate.now()).await;
    if let Some(standing) = verdict.refused {
        let retry_after_seconds = Some(standing.retry_after_seconds.max(1));
        return Err(Refusal { retry_after_seconds, ..Refusal::new(Code::RateLimited) });
    }
    let renewed = gate.identity.keys.rotate(&application.name, key, wish.overlap_seconds).await?;
    wait_until_served(gate, &renewed.prefix).await;
    let mut answer = Answer::json(StatusCode::CREATED, renewed.body, "no-store");
    answer.extra.push((header::PRAGMA, HeaderValue::from_static("no-cache")));
    Ok(answer)
}

/// The new key is good here when its owner learns of it. Other gateways follow within the time that any change takes; so would this
/// one, so it is not waited for in vain for long.
async fn wait_until_served(gate: &Gate, prefix: &str) {
    let is_served = || gate.current.get().is_some_and(|live| live.snapshot.key(prefix).is_some());
    let mut moved = gate.moved.clone();
    let served = async { while !is_served() && moved.changed().await.is_ok() {} };
    let _ = tokio::time::timeout(PATIENCE, served).await;
}

async fn wish(session: &mut Session) -> Result<Wish, Refusal> {
    let bad = |message: String| Refusal { message: Some(message.into()), ..Refusal::new(Code::BadRequest) };
    let mut body = BytesMut::new();
    loop {
        match read_piece(session).await {
            Ok(Some(chunk)) if body.len() + chunk.len() > BODY_LIMIT => return Err(Refusal::new(Code::BodyTooLarge)),
            Ok(Some(chunk)) => body.extend_from_slice(&chunk),
            Ok(None) => break,
            Err(_) => return Err(bad("the body could not be read".to_owned())),
        }
    }
    if body.is_empty() {
        return Ok(Wish::default());
    }
    serde_json::from_slice(&Bytes::from(body)).map_err(|error| bad(format!("the body is not understood: {error}")))
}
