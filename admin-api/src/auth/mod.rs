//! Who may do what. Permission is an argument: a handler that takes a [`Viewer`], an [`Operator`] or an [`Admin`] can't run for
//! anybody less, and one that takes none of them is public, visibly.

mod backoff;
pub(crate) mod cookie;
mod gate;
pub(crate) mod login;
mod origin;
pub(crate) mod password;
mod secret;
mod uses;

use axum::extract::FromRequestParts;
use gateway_config::model::{self, Actor, AdminSession, PersonalToken};
use http::request::Parts;

use crate::error::Failure;

pub(crate) use gate::{COOKIE_GRACE_MILLIS, admin_of, bearer_of, cookie_of, gate, is_admin_token, refuse_forged};
pub(crate) use gateway_config::model::Role;
pub(crate) use origin::Origin;
pub(crate) use secret::{Mark, Secrets};
pub(crate) use uses::TokenUses;

/// Who calls, known to be who they say.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    /// As the history names them.
    pub(crate) actor: Actor,
    pub(crate) role: Role,
    pub(crate) via: Via,
}

/// By what the caller is known.
#[derive(Clone, Debug)]
pub(crate) enum Via {
    /// The one of the settings, which is nobody's.
    AdminToken,
    Session {
        admin: model::Admin,
        session: AdminSession,
        is_cookie: bool,
    },
    Token {
        admin: model::Admin,
        token: PersonalToken,
    },
}

/// May read.
#[derive(Debug)]
pub(crate) struct Viewer(pub(crate) Caller);

/// May change the configuration.
#[derive(Debug)]
pub(crate) struct Operator(pub(crate) Caller);

/// May manage admins.
#[derive(Debug)]
pub(crate) struct Admin(pub(crate) Caller);

impl Caller {
    /// The person whom the caller stands for.
    pub(crate) fn admin(&self) -> Option<&model::Admin> {
        match &self.via {
            Via::AdminToken => None,
            Via::Session { admin, .. } | Via::Token { admin, .. } => Some(admin),
        }
    }
}

fn caller_with(parts: &Parts, role: Role) -> Result<Caller, Failure> {
    let caller = parts.extensions.get::<Caller>().ok_or_else(|| Failure::unauthorized(false))?;
    if caller.role < role { Err(Failure::forbidden(role.word())) } else { Ok(caller.clone()) }
}

impl<S: Sync> FromRequestParts<S> for Viewer {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Failure> {
        caller_with(parts, Role::Viewer).map(Self)
    }
}

impl<S: Sync> FromRequestParts<S> for Operator {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Failure> {
        caller_with(parts, Role::Operator).map(Self)
    }
}

impl<S: Sync> FromRequestParts<S> for Admin {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Failure> {
        caller_with(parts, Role::Admin).map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lower_role_is_refused_and_a_higher_one_passes() {
        let mut parts = http::Request::new(()).into_parts().0;
        assert_eq!(caller_with(&parts, Role::Viewer).unwrap_err().status(), 401);
        parts.extensions.insert(Caller { actor: "eve".into(), role: Role::Viewer, via: Via::AdminToken });
        assert!(caller_with(&parts, Role::Viewer).is_ok());
        assert_eq!(caller_with(&parts, Role::Operator).unwrap_err().status(), 403);
        parts.extensions.insert(Caller { actor: "root".into(), role: Role::Admin, via: Via::AdminToken });
        assert!(caller_with(&parts, Role::Operator).is_ok());
    }
}
