//! The configuration as one document: written out, and applied.

use gateway_config::model::Kind;
use serde_json::{Value, json};
use utoipa::openapi::path::{HttpMethod, OperationBuilder, Parameter, ParameterBuilder, ParameterIn};
use utoipa::openapi::schema::{ArrayBuilder, ObjectBuilder, Type};
use utoipa::openapi::{Content, ContentBuilder, Paths, RefOr, Required, Schema};

use super::examples;
use super::fixed::DOCUMENT;
use super::parts::{
    JSON, Secured, answer, body_like, header, if_match, if_none_match, named, of, operation, read_answer, response,
    text, wait, write_headers,
};
use super::resources::add;
use crate::api::Report;

const YAML: &str = "application/yaml";

pub(super) fn describe(paths: &mut Paths) {
    add(paths, "/admin/config/export", HttpMethod::Get, export());
    add(paths, "/admin/config/apply", HttpMethod::Post, apply());
}

fn export() -> OperationBuilder {
    let about = "Everything in a fixed order, without ids, times, keys and secrets: the same configuration gives the same document in \
        any fleet, and applying it changes nothing. The ETag changes whenever the configuration does, also where that does not show in \
        the document; `POST /admin/config/apply` takes it as If-Match.";
    let mut document = read_answer("The document", named(DOCUMENT));
    let whole = ContentBuilder::new().schema(Some(named(DOCUMENT))).example(Some(examples::document())).build();
    document.content.insert(JSON.to_owned(), whole.into());
    document.content.insert(YAML.to_owned(), Content::new(Some(named(DOCUMENT))).into());
    let section = text().enum_values(Some(Kind::ALL.map(Kind::plural)));
    let sections: RefOr<Schema> = ArrayBuilder::new().items(section).build().into();
    let format = text().enum_values(Some(["json", "yaml"]));
    operation("exportConfig", "config", "The configuration as a document, JSON or YAML")
        .description(Some(about))
        .parameter(in_query(
            "sections",
            "Only these; all of them where none is named",
            sections,
            json!(["services", "routes"]),
        ))
        .parameter(in_query("format", "Absent: as Accept says, else JSON", format.into(), json!("yaml")))
        .parameter(if_none_match("The ETag of what the caller has"))
        .response("200", document)
        .response("304", response(304))
        .secured(&[])
}

fn apply() -> OperationBuilder {
    let about = "Creates or replaces every entity that the document names, all of them in one step or none. Sections that are absent are \
        left alone; with prune, what a section that is there does not name is deleted. Keys of applications are never touched, except \
        that an application is deleted with its keys, which the warnings say. What stands already makes no generation. With dryRun \
        nothing is written, and a viewer may ask. If-Match takes the ETag of an export.";
    let done = answer("Done, or what would be done", of::<Report>());
    let mut done = write_headers(done.header("ETag", header("Of the whole configuration"))).build();
    let content = ContentBuilder::new().schema(Some(of::<Report>())).example(Some(report())).build();
    done.content.insert(JSON.to_owned(), content.into());
    let switch = || -> RefOr<Schema> { ObjectBuilder::new().schema_type(Type::Boolean).into() };
    operation("applyConfig", "config", "Make the configuration what a document says")
        .description(Some(about))
        .parameter(in_query("dryRun", "Only say what it would come to", switch(), json!(true)))
        .parameter(in_query("prune", "Delete what the document's sections do not name", switch(), json!(false)))
        .parameter(wait())
        .parameter(if_match())
        .request_body(Some(body_like(&[JSON, YAML], &named(DOCUMENT), &examples::document())))
        .response("200", done)
        .response("202", response(202))
        .secured(&[409, 412, 413, 415])
}

fn report() -> Value {
    let route = |priority: u32| {
        let mut route = examples::entity(Kind::Route);
        route["priority"] = json!(priority);
        route
    };
    json!({
        "generation": 7,
        "dryRun": false,
        "create": [{"kind": "service", "name": "orders", "value": examples::entity(Kind::Service)}],
        "update": [
            {"kind": "route", "name": "orders", "changed": ["priority"], "before": route(0), "after": route(10)},
        ],
        "delete": [],
        "unchanged": 14,
        "warnings": [],
    })
}

fn in_query(name: &str, about: &str, schema: RefOr<Schema>, example: Value) -> Parameter {
    // A list is written with commas, as in `a,b`.
    let parameter = ParameterBuilder::new().explode(Some(false)).name(name).parameter_in(ParameterIn::Query);
    parameter.required(Required::False).description(Some(about)).schema(Some(schema)).example(Some(example)).build()
}
