//! A service: a backend behind the gateway, its versions and how its instances are reached.

use http::HeaderName;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{HashOn, HostHeader, Id, SecretRef, StickyOn, Timestamp};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Service {
    #[schema(value_type = uuid::Uuid, read_only)]
    pub id: Id<Service>,
    /// Unique; lower-case letters, digits and `-`, at most 63.
    #[schema(example = "orders", pattern = r"^[a-z0-9-]{1,63}$")]
    pub service_name: String,
    /// In words, for people.
    pub description: String,
    /// Where requests go that no version takes.
    #[schema(example = "http://127.0.0.1:7000")]
    pub default_url: Option<String>,
    /// The version that serves when no weight says otherwise.
    pub current_version: Option<String>,
    /// Tried last, when no instance can be reached.
    pub fallback_url: Option<String>,
    /// If not, it is answered 503 `service_inactive`.
    pub is_active: bool,
    /// While this is there, it is what callers are told.
    pub maintenance: Option<Maintenance>,
    /// Those that are deployed.
    pub versions: Vec<ServiceVersion>,
    /// `none`, `caller`, `header:NAME` or `cookie:NAME`: what keeps a caller on one side of a canary.
    #[schema(value_type = String, example = "none", pattern = "^(none|caller|(header|cookie):.+)$")]
    pub sticky_on: StickyOn,
    pub load_balancing: LoadBalancing,
    /// Absent: instances count as healthy until requests fail.
    pub health_check: Option<HealthCheck>,
    /// Absent: nobody is taken out.
    pub ejection: Option<Ejection>,
    pub timeouts: Timeouts,
    pub retries: Retries,
    /// Requests in flight to this service from one gateway; more are answered 503 `overloaded`.
    #[schema(minimum = 1)]
    pub max_concurrent: Option<u32>,
    pub protocol: Protocol,
    pub tls: UpstreamTls,
    /// The `Host` that the backend sees: `keep` (the client's), `upstream` (the one in its URL) or a name.
    #[schema(value_type = String, example = "keep")]
    pub host_header: HostHeader,
    #[schema(value_type = String, format = DateTime, read_only)]
    pub created_at: Timestamp,
    #[schema(value_type = String, format = DateTime, read_only)]
    pub updated_at: Timestamp,
}

impl Default for Service {
    fn default() -> Self {
        Self {
            id: Id::default(),
            service_name: String::new(),
            description: String::new(),
            default_url: None,
            current_version: None,
            fallback_url: None,
            is_active: true,
            maintenance: None,
            versions: Vec::new(),
            sticky_on: StickyOn::default(),
            load_balancing: LoadBalancing::default(),
            health_check: None,
            ejection: None,
            timeouts: Timeouts::default(),
            retries: Retries::default(),
            max_concurrent: None,
            protocol: Protocol::default(),
            tls: UpstreamTls::default(),
            host_header: HostHeader::default(),
            created_at: Timestamp::default(),
            updated_at: Timestamp::default(),
        }
    }
}

/// One deployed version. Several versions may serve one API version: that is a canary.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct ServiceVersion {
    #[schema(value_type = uuid::Uuid, read_only)]
    pub id: Id<ServiceVersion>,
    /// Unique in its service; letters, digits and `-._~`.
    #[schema(example = "v1", pattern = r"^[A-Za-z0-9._~-]{1,63}$")]
    pub version: String,
    /// What clients pin; defaults to `version`.
    pub api_version: Option<String>,
    /// Where its one instance is.
    #[schema(example = "http://127.0.0.1:7000")]
    pub url: Option<String>,
    /// Where there is more than one; `url` alone is one instance.
    pub instances: Vec<Instance>,
    /// Its share among the versions of one API version.
    #[schema(maximum = 1000)]
    pub weight: u16,
    /// If not, no request goes to it.
    pub is_active: bool,
    #[schema(value_type = String, format = DateTime, read_only)]
    pub created_at: Timestamp,
    #[schema(value_type = String, format = DateTime, read_only)]
    pub updated_at: Timestamp,
}

impl Default for ServiceVersion {
    fn default() -> Self {
        Self {
            id: Id::default(),
            version: String::new(),
            api_version: None,
            url: None,
            instances: Vec::new(),
            weight: 0,
            is_active: true,
            created_at: Timestamp::default(),
            updated_at: Timestamp::default(),
        }
    }
}

