//! The codes of the gateway's own refusals. They are a contract: clients, logs and metrics use these words.

use std::fmt;

/// Why a request was not served.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Code {
    BadRequest,
    UnsafeInput,
    CredentialsMissing,
    CredentialsInvalid,
    KeyExpired,
    TokenExpired,
    IpDenied,
    ApplicationInactive,
    ServiceNotAllowed,
    VersionNotAllowed,
    EndpointNotAllowed,
    RoleMissing,
    ScopeMissing,
    RouteNotFound,
    UnknownVersion,
    TaskNotFound,
    MethodNotAllowed,
    RequestTimeout,
    BodyTooLarge,
    UriTooLong,
    UnsupportedMediaType,
    PayloadInvalid,
    IdempotencyMismatch,
    RateLimited,
    HeadersTooLarge,
    Internal,
    UpstreamUnreachable,
    UpstreamInvalid,
    NoHealthyUpstream,
    ServiceInactive,
    Maintenance,
    QueueUnavailable,
    Overloaded,
    UpstreamTimeout,
}

impl Code {
    /// Every code, for tables, metrics and docs.
    pub const ALL: [Self; 34] = [
        Self::BadRequest,
        Self::UnsafeInput,
        Self::CredentialsMissing,
        Self::CredentialsInvalid,
        Self::KeyExpired,
        Self::TokenExpired,
        Self::IpDenied,
        Self::ApplicationInactive,
        Self::ServiceNotAllowed,
        Self::VersionNotAllowed,
        Self::EndpointNotAllowed,
        Self::RoleMissing,
        Self::ScopeMissing,
        Self::RouteNotFound,
        Self::UnknownVersion,
        Self::TaskNotFound,
        Self::MethodNotAllowed,
        Self::RequestTimeout,
        Self::BodyTooLarge,
        Self::UriTooLong,
        Self::UnsupportedMediaType,
        Self::PayloadInvalid,
        Self::IdempotencyMismatch,
        Self::RateLimited,
        Self::HeadersTooLarge,
        Self::Internal,
        Self::UpstreamUnreachable,
        Self::UpstreamInvalid,
        Self::NoHealthyUpstream,
        Self::ServiceInactive,
        Self::Maintenance,
        Self::QueueUnavailable,
        Self::Overloaded,
        Self::UpstreamTimeout,
    ];

    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::BadRequest => "bad_request",
            Self::UnsafeInput => "unsafe_input",
            Self::CredentialsMissing => "credentials_missing",
            Self::CredentialsInvalid => "credentials_invalid",
            Self::KeyExpired => "key_expired",
            Self::TokenExpired => "token_expired",
            Self::IpDenied => "ip_denied",
            Self::ApplicationInactive => "application_inactive",
            Self::ServiceNotAllowed => "service_not_allowed",
            Self::VersionNotAllowed => "version_not_allowed",
            Self::EndpointNotAllowed => "endpoint_not_allowed",
            Self::RoleMissing => "role_missing",
            Self::ScopeMissing => "scope_missing",
            Self::RouteNotFound => "route_not_found",
            Self::UnknownVersion => "unknown_version",
            Self::TaskNotFound => "task_not_found",
            Self::MethodNotAllowed => "method_not_allowed",
            Self::RequestTimeout => "request_timeout",
            Self::BodyTooLarge => "body_too_large",
            Self::UriTooLong => "uri_too_long",
            Self::UnsupportedMediaType => "unsupported_media_type",
            Self::PayloadInvalid => "payload_invalid",
            Self::IdempotencyMismatch => "idempotency_mismatch",
            Self::RateLimited => "rate_limited",
            Self::HeadersTooLarge => "headers_too_large",
            Self::Internal => "internal",
            Self::UpstreamUnreachable => "upstream_unreachable",
            Self::UpstreamInvalid => "upstream_invalid",
            Self::NoHealthyUpstream => "no_healthy_upstream",
            Self::ServiceInactive => "service_inactive",
            Self::Maintenance => "maintenance",
            Self::QueueUnavailable => "queue_unavailable",
            Self::Overloaded => "overloaded",
            Self::UpstreamTimeout => "upstream_timeout",
        }
    }

    /// The code of this word.
    #[must_use]
    pub fn of(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|code| code.as_str() == word)
    }

    /// It says who may call, rather than what is there.
    #[must_use]
    pub const fn is_about_access(self) -> bool {
        matches!(self.status(), 401 | 403)
    }

    #[must_use]
    pub const fn status(self) -> u16 {
        match self {
            Self::BadRequest | Self::UnsafeInput => 400,
            Self::CredentialsMissing | Self::CredentialsInvalid | Self::KeyExpired | Self::TokenExpired => 401,
            Self::IpDenied
            | Self::ApplicationInactive
            | Self::ServiceNotAllowed
            | Self::VersionNotAllowed
            | Self::EndpointNotAllowed
            | Self::RoleMissing
            | Self::ScopeMissing => 403,
            Self::RouteNotFound | Self::UnknownVersion | Self::TaskNotFound => 404,
            Self::MethodNotAllowed => 405,
            Self::RequestTimeout => 408,
            Self::BodyTooLarge => 413,
            Self::UriTooLong => 414,
            Self::UnsupportedMediaType => 415,
            Self::PayloadInvalid | Self::IdempotencyMismatch => 422,
            Self::RateLimited => 429,
            Self::HeadersTooLarge => 431,
            Self::Internal => 500,
            Self::UpstreamUnreachable | Self::UpstreamInvalid => 502,
            Self::NoHealthyUpstream
            | Self::ServiceInactive
            | Self::Maintenance
            | Self::QueueUnavailable
            | Self::Overloaded => 503,
            Self::UpstreamTimeout => 504,
        }
    }

    /// What the client reads. It names nothing of the inside.
    #[must_use]
    pub const fn message(self) -> &'static str {
        match self {
            Self::BadRequest => "the request could not be understood",
            Self::UnsafeInput => "the request was refused by input screening",
            Self::CredentialsMissing => "this endpoint needs credentials",
            Self::CredentialsInvalid => "the credentials are not valid",
            Self::KeyExpired => "the API key has expired",
            Self::TokenExpired => "the token has expired",
            Self::IpDenied => "requests from this address are not allowed",
            Self::ApplicationInactive => "the application is not active",
            Self::ServiceNotAllowed => "the application may not use this service",
            Self::VersionNotAllowed => "the application may not use this version",
            Self::EndpointNotAllowed => "the application may not use this endpoint",
            Self::RoleMissing => "a role that this endpoint needs is missing",
            Self::ScopeMissing => "a scope that this endpoint needs is missing",
            Self::RouteNotFound => "nothing is served at this address",
            Self::UnknownVersion => "this version is not served",
            Self::TaskNotFound => "there is no such task",
            Self::MethodNotAllowed => "this method is not served at this address",
            Self::RequestTimeout => "the request did not arrive in time",
            Self::BodyTooLarge => "the request's body is too large",
            Self::UriTooLong => "the request's URI is too long",
            Self::UnsupportedMediaType => "this content type is not accepted",
            Self::PayloadInvalid => "the request's body does not fit its schema",
            Self::IdempotencyMismatch => "this idempotency key was used with another body",
            Self::RateLimited => "too many requests",
            Self::HeadersTooLarge => "the request's headers are too large",
            Self::Internal => "the gateway could not handle the request",
            Self::UpstreamUnreachable => "the service could not be reached",
            Self::UpstreamInvalid => "the service gave an invalid answer",
            Self::NoHealthyUpstream => "no instance of the service is available",
            Self::ServiceInactive => "the service is not active",
            Self::Maintenance => "the service is under maintenance",
            Self::QueueUnavailable => "the request could not be queued",
            Self::Overloaded => "the service is at its limit",
            Self::UpstreamTimeout => "the service did not answer in time",
        }
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
