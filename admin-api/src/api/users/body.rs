//! What the calls about admins take.

use gateway_config::model::{Problem, Role, Timestamp};
use serde::Deserialize;
use utoipa::ToSchema;

use crate::auth::{login, password};
use crate::error::Failure;

const LONGEST_NAME: usize = 200;

/// A further admin.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CreateAdmin {
    /// By which they log in; kept in lower case, and nobody else's.
    #[schema(example = "ada@example.com")]
    pub(super) email: String,
    #[serde(default)]
    #[schema(example = "Ada")]
    pub(super) name: String,
    pub(super) role: Role,
    /// At least 12 characters; kept as an argon2id hash alone.
    #[schema(min_length = 12)]
    pub(super) password: String,
}

/// What to change; what is absent stays.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct PatchAdmin {
    pub(super) name: Option<String>,
    pub(super) role: Option<Role>,
    /// False ends all sessions, too.
    pub(super) is_active: Option<bool>,
    /// Ends all sessions, too.
    #[schema(min_length = 12)]
    pub(super) password: Option<String>,
}

/// A token for scripts.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct CreateToken {
    /// What it is for, in words; need not be unique.
    #[schema(example = "nightly deploy")]
    pub(super) name: String,
    /// Absent: the owner's own role. More than that can't be given.
    pub(super) role: Option<Role>,
    /// Absent or null: never.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub(super) expires_at: Option<Timestamp>,
}

impl CreateAdmin {
    /// The email as it is kept.
    pub(super) fn check(&self) -> Result<String, Failure> {
        let email = login::email(&self.email);
        let mut problems: Vec<Problem> = name_problem(&self.name, true).into_iter().collect();
        if email.is_none() {
            problems.push(Problem::new("email", "must be an email address, such as ada@example.com"));
        }
        if let Err(bad) = password::check(&self.password) {
            problems.push(Problem::new("password", bad.to_string()));
        }
        email.filter(|_| problems.is_empty()).ok_or_else(|| Failure::invalid(problems))
    }
}

impl PatchAdmin {
    pub(super) fn check(&self) -> Result<(), Failure> {
        let mut problems: Vec<Problem> = self.name.iter().filter_map(|name| name_problem(name, true)).collect();
        if let Some(Err(bad)) = self.password.as_deref().map(password::check) {
            problems.push(Problem::new("password", bad.to_string()));
        }
        if problems.is_empty() { Ok(()) } else { Err(Failure::invalid(problems)) }
    }
}

impl CreateToken {
    pub(super) fn check(&self, now: Timestamp) -> Result<(), Failure> {
        let mut problems: Vec<Problem> = name_problem(&self.name, false).into_iter().collect();
        if self.expires_at.is_some_and(|end| end <= now) {
            problems.push(Problem::new("expiresAt", "has passed already"));
        }
        if problems.is_empty() { Ok(()) } else { Err(Failure::invalid(problems)) }
    }
}

fn name_problem(name: &str, may_be_empty: bool) -> Option<Problem> {
    let is_bad = name.chars().any(char::is_control)
        || name.chars().count() > LONGEST_NAME
        || (name.trim().is_empty() && !(may_be_empty && name.is_empty()));
    is_bad.then(|| Problem::new("name", format!("must be up to {LONGEST_NAME} characters of text on one line")))
}
