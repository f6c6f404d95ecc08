//! The kinds of entity.

use std::fmt;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    Service,
    Route,
    Queue,
    Application,
    Issuer,
    Certificate,
    Defaults,
}

/// A list inside an entity whose members have ids and times of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Child {
    /// The list's JSON name.
    pub field: &'static str,
    /// The member's field by which it is known in its list.
    pub key: &'static str,
    /// Written by calls of its own only: what an entity's body says of it is ignored.
    pub read_only: bool,
}

impl Kind {
    pub const ALL: [Self; 7] =
        [Self::Service, Self::Route, Self::Queue, Self::Application, Self::Issuer, Self::Certificate, Self::Defaults];

    /// As in paths of problems and sections of a document.
    #[must_use]
    pub const fn plural(self) -> &'static str {
        match self {
            Self::Service => "services",
            Self::Route => "routes",
            Self::Queue => "queues",
            Self::Application => "applications",
            Self::Issuer => "issuers",
            Self::Certificate => "certificates",
            Self::Defaults => "defaults",
        }
    }

    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Service => "service",
            Self::Route => "route",
            Self::Queue => "queue",
            Self::Application => "application",
            Self::Issuer => "issuer",
            Self::Certificate => "certificate",
            Self::Defaults => "defaults",
        }
    }

    /// The JSON field that holds the unique name.
    #[must_use]
    pub const fn name_field(self) -> &'static str {
        match self {
            Self::Service => "serviceName",
            _ => "name",
        }
    }

    #[must_use]
    pub const fn children(self) -> &'static [Child] {
        match self {
            Self::Service => &[Child { field: "versions", key: "version", read_only: false }],
            Self::Application => &[
                Child { field: "whitelist", key: "endpointPath", read_only: false },
                Child { field: "apiKeys", key: "prefix", read_only: true },
            ],
            _ => &[],
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}
