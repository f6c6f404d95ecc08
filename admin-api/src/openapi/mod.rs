//! The description of the API, OpenAPI 3.1: schemas from the model's own types, paths from the resources that the router is
//! made of. The committed `openapi.json` is this, and a test compares them.

mod fixed;
mod keys;
mod parts;
mod resources;

use gateway_config::change::Proposal;
use gateway_config::model::{
    Application, Certificate, Defaults, JwtIssuer, Kind, NodeState, Problem, Queue, Route, Service, ServiceVersion,
    WhitelistEntry,
};
use gateway_config::snapshot::TrailStep;
use serde_json::Value;
use utoipa::ToSchema;
use utoipa::openapi::schema::Components;
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityScheme};
use utoipa::openapi::{Info, OpenApi, Paths};

use crate::api::{Explained, IssueKey, KeyView, NodeView, PatchKey, Question, RotateKey, ShownKey, WaitingFor};
use crate::error::ErrorBody;
use parts::{TOKEN, shared_responses};

const ABOUT: &str = "The control plane of Gatehouse. Every write makes at most one generation (`X-Config-Generation`); with \
    `?wait=5s` it is answered once every live gateway serves it. Reads carry an `ETag`; a write with `If-Match` is refused with 412 \
    when somebody else wrote in between.";

/// Pretty, as committed.
#[must_use]
pub fn document() -> String {
    described().to_pretty_json().unwrap_or_default()
}

pub(crate) fn value() -> Value {
    serde_json::to_value(described()).unwrap_or(Value::Null)
}

fn described() -> OpenApi {
    let mut paths = Paths::new();
    resources::describe(&mut paths);
    keys::describe(&mut paths);
    fixed::describe(&mut paths);
    let mut info = Info::new("Gatehouse admin API", env!("CARGO_PKG_VERSION"));
    info.description = Some(ABOUT.to_owned());
    let mut api = OpenApi::new(info, paths);
    api.components = Some(components());
    api
}

fn components() -> Components {
    let mut components = Components::new();
    let bearer = Http::builder().scheme(HttpAuthScheme::Bearer).description(Some("`ADMIN_TOKEN`")).build();
    components.add_security_scheme(TOKEN, SecurityScheme::Http(bearer));
    components.responses.extend(shared_responses());
    add::<ErrorBody<'static>>(&mut components);
    add::<Service>(&mut components);
    add::<Route>(&mut components);
    add::<Queue>(&mut components);
    add::<Application>(&mut components);
    add::<JwtIssuer>(&mut components);
    add::<Certificate>(&mut components);
    add::<Defaults>(&mut components);
    add::<Proposal>(&mut components);
    add::<Question>(&mut components);
    add::<Explained>(&mut components);
    add::<NodeView>(&mut components);
    add::<KeyView>(&mut components);
    add::<ShownKey<'static>>(&mut components);
    add::<IssueKey>(&mut components);
    add::<PatchKey>(&mut components);
    add::<RotateKey>(&mut components);
    add::<WaitingFor>(&mut components);
    components.schemas.insert(fixed::DOCUMENT.to_owned(), fixed::document());
    for (name, schema) in [
        (Problem::name(), <Problem as utoipa::PartialSchema>::schema()),
        (NodeState::name(), <NodeState as utoipa::PartialSchema>::schema()),
        (TrailStep::name(), <TrailStep as utoipa::PartialSchema>::schema()),
    ] {
        components.schemas.insert(name.into_owned(), schema);
    }
    components
}

/// The type's schema and all that it is made of.
fn add<T: ToSchema>(components: &mut Components) {
    let mut schemas = Vec::new();
    T::schemas(&mut schemas);
    schemas.push((T::name().into_owned(), T::schema()));
    components.schemas.extend(schemas);
}

/// The schema of an entity of this kind.
fn schema_name(kind: Kind) -> String {
    let name = match kind {
        Kind::Service => Service::name(),
        Kind::Route => Route::name(),
        Kind::Queue => Queue::name(),
        Kind::Application => Application::name(),
        Kind::Issuer => JwtIssuer::name(),
        Kind::Certificate => Certificate::name(),
        Kind::Defaults => Defaults::name(),
    };
    name.into_owned()
}

/// The schema of a member of this kind's lists.
fn member_schema_name(kind: Kind) -> String {
    match kind {
        Kind::Application => WhitelistEntry::name().into_owned(),
        _ => ServiceVersion::name().into_owned(),
    }
}
