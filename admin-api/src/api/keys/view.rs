//! A key as the API shows it.

use gateway_config::model::{ApiKey, Id, Timestamp};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

/// An API key, without the key.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Key)]
pub(crate) struct KeyView {
    #[schema(value_type = uuid::Uuid)]
    id: Id<ApiKey>,
    /// The key's public beginning, by which it is found.
    #[schema(example = "gk_4fzN2kQx8LmA")]
    prefix: String,
    name: String,
    /// From then on it is refused; null: never.
    #[schema(value_type = Option<String>)]
    expires_at: Option<Timestamp>,
    /// False once it was revoked, for good.
    is_active: bool,
    #[schema(value_type = String)]
    created_at: Timestamp,
    /// Written behind: may lag by some seconds.
    #[schema(value_type = Option<String>)]
    last_used_at: Option<Timestamp>,
}

/// A key that was just made, with the key itself. It is shown here and never again.
#[derive(Serialize, ToSchema)]
pub(crate) struct ShownKey<'a> {
    #[serde(flatten)]
    pub(super) view: KeyView,
    #[schema(example = "gk_4fzN2kQx8LmA_…")]
    pub(super) key: &'a str,
}

impl KeyView {
    pub(super) fn of(key: &ApiKey, last_used_at: Option<Timestamp>) -> Self {
        let ApiKey { id, prefix, name, expires_at, is_active, created_at, .. } = key.clone();
        Self { id, prefix, name, expires_at, is_active, created_at, last_used_at }
    }

    pub(super) fn to_json(&self) -> Value {
        serde_json::to_value(self).unwrap_or(Value::Null)
    }
}

impl std::fmt::Debug for ShownKey<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ShownKey").field("view", &self.view).finish_non_exhaustive()
    }
}
