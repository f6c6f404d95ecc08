//! `POST /admin/explain`: what the gateway would do with a request, and why. It asks the very calls that the gateway asks.

mod credentials;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::str::FromStr;
use std::sync::Arc;

use axum::extract::State;
use gateway_config::change::{ChangeError, Proposal};
use gateway_config::snapshot::{
    BodyFacts, Caller, Cluster, Code, Decision, Outcome, RequestFacts, Snapshot, Token, TrailStep, Verified, decide,
    host_of, match_request, path,
};
use http::header::{HOST, HeaderName};
use http::{HeaderMap, HeaderValue, Method};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use self::credentials::Shown;
use super::body::JsonBody;
use super::config::changes_in;
use super::query::NoQuery;
use crate::auth::Viewer;
use crate::error::Failure;
use crate::state::AppState;

/// A request as a client would send it. All but method and path are optional.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Question {
    #[schema(example = "GET")]
    method: String,
    #[schema(example = "/api/v1/auth/login?next=/")]
    path: String,
    /// Absent: a request without a Host.
    #[schema(example = "shop.example.com")]
    host: Option<String>,
    /// An `X-API-Key` is verified as the gateway verifies it; a bearer token can't be.
    #[serde(default)]
    #[schema(value_type = std::collections::HashMap<String, String>)]
    headers: BTreeMap<String, String>,
    /// The client's; absent: 127.0.0.1.
    #[schema(value_type = Option<String>)]
    address: Option<IpAddr>,
    /// The name of the application that calls, as if with a good key of it.
    #[schema(example = "shop")]
    application: Option<String>,
    /// As if with a good token of this subject.
    subject: Option<String>,
    /// Of the token.
    roles: Option<Vec<String>>,
    /// Of the token.
    scopes: Option<Vec<String>>,
    /// Decide as it was then, with the API keys of today; absent: as it is now.
    generation: Option<u64>,
    /// Decide as if these had been made, on top of the generation.
    #[schema(value_type = Option<Vec<Proposal>>)]
    changes: Option<Value>,
}

/// What would follow.
#[derive(Debug, Default, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Explained {
    outcome: Word,
    /// Of the gateway's own answer; null where a backend answers.
    status_code: Option<u16>,
    /// Of a refusal.
    #[schema(example = "route_not_found")]
    code: Option<String>,
    route: Option<String>,
    service: Option<String>,
    version: Option<String>,
    /// The URL of the backend; several, separated by a comma and a blank, where instances share the load.
    upstream: Option<String>,
    queue: Option<String>,
    trail: Vec<TrailStep>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = ExplainedOutcome)]
enum Word {
    Forward,
    Publish,
    Answer,
    #[default]
    Refuse,
}

pub(crate) async fn explain(
    _: Viewer,
    State(state): State<AppState>,
    _: NoQuery,
    JsonBody(body): JsonBody,
) -> Result<axum::Json<Explained>, Failure> {
    let mut question = question(body)?;
    let changes = question.changes.take();
    let request = Request::of(&question)?;
    let snapshot = snapshot(&state, question.generation, changes).await?;
    let supposed = supposed(&question, &snapshot)?;
    request.explained(&snapshot, &state, supposed).await.map(axum::Json)
}

fn question(body: Value) -> Result<Question, Failure> {
    serde_path_to_error::deserialize(body).map_err(|error| {
        let path = error.path().to_string().replace('.', "/");
        let message = error.into_inner().to_string();
        let unknown = message.strip_prefix("unknown field `").and_then(|rest| rest.split('`').next());
        let path = unknown.map_or(path, ToOwned::to_owned);
        Failure::invalid_at(path.trim_matches('/'), message)
    })
}

