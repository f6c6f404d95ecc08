//! A JWT issuer: whose tokens count, how they are verified, and what their claims mean.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Id, SecretRef, Timestamp};

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct JwtIssuer {
    #[schema(value_type = uuid::Uuid, read_only)]
    pub id: Id<JwtIssuer>,
    /// Unique.
    pub name: String,
    /// The exact `iss` of its tokens.
    pub issuer: String,
    pub audiences: Vec<String>,
    pub algorithms: Vec<JwtAlgorithm>,
    /// For HS*: a secret reference.
    #[schema(value_type = Option<String>)]
    pub secret: Option<SecretRef>,
    pub public_key_pem: Option<String>,
    pub jwks_url: Option<String>,
    /// For opaque tokens (RFC 7662).
    pub introspection_url: Option<String>,
    pub client_id: Option<String>,
    #[schema(value_type = Option<String>)]
    pub client_secret: Option<SecretRef>,
    pub claims: ClaimPointers,
    pub leeway_seconds: u32,
    #[schema(value_type = String, read_only)]
    pub created_at: Timestamp,
    #[schema(value_type = String, read_only)]
    pub updated_at: Timestamp,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub enum JwtAlgorithm {
    HS256,
    HS384,
    HS512,
    RS256,
    RS384,
    RS512,
    PS256,
    ES256,
    ES384,
    EdDSA,
}

/// JSON pointers into a token's claims.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct ClaimPointers {
    pub subject: String,
    pub roles: String,
    pub scopes: String,
    pub client: String,
}

impl Default for ClaimPointers {
    fn default() -> Self {
        Self {
            subject: "/sub".to_owned(),
            roles: "/roles".to_owned(),
            scopes: "/scope".to_owned(),
            client: "/azp".to_owned(),
        }
    }
}
