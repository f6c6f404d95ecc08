//! A JWT issuer: whose tokens count, how they are verified, and what their claims mean.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Id, SecretRef, Timestamp};

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct JwtIssuer {
    #[schema(value_type = uuid::Uuid, read_only)]
    pub id: Id<JwtIssuer>,
    /// Unique; letters, digits and `-._`.
    #[schema(example = "login", pattern = r"^[A-Za-z0-9._-]{1,128}$")]
    pub name: String,
    /// The exact `iss` of its tokens.
    #[schema(min_length = 1, example = "https://login.example.com")]
    pub issuer: String,
    /// Any of these must be in the token's `aud`. Empty: it is not looked at.
    pub audiences: Vec<String>,
    /// That its tokens may be signed with; needed with a key.
    pub algorithms: Vec<JwtAlgorithm>,
    /// For HS*: a secret reference.
    #[schema(value_type = Option<String>, pattern = r"^(env:GATEWAY_SECRET_[A-Z0-9_]+|file:[A-Za-z0-9_-][A-Za-z0-9_.-]{0,254})$")]
    pub secret: Option<SecretRef>,
    /// For RS*, PS*, ES* and EdDSA where the key does not change.
    pub public_key_pem: Option<String>,
    /// Where the issuer publishes its keys.
    #[schema(example = "https://login.example.com/jwks.json", pattern = "^https?://")]
    pub jwks_url: Option<String>,
    /// For opaque tokens (RFC 7662).
    #[schema(pattern = "^https?://")]
    pub introspection_url: Option<String>,
    /// With which the gateways introspect.
    pub client_id: Option<String>,
    /// A secret reference.
    #[schema(value_type = Option<String>, pattern = r"^(env:GATEWAY_SECRET_[A-Z0-9_]+|file:[A-Za-z0-9_-][A-Za-z0-9_.-]{0,254})$")]
    pub client_secret: Option<SecretRef>,
    pub claims: ClaimPointers,
    /// How far clocks may differ.
    pub leeway_seconds: u32,
    #[schema(value_type = String, format = DateTime, read_only)]
    pub created_at: Timestamp,
    #[schema(value_type = String, format = DateTime, read_only)]
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
    /// Who it is about.
    #[schema(pattern = "^/")]
    pub subject: String,
    /// A list, or words with blanks between them.
    #[schema(pattern = "^/")]
    pub roles: String,
    /// A list, or words with blanks between them.
    #[schema(pattern = "^/")]
    pub scopes: String,
    /// Which client it was given to; binds it to an application.
    #[schema(pattern = "^/")]
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
