//! What operations are made of: parameters, bodies, answers.

use std::borrow::Cow;

use serde_json::Value;
use utoipa::ToSchema;
use utoipa::openapi::header::Header;
use utoipa::openapi::path::{OperationBuilder, Parameter, ParameterBuilder, ParameterIn};
use utoipa::openapi::request_body::{RequestBody, RequestBodyBuilder};
use utoipa::openapi::schema::{AdditionalProperties, Array, ObjectBuilder, SchemaType, Type};
use utoipa::openapi::security::SecurityRequirement;
use utoipa::openapi::{Content, ContentBuilder, Ref, RefOr, Required, Response, ResponseBuilder, Schema};

use super::refusals;
use crate::api::{LARGEST_PAGE, USUAL_PAGE, WaitingFor};

/// The name of the security scheme.
pub(super) const TOKEN: &str = "token";
pub(super) const JSON: &str = "application/json";

/// What every operation below `/admin` may answer.
const USUAL_REFUSALS: [u16; 6] = [400, 401, 403, 405, 422, 503];

pub(super) fn operation(id: &str, tag: &str, summary: impl Into<String>) -> OperationBuilder {
    OperationBuilder::new().operation_id(Some(id)).tag(tag).summary(Some(summary.into()))
}

pub(super) trait Secured {
    /// Needs a token, and may be refused with these statuses beside those of every operation.
    fn secured(self, refusals: &[u16]) -> Self;
}

impl Secured for OperationBuilder {
    fn secured(self, refusals: &[u16]) -> Self {
        let secured = self.security(SecurityRequirement::new(TOKEN, [] as [&str; 0]));
        refused(secured, USUAL_REFUSALS.iter().chain(refusals))
    }
}

/// Documents refusals, each with the error schema.
pub(super) fn refused<'s>(operation: OperationBuilder, statuses: impl Iterator<Item = &'s u16>) -> OperationBuilder {
    statuses.fold(operation, |operation, status| operation.response(status.to_string(), response(*status)))
}

/// The answers that operations refer to, by their names.
pub(super) fn shared_responses() -> impl Iterator<Item = (String, RefOr<Response>)> {
    let refusals = [400, 401, 403, 404, 405, 409, 412, 413, 415, 422, 429, 503];
    let refusals = refusals.into_iter().map(|status| (reason(status), RefOr::T(refusal(status))));
    refusals.chain([(reason(202), RefOr::T(accepted())), (reason(304), RefOr::T(not_modified()))])
}

/// A reference to one of them.
pub(super) fn response(status: u16) -> RefOr<Response> {
    RefOr::Ref(Ref::from_response_name(reason(status)))
}

/// The status in words, as a name.
fn reason(status: u16) -> String {
    let words = http::StatusCode::from_u16(status).ok().and_then(|status| status.canonical_reason());
    words.unwrap_or("Refused").replace(' ', "")
}

fn refusal(status: u16) -> Response {
    let words = http::StatusCode::from_u16(status).ok().and_then(|status| status.canonical_reason());
    let response = ResponseBuilder::new().description(words.unwrap_or("Refused"));
    let response = response.content(JSON, refusals::content(status));
    let response = match status {
        401 => response.header("WWW-Authenticate", header("The scheme to use")),
        405 => response.header("Allow", header("The methods that are served here")),
        429 | 503 => response.header("Retry-After", header("Seconds")),
        _ => response,
    };
    response.build()
}

pub(super) fn answer(description: &str, schema: RefOr<Schema>) -> ResponseBuilder {
    ResponseBuilder::new().description(description).content(JSON, Content::new(Some(schema)))
}

pub(super) fn read_answer(description: &str, schema: RefOr<Schema>) -> Response {
    answer(description, schema).header("ETag", header("Changes with the content")).build()
}

fn not_modified() -> Response {
    ResponseBuilder::new().description("The caller has it already").header("ETag", header("As before")).build()
}

/// The headers of an answer to a configuration write.
pub(super) fn write_headers(response: ResponseBuilder) -> ResponseBuilder {
    response
        .header("X-Config-Generation", header("The generation that holds now"))
        .header("X-Config-Applied", header("After a wait: live nodes that serve it / live nodes"))
        .header("X-Config-Warnings", header("How many warnings validating this would give"))
}

/// The 202 of a write whose nodes did not all follow in time.
fn accepted() -> Response {
    let schema = ObjectBuilder::new()
        .property("generation", integer())
        .required("generation")
        .property("waitingFor", Array::new(of::<WaitingFor>()))
        .required("waitingFor");
    write_headers(answer("Written, but these nodes did not follow in time", schema.into())).build()
}