impl ServiceVersion {
    #[must_use]
    pub fn api_version(&self) -> &str {
        self.api_version.as_deref().unwrap_or(&self.version)
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Instance {
    /// Where it is.
    pub url: String,
    /// Counts where `loadBalancing.algorithm` is `weighted`.
    #[schema(maximum = 1000, default = one)]
    #[serde(default = "one")]
    pub weight: u16,
}

fn one() -> u16 {
    1
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Maintenance {
    /// Of the answer.
    #[schema(minimum = 400, maximum = 599)]
    pub status_code: u16,
    /// For the caller to read.
    pub message: String,
    /// As `Retry-After`.
    pub retry_after_seconds: u32,
}

impl Default for Maintenance {
    fn default() -> Self {
        Self { status_code: 503, message: "this service is under maintenance".to_owned(), retry_after_seconds: 60 }
    }
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct LoadBalancing {
    pub algorithm: Algorithm,
    /// What `consistent_hash` hashes: `ip`, `application`, `subject`, `header:NAME` or `cookie:NAME`.
    #[schema(value_type = String, example = "ip", pattern = "^(ip|application|subject|(header|cookie):.+)$")]
    pub hash_on: HashOn,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Algorithm {
    #[default]
    RoundRobin,
    Weighted,
    LeastConnections,
    ConsistentHash,
    RandomTwo,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct HealthCheck {
    /// That is asked for.
    #[schema(pattern = "^/", example = "/healthz")]
    pub path: String,
    /// Between two checks.
    #[schema(minimum = 1)]
    pub interval_ms: u32,
    /// After which a check has failed.
    #[schema(minimum = 1)]
    pub timeout_ms: u32,
    /// Successes in a row until an instance counts as healthy.
    #[schema(minimum = 1)]
    pub healthy_after: u16,
    /// Failures in a row until it does not.
    #[schema(minimum = 1)]
    pub unhealthy_after: u16,
}

impl Default for HealthCheck {
    fn default() -> Self {
        Self { path: "/".to_owned(), interval_ms: 5000, timeout_ms: 1000, healthy_after: 1, unhealthy_after: 2 }
    }
}

/// Taking an instance out after failures of real requests.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Ejection {
    /// So many failures in a row take an instance out.
    pub consecutive_failures: u16,
    /// How long it stays out.
    pub eject_ms: u32,
    /// At most this share of the instances is out at once.
    #[schema(maximum = 100)]
    pub max_percent: u8,
}

impl Default for Ejection {
    fn default() -> Self {
        Self { consecutive_failures: 5, eject_ms: 10_000, max_percent: 50 }
    }
}

/// A route's own values stand before its service's; what neither says has the default written here.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Timeouts {
    /// Default 2000.
    #[schema(minimum = 1)]
    pub connect_ms: Option<u32>,
    /// Longest silence of the backend; default 60000.
    #[schema(minimum = 1)]
    pub read_ms: Option<u32>,
    /// Longest time that the backend takes nothing; default 60000.
    #[schema(minimum = 1)]
    pub write_ms: Option<u32>,
    /// From the request to the end of the answer; none by default, for streams live long.
    #[schema(minimum = 1)]
    pub total_ms: Option<u32>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Retries {
    /// Further attempts after the first.
    #[schema(maximum = 10)]
    pub attempts: u8,
    /// What is worth another attempt.
    pub on: Vec<RetryOn>,
    /// At most this share of the service's requests may be retries.
    #[schema(maximum = 100)]
    pub budget_percent: u8,
}

impl Default for Retries {
    fn default() -> Self {
        Self { attempts: 2, on: vec![RetryOn::Connect, RetryOn::Reset], budget_percent: 20 }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum RetryOn {
    /// The connection could not be made: nothing was sent, so every method may be tried again.
    Connect,
    /// The connection broke before an answer; idempotent methods without a body only.
    Reset,
    Timeout,
    Status502,
    Status503,
    Status504,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Protocol {
    #[default]
    Http1,
    /// Over TLS.
    Http2,
    /// HTTP/2 in clear text with prior knowledge.
    H2c,
    Auto,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct UpstreamTls {
    /// PEM of the authorities to trust instead of the system's.
    pub ca: Option<String>,
    /// PEM of certificate and key, as a secret reference.
    #[schema(value_type = Option<String>, pattern = r"^(env:GATEWAY_SECRET_[A-Z0-9_]+|file:[A-Za-z0-9_-][A-Za-z0-9_.-]{0,254})$")]
    pub client_certificate: Option<SecretRef>,
    /// The name that is asked for and must be in the certificate; absent: the URL's host.
    pub sni: Option<String>,
    /// Check the backend's certificate.
    pub verify: bool,
}

impl Default for UpstreamTls {
    fn default() -> Self {
        Self { ca: None, client_certificate: None, sni: None, verify: true }
    }
}

/// The header by which a client pins an API version where the path does not.
pub const API_VERSION_HEADER: HeaderName = HeaderName::from_static("x-api-version");
