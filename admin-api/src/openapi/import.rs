//! The import of foreign documents.

use serde_json::json;
use utoipa::openapi::path::{HttpMethod, Parameter, ParameterBuilder, ParameterIn};
use utoipa::openapi::{ContentBuilder, Paths, Required};

use super::parts::{JSON, Secured, answer, any_object, body_like, of, operation, text};
use crate::api::IMPORT_OPTIONS;
use crate::import::Imported;

const YAML: &str = "application/yaml";

const ABOUT: &str = "Reads an OpenAPI document (3.0 or 3.1) or a declarative one of Kong (as decK writes it) and answers a document \
    of ours that can be applied, validated or previewed as it is, with all that could not be carried over. Nothing is written, \
    nothing is fetched, and keys and secrets are not carried over.";

pub(super) fn describe(paths: &mut Paths) {
    let foreign = json!({
        "openapi": "3.1.0",
        "info": {"title": "Orders", "version": "1.0.0"},
        "servers": [{"url": "https://orders.internal/v1"}],
        "paths": {"/orders/{id}": {"get": {"responses": {"200": {"description": "An order"}}}}},
    });
    let mut proposed = answer("What it comes to", of::<Imported>()).build();
    let example = ContentBuilder::new().schema(Some(of::<Imported>())).example(Some(answered())).build();
    proposed.content.insert(JSON.to_owned(), example.into());
    let import = operation("importConfig", "config", "An OpenAPI document, or one of Kong, as a document of ours")
        .description(Some(ABOUT))
        .parameters(Some(IMPORT_OPTIONS.map(option)))
        .request_body(Some(body_like(&[JSON, YAML], &any_object(), &foreign)))
        .response("200", proposed)
        .secured(&[413, 415]);
    paths.add_path_operation("/admin/config/import", vec![HttpMethod::Post], import.build());
}

fn answered() -> serde_json::Value {
    json!({
        "format": "openapi",
        "document": {
            "services": [{"serviceName": "orders", "description": "Orders", "defaultUrl": "https://orders.internal/v1"}],
            "routes": [{
                "name": "orders-orders-id",
                "path": "/orders/{id}",
                "methods": ["GET"],
                "target": {"service": "orders"},
                "access": {"anyOf": ["public"]},
            }],
            "applications": [],
            "issuers": [],
        },
        "notCarriedOver": [],
        "warnings": [],
    })
}

fn option(name: &str) -> Parameter {
    let (about, example) = match name {
        "serviceName" => ("The service's name; absent: made of the document's title", "orders"),
        "application" => ("The application's name; absent: made of the service's", "orders-clients"),
        "pathPrefix" => ("Stands before every path; the service does not see it", "/orders-api"),
        "host" => ("The host that the routes answer on; absent: any", "api.example.com"),
        _ => ("Where the service is; absent: what the document's servers say", "http://orders.internal:8080"),
    };
    ParameterBuilder::new()
        .name(name)
        .parameter_in(ParameterIn::Query)
        .required(Required::False)
        .description(Some(format!("For OpenAPI documents. {about}")))
        .schema(Some(text()))
        .example(Some(example.into()))
        .build()
}
