//! Every refusal that operations share, with an example of each of its codes: made by the very calls that the handlers make.

use std::time::Duration;

use gateway_config::model::Problem;
use serde_json::Value;
use utoipa::openapi::example::ExampleBuilder;
use utoipa::openapi::{Content, ContentBuilder};

use super::parts::of;
use crate::api::BODY_LIMIT;
use crate::error::{ErrorBody, Failure};

/// The error shape, with examples of what is answered with this status.
pub(super) fn content(status: u16) -> Content {
    let examples = failures(status).into_iter().map(|(summary, failure)| {
        let body = failure.body("2026-11-21T09:30:00Z".to_owned(), "/admin/routing/services/orders", "01a1fef9-f7a5");
        let value = serde_json::to_value(body).unwrap_or(Value::Null);
        (failure.code(), ExampleBuilder::new().summary(summary).value(Some(value)).build())
    });
    ContentBuilder::new().schema(Some(of::<ErrorBody<'static>>())).examples_from_iter(examples).build()
}

/// One of each code.
fn failures(status: u16) -> Vec<(&'static str, Failure)> {
    match status {
        400 => vec![("It can't be read", Failure::bad_request("the body is empty; JSON is expected"))],
        401 => vec![("No good token", Failure::unauthorized(false))],
        403 => vec![
            ("Not with this role", Failure::forbidden("operator")),
            ("By cookie and without its token", Failure::csrf()),
        ],
        404 => vec![("There is nothing", Failure::not_found("service \"orders\""))],
        405 => vec![("Not this method", Failure::method_not_allowed())],
        409 => vec![("It does not fit what stands there", Failure::conflict("service \"orders\" exists already"))],
        412 => vec![(
            "Somebody else wrote meanwhile",
            Failure::stale("service \"orders\" was changed meanwhile; read it again"),
        )],
        413 => vec![("The body is too large", Failure::body_too_large(BODY_LIMIT))],
        415 => vec![("Another type is expected", Failure::unsupported_media_type(&["application/json"]))],
        422 => vec![("It can be read, but not be done", Failure::invalid(problems()))],
        429 => vec![("Too many attempts", Failure::too_many_attempts(Duration::from_secs(30)))],
        503 => vec![
            ("The database is away", Failure::database_silent(Duration::from_secs(3))),
            ("More than it can do at once", Failure::overloaded()),
            ("A message did not get through", Failure::queue_unavailable("no gateway is live that could publish it")),
            ("The process is ending", Failure::stopping()),
        ],
        _ => Vec::new(),
    }
}

fn problems() -> Vec<Problem> {
    vec![
        Problem::new("services/orders/descripton", "unknown field `descripton`"),
        Problem::new("services/orders/versions/0/weight", "must be at most 1000"),
    ]
}
