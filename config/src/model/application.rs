//! An application: who calls, with which keys, and what it may reach.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Id, Limit, Timestamp};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Application {
    #[schema(value_type = uuid::Uuid, read_only)]
    pub id: Id<Application>,
    /// Unique; letters, digits and `-._`.
    #[schema(example = "shop", pattern = r"^[A-Za-z0-9._-]{1,128}$")]
    pub name: String,
    pub description: String,
    /// Names of services or queues. Empty: none; `["*"]`: all.
    pub allowed_services: Vec<String>,
    /// API versions. Empty: none; `["*"]`: all.
    pub allowed_versions: Vec<String>,
    /// If not, its callers are answered 403 `application_inactive`.
    pub is_active: bool,
    /// Only these bind a token to this application.
    pub jwt_clients: Vec<JwtClient>,
    /// For all that it sends, whatever the route.
    pub limits: Vec<Limit>,
    /// Networks that may call. Empty: all.
    #[schema(value_type = Vec<String>, example = json!(["10.0.0.0/8"]))]
    pub ip_allow: Vec<ipnet::IpNet>,
    /// Networks that may not, whatever `ipAllow` says.
    #[schema(value_type = Vec<String>, example = json!(["10.6.6.0/24"]))]
    pub ip_deny: Vec<ipnet::IpNet>,
    /// Hosts that task callbacks may go to.
    pub callback_hosts: Vec<String>,
    /// The endpoints that it may call.
    pub whitelist: Vec<WhitelistEntry>,
    /// Made, changed and revoked by calls of their own.
    #[schema(read_only)]
    pub api_keys: Vec<ApiKey>,
    #[schema(value_type = String, format = DateTime, read_only)]
    pub created_at: Timestamp,
    #[schema(value_type = String, format = DateTime, read_only)]
    pub updated_at: Timestamp,
}

impl Default for Application {
    fn default() -> Self {
        Self {
            id: Id::default(),
            name: String::new(),
            description: String::new(),
            allowed_services: Vec::new(),
            allowed_versions: Vec::new(),
            is_active: true,
            jwt_clients: Vec::new(),
            limits: Vec::new(),
            ip_allow: Vec::new(),
            ip_deny: Vec::new(),
            callback_hosts: Vec::new(),
            whitelist: Vec::new(),
            api_keys: Vec::new(),
            created_at: Timestamp::default(),
            updated_at: Timestamp::default(),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct JwtClient {
    /// The name of an issuer here, not its URL.
    #[schema(min_length = 1, example = "login")]
    pub issuer: String,
    /// What the issuer calls this client, as in a token's `azp`.
    #[schema(min_length = 1, example = "shop-frontend")]
    pub client_id: String,
}

/// An endpoint that the application may call.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct WhitelistEntry {
    #[schema(value_type = uuid::Uuid, read_only)]
    pub id: Id<WhitelistEntry>,
    /// A pattern like a route's, matched on the client's path.
    #[schema(example = "/api/{version}/orders/{*rest}", pattern = "^/")]
    pub endpoint_path: String,
    /// Empty: none; `["*"]`: all.
    pub allowed_methods: Vec<String>,
    /// Empty: none; `["*"]`: all.
    pub allowed_versions: Vec<String>,
    /// Requests a minute; 0: no limit of its own.
    pub rate_limit: u32,
    /// No credentials needed.
    pub is_public: bool,
    #[schema(value_type = String, format = DateTime, read_only)]
    pub created_at: Timestamp,
    #[schema(value_type = String, format = DateTime, read_only)]
    pub updated_at: Timestamp,
}

/// A key's stored half. The key itself is shown once and never kept.
#[derive(Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct ApiKey {
    #[schema(value_type = uuid::Uuid)]
    pub id: Id<ApiKey>,
    /// What it is for, in words.
    pub name: String,
    /// The public part by which the key is found.
    pub prefix: String,
    /// argon2id PHC string. The admin API never shows it.
    pub api_key_hash: String,
    /// From then on it is refused; null: never.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub expires_at: Option<Timestamp>,
    /// False once it was revoked, for good.
    pub is_active: bool,
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    #[schema(value_type = String, format = DateTime)]
    pub updated_at: Timestamp,
}

impl Default for ApiKey {
    fn default() -> Self {
        Self {
            id: Id::default(),
            name: String::new(),
            prefix: String::new(),
            api_key_hash: String::new(),
            expires_at: None,
            is_active: true,
            created_at: Timestamp::default(),
            updated_at: Timestamp::default(),
        }
    }
}

impl std::fmt::Debug for ApiKey {
    /// Without the hash.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ApiKey")
            .field("id", &self.id)
            .field("prefix", &self.prefix)
            .field("is_active", &self.is_active)
            .field("expires_at", &self.expires_at)
            .finish_non_exhaustive()
    }
}
