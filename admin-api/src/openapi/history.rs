//! The operations on the history of the configuration, and on the audit.

use gateway_config::model::{AuditEntry, Generation, GenerationLine};
use serde_json::json;
use utoipa::openapi::path::{HttpMethod, OperationBuilder, Parameter, ParameterBuilder, ParameterIn};
use utoipa::openapi::schema::ObjectBuilder;
use utoipa::openapi::{Paths, Required};

use super::parts::{
    Secured, answer, header, if_match, if_none_match, integer, of, operation, page_of, paging, read_answer, response,
    text, wait, write_headers,
};
use super::resources::add;
use crate::api::{Between, Report};

const GENERATIONS: &str = "/admin/config/generations";

pub(super) fn describe(paths: &mut Paths) {
    let one = format!("{GENERATIONS}/{{number}}");
    add(paths, GENERATIONS, HttpMethod::Get, list());
    add(paths, &one, HttpMethod::Get, show());
    add(paths, &format!("{one}/diff"), HttpMethod::Get, diff());
    add(paths, &format!("{one}/rollback"), HttpMethod::Post, roll_back());
    add(paths, "/admin/audit", HttpMethod::Get, audit());
}

fn list() -> OperationBuilder {
    operation("listGenerations", "history", "List what was written, the newest first")
        .parameters(Some(paging_by("Only where the actor or the summary contains this, in any case")))
        .parameter(if_none_match("The ETag of the page that the caller has"))
        .response("200", read_answer("A page", page_of(of::<GenerationLine>())))
        .response("304", response(304))
        .secured(&[])
}

fn show() -> OperationBuilder {
    operation("getGeneration", "history", "Show what a write changed: every entity before and after")
        .parameter(number())
        .parameter(if_none_match("The ETag of what the caller has"))
        .response("200", read_answer("As it was written", of::<Generation>()))
        .response("304", response(304))
        .secured(&[404, 409])
}

fn diff() -> OperationBuilder {
    let from = "The generation to begin at, also a later one; 0: a fresh fleet; absent: the one before";
    let bound = integer().minimum(Some(0));
    operation("diffGenerations", "history", "What leads from one generation to another")
        .parameter(number())
        .parameter(in_query("from", from, bound, json!(7)))
        .parameter(if_none_match("The ETag of what the caller has"))
        .response("200", read_answer("What is new, what differs and what is gone", of::<Between>()))
        .response("304", response(304))
        .secured(&[404, 409])
}

fn roll_back() -> OperationBuilder {
    let about = "Writes a new generation in which everything stands as it did in this one, API keys excepted: no key comes back and \
        none is taken away; the warnings say where that matters. What stands already makes no generation. If-Match takes the ETag \
        of the whole export. With dryRun nothing is written, and a viewer may ask.";
    let dry_run = ObjectBuilder::new().schema_type(utoipa::openapi::schema::Type::Boolean);
    let done =
        answer("Done, or what would be done", of::<Report>()).header("ETag", header("Of the whole configuration"));
    operation("rollBack", "history", "Go back to this generation")
        .description(Some(about))
        .parameter(number())
        .parameter(wait())
        .parameter(in_query("dryRun", "Only say what it would come to", dry_run, json!(true)))
        .parameter(if_match())
        .response("200", write_headers(done).build())
        .response("202", response(202))
        .secured(&[404, 409, 412])
}

fn audit() -> OperationBuilder {
    let time = || text().format(Some(utoipa::openapi::schema::SchemaFormat::Custom("date-time".to_owned())));
    let about = "Every write and every other deed, with what stood there before and after. Each entry carries a keyed hash over itself \
        and the one before: `admin-api audit verify` finds what was altered or taken out.";
    operation("listAudit", "history", "List who did what, when and from where, the newest first")
        .description(Some(about))
        .parameters(Some(paging_by("Only where the actor, the summary, the address or the request id contains this")))
        .parameter(in_query("actor", "Only what exactly this actor did", text(), json!("ann@example.com")))
        .parameter(in_query("action", "Only this action", text(), json!("config.write")))
        .parameter(in_query("kind", "Only what changed something of this kind", text(), json!("route")))
        .parameter(in_query("name", "Only what changed something of this name", text(), json!("orders")))
        .parameter(in_query("since", "From this time on", time(), json!("2026-11-01T00:00:00Z")))
        .parameter(in_query("until", "Before this time", time(), json!("2026-12-01T00:00:00Z")))
        .parameter(if_none_match("The ETag of the page that the caller has"))
        .response("200", read_answer("A page", page_of(of::<AuditEntry>())))
        .response("304", response(304))
        .secured(&[])
}

fn paging_by(what: &str) -> [Parameter; 3] {
    paging().map(|mut parameter| {
        if parameter.name == "q" {
            parameter.description = Some(what.to_owned());
        }
        parameter
    })
}

fn number() -> Parameter {
    ParameterBuilder::new()
        .name("number")
        .parameter_in(ParameterIn::Path)
        .required(Required::True)
        .description(Some("The generation's number"))
        .schema(Some(integer().minimum(Some(0))))
        .example(Some(json!(7)))
        .build()
}

fn in_query(name: &str, about: &str, schema: ObjectBuilder, example: serde_json::Value) -> Parameter {
    ParameterBuilder::new()
        .name(name)
        .parameter_in(ParameterIn::Query)
        .required(Required::False)
        .description(Some(about))
        .schema(Some(schema))
        .example(Some(example))
        .build()
}