/// The head or an older generation, or what it would be.
async fn snapshot(state: &AppState, generation: Option<u64>, changes: Option<Value>) -> Result<Arc<Snapshot>, Failure> {
    let proposals = changes.map(changes_in).transpose()?;
    match (generation, proposals) {
        (None, None) => state.ask(state.changer.snapshot()).await,
        (None, Some(proposals)) => {
            let tried = async { state.changer.dry_run(&proposals).await.map_err(Failure::of_asked) };
            Ok(state.ask_at_length(tried).await?.snapshot)
        }
        (Some(generation), proposals) => {
            let missing = |error| match error {
                ChangeError::NoGeneration { .. } | ChangeError::Gap { .. } => {
                    Failure::invalid_at("generation", error.to_string())
                }
                other => other.into(),
            };
            let past = async { state.changer.snapshot_at(generation).await.map_err(missing) };
            let past = state.ask_at_length(past).await?;
            match proposals {
                None => Ok(past),
                Some(proposals) => state.changer.tried_on(&past, &proposals).map_err(Failure::of_asked),
            }
        }
    }
}

/// The caller that the question supposes; `None`: whoever its headers make it.
fn supposed(question: &Question, snapshot: &Snapshot) -> Result<Option<Caller>, Failure> {
    let Question { application, subject, roles, scopes, .. } = question;
    let words = |list: &Option<Vec<String>>| list.iter().flatten().map(|it| it.as_str().into()).collect::<Vec<_>>();
    let has_token = subject.is_some() || roles.is_some() || scopes.is_some();
    if application.is_none() && !has_token {
        return Ok(None);
    }
    let of_name = |name: &String| {
        let found = snapshot.application(name).cloned();
        found.ok_or_else(|| Failure::invalid_at("application", format!("there is no application \"{name}\"")))
    };
    let application = application.as_ref().map(of_name).transpose()?;
    let token = Token {
        issuer: "supposed".into(),
        subject: subject.as_deref().map(Into::into),
        client: None,
        roles: words(roles),
        scopes: words(scopes),
        expires_at: None,
    };
    Ok(Some(Caller::Verified(Verified {
        key: application.as_ref().map(|it| it.source.api_keys.first().map(|key| key.id).unwrap_or_default()),
        application,
        token: has_token.then(|| Arc::new(token)),
    })))
}

/// The question, as the gateway would receive it.
struct Request<'q> {
    method: Method,
    path: &'q str,
    query: Option<&'q str>,
    headers: HeaderMap,
    has_host: bool,
    address: IpAddr,
}

impl<'q> Request<'q> {
    fn of(question: &'q Question) -> Result<Self, Failure> {
        let method = Method::from_str(&question.method)
            .map_err(|_| Failure::invalid_at("method", "is not a method such as GET"))?;
        let mut headers = HeaderMap::new();
        for (name, value) in &question.headers {
            let place = || format!("headers/{name}");
            let header = HeaderName::from_str(name);
            let header = header.map_err(|_| Failure::invalid_at(place(), "is not the name of a header"))?;
            let value = HeaderValue::from_str(value);
            headers.append(header, value.map_err(|_| Failure::invalid_at(place(), "can't stand in a header"))?);
        }
        if let Some(host) = &question.host {
            let value = HeaderValue::from_str(host).map_err(|_| Failure::invalid_at("host", "is not a host"))?;
            headers.append(HOST, value);
        }
        let (path, query) = match question.path.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (question.path.as_str(), None),
        };
        let address = question.address.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST));
        Ok(Self { method, path, query, has_host: headers.contains_key(HOST), headers, address })
    }

    async fn explained(
        &self,
        snapshot: &Snapshot,
        state: &AppState,
        supposed: Option<Caller>,
    ) -> Result<Explained, Failure> {
        let mut buffer = String::new();
        let host = match host_of(None, &self.headers, self.has_host, &mut buffer) {
            Ok(host) => host,
            Err(error) => return Ok(Explained::unreadable("host", &error.to_string())),
        };
        let path = match path::normalise(self.path.as_bytes()) {
            Ok(path) => path,
            Err(error) => return Ok(Explained::unreadable("path", &error.to_string())),
        };
        let facts = RequestFacts {
            method: &self.method,
            host,
            path: &path,
            query: self.query,
            target_bytes: self.path.len() + self.query.map_or(0, |query| query.len() + 1),
            headers: &self.headers,
            address: self.address,
            now: state.clock.now(),
            entropy: rand::random(),
        };
        let matched = match_request(snapshot, &facts);
        // Where nothing was found nobody looks at credentials, and a browser that asks beforehand has none.
        let matters = matched.found.as_ref().is_ok_and(|found| !found.preflight);
        let Shown { caller, steps } = match supposed {
            None if matters => Shown::of(state, snapshot, &self.headers).await?,
            supposed => Shown { caller: supposed.unwrap_or(Caller::Anonymous), steps: Vec::new() },
        };
        let decision = decide(snapshot, &matched, &caller, &BodyFacts::default());
        let mut explained = Explained::of(&decision, &path, snapshot);
        let is_match = |step: &TrailStep| step.step == "route" && step.result == "matched";
        let behind = explained.trail.iter().position(is_match).map_or(0, |at| at + 1);
        explained.trail.splice(behind..behind, steps);
        Ok(explained)
    }
}

