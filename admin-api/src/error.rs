//! Every answer that says no: its status, its stable code and its sentence. Handlers return a [`Failure`]; `account` writes it
//! out, for it knows the request's id and path.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::rejection::BytesRejection;
use axum::response::{IntoResponse, Response};
use gateway_config::change::{ChangeError, KeyError};
use gateway_config::model::{Kind, Problem};
use gateway_config::store::StoreError;
use http::header::{ACCEPT_ENCODING, HeaderName, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderValue, StatusCode};
use serde::Serialize;
use utoipa::ToSchema;

/// That are named in one answer; the message says how many there are.
const MOST_PROBLEMS: usize = 1000;

/// Why a request was not done.
#[derive(Clone, Debug)]
pub(crate) struct Failure(Arc<Details>);

#[derive(Clone, Debug)]
struct Details {
    status: StatusCode,
    code: &'static str,
    message: String,
    problems: Option<Vec<Problem>>,
    warnings: Option<Vec<Problem>>,
    referrers: Option<Vec<String>>,
    header: Option<(HeaderName, HeaderValue)>,
    /// For the log alone.
    cause: Option<String>,
}

/// Every answer that says no has this shape.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Error)]
pub(crate) struct ErrorBody<'a> {
    /// The same as the answer's own.
    #[schema(example = 422, minimum = 400, maximum = 599)]
    status_code: u16,
    /// The status in words.
    #[schema(example = "Unprocessable Entity")]
    error: &'a str,
    /// Stable: scripts may compare it.
    #[schema(example = "invalid")]
    code: &'a str,
    /// For people; its words may change.
    message: &'a str,
    /// When it was answered.
    timestamp: String,
    /// That was asked for.
    path: &'a str,
    request_id: &'a str,
    /// What is wrong, each with its place.
    #[serde(skip_serializing_if = "Option::is_none")]
    problems: Option<&'a [Problem]>,
    /// What is allowed but probably not meant.
    #[serde(skip_serializing_if = "Option::is_none")]
    warnings: Option<&'a [Problem]>,
    /// What still points at the entity that was to be deleted.
    #[serde(skip_serializing_if = "Option::is_none")]
    referrers: Option<&'a [String]>,
}

impl Failure {
    fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        let message = message.into();
        Self(Arc::new(Details {
            status,
            code,
            message,
            problems: None,
            warnings: None,
            referrers: None,
            header: None,
            cause: None,
        }))
    }

    fn with(mut self, change: impl FnOnce(&mut Details)) -> Self {
        change(Arc::make_mut(&mut self.0));
        self
    }

    pub(crate) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "bad_request", message)
    }

    /// `presented`: there was a token, but not a good one.
    pub(crate) fn unauthorized(presented: bool) -> Self {
        let (message, challenge) = if presented {
            ("the token is not valid", r#"Bearer realm="gatehouse", error="invalid_token""#)
        } else {
            ("this needs a token: Authorization: Bearer …", r#"Bearer realm="gatehouse""#)
        };
        Self::new(StatusCode::UNAUTHORIZED, "unauthorized", message)
            .with(|details| details.header = Some((WWW_AUTHENTICATE, HeaderValue::from_static(challenge))))
    }

    pub(crate) fn forbidden(role: &str) -> Self {
        Self::new(StatusCode::FORBIDDEN, "forbidden", format!("this needs the role {role}"))
    }

    /// Somebody else's page may have made the browser send this.
    pub(crate) fn csrf() -> Self {
        let message = "a request by cookie needs the header X-CSRF-Token, with the csrfToken of the login's answer";
        Self::new(StatusCode::FORBIDDEN, "csrf", message)
    }

    pub(crate) fn not_allowed(message: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, "forbidden", message)
    }

    /// The same whoever it was said to be, and whatever was wrong.
    pub(crate) fn login_failed() -> Self {
        Self::unauthorized(true).with(|details| "the email or the password is wrong".clone_into(&mut details.message))
    }

    pub(crate) fn too_many_attempts(wait: Duration) -> Self {
        let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
        let message = format!("too many logins failed; the next attempt is looked at in {seconds} s");
        Self::new(StatusCode::TOO_MANY_REQUESTS, "too_many_attempts", message)
            .with(|details| details.header = Some((RETRY_AFTER, HeaderValue::from(seconds))))
    }

    pub(crate) fn overloaded() -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "overloaded", "too many passwords wait to be looked at")
            .with(|details| details.header = Some((RETRY_AFTER, HeaderValue::from_static("1"))))
    }

    /// A message did not get through.
    pub(crate) fn queue_unavailable(why: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "queue_unavailable", why)
            .with(|details| details.header = Some((RETRY_AFTER, HeaderValue::from_static("1"))))
    }

    pub(crate) fn not_found(what: &str) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", format!("there is no {what}"))
    }

    pub(crate) fn method_not_allowed() -> Self {
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", "this method is not served here")
    }

    pub(crate) fn conflict(message: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, "conflict", message)
    }

    pub(crate) fn stale(message: impl Into<String>) -> Self {
        Self::new(StatusCode::PRECONDITION_FAILED, "stale", message)
    }

    pub(crate) fn body_too_large(limit: usize) -> Self {
        let message = format!("the body is larger than {limit} bytes");
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", message)
    }

    pub(crate) fn unsupported_media_type(accepted: &[&str]) -> Self {
        let message = format!("the body's Content-Type must be {}", accepted.join(" or "));
        Self::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", message)
    }

    pub(crate) fn unsupported_coding() -> Self {
        let message = "the body has a Content-Encoding; send it as it is";
        Self::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", message)
            .with(|details| details.header = Some((ACCEPT_ENCODING, HeaderValue::from_static("identity"))))
    }

    pub(crate) fn invalid(mut problems: Vec<Problem>) -> Self {
        let message = match problems.as_slice() {
            [] => "the request is not valid".to_owned(),
            [only] if only.path.is_empty() => only.message.clone(),
            [only] => only.to_string(),
            [first, rest @ ..] => format!("{first} (and {} more)", rest.len()),
        };
        // Nobody reads on, and an answer should not be longer than what was sent.
        problems.truncate(MOST_PROBLEMS);
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid", message).with(|details| {
            details.problems = Some(problems);
            details.warnings = Some(Vec::new());
        })
    }

    pub(crate) fn invalid_at(path: impl Into<String>, message: impl Into<String>) -> Self {
        Self::invalid(vec![Problem::new(path, message)])
    }

    pub(crate) fn database_unavailable(cause: impl Into<String>) -> Self {
        let message = "the database does not answer; a write was made whole or not at all: read before you repeat it";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "database_unavailable", message).with(|details| {
            details.header = Some((RETRY_AFTER, HeaderValue::from_static("1")));
            details.cause = Some(cause.into());
        })
    }

    pub(crate) fn database_silent(after: Duration) -> Self {
        Self::database_unavailable(format!("no answer within {} ms", after.as_millis()))
    }

    pub(crate) fn stopping() -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "stopping", "this process is ending")
    }

    pub(crate) fn internal(cause: impl Into<String>) -> Self {
        let message = "something went wrong inside; the log of the admin API says more under this request id";
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", message)
            .with(|details| details.cause = Some(cause.into()))
    }

    pub(crate) fn status(&self) -> StatusCode {
        self.0.status
    }

    pub(crate) fn code(&self) -> &'static str {
        self.0.code
    }

    pub(crate) fn cause(&self) -> Option<&str> {
        self.0.cause.as_deref()
    }

    pub(crate) fn header(&self) -> Option<&(HeaderName, HeaderValue)> {
        self.0.header.as_ref()
    }

    pub(crate) fn body<'a>(&'a self, timestamp: String, path: &'a str, request_id: &'a str) -> ErrorBody<'a> {
        let details = &*self.0;
        ErrorBody {
            status_code: details.status.as_u16(),
            error: details.status.canonical_reason().unwrap_or("Error"),
            code: details.code,
            message: &details.message,
            timestamp,
            path,
            request_id,
            problems: details.problems.as_deref(),
            warnings: details.warnings.as_deref(),
            referrers: details.referrers.as_deref(),
        }
    }

    /// A question about a change is answered with what is wrong with it, whatever that is.
    pub(crate) fn of_asked(error: ChangeError) -> Self {
        match error {
            ChangeError::NotFound { .. } | ChangeError::NodeTooOld { .. } | ChangeError::Exists { .. } => {
                Self::invalid_at("changes", error.to_string())
            }
            ChangeError::Referred { kind, name, by } => {
                let path = format!("{}/{name}", kind.plural());
                let problem = Problem::new(path, still_used(kind, &name, &by));
                Self::invalid(vec![problem]).with(|details| details.referrers = Some(by))
            }
            other => other.into(),
        }
    }
}

