//! `POST /admin/config/import`: a foreign document as one of ours. It writes nothing: what it answers is to be read, mended,
//! previewed and applied.

use axum::Json;
use axum::extract::FromRequestParts;
use http::request::Parts;

use super::body::DocumentBody;
use super::query::Given;
use crate::auth::Viewer;
use crate::error::Failure;
use crate::import::{Imported, Options, convert};

/// The options by their names in the query.
pub(crate) const OPTIONS: [&str; 5] = ["serviceName", "application", "pathPrefix", "host", "url"];

/// `?serviceName=&application=&pathPrefix=&host=&url=`
#[derive(Debug)]
pub(crate) struct ImportQuery(Options);

impl<S: Sync> FromRequestParts<S> for ImportQuery {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Failure> {
        let mut given = Given::of(parts, &OPTIONS)?;
        let mut text = |name: &str| given.take(name, |text| Ok(text.to_owned()));
        let options = Options {
            service_name: text("serviceName"),
            application: text("application"),
            path_prefix: text("pathPrefix"),
            host: text("host"),
            url: text("url"),
        };
        given.into_result(Self(options))
    }
}

pub(crate) async fn import(
    _: Viewer,
    ImportQuery(options): ImportQuery,
    DocumentBody(foreign): DocumentBody,
) -> Result<Json<Imported>, Failure> {
    // A large document takes a while, which other requests must not wait for.
    let converted = tokio::task::spawn_blocking(move || convert(&foreign, &options)).await;
    let imported = converted.map_err(|error| Failure::internal(error.to_string()))?;
    imported.map(Json).map_err(Failure::invalid)
}
