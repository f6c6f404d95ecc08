//! What holds for the whole fleet unless a route says otherwise: one row.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Cors, Id, Limit, Timestamp};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Defaults {
    #[schema(value_type = uuid::Uuid, read_only)]
    pub id: Id<Defaults>,
    /// Always `defaults`.
    #[schema(pattern = "^defaults$")]
    pub name: String,
    /// For every request of the fleet.
    pub limits: Vec<Limit>,
    /// Networks that may call. Empty: all.
    #[schema(value_type = Vec<String>, example = json!(["10.0.0.0/8"]))]
    pub ip_allow: Vec<ipnet::IpNet>,
    /// Networks that may not, whatever `ipAllow` says.
    #[schema(value_type = Vec<String>, example = json!(["10.6.6.0/24"]))]
    pub ip_deny: Vec<ipnet::IpNet>,
    /// For routes that say nothing of it.
    pub cors: Option<Cors>,
    /// Headers on every answer.
    #[schema(value_type = std::collections::HashMap<String, String>)]
    pub security_headers: BTreeMap<String, String>,
    /// Of a request, unless its route says otherwise.
    pub max_body_bytes: u64,
    /// Of a request's head.
    #[schema(minimum = 1024)]
    pub max_header_bytes: u32,
    /// Of a request's target.
    #[schema(minimum = 256)]
    pub max_uri_bytes: u32,
    #[schema(value_type = String, format = DateTime, read_only)]
    pub created_at: Timestamp,
    #[schema(value_type = String, format = DateTime, read_only)]
    pub updated_at: Timestamp,
}

/// The name of the one row.
pub const DEFAULTS_NAME: &str = "defaults";

impl Default for Defaults {
    fn default() -> Self {
        let header = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        Self {
            id: Id::default(),
            name: DEFAULTS_NAME.to_owned(),
            limits: Vec::new(),
            ip_allow: Vec::new(),
            ip_deny: Vec::new(),
            cors: None,
            security_headers: BTreeMap::from([
                header("x-content-type-options", "nosniff"),
                header("x-frame-options", "DENY"),
                header("referrer-policy", "no-referrer"),
            ]),
            max_body_bytes: 10 << 20,
            max_header_bytes: 32 << 10,
            max_uri_bytes: 8 << 10,
            created_at: Timestamp::default(),
            updated_at: Timestamp::default(),
        }
    }
}
