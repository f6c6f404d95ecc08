//! The operations on the API keys of applications.

use serde_json::json;
use utoipa::ToSchema;
use utoipa::openapi::path::{HttpMethod, OperationBuilder};
use utoipa::openapi::schema::{AllOfBuilder, Array, ObjectBuilder};
use utoipa::openapi::{Paths, RefOr, Required, Response, ResponseBuilder, Schema};

use super::parts::{
    JSON, Secured, answer, body_like, header, if_match, if_none_match, in_path, integer, of, operation, page_of,
    paging, read_answer, response, wait, write_headers,
};
use super::resources::{MERGE_PATCH, add};
use crate::api::{IssueKey, KeyView, PatchKey, RotateKey, ShownKey, WaitingFor};

const KEYS: &str = "/admin/access/applications/{name}/keys";

pub(super) fn describe(paths: &mut Paths) {
    let (one, rotation) = (format!("{KEYS}/{{id}}"), format!("{KEYS}/{{id}}/rotate"));
    add(paths, KEYS, HttpMethod::Get, list());
    add(paths, KEYS, HttpMethod::Post, create());
    add(paths, &one, HttpMethod::Get, show());
    add(paths, &one, HttpMethod::Patch, patch());
    add(paths, &one, HttpMethod::Delete, revoke());
    add(paths, &rotation, HttpMethod::Post, rotate());
}

fn list() -> OperationBuilder {
    about("listKeys", "List the API keys of an application, revoked ones too")
        .parameters(Some(paging()))
        .parameter(if_none_match("The ETag of the page that the caller has"))
        .response("200", read_answer("A page", page_of(of::<KeyView>())))
        .response("304", response(304))
        .secured(&[404])
}

fn create() -> OperationBuilder {
    about("createKey", "Make an API key; it is shown in this answer and never again")
        .parameter(wait())
        .request_body(Some(body_like(
            &[JSON],
            &of::<IssueKey>(),
            &json!({"name": "the till in Bonn", "expiresAt": "2027-12-31T23:59:59Z"}),
        )))
        .response("201", made("Made"))
        .response("202", made_but_waiting())
        .secured(&[404, 409, 413, 415])
}

fn show() -> OperationBuilder {
    one("getKey", "Show an API key, without the key itself")
        .parameter(if_none_match("The ETag of what the caller has"))
        .response("200", read_answer("As it stands", of::<KeyView>()))
        .response("304", response(304))
        .secured(&[404])
}

fn patch() -> OperationBuilder {
    let changed =
        answer("Changed, or equal already", of::<KeyView>()).header("ETag", header("Of what stands there now"));
    one("patchKey", "Rename an API key, or move the end of one that has not ended")
        .parameter(wait())
        .parameter(if_match())
        .request_body(Some(body_like(&[MERGE_PATCH, JSON], &of::<PatchKey>(), &json!({"name": "the till in Cologne"}))))
        .response("200", write_headers(changed).build())
        .response("202", response(202))
        .secured(&[404, 409, 412, 413, 415])
}

fn revoke() -> OperationBuilder {
    one("revokeKey", "Revoke an API key. It stays in the list, and nothing brings it back")
        .parameter(wait())
        .parameter(if_match())
        .response("202", response(202))
        .response("204", write_headers(ResponseBuilder::new().description("Revoked")).build())
        .secured(&[404, 409, 412])
}

fn rotate() -> OperationBuilder {
    let mut may_be_empty = body_like(&[JSON], &of::<RotateKey>(), &json!({"overlapSeconds": 86_400}));
    may_be_empty.required = Some(Required::False);
    one("rotateKey", "Make an API key in place of this one, which is revoked at once or after an overlap")
        .parameter(wait())
        .parameter(if_match())
        .request_body(Some(may_be_empty))
        .response("201", made("Made; Location is the new key's"))
        .response("202", made_but_waiting())
        .secured(&[404, 409, 412, 413, 415])
}

fn about(id: &str, summary: &str) -> OperationBuilder {
    operation(id, "keys", summary).parameter(in_path("name"))
}

fn one(id: &str, summary: &str) -> OperationBuilder {
    about(id, summary).parameter(in_path("id"))
}

fn made(description: &str) -> Response {
    let told = answer(description, shown()).header("ETag", header("Of what stands there now"));
    write_headers(told.header("Location", header("Its path"))).build()
}

/// The only answer with the key must hold it whatever the nodes do.
fn made_but_waiting() -> Response {
    let waiting = ObjectBuilder::new()
        .property("generation", integer())
        .required("generation")
        .property("waitingFor", Array::new(of::<WaitingFor>()))
        .required("waitingFor");
    let schema = AllOfBuilder::new().item(shown()).item(waiting);
    let told = answer("Made, but these nodes did not follow in time", schema.into());
    write_headers(told.header("Location", header("Its path"))).build()
}

fn shown() -> RefOr<Schema> {
    super::parts::named(&ShownKey::name())
}
