//! Configurations of any size whose routes all lie at the same path depth, so that size is all that differs between two.

use anyhow::anyhow;
use gateway_config::model::{Configuration, Item, Kind};
use serde_json::{Value, json};

/// The path of a request that route `number` takes.
#[must_use]
pub fn path(number: usize) -> String {
    format!("/api/resource-{number}/items/1k")
}

#[must_use]
pub fn route_name(number: usize) -> String {
    format!("resource-{number}")
}

#[must_use]
pub fn service_name(number: usize) -> String {
    format!("service-{number}")
}

/// A public route to one of `services`.
#[must_use]
pub fn route(number: usize, services: usize) -> Value {
    json!({
        "name": route_name(number),
        "path": format!("/api/resource-{number}/items/{{id}}"),
        "methods": ["GET", "POST"],
        "target": {"service": service_name(number % services.max(1))},
        "access": {"anyOf": ["public"]},
    })
}

#[must_use]
pub fn service(number: usize, url: &str) -> Value {
    json!({"serviceName": service_name(number), "defaultUrl": url})
}

/// `routes` routes to `services` services, all of them in front of `url`.
pub fn configuration(routes: usize, services: usize, url: &str) -> anyhow::Result<Configuration> {
    let mut configuration = Configuration::default();
    let items = (0..services).map(|number| (Kind::Service, service(number, url)));
    for (kind, value) in items.chain((0..routes).map(|number| (Kind::Route, route(number, services)))) {
        configuration.put(Item::from_json(kind, value).map_err(|problem| anyhow!("{problem}"))?);
    }
    Ok(configuration)
}
