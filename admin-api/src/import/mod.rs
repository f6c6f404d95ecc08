//! Other gateways' and other tools' documents as ours: OpenAPI 3 and Kong's declarative format. Pure: what is read is a value and
//! what comes out is a document that `apply` takes, with a list of all that could not be carried over. Nothing is fetched, and no
//! secret is repeated.

mod draft;
mod foreign;
mod kong;
mod names;
mod openapi;
mod path;
#[cfg(test)]
mod tests;

use gateway_config::model::Problem;
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use draft::Draft;

/// How the proposal is to look, where the document leaves it open.
#[derive(Clone, Debug, Default)]
pub(crate) struct Options {
    /// Of an OpenAPI document: the service's name; absent: made of its title.
    pub(crate) service_name: Option<String>,
    /// Of an OpenAPI document: the application's name; absent: made of the service's.
    pub(crate) application: Option<String>,
    /// Stands before every path of an OpenAPI document; backends don't see it.
    pub(crate) path_prefix: Option<String>,
    /// The host that the routes of an OpenAPI document answer on; absent: any.
    pub(crate) host: Option<String>,
    /// Where the service of an OpenAPI document is; absent: what its `servers` say.
    pub(crate) url: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Format {
    Openapi,
    Kong,
}

/// What was made of a foreign document.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Imported {
    pub(crate) format: Format,
    /// To be applied, validated or previewed as it is.
    #[schema(value_type = Object)]
    pub(crate) document: Value,
    /// What has no counterpart, or none that is safe, each with its place in the foreign document.
    pub(crate) not_carried_over: Vec<Problem>,
    /// What was carried over, but differs from what it was.
    pub(crate) warnings: Vec<Problem>,
}

const UNDERSTOOD: &str = "this is neither an OpenAPI document (openapi: 3.0.x or 3.1.x) nor one of Kong (_format_version: \"1.1\", \
    \"2.1\" or \"3.0\")";
const SWAGGER: &str = "this is a Swagger 2.0 document; convert it to OpenAPI 3 first, for example with swagger2openapi";

/// The document as ours, or why there is nothing to make of it.
pub(crate) fn convert(foreign: &Value, options: &Options) -> Result<Imported, Vec<Problem>> {
    let refused = |path: &str, why: &str| Err(vec![Problem::new(path, why)]);
    if let Some(version) = foreign.get("openapi") {
        let version = written(version);
        if version == "3" || ["3.0", "3.1"].iter().any(|known| is_version(&version, known)) {
            let mut draft = Draft::new(Format::Openapi);
            openapi::convert(foreign, options, &mut draft)?;
            return draft.finish();
        }
        return refused("openapi", UNDERSTOOD);
    }
    if let Some(version) = foreign.get("_format_version") {
        return match written(version).as_str() {
            "1" | "1.0" | "1.1" | "2" | "2.0" | "2.1" => convert_kong(foreign, options, false),
            "3" | "3.0" => convert_kong(foreign, options, true),
            _ => refused("_format_version", UNDERSTOOD),
        };
    }
    if foreign.get("swagger").is_some() { refused("swagger", SWAGGER) } else { refused("", UNDERSTOOD) }
}

fn convert_kong(foreign: &Value, options: &Options, marks_regexes: bool) -> Result<Imported, Vec<Problem>> {
    let given = [
        ("serviceName", options.service_name.is_some()),
        ("application", options.application.is_some()),
        ("pathPrefix", options.path_prefix.is_some()),
        ("host", options.host.is_some()),
        ("url", options.url.is_some()),
    ];
    let given = given.into_iter().filter(|(_, given)| *given);
    let problems: Vec<Problem> =
        given.map(|(name, _)| Problem::new(name, "is for OpenAPI documents; one of Kong says this itself")).collect();
    if !problems.is_empty() {
        return Err(problems);
    }
    let mut draft = Draft::new(Format::Kong);
    kong::convert(foreign, marks_regexes, &mut draft)?;
    draft.finish()
}

/// Versions are often written without quotes, and are numbers then.
fn written(version: &Value) -> String {
    version.as_str().map_or_else(|| version.to_string(), str::to_owned)
}

fn is_version(given: &str, known: &str) -> bool {
    given.strip_prefix(known).is_some_and(|patch| patch.is_empty() || patch.starts_with('.'))
}
