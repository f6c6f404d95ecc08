//! A route: which requests, to what, under which policies.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Access, Cache, Cors, Id, Limit, Retries, Timeouts, Timestamp, Transform};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Route {
    #[schema(value_type = uuid::Uuid, read_only)]
    pub id: Id<Route>,
    /// Unique; letters, digits and `-._`.
    #[schema(example = "orders", pattern = r"^[A-Za-z0-9._-]{1,128}$")]
    pub name: String,
    /// Lower case, without port. Empty: any host. `*.example.com` stands for every host below `example.com`.
    pub hosts: Vec<String>,
    /// Literal segments, `{name}` for one segment and `{*rest}` for all that follow.
    #[schema(example = "/api/{version}/orders/{*rest}", pattern = "^/")]
    pub path: String,
    /// In capitals. Empty: any method.
    #[schema(example = json!(["GET", "POST"]))]
    pub methods: Vec<String>,
    /// Header conditions: an exact value, or `~regex`.
    #[schema(value_type = std::collections::HashMap<String, String>)]
    pub headers: BTreeMap<String, String>,
    /// Query conditions: an exact value, or `~regex`.
    #[schema(value_type = std::collections::HashMap<String, String>)]
    pub query: BTreeMap<String, String>,
    /// Among routes that match alike, the higher goes first.
    pub priority: i32,
    pub target: Target,
    /// The path that the backend sees, made of the pattern's names: `/v1/{rest}`. Absent: the client's path.
    pub rewrite: Option<String>,
    pub access: Access,
    /// For this route alone.
    pub limits: Vec<Limit>,
    pub cors: Option<Cors>,
    pub screening: Screening,
    /// Networks that may call. Empty: all.
    #[schema(value_type = Vec<String>, example = json!(["10.0.0.0/8"]))]
    pub ip_allow: Vec<ipnet::IpNet>,
    /// Networks that may not, whatever `ipAllow` says.
    #[schema(value_type = Vec<String>, example = json!(["10.6.6.0/24"]))]
    pub ip_deny: Vec<ipnet::IpNet>,
    pub transform: Option<Transform>,
    pub cache: Option<Cache>,
    /// Of a request; absent: the fleet's default.
    pub max_body_bytes: Option<u64>,
    pub timeouts: Timeouts,
    /// Instead of its service's.
    pub retries: Option<Retries>,
    /// If not, it does not exist for requests.
    pub is_active: bool,
    #[schema(value_type = String, format = DateTime, read_only)]
    pub created_at: Timestamp,
    #[schema(value_type = String, format = DateTime, read_only)]
    pub updated_at: Timestamp,
}

impl Default for Route {
    fn default() -> Self {
        Self {
            id: Id::default(),
            name: String::new(),
            hosts: Vec::new(),
            path: String::new(),
            methods: Vec::new(),
            headers: BTreeMap::new(),
            query: BTreeMap::new(),
            priority: 0,
            target: Target::default(),
            rewrite: None,
            access: Access::default(),
            limits: Vec::new(),
            cors: None,
            screening: Screening::default(),
            ip_allow: Vec::new(),
            ip_deny: Vec::new(),
            transform: None,
            cache: None,
            max_body_bytes: None,
            timeouts: Timeouts::default(),
            retries: None,
            is_active: true,
            created_at: Timestamp::default(),
            updated_at: Timestamp::default(),
        }
    }
}

/// Where a matched request goes: exactly one of these, for example `{"service": "auth"}`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub enum Target {
    /// The name of a service.
    Service(String),
    /// The name of a queue.
    Queue(String),
    Channel(Channel),
    Aggregate(Aggregate),
    Redirect(Redirect),
    Respond(Respond),
}

impl Default for Target {
    /// Names nothing, and so does not compile: a route must say where it leads.
    fn default() -> Self {
        Self::Service(String::new())
    }
}

/// Streams messages of a queue's topic to clients.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Channel {
    /// The name of a queue.
    pub queue: String,
    /// JSON pointer in the message → template on the caller's identity. Mandatory: without it everyone would see everything.
    #[schema(value_type = std::collections::HashMap<String, String>)]
    pub filter: BTreeMap<String, String>,
}

/// One answer composed of several services' answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Aggregate {
    /// Each is asked at the same time.
    pub parts: Vec<AggregatePart>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AggregatePart {
    /// The field of the answer that holds this part.
    pub name: String,
    /// The name of a service.
    pub service: String,
    /// Template of the pattern's names.
    pub path: String,
    /// The answer is given without this part where it fails.
    #[serde(default)]
    pub optional: bool,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Redirect {
    /// A path or a URL, made of the pattern's names.
    #[schema(example = "https://example.com/{rest}")]
    pub location: String,
    /// 301, 302, 303, 307 or 308.
    #[schema(minimum = 301, maximum = 308, default = found)]
    #[serde(default = "found")]
    pub status_code: u16,
}

fn found() -> u16 {
    302
}

/// An answer that stands in the configuration.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Respond {
    /// Of the answer.
    #[schema(minimum = 200, maximum = 599, default = ok)]
    #[serde(default = "ok")]
    pub status_code: u16,
    /// Of the body.
    #[schema(default = plain_text)]
    #[serde(default = "plain_text")]
    pub content_type: String,
    /// As it is sent.
    #[serde(default)]
    pub body: String,
}

fn ok() -> u16 {
    200
}

fn plain_text() -> String {
    "text/plain; charset=utf-8".to_owned()
}

/// Screening of input for SQL injection and cross-site scripting.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Screening {
    #[default]
    Off,
    Report,
    Block,
}
