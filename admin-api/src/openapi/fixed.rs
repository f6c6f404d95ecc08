//! The operations that are no resource's.

use gateway_config::change::Proposal;
use gateway_config::model::{Kind, Problem};
use serde_json::json;
use utoipa::openapi::path::{HttpMethod, OperationBuilder};
use utoipa::openapi::schema::{AdditionalProperties, Array, ObjectBuilder, OneOfBuilder};
use utoipa::openapi::{Content, Paths, RefOr, ResponseBuilder, Schema};

use super::parts::{
    JSON, Secured, answer, any_object, body_like, header, if_none_match, in_path, named, of, operation, page_of,
    paging, read_answer, refused, response, text,
};
use super::{examples, schema_name};
use crate::api::{Explained, NodeView, Question};

pub(super) const YAML: &str = "application/yaml";
pub(super) const DOCUMENT: &str = "Document";

pub(super) fn describe(paths: &mut Paths) {
    add(paths, "/admin/config/validate", HttpMethod::Post, validate());
    add(paths, "/admin/explain", HttpMethod::Post, explain());
    add(paths, "/admin/nodes", HttpMethod::Get, nodes());
    add(paths, "/admin/nodes/{id}", HttpMethod::Delete, remove_node());
    for (path, id, summary) in [
        ("/livez", "livez", "Is the process alive?"),
        ("/readyz", "readyz", "Does the database answer, and are its tables there?"),
    ] {
        let status = ObjectBuilder::new().property("status", text()).required("status");
        let asked = operation(id, "itself", summary).response("200", answer("Yes", status.into()).build());
        let refusals: &[u16] = if path == "/readyz" { &[405, 503] } else { &[405] };
        add(paths, path, HttpMethod::Get, refused(asked, refusals.iter()));
    }
    let metrics = ResponseBuilder::new().description("Prometheus text").content("text/plain", plain());
    let metrics = operation("metrics", "itself", "Metrics").response("200", metrics.build());
    add(paths, "/metrics", HttpMethod::Get, refused(metrics, [405].iter()));
    let page =
        ResponseBuilder::new().description("A page").content("text/html", plain()).header("ETag", header("Its own"));
    let page = operation("docs", "itself", "This description as a page, to browse and to try")
        .parameter(if_none_match("The ETag of the page that the caller has"))
        .response("200", page.build())
        .response("304", response(304));
    add(paths, "/docs", HttpMethod::Get, refused(page, [405].iter()));
    let described = operation("openapi", "itself", "This description")
        .parameter(if_none_match("The ETag of what the caller has"))
        .response("200", read_answer("OpenAPI 3.1", any_object()))
        .response("304", response(304));
    add(paths, "/openapi.json", HttpMethod::Get, refused(described, [405].iter()));
}

fn validate() -> OperationBuilder {
    let changes = closed().property("changes", Array::new(of::<Proposal>())).required("changes");
    let document = closed().property("document", named(DOCUMENT)).required("document");
    let schema: RefOr<Schema> = OneOfBuilder::new().item(changes).item(document).item(named(DOCUMENT)).into();
    let valid = ObjectBuilder::new()
        .property("valid", ObjectBuilder::new().schema_type(utoipa::openapi::schema::Type::Boolean))
        .required("valid")
        .property("warnings", Array::new(of::<Problem>()))
        .required("warnings");
    operation("validateConfig", "config", "What is wrong with changes, or with a document; nothing is written")
        .request_body(Some(body_like(&[JSON, YAML], &schema, &json!({"changes": examples::changes()}))))
        .response("200", answer("Could be written", valid.into()).build())
        .secured(&[413, 415])
}

/// A whole configuration, or some sections of one.
pub(super) fn document() -> RefOr<Schema> {
    let sections = Kind::ALL.into_iter().fold(closed(), |document, kind| match kind {
        Kind::Defaults => document.property(kind.plural(), named(&schema_name(kind))),
        _ => document.property(kind.plural(), Array::new(named(&schema_name(kind)))),
    });
    sections.description(Some("Any section may be absent; applications carry no key material")).into()
}

/// An object without unknown fields.
pub(super) fn closed() -> ObjectBuilder {
    ObjectBuilder::new().additional_properties(Some(AdditionalProperties::FreeForm(false)))
}

fn explain() -> OperationBuilder {
    operation("explain", "insight", "What the gateway would do with a request, and why")
        .request_body(Some(body_like(&[JSON], &of::<Question>(), &examples::question())))
        .response("200", answer("The decision and the steps that led to it", of::<Explained>()).build())
        .secured(&[413, 415])
}

fn nodes() -> OperationBuilder {
    operation("listNodes", "insight", "The gateways: live, silent and left")
        .parameters(Some(paging()))
        .parameter(if_none_match("The ETag of the page that the caller has"))
        .response("200", read_answer("A page", page_of(of::<NodeView>())))
        .response("304", response(304))
        .secured(&[])
}

fn remove_node() -> OperationBuilder {
    operation("removeNode", "insight", "Mark a node that is gone for good as left, so that nobody waits for it")
        .parameter(in_path("id"))
        .response("204", ResponseBuilder::new().description("Marked").build())
        .secured(&[404])
}

fn plain() -> Content {
    Content::new(Some(text()))
}

fn add(paths: &mut Paths, path: &str, method: HttpMethod, operation: OperationBuilder) {
    paths.add_path_operation(path, vec![method], operation.build());
}