fn still_used(kind: Kind, name: &str, by: &[String]) -> String {
    let by: Vec<String> = by.iter().map(|name| format!("route \"{name}\"")).collect();
    format!("{kind} \"{name}\" is still used by {}", by.join(", "))
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Unavailable(_)
            | StoreError::TimedOut(_)
            | StoreError::NotMigrated(_)
            | StoreError::Migration(_) => Self::database_unavailable(error.to_string()),
            // Edited by hand: the operator must know where, or can't mend it.
            StoreError::Spoilt(problem) => Self::invalid(vec![problem]),
            StoreError::Refused(message) => Self::invalid_at("", format!("can't be stored: {message}")),
            StoreError::BadUrl(..) => Self::internal(error.to_string()),
        }
    }
}

impl From<ChangeError> for Failure {
    fn from(error: ChangeError) -> Self {
        match error {
            ChangeError::Store(error) => error.into(),
            ChangeError::Invalid(problems) => Self::invalid(problems),
            ChangeError::NotFound { what } => Self::not_found(&what),
            ChangeError::NoGeneration { .. } => Self::new(StatusCode::NOT_FOUND, "not_found", error.to_string()),
            ChangeError::Exists { .. } | ChangeError::NodeTooOld { .. } | ChangeError::Gap { .. } => {
                Self::conflict(error.to_string())
            }
            ChangeError::Stale { .. } => Self::stale(error.to_string()),
            ChangeError::Referred { kind, name, by } => {
                Self::conflict(still_used(kind, &name, &by)).with(|details| details.referrers = Some(by))
            }
        }
    }
}

impl From<KeyError> for Failure {
    fn from(error: KeyError) -> Self {
        match error {
            KeyError::Change(error) => error.into(),
            KeyError::Dead { .. } | KeyError::TooMany { .. } => Self::conflict(error.to_string()),
        }
    }
}

impl From<BytesRejection> for Failure {
    fn from(rejection: BytesRejection) -> Self {
        if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE {
            return Self::body_too_large(crate::api::BODY_LIMIT);
        }
        Self::bad_request("the body could not be read to its end")
    }
}

impl IntoResponse for Failure {
    /// Without a body: `account` writes it.
    fn into_response(self) -> Response {
        let mut response = self.status().into_response();
        if let Some((name, value)) = self.header() {
            response.headers_mut().insert(name, value.clone());
        }
        response.extensions_mut().insert(self);
        response
    }
}
