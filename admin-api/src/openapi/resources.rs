//! The operations of the resources, the same for all.

use serde_json::Value;
use utoipa::openapi::path::{HttpMethod, Operation, OperationBuilder, Parameter};
use utoipa::openapi::request_body::RequestBody;
use utoipa::openapi::schema::{AllOfBuilder, ObjectBuilder};
use utoipa::openapi::{Paths, RefOr, Response, ResponseBuilder, Schema};

use super::parts::{
    JSON, Secured, answer, any_object, body_like, header, if_match, if_none_match, in_path, named, named_in_path,
    operation, page_of, paging, read_answer, response, wait, write_headers,
};
use super::{examples, member_schema_name, schema_name};
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
    above: Vec<Parameter>,
    own: Option<Parameter>,
    /// The field that a path names, or else a body must.
    key: &'static str,
    example: Value,
    patch: Value,
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
                word: format!("{} of {}", with_article(members.word), with_article(resource.kind.word())),
                schema: named(&schema),
                above: own_name(resource).into_iter().collect(),
                own: Some(in_path(members.parameter)),
                key: members.key(),
                example: examples::member(resource.kind),
                patch: examples::member_patch(resource.kind),
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
            word: match resource.parameter {
                Some(_) => with_article(resource.kind.word()),
                None => format!("the {}", resource.kind.word()),
            },
            schema: named(&schema),
            id: schema,
            above: Vec::new(),
            own: own_name(resource),
            key: resource.kind.name_field(),
            example: examples::entity(resource.kind),
            patch: examples::entity_patch(resource.kind),
        }
    }

    fn collection(&self, paths: &mut Paths, path: &str) {
        let list = self
            .begin("list", "s", &format!("List {}", self.several()), false)
            .parameters(Some(paging()))
            .parameter(if_none_match("The ETag of the page that the caller has"))
            .response("200", read_answer("A page", page_of(self.schema.clone())))
            .response("304", response(304))
            .secured(&[404]);
        let create = self
            .begin("create", "", &format!("Create {}", self.word), false)
            .parameter(wait())
            .request_body(Some(body_like(&[JSON], &self.named_schema(), &self.example)))
            .response("201", self.written("Created", true))
            .response("202", response(202))
            .secured(&[404, 409, 413, 415]);
        add(paths, path, HttpMethod::Get, list);
        add(paths, path, HttpMethod::Post, create);
    }

    fn one(&self, paths: &mut Paths, at: &str, can_delete: bool) {
        let show = self
            .begin("get", "", &format!("Show {}", self.word), true)
            .parameter(if_none_match("The ETag of what the caller has"))
            .response("200", read_answer("As it stands", self.schema.clone()))
            .response("304", response(304))
            .secured(&[404]);
        let put = self
            .begin("put", "", &format!("Create or replace {}", self.word), true)
            .parameter(wait())
            .parameter(if_match())
            .parameter(if_none_match("* to create only"))
            .request_body(Some(body_like(&[JSON], &self.schema, &self.without_name())))
            .response("200", self.written("Replaced, or equal already", false))
            .response("201", self.written("Created", true))
            .response("202", response(202))
            .secured(&[404, 409, 412, 413, 415]);
        let patch = self
            .begin("patch", "", &format!("Change {} by a JSON merge patch (RFC 7396)", self.word), true)
            .parameter(wait())
            .parameter(if_match())
            .request_body(Some(self.merge_patch()))
            .response("200", self.written("Changed, or equal already", false))
            .response("202", response(202))
            .secured(&[404, 409, 412, 413, 415]);
        add(paths, at, HttpMethod::Get, show);
        add(paths, at, HttpMethod::Put, put);
        add(paths, at, HttpMethod::Patch, patch);
        if can_delete {
            let gone = ResponseBuilder::new().description("Gone");
            let delete = self
                .begin("delete", "", &format!("Delete {}", self.word), true)
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
        let own = self.own.iter().filter(|_| is_one);
        let names = self.above.iter().chain(own).cloned();
        operation(&format!("{verb}{}{plural}", self.id), self.tag, summary).parameters(Some(names))
    }

    /// The schema of a body that must say the name, for its path does not.
    fn named_schema(&self) -> RefOr<Schema> {
        let name = ObjectBuilder::new().required(self.key);
        AllOfBuilder::new().item(self.schema.clone()).item(name).into()
    }

    fn merge_patch(&self) -> RequestBody {
        let mut body = body_like(&[MERGE_PATCH, JSON], &any_object(), &self.patch);
        body.description =
            Some(format!("The fields of a `{}` that are to change; null gives a field back its default.", self.id));
        body
    }

    /// The example where the path says the name.
    fn without_name(&self) -> Value {
        let mut example = self.example.clone();
        let is_in_path = self.own.as_ref().is_none_or(|own| own.name == self.key);
        if let Some(fields) = example.as_object_mut().filter(|_| is_in_path) {
            fields.remove(self.key);
        }
        example
    }

    /// `the versions of a service`, from `a version of a service`.
    fn several(&self) -> String {
        let bare = self.word.trim_start_matches("an ").trim_start_matches("a ");
        let (word, rest) =
            bare.split_once(" of ").map_or((bare, String::new()), |(word, of)| (word, format!(" of {of}")));
        match word.strip_suffix("entry") {
            Some(begin) => format!("the {begin}entries{rest}"),
            None => format!("the {word}s{rest}"),
        }
    }

    fn written(&self, description: &str, is_new: bool) -> Response {
        let told = answer(description, self.schema.clone()).header("ETag", header("Of what stands there now"));
        let told = if is_new { told.header("Location", header("Its path")) } else { told };
        write_headers(told).build()
    }
}

fn own_name(resource: &Resource) -> Option<Parameter> {
    let about = format!("The {}'s name", resource.kind.word());
    resource.parameter.map(|parameter| named_in_path(parameter, &about, examples::name(resource.kind)))
}

fn with_article(word: &str) -> String {
    let article = if word.starts_with(['a', 'e', 'i', 'o', 'u']) { "an" } else { "a" };
    format!("{article} {word}")
}

pub(super) fn add(paths: &mut Paths, path: &str, method: HttpMethod, operation: OperationBuilder) {
    let operation: Operation = operation.build();
    paths.add_path_operation(path, vec![method], operation);
}
