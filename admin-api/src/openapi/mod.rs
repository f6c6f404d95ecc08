//! The description of the API, OpenAPI 3.1: schemas from the model's own types, paths from the resources that the router is
//! made of. The committed `openapi.json` is this, and a test compares them.

mod admins;
mod declarative;
mod examples;
mod fixed;
mod history;
mod import;
mod keys;
mod parts;
mod queues;
mod refusals;
mod resources;
mod roles;
mod tags;
mod tidy;
mod traffic;

use gateway_config::change::Proposal;
use gateway_config::model::{
    Application, AuditEntry, Certificate, Defaults, Generation, GenerationLine, JwtIssuer, Kind, NodeState, Problem,
    Queue, Route, Service, ServiceVersion, WhitelistEntry,
};
use gateway_config::snapshot::TrailStep;
use serde_json::Value;
use utoipa::ToSchema;
use utoipa::openapi::schema::Components;
use utoipa::openapi::security::{ApiKey, ApiKeyValue, Http, HttpAuthScheme, SecurityScheme};
use utoipa::openapi::{Info, OpenApi, Paths};

use crate::api::{
    AdminView, ChangePassword, CreateAdmin, CreateToken, Login, Me, PatchAdmin, Refresh, ShownToken, TokenView, Tokens,
};
use crate::api::{Explained, IssueKey, KeyView, NodeView, PatchKey, Question, RotateKey, ShownKey, WaitingFor};
use crate::auth::cookie::COOKIE_NAME;
use crate::error::ErrorBody;
use parts::{TOKEN, shared_responses};

const ABOUT: &str = "The control plane of Gatehouse. Every write makes at most one generation (`X-Config-Generation`); with \
    `?wait=5s` it is answered once every live gateway serves it. Reads carry an `ETag`; a write with `If-Match` is refused with 412 \
    when somebody else wrote in between.";

const TOKENS: &str = "An access token of `POST /admin/auth/login`, a personal token of `POST /admin/users/{id}/tokens`, or \
    `ADMIN_TOKEN`";
const COOKIES: &str = "Of `POST /admin/auth/login` with `\"cookie\": true`. A request by cookie with a method other than GET, \
    HEAD and OPTIONS needs the header `X-CSRF-Token`";

/// Pretty, as committed.
#[must_use]
pub fn document() -> String {
    serde_json::to_string_pretty(&value()).unwrap_or_default()
}

pub(crate) fn value() -> Value {
    let mut value = serde_json::to_value(described()).unwrap_or(Value::Null);
    tidy::tidy(&mut value);
    roles::mark(&mut value);
    value
}

fn described() -> OpenApi {
    let mut paths = Paths::new();
    resources::describe(&mut paths);
    keys::describe(&mut paths);
    fixed::describe(&mut paths);
    declarative::describe(&mut paths);
    history::describe(&mut paths);
    admins::describe(&mut paths);
    import::describe(&mut paths);
    traffic::describe(&mut paths);
    queues::describe(&mut paths);
    let mut info = Info::new("Gatehouse admin API", env!("CARGO_PKG_VERSION"));
    info.description = Some(ABOUT.to_owned());
    let mut api = OpenApi::new(info, paths);
    api.components = Some(components());
    api.tags = Some(tags::all());
    api
}

fn components() -> Components {
    let mut components = Components::new();
    let bearer = Http::builder().scheme(HttpAuthScheme::Bearer).description(Some(TOKENS)).build();
    components.add_security_scheme(TOKEN, SecurityScheme::Http(bearer));
    let cookie = ApiKeyValue::with_description(COOKIE_NAME, COOKIES);
    components.add_security_scheme(roles::COOKIE, SecurityScheme::ApiKey(ApiKey::Cookie(cookie)));
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
    add::<crate::api::Report>(&mut components);
    add::<Generation>(&mut components);
    add::<GenerationLine>(&mut components);
    add::<AuditEntry>(&mut components);
    add::<crate::api::Between>(&mut components);
    add::<gateway_config::model::Sample>(&mut components);
    add::<crate::api::Previewed>(&mut components);
    add::<Login>(&mut components);
    add::<Refresh>(&mut components);
    add::<Tokens>(&mut components);
    add::<Me>(&mut components);
    add::<ChangePassword>(&mut components);
    add::<AdminView>(&mut components);
    add::<CreateAdmin>(&mut components);
    add::<PatchAdmin>(&mut components);
    add::<TokenView>(&mut components);
    add::<ShownToken<'static>>(&mut components);
    add::<CreateToken>(&mut components);
    add::<crate::import::Imported>(&mut components);
    queues::components(&mut components);
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
