//! Admins and their tokens as the API shows them.

use gateway_config::model::{Admin, Id, PersonalToken, Role, Timestamp};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

/// Somebody who may use the admin API.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Admin)]
pub(crate) struct AdminView {
    #[schema(value_type = uuid::Uuid)]
    id: Id<Admin>,
    /// In lower case.
    #[schema(example = "ada@example.com")]
    email: String,
    #[schema(example = "Ada")]
    name: String,
    role: Role,
    /// False: can't log in, and neither sessions nor tokens are good.
    is_active: bool,
    #[schema(value_type = String)]
    created_at: Timestamp,
    #[schema(value_type = String)]
    updated_at: Timestamp,
}

/// A personal token, without the token.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = PersonalToken)]
pub(crate) struct TokenView {
    #[schema(value_type = uuid::Uuid)]
    id: Id<PersonalToken>,
    #[schema(example = "nightly deploy")]
    name: String,
    /// It never allows more than its owner's own role, whatever that becomes.
    role: Role,
    #[schema(value_type = String)]
    created_at: Timestamp,
    /// Null: never.
    #[schema(value_type = Option<String>)]
    expires_at: Option<Timestamp>,
    /// Since then it is refused, for good.
    #[schema(value_type = Option<String>)]
    revoked_at: Option<Timestamp>,
    /// Written once a minute.
    #[schema(value_type = Option<String>)]
    last_used_at: Option<Timestamp>,
}

/// A token that was just made, with the token itself. It is shown here and never again.
#[derive(Serialize, ToSchema)]
pub(crate) struct ShownToken<'a> {
    #[serde(flatten)]
    pub(super) view: TokenView,
    #[schema(example = "gat_…")]
    pub(super) token: &'a str,
}

impl AdminView {
    pub(crate) fn of(admin: &Admin) -> Self {
        let Admin { id, email, name, role, is_active, created_at, updated_at, .. } = admin.clone();
        Self { id, email, name, role, is_active, created_at, updated_at }
    }

    pub(crate) fn to_json(&self) -> Value {
        serde_json::to_value(self).unwrap_or(Value::Null)
    }
}

impl TokenView {
    pub(super) fn of(token: &PersonalToken, last_used_at: Option<Timestamp>) -> Self {
        let PersonalToken { id, name, role, created_at, expires_at, revoked_at, .. } = token.clone();
        Self { id, name, role, created_at, expires_at, revoked_at, last_used_at }
    }

    pub(super) fn to_json(&self) -> Value {
        serde_json::to_value(self).unwrap_or(Value::Null)
    }
}

impl std::fmt::Debug for ShownToken<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ShownToken").field("view", &self.view).finish_non_exhaustive()
    }
}
