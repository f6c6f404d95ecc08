//! What the calls about keys take.

use gateway_config::change::Expiry;
use gateway_config::model::Timestamp;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use utoipa::ToSchema;

use crate::error::Failure;

/// A further key for an application.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct IssueKey {
    /// What it is for, in words; need not be unique.
    #[schema(example = "the till in Bonn")]
    pub(super) name: String,
    /// Absent or null: never.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub(super) expires_at: Option<Timestamp>,
}

/// A key in place of another one.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct RotateKey {
    /// How long the old key is still good beside the new one, at most 30 days; 0: it is revoked at once.
    #[serde(default)]
    #[schema(maximum = 2_592_000)]
    pub(super) overlap_seconds: u64,
    /// When the new key expires. Absent: it lives as long as the old one was given when it was made; null: it never expires.
    #[serde(default = "kept", deserialize_with = "expiry")]
    #[schema(value_type = Option<String>)]
    pub(super) expires_at: Expiry,
}

/// What to change; what is absent stays.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct PatchKey {
    pub(super) name: Option<String>,
    /// Null: never. Can't be moved once it has passed, or once the key was revoked.
    #[serde(default = "kept", deserialize_with = "expiry")]
    #[schema(value_type = Option<String>)]
    pub(super) expires_at: Expiry,
}

fn kept() -> Expiry {
    Expiry::Kept
}

fn expiry<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Expiry, D::Error> {
    Ok(Option::<Timestamp>::deserialize(deserializer)?.map_or(Expiry::Never, Expiry::At))
}

/// `place`: where the problems are said to be.
pub(super) fn read<T: DeserializeOwned>(body: Value, place: &str) -> Result<T, Failure> {
    // serde takes a list for a struct, field by field.
    if !body.is_object() {
        return Err(Failure::invalid_at(place, "must be a JSON object"));
    }
    serde_path_to_error::deserialize(body).map_err(|error| {
        let field = error.path().to_string();
        let message = error.into_inner().to_string();
        let quoted = |begin: &str| message.strip_prefix(begin).and_then(|rest| rest.split('`').next());
        let field = match (quoted("unknown field `"), quoted("missing field `")) {
            (Some("isActive"), _) => {
                return Failure::invalid_at(format!("{place}/isActive"), "can't be set: DELETE revokes, for good");
            }
            (Some(named), _) | (_, Some(named)) => named,
            (None, None) => field.as_str(),
        };
        Failure::invalid_at(format!("{place}/{field}"), message.clone())
    })
}
