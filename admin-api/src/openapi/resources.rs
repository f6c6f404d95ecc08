//! The operations of the resources, the same for all.

use utoipa::openapi::path::{HttpMethod, Operation, OperationBuilder};
use utoipa::openapi::{Paths, RefOr, Response, ResponseBuilder, Schema};

use super::parts::{
    JSON, Secured, answer, any_object, body, header, if_match, if_none_match, in_path, named, operation, page_of,
    paging, read_answer, response, wait, write_headers,
};
use super::{member_schema_name, schema_name};
use crate::resource::{RESOURCES, Resource};

pub(super) const MERGE_PATCH: &str = "application/merge-patch+json";

/// What the operations of one collection and its entities have in common.
struct Described {
    tag: &'static str,
    /// `Service`, `ServiceVersion`: part of the operations' ids.
    id: String,
    /// One of them, in words.
    word: String,
    schema: RefOr<Schema>,
    /// The names in the path: those of the collection, and the entity's own.
    above: Vec<&'static str>,
    own: Option<&'static str>,
}

pub(super) fn describe(paths: &mut Paths) {
    for resource in &RESOURCES {
        let entity = Described::entity(resource);
        match resource.parameter {
            None => entity.one(paths, &resource.entity_path(), false),
            Some(_) => {
                entity.collection(paths, resource.path);
                entity.one(paths, &resource.entity_path(), true);
            }
        }
        for members in resource.members {
            let schema = member_schema_name(resource.kind);
            let member = Described {
                tag: resource.kind.plural(),
                id: schema.clone(),
                word: format!("{} of a {}", members.word, resource.kind),
                schema: named(&schema),
                above: resource.parameter.into_iter().collect(),
                own: Some(members.parameter),
            };
            member.collection(paths, &resource.members_path(members));
            member.one(paths, &members.member_path(resource), true);
        }
    }
}

impl Described {
    fn entity(resource: &Resource) -> Self {
        let schema = schema_name(resource.kind);
        Self {
            tag: resource.kind.plural(),
            word: resource.kind.word().to_owned(),
            schema: named(&schema),
            id: schema,
            above: Vec::new(),
            own: resource.parameter,
        }
    }

    fn collection(&self, paths: &mut Paths, path: &str) {
        let list = self
            .begin("list", "s", &format!("List: {}", self.word), false)
            .parameters(Some(paging()))
            .parameter(if_none_match("The ETag of the page that the caller has"))
            .response("200", read_answer("A page", page_of(self.schema.clone())))
            .response("304", response(304))
            .secured(&[404]);
        let create = self
            .begin("create", "", &format!("Create a {}", self.word), false)
            .parameter(wait())
            .request_body(Some(body(&[JSON], &self.schema)))
            .response("201", self.written("Created", true))
            .response("202", response(202))
            .secured(&[404, 409, 413, 415]);
        add(paths, path, HttpMethod::Get, list);
        add(paths, path, HttpMethod::Post, create);
    }

    fn one(&self, paths: &mut Paths, at: &str, can_delete: bool) {
        let show = self
            .begin("get", "", &format!("Show the {}", self.word), true)
            .parameter(if_none_match("The ETag of what the caller has"))
            .response("200", read_answer("As it stands", self.schema.clone()))
            .response("304", response(304))
            .secured(&[404]);
        let put = self
            .begin("put", "", &format!("Create or replace the {}", self.word), true)
            .parameter(wait())
            .parameter(if_match())
            .parameter(if_none_match("* to create only"))
            .request_body(Some(body(&[JSON], &self.schema)))
            .response("200", self.written("Replaced, or equal already", false))
            .response("201", self.written("Created", true))
            .response("202", response(202))
            .secured(&[404, 409, 412, 413, 415]);
        let patch = self
            .begin("patch", "", &format!("Change the {} by a JSON merge patch (RFC 7396)", self.word), true)
            .parameter(wait())
            .parameter(if_match())
            .request_body(Some(body(&[MERGE_PATCH, JSON], &any_object())))
            .response("200", self.written("Changed, or equal already", false))
            .response("202", response(202))
            .secured(&[404, 409, 412, 413, 415]);
        add(paths, at, HttpMethod::Get, show);
        add(paths, at, HttpMethod::Put, put);
        add(paths, at, HttpMethod::Patch, patch);
        if can_delete {
            let gone = ResponseBuilder::new().description("Gone");
            let delete = self
                .begin("delete", "", &format!("Delete the {}", self.word), true)
                .parameter(wait())
                .parameter(if_match())
                .response("202", response(202))
                .response("204", write_headers(gone).build())
                .secured(&[404, 409, 412]);
            add(paths, at, HttpMethod::Delete, delete);
        }
    }

    /// `is_one`: the path goes on to a single one.
    fn begin(&self, verb: &str, plural: &str, summary: &str, is_one: bool) -> OperationBuilder {
        let own = self.own.filter(|_| is_one);
        let names = self.above.iter().copied().chain(own);
        names.fold(operation(&format!("{verb}{}{plural}", self.id), self.tag, summary), |operation, name| {
            operation.parameter(in_path(name))
        })
    }

    fn written(&self, description: &str, is_new: bool) -> Response {
        let told = answer(description, self.schema.clone()).header("ETag", header("Of what stands there now"));
        let told = if is_new { told.header("Location", header("Its path")) } else { told };
        write_headers(told).build()
    }
}

pub(super) fn add(paths: &mut Paths, path: &str, method: HttpMethod, operation: OperationBuilder) {
    let operation: Operation = operation.build();
    paths.add_path_operation(path, vec![method], operation);
}
