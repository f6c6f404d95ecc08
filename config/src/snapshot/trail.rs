//! The steps that led to a decision: small values while a request runs, words when someone asks.

use serde::{Deserialize, Serialize};
use smallvec::SmallVec;
use utoipa::ToSchema;

use super::Snapshot;
use super::code::Code;
use super::routing::HostMatch;
use crate::model::{Application, Id, Route, WhitelistEntry};

pub type Trail = SmallVec<[Step; 8]>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    Host(HostMatch),
    PassedOver(Id<Route>, Mismatch),
    Matched(Id<Route>),
    Access(Access),
    /// The whitelist entry that grants it.
    Endpoint(Id<WhitelistEntry>),
    /// The caller has the roles and scopes that the route asks for.
    RolesHeld,
    /// How the version was chosen, out of how many.
    Version(VersionBy, u16),
    Rewritten,
    Refused(Code),
}

/// Why a route whose path fits was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mismatch {
    Method,
    Condition,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    Public,
    /// Bad credentials, which the route ignores.
    Ignored(Code),
    /// By what this application may do.
    Application(Id<Application>),
    /// The route needs no application: roles and scopes decide.
    Known,
    /// A public whitelist entry.
    PublicEntry(Id<WhitelistEntry>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VersionBy {
    /// The service has none: `defaultUrl` serves.
    Default,
    /// Only one was left.
    Only,
    Weight,
    Sticky,
    Current,
    Equal,
}

/// A step in words.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TrailStep {
    /// What was looked at.
    #[schema(example = "version")]
    pub step: String,
    /// How it came out, in one word.
    #[schema(example = "weight")]
    pub result: String,
    /// The same in a sentence.
    #[schema(example = "chosen by weight among 2 versions")]
    pub detail: String,
}

impl Step {
    #[must_use]
    pub fn in_words(self, snapshot: &Snapshot) -> TrailStep {
        let words = |step: &str, result: &str, detail: String| TrailStep {
            step: step.to_owned(),
            result: result.to_owned(),
            detail,
        };
        match self {
            Self::Host(found) => match found {
                HostMatch::Exact => words("host", "exact", "routes of exactly this host".to_owned()),
                HostMatch::Wildcard => words("host", "wildcard", "routes of a wildcard host".to_owned()),
                HostMatch::Any => words("host", "any", "routes of any host".to_owned()),
            },
            Self::PassedOver(id, because) => {
                let because = match because {
                    Mismatch::Method => "it does not take the method",
                    Mismatch::Condition => "a header or query condition does not hold",
                };
                words("route", "passed over", format!("\"{}\": {because}", route_name(snapshot, id)))
            }
            Self::Matched(id) => words("route", "matched", format!("\"{}\"", route_name(snapshot, id))),
            Self::Access(Access::Public) => words("access", "public", "the route needs no credentials".to_owned()),
            Self::Access(Access::Ignored(code)) => {
                words("access", "public", format!("the credentials ({code}) are ignored, as the route says"))
            }
            Self::Access(Access::Application(id)) => {
                let application = snapshot.applications().find(|it| it.source.id == id);
                let name = application.map_or("?", |it| &*it.name);
                words("access", "application", format!("the caller is application \"{name}\""))
            }
            Self::Access(Access::Known) => {
                words("access", "known", "the route needs no application: roles and scopes decide".to_owned())
            }
            Self::Access(Access::PublicEntry(id)) => words(
                "access",
                "public",
                format!("a public whitelist entry lets everybody in: {}", entry(snapshot, id)),
            ),
            Self::Endpoint(id) => words("endpoint", "allowed", format!("by whitelist entry {}", entry(snapshot, id))),
            Self::RolesHeld => words("roles", "held", "the caller has the roles and scopes that are asked".to_owned()),
            Self::Version(by, count) => {
                let (result, detail) = match by {
                    VersionBy::Default => ("default", "the service has no versions: defaultUrl".to_owned()),
                    VersionBy::Only => ("only", "the only version that may serve".to_owned()),
                    VersionBy::Weight => ("weight", format!("by weight among {count} versions")),
                    VersionBy::Sticky => ("sticky", format!("by the caller among {count} versions, by weight")),
                    VersionBy::Current => ("current", format!("the current version, among {count} without weights")),
                    VersionBy::Equal => ("equal", format!("evenly among {count} versions without weights")),
                };
                words("version", result, detail)
            }
            Self::Rewritten => words("rewrite", "rewritten", "the backend sees the route's rewritten path".to_owned()),
            Self::Refused(code) => words("refused", code.as_str(), code.message().to_owned()),
        }
    }
}

fn route_name(snapshot: &Snapshot, id: Id<Route>) -> &str {
    // A scan, for only an explanation pays it.
    snapshot.routes().find(|route| route.source.id == id).map_or("?", |route| route.source.name.as_str())
}

fn entry(snapshot: &Snapshot, id: Id<WhitelistEntry>) -> String {
    let of = |application: &Application| {
        let entry = application.whitelist.iter().find(|entry| entry.id == id)?;
        Some(format!("\"{}\" of application \"{}\"", entry.endpoint_path, application.name))
    };
    snapshot.applications().find_map(|application| of(&application.source)).unwrap_or_else(|| "?".to_owned())
}
