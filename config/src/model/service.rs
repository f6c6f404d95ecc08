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
    #[schema(example = "auth")]
    pub service_name: String,
    pub description: String,
    /// Where requests go that no version takes.
    #[schema(example = "http://127.0.0.1:7200")]
    pub default_url: Option<String>,
    /// The version that serves when no weight says otherwise.
    pub current_version: Option<String>,
    /// Tried last, when no instance can be reached.
    pub fallback_url: Option<String>,
    pub is_active: bool,
    pub maintenance: Option<Maintenance>,
    pub versions: Vec<ServiceVersion>,
    #[schema(value_type = String, example = "none")]
    pub sticky_on: StickyOn,
    pub load_balancing: LoadBalancing,
    pub health_check: Option<HealthCheck>,
    pub ejection: Option<Ejection>,
    pub timeouts: Timeouts,
    pub retries: Retries,
    /// Requests in flight to this service from one gateway; more are answered 503 `overloaded`.
    pub max_concurrent: Option<u32>,
    pub protocol: Protocol,
    pub tls: UpstreamTls,
    #[schema(value_type = String, example = "keep")]
    pub host_header: HostHeader,
    #[schema(value_type = String, read_only)]
    pub created_at: Timestamp,
    #[schema(value_type = String, read_only)]
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
    /// Unique in its service.
    #[schema(example = "v1")]
    pub version: String,
    /// What clients pin; defaults to `version`.
    pub api_version: Option<String>,
    #[schema(example = "http://127.0.0.1:7200")]
    pub url: Option<String>,
    /// Where there is more than one; `url` alone is one instance.
    pub instances: Vec<Instance>,
    /// 0 to 1000.
    pub weight: u16,
    pub is_active: bool,
    #[schema(value_type = String, read_only)]
    pub created_at: Timestamp,
    #[schema(value_type = String, read_only)]
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
    pub url: String,
    /// 0 to 1000; counts where `loadBalancing.algorithm` is `weighted`.
    #[serde(default = "one")]
    pub weight: u16,
}

fn one() -> u16 {
    1
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Maintenance {
    pub status_code: u16,
    pub message: String,
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
    /// What `consistent_hash` hashes.
    #[schema(value_type = String, example = "ip")]
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
    pub path: String,
    pub interval_ms: u32,
    pub timeout_ms: u32,
    /// Successes in a row until an instance counts as healthy.
    pub healthy_after: u16,
    /// Failures in a row until it does not.
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
    pub consecutive_failures: u16,
    pub eject_ms: u32,
    /// At most this share of the instances is out at once.
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
    pub connect_ms: Option<u32>,
    /// Longest silence of the backend; default 60000.
    pub read_ms: Option<u32>,
    /// Longest time that the backend takes nothing; default 60000.
    pub write_ms: Option<u32>,
    /// From the request to the end of the answer; none by default, for streams live long.
    pub total_ms: Option<u32>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Retries {
    /// Further attempts after the first; 0 to 10.
    pub attempts: u8,
    pub on: Vec<RetryOn>,
    /// At most this share of the service's requests may be retries.
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
    #[schema(value_type = Option<String>)]
    pub client_certificate: Option<SecretRef>,
    pub sni: Option<String>,
    pub verify: bool,
}

impl Default for UpstreamTls {
    fn default() -> Self {
        Self { ca: None, client_certificate: None, sni: None, verify: true }
    }
}

/// The header by which a client pins an API version where the path does not.
pub const API_VERSION_HEADER: HeaderName = HeaderName::from_static("x-api-version");
