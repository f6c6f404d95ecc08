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
    /// Unique; letters, digits and `-._`.
    #[schema(example = "shop", pattern = r"^[A-Za-z0-9._-]{1,128}$")]
    #[serde(default)]
    pub name: String,
    /// Host names that it is shown for; `*.example.com` stands for every host right below, `*` for all that no other certificate
    /// lists and for clients that name none.
    #[schema(min_items = 1, example = json!(["shop.example.com"]))]
    pub hosts: Vec<String>,
    /// The certificate and those between it and the root, as PEM.
    #[schema(pattern = "-----BEGIN CERTIFICATE-----")]
    pub certificate_pem: String,
    /// A secret reference: `env:GATEWAY_SECRET_NAME`, or `file:NAME` in the secrets directory.
    #[schema(value_type = String, example = "file:shop.key", pattern = r"^(env:GATEWAY_SECRET_[A-Z0-9_]+|file:[A-Za-z0-9_-][A-Za-z0-9_.-]{0,254})$")]
    pub private_key: SecretRef,
    #[schema(value_type = String, format = DateTime, read_only)]
    #[serde(default)]
    pub created_at: Timestamp,
    #[schema(value_type = String, format = DateTime, read_only)]
    #[serde(default)]
    pub updated_at: Timestamp,
}
