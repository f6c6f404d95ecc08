//! The operations on recent traffic: what came by, and what a change would have done to it.

use gateway_config::change::Proposal;
use gateway_config::model::Sample;
use serde_json::{Value, json};
use utoipa::openapi::path::{HttpMethod, OperationBuilder, Parameter, ParameterBuilder, ParameterIn};
use utoipa::openapi::schema::{Array, ObjectBuilder, OneOfBuilder, SchemaFormat};
use utoipa::openapi::{Paths, RefOr, Required, Schema};

use super::fixed::{DOCUMENT, YAML, closed};
use super::parts::{
    JSON, Secured, answer, body_like, if_none_match, integer, named, of, operation, page_of, paging, read_answer,
    response, text,
};
use super::resources::add;
use crate::api::Previewed;

pub(super) fn describe(paths: &mut Paths) {
    add(paths, "/admin/traffic", HttpMethod::Get, list());
    add(paths, "/admin/preview", HttpMethod::Post, preview());
}

fn list() -> OperationBuilder {
    let about = "At most 200 requests of each gateway every 5 seconds, evenly chosen, of the last 15 minutes. No bodies and nothing \
        secret; what clients put into paths and queries is left out unless the gateways' settings allow it by name.";
    let [limit, cursor, _] = paging();
    let status = integer().minimum(Some(0)).maximum(Some(599));
    let time = text().format(Some(SchemaFormat::Custom("date-time".to_owned())));
    operation("listTraffic", "insight", "List samples of recent requests, the newest first")
        .description(Some(about))
        .parameters(Some([limit, cursor]))
        .parameter(in_query("route", "Only what this route took", text(), &json!("orders")))
        .parameter(in_query("application", "Only of this application", text(), &json!("shop")))
        .parameter(in_query("status", "Only what was answered with this status", status, &json!(403)))
        .parameter(in_query("code", "Only what was refused with this code", text(), &json!("endpoint_not_allowed")))
        .parameter(in_query("since", "From this time on", time, &json!("2026-11-01T00:00:00Z")))
        .parameter(if_none_match("The ETag of the page that the caller has"))
        .response("200", read_answer("A page", page_of(of::<Sample>())))
        .response("304", response(304))
        .secured(&[])
}

fn preview() -> OperationBuilder {
    let about = "Decides the samples of the last 15 minutes again, as things stand and under the change, and tells what differs. \
        Limits are not counted again and credentials not verified again: what the change says of them is listed as not previewable. \
        What depends on something that samples do not keep is not guessed but counted as undecided.";
    let changes = closed().property("changes", Array::new(of::<Proposal>())).required("changes");
    let document = closed().property("document", named(DOCUMENT)).required("document");
    let schema: RefOr<Schema> = OneOfBuilder::new().item(changes).item(document).item(named(DOCUMENT)).into();
    let whitelist =
        json!([{"endpointPath": "/api/{version}/prices", "allowedMethods": ["GET"], "allowedVersions": ["v1"]}]);
    let change = json!({"op": "patch", "kind": "application", "name": "shop", "value": {"whitelist": whitelist}});
    operation("preview", "insight", "Try a change on recent traffic before it is made; nothing is written")
        .description(Some(about))
        .request_body(Some(body_like(&[JSON, YAML], &schema, &json!({"changes": [change]}))))
        .response("200", answer("What would differ", of::<Previewed>()).build())
        .secured(&[409, 413, 415])
}

fn in_query(name: &str, about: &str, schema: ObjectBuilder, example: &Value) -> Parameter {
    ParameterBuilder::new()
        .name(name)
        .parameter_in(ParameterIn::Query)
        .required(Required::False)
        .description(Some(about))
        .schema(Some(schema))
        .example(Some(example.clone()))
        .build()
}