pub(super) fn header(description: &str) -> Header {
    let mut header = Header::new(ObjectBuilder::new().schema_type(SchemaType::Type(Type::String)));
    header.description = Some(description.to_owned());
    header
}

/// A body with an example of it.
pub(super) fn body_like(content_types: &[&str], schema: &RefOr<Schema>, example: &Value) -> RequestBody {
    let content = ContentBuilder::new().schema(Some(schema.clone())).example(Some(example.clone())).build();
    let builder = RequestBodyBuilder::new().required(Some(Required::True));
    content_types.iter().fold(builder, |body, content_type| body.content(*content_type, content.clone())).build()
}

/// A name or an id in the path; what it is, where there is no more to say than its name does.
pub(super) fn in_path(name: &str) -> Parameter {
    let (about, example) = match name {
        "serviceName" => ("The service's name", "orders"),
        "version" => ("The version's name in its service, or its id", "v2"),
        "name" => ("The name", "shop"),
        _ => ("The id", "01a1fef9-f7a5-7c41-9d3e-5b8f0c2a6e17"),
    };
    named_in_path(name, about, example)
}

pub(super) fn named_in_path(name: &str, about: &str, example: &str) -> Parameter {
    let schema = ObjectBuilder::new().schema_type(SchemaType::Type(Type::String)).min_length(Some(1));
    ParameterBuilder::new()
        .name(name)
        .parameter_in(ParameterIn::Path)
        .required(Required::True)
        .description(Some(about))
        .schema(Some(schema))
        .example(Some(example.into()))
        .build()
}

pub(super) fn wait() -> Parameter {
    let schema = ObjectBuilder::new()
        .schema_type(SchemaType::Type(Type::String))
        .pattern(Some("^([0-5]?[0-9]|60)s?$|^[0-5]?[0-9]{1,4}ms$"))
        .examples(["5s", "500ms"]);
    let about = "Answer only once every live node serves the change and none is silent, at most after this time (60s)";
    optional("wait", ParameterIn::Query, about, schema)
}

pub(super) fn if_match() -> Parameter {
    optional("If-Match", ParameterIn::Header, "The ETag of what was read, or *", text())
}

pub(super) fn if_none_match(about: &str) -> Parameter {
    optional("If-None-Match", ParameterIn::Header, about, text())
}

pub(super) fn paging() -> [Parameter; 3] {
    let limit = ObjectBuilder::new()
        .schema_type(SchemaType::Type(Type::Integer))
        .minimum(Some(1))
        .maximum(Some(LARGEST_PAGE))
        .default(Some(USUAL_PAGE.into()));
    [
        optional("limit", ParameterIn::Query, "The largest number of items", limit),
        optional("cursor", ParameterIn::Query, "The nextCursor of the page before", text()),
        optional("q", ParameterIn::Query, "Only names and descriptions that contain this", text()),
    ]
}

pub(super) fn page_of(schema: RefOr<Schema>) -> RefOr<Schema> {
    let cursor = ObjectBuilder::new().schema_type(SchemaType::from_iter([Type::String, Type::Null]));
    ObjectBuilder::new()
        .property("items", Array::new(schema))
        .required("items")
        .property("nextCursor", cursor)
        .required("nextCursor")
        .into()
}

fn optional(name: &str, place: ParameterIn, about: &str, schema: ObjectBuilder) -> Parameter {
    ParameterBuilder::new()
        .name(name)
        .parameter_in(place)
        .required(Required::False)
        .description(Some(about))
        .schema(Some(schema))
        .build()
}

/// A reference to a schema by its name.
pub(super) fn named(name: &str) -> RefOr<Schema> {
    RefOr::Ref(Ref::from_schema_name(name))
}

pub(super) fn of<T: ToSchema>() -> RefOr<Schema> {
    let name: Cow<'static, str> = T::name();
    named(&name)
}

pub(super) fn any_object() -> RefOr<Schema> {
    ObjectBuilder::new().additional_properties(Some(AdditionalProperties::FreeForm(true))).into()
}

pub(super) fn text() -> ObjectBuilder {
    ObjectBuilder::new().schema_type(SchemaType::Type(Type::String))
}

pub(super) fn integer() -> ObjectBuilder {
    ObjectBuilder::new().schema_type(SchemaType::Type(Type::Integer))
}
