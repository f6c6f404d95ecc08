//! Policies that routes, applications and the fleet's defaults share.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Who may use a route.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Access {
    /// Any of these lets a caller in. Empty: nobody.
    pub any_of: Vec<Credential>,
    /// Callers must belong to an application; otherwise roles and scopes alone decide.
    pub application_required: bool,
    /// The token must have one of these. Empty: any will do.
    pub roles: Vec<String>,
    /// The token must have all of these.
    pub scopes: Vec<String>,
    pub invalid_credentials: InvalidCredentials,
    /// Keep the `Authorization` header from the backend.
    pub strip_authorization: bool,
}

impl Default for Access {
    fn default() -> Self {
        Self {
            any_of: vec![Credential::ApiKey, Credential::Jwt],
            application_required: true,
            roles: Vec::new(),
            scopes: Vec::new(),
            invalid_credentials: InvalidCredentials::default(),
            strip_authorization: false,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Credential {
    ApiKey,
    Jwt,
    /// No credentials needed.
    Public,
}

/// What bad credentials do on a route that also lets the anonymous in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum InvalidCredentials {
    #[default]
    Refuse,
    Ignore,
}

/// So many requests in so many seconds; several stand together.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Limit {
    /// So many …
    #[schema(minimum = 1, example = 100)]
    pub requests: u32,
    /// … in so many seconds.
    #[schema(minimum = 1, example = 60)]
    pub per_seconds: u32,
    /// How many may come at once; absent: `requests`.
    #[serde(default)]
    #[schema(minimum = 1)]
    pub burst: Option<u32>,
    #[serde(default)]
    pub by: LimitBy,
    /// Counted over the whole fleet through Redis rather than in each gateway.
    #[serde(default)]
    pub shared: bool,
    #[serde(default)]
    pub on_store_error: OnStoreError,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum LimitBy {
    Global,
    #[default]
    Application,
    Key,
    Subject,
    Ip,
}

/// What a shared limit does while its store is away.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnStoreError {
    /// Count in this gateway alone.
    #[default]
    Local,
    Allow,
    Deny,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Cors {
    /// Exact origins, or `*`.
    pub allow_origins: Vec<String>,
    /// Empty: the methods that the route takes.
    pub allow_methods: Vec<String>,
    /// Empty: those that the browser asks for.
    pub allow_headers: Vec<String>,
    /// That scripts may read of an answer.
    pub expose_headers: Vec<String>,
    /// Cookies and `Authorization` may be sent; not together with the origin `*`.
    pub allow_credentials: bool,
    /// How long browsers may remember the answer to a preflight.
    pub max_age_seconds: u32,
}

impl Default for Cors {
    fn default() -> Self {
        Self {
            allow_origins: Vec::new(),
            allow_methods: Vec::new(),
            allow_headers: Vec::new(),
            expose_headers: Vec::new(),
            allow_credentials: false,
            max_age_seconds: 600,
        }
    }
}

/// Edits of headers on the way to the backend and back.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Transform {
    pub request: HeaderEdits,
    pub response: HeaderEdits,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct HeaderEdits {
    /// In place of what stands there.
    #[schema(value_type = std::collections::HashMap<String, String>)]
    pub set_headers: BTreeMap<String, String>,
    /// Beside what stands there.
    #[schema(value_type = std::collections::HashMap<String, String>)]
    pub add_headers: BTreeMap<String, String>,
    /// Names of headers that are taken away.
    pub remove_headers: Vec<String>,
}

/// Keeping answers in the gateway.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Cache {
    /// How long an answer is fresh.
    pub ttl_seconds: u32,
    /// How long an old answer may stand in while a new one is fetched or the backend is away.
    pub stale_seconds: u32,
    /// Request headers that tell answers apart.
    pub vary_headers: Vec<String>,
    /// Larger answers are not kept.
    pub max_body_bytes: u64,
}

impl Default for Cache {
    fn default() -> Self {
        Self { ttl_seconds: 60, stale_seconds: 0, vary_headers: Vec::new(), max_body_bytes: 1 << 20 }
    }
}