impl Explained {
    /// Refused before anything is matched.
    fn unreadable(step: &str, why: &str) -> Self {
        let code = Code::BadRequest;
        let words = |step: &str, detail: &str| TrailStep {
            step: step.to_owned(),
            result: code.as_str().to_owned(),
            detail: detail.to_owned(),
        };
        let trail = vec![words(step, why), words("refused", code.message())];
        Self { status_code: Some(code.status()), code: Some(code.to_string()), trail, ..Self::default() }
    }

    fn of(decision: &Decision, path: &str, snapshot: &Snapshot) -> Self {
        let mut explained = Self {
            route: decision.route.as_ref().map(|route| route.source.name.clone()),
            trail: decision.trail.iter().map(|step| step.in_words(snapshot)).collect(),
            ..Self::default()
        };
        match &decision.outcome {
            Outcome::Forward(forward) => {
                explained.outcome = Word::Forward;
                explained.service = Some(forward.service.source.service_name.clone());
                explained.version = forward.version().map(ToString::to_string);
                explained.upstream = forward.cluster().map(|cluster| urls(cluster));
                let path = forward.path.as_deref().unwrap_or(path);
                explained.step("upstream", "chosen", format!("the backend is asked for {path}"));
            }
            Outcome::Publish(queue) => {
                explained.outcome = Word::Publish;
                explained.status_code = Some(202);
                explained.queue = Some(queue.name().to_owned());
            }
            Outcome::Subscribe(queue, _) => {
                explained.outcome = Word::Answer;
                explained.status_code = Some(200);
                explained.queue = Some(queue.name().to_owned());
                explained.step("channel", "opened", "messages are streamed as far as the filter lets them".to_owned());
            }
            Outcome::Preflight(_) => {
                explained.outcome = Word::Answer;
                explained.status_code = Some(204);
                explained.step("cors", "answered", "the browser's question beforehand is answered".to_owned());
            }
            Outcome::Respond(respond) => {
                explained.outcome = Word::Answer;
                explained.status_code = Some(respond.status_code);
            }
            Outcome::Redirect { location, status } => {
                explained.outcome = Word::Answer;
                explained.status_code = Some(*status);
                explained.step("redirect", "answered", format!("to {location}"));
            }
            Outcome::Refuse(refusal) => {
                explained.status_code = Some(refusal.status);
                explained.code = Some(refusal.code.to_string());
            }
        }
        for counter in &decision.counters {
            let limit = &counter.limit;
            let detail = format!("{}: {} requests in {} seconds", limit.name, limit.requests, limit.per_seconds);
            explained.step("limit", "counted", detail);
        }
        explained
    }

    fn step(&mut self, step: &str, result: &str, detail: String) {
        self.trail.push(TrailStep { step: step.to_owned(), result: result.to_owned(), detail });
    }
}

fn urls(cluster: &Cluster) -> String {
    let url = |it: &gateway_config::snapshot::UpstreamInstance| {
        let scheme = if it.url.tls { "https" } else { "http" };
        format!("{scheme}://{}{}", it.url.authority, it.url.base_path)
    };
    cluster.instances.iter().map(url).collect::<Vec<_>>().join(", ")
}
