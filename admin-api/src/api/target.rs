//! What a path names: an entity of a resource, or a member of one of its lists.

use axum::extract::{FromRequestParts, RawPathParams};
use gateway_config::model::DEFAULTS_NAME;
use http::request::Parts;

use crate::error::Failure;
use crate::resource::{Members, Resource};
use crate::state::AppState;

/// The entity that the path names.
#[derive(Debug)]
pub(crate) struct Target {
    pub(crate) resource: &'static Resource,
    pub(crate) name: String,
}

/// One of an entity's lists; `key` where the path goes on to a member.
#[derive(Debug)]
pub(crate) struct ListTarget {
    pub(crate) of: Target,
    pub(crate) members: &'static Members,
    pub(crate) key: String,
}

/// The resource whose collection the path names.
#[derive(Debug)]
pub(crate) struct Collection(pub(crate) &'static Resource);

impl Target {
    pub(crate) fn what(&self) -> String {
        format!("{} \"{}\"", self.resource.kind, self.name)
    }
}

impl ListTarget {
    pub(crate) fn what(&self) -> String {
        format!("{} \"{}\" of {}", self.members.word, self.key, self.of.what())
    }

    pub(crate) fn address(&self) -> String {
        format!("{}/{}", self.of.resource.address(&self.of.name), self.members.field)
    }
}

impl FromRequestParts<AppState> for Collection {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, _: &AppState) -> Result<Self, Failure> {
        let resource = parts.extensions.get::<&'static Resource>().copied();
        resource.map(Self).ok_or_else(|| Failure::internal("a route without its resource"))
    }
}

impl FromRequestParts<AppState> for Target {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, Failure> {
        let Collection(resource) = Collection::from_request_parts(parts, state).await?;
        let name = match resource.parameter {
            Some(parameter) => parameter_of(parts, state, parameter).await?,
            None => DEFAULTS_NAME.to_owned(),
        };
        Ok(Self { resource, name })
    }
}

impl FromRequestParts<AppState> for ListTarget {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, Failure> {
        let of = Target::from_request_parts(parts, state).await?;
        let members = parts.extensions.get::<&'static Members>().copied();
        let members = members.ok_or_else(|| Failure::internal("a route without its list"))?;
        let key = parameter_of(parts, state, members.parameter).await?;
        Ok(Self { of, members, key })
    }
}

/// Percent-decoded; empty where the path ends before it.
pub(super) async fn parameter_of(parts: &mut Parts, state: &AppState, name: &str) -> Result<String, Failure> {
    let params = RawPathParams::from_request_parts(parts, state)
        .await
        .map_err(|_| Failure::bad_request("the path holds what is not UTF-8"))?;
    let found = params.iter().find(|(given, _)| *given == name);
    Ok(found.map(|(_, value)| value.to_owned()).unwrap_or_default())
}
