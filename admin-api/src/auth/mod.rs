//! Who may do what. Permission is an argument: a handler that takes a [`Viewer`] or an [`Operator`] can't run for anybody
//! less, and one that takes neither is public, visibly.

mod gate;

use axum::extract::FromRequestParts;
use gateway_config::model::Actor;
use http::request::Parts;

use crate::error::Failure;

pub(crate) use gate::gate;

/// Each may do what those before it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Role {
    Viewer,
    Operator,
    Admin,
}

/// Who calls, known to be who they say.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    /// As the history names them.
    pub(crate) actor: Actor,
    pub(crate) role: Role,
}

/// May read.
#[derive(Debug)]
pub(crate) struct Viewer;

/// May change the configuration.
#[derive(Debug)]
pub(crate) struct Operator(pub(crate) Caller);

impl Role {
    fn word(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Operator => "operator",
            Self::Admin => "admin",
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
        caller_with(parts, Role::Viewer).map(|_| Self)
    }
}

impl<S: Sync> FromRequestParts<S> for Operator {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Failure> {
        caller_with(parts, Role::Operator).map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lower_role_is_refused_and_a_higher_one_passes() {
        let mut parts = http::Request::new(()).into_parts().0;
        assert_eq!(caller_with(&parts, Role::Viewer).unwrap_err().status(), 401);
        parts.extensions.insert(Caller { actor: "eve".into(), role: Role::Viewer });
        assert!(caller_with(&parts, Role::Viewer).is_ok());
        assert_eq!(caller_with(&parts, Role::Operator).unwrap_err().status(), 403);
        parts.extensions.insert(Caller { actor: "root".into(), role: Role::Admin });
        assert!(caller_with(&parts, Role::Operator).is_ok());
    }
}
