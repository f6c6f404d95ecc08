//! A certificate for the TLS listener.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Id, SecretRef, Timestamp};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Certificate {
    #[schema(value_type = uuid::Uuid, read_only)]
    #[serde(default)]
    pub id: Id<Certificate>,
    /// Unique.
    #[serde(default)]
    pub name: String,
    pub hosts: Vec<String>,
    pub certificate_pem: String,
    #[schema(value_type = String, example = "file:shop.key")]
    pub private_key: SecretRef,
    #[schema(value_type = String, read_only)]
    #[serde(default)]
    pub created_at: Timestamp,
    #[schema(value_type = String, read_only)]
    #[serde(default)]
    pub updated_at: Timestamp,
}
