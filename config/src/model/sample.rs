//! A sample of traffic: the facts of one request and what came of it. No bodies and nothing secret; what a client put into a path
//! or a query is kept back unless settings allow it.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::{ApiKey, Id, Timestamp};

/// Samples are kept for this long.
pub const SAMPLE_MINUTES: i64 = 15;

/// One request of several.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Sample {
    pub id: Uuid,
    #[schema(value_type = String)]
    pub at: Timestamp,
    /// The gateway that took it.
    pub node: Uuid,
    /// How many requests it stands for.
    #[schema(example = 12)]
    pub weight: u32,
    /// That it was decided under.
    pub generation: u64,
    pub request: SampledRequest,
    pub caller: SampledCaller,
    pub outcome: SampledOutcome,
}

/// What is kept of a request.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct SampledRequest {
    #[schema(example = "GET")]
    pub method: String,
    #[schema(example = "shop.example.com")]
    pub host: String,
    /// Normalised. What the route captured stands as `{name}`, one for each segment: no path of a client can hold braces. Of a
    /// request that no route took only the first segment stays, the others are `{}`.
    #[schema(example = "/api/v1/orders/{id}")]
    pub path: String,
    /// How long the target was.
    pub target_bytes: u32,
    /// The parameters by name, with their values where those may be kept, else null. `?` stands for parameters whose very name is
    /// kept back.
    #[schema(value_type = std::collections::HashMap<String, Option<Vec<String>>>)]
    pub query: Kept,
    /// The headers by name, with their values where a route's conditions ask for them, else null.
    #[schema(value_type = std::collections::HashMap<String, Option<Vec<String>>>)]
    pub headers: Kept,
    /// The client's, whole: rules about addresses could not be tried on a part of it.
    #[schema(value_type = Option<String>)]
    pub address: Option<IpAddr>,
    /// It came over TLS.
    pub secure: bool,
    /// The dice that were rolled for it.
    #[serde(with = "as_text")]
    #[schema(value_type = String)]
    pub entropy: u64,
}

/// Values by name; `None`: there were some, which are kept back.
pub type Kept = BTreeMap<String, Option<Vec<String>>>;

/// Stands for all parameters whose names are kept back.
pub const NAMELESS: &str = "?";

/// Who called, as far as it was looked at.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", tag = "kind")]
pub enum SampledCaller {
    #[default]
    Anonymous,
    /// Credentials came with it that nobody needed to look at.
    Unverified,
    /// They were not good.
    Rejected { code: String },
    Verified {
        application: Option<String>,
        #[schema(value_type = Option<uuid::Uuid>)]
        key: Option<Id<ApiKey>>,
        token: Option<SampledToken>,
    },
}

/// What a good token said.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct SampledToken {
    /// The name of the issuer here.
    pub issuer: String,
    /// Whom it was about.
    pub subject: Option<String>,
    /// Which client it was given to.
    pub client: Option<String>,
    /// By its claims.
    pub roles: Vec<String>,
    /// By its claims.
    pub scopes: Vec<String>,
}

/// What came of it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct SampledOutcome {
    pub route: Option<String>,
    /// Whose request it was: the caller's application, or the one whose public entry let it in.
    pub application: Option<String>,
    pub service: Option<String>,
    pub version: Option<String>,
    pub queue: Option<String>,
    /// 0: nothing was answered, the client was gone.
    #[schema(example = 200)]
    pub status: u16,
    /// Of the gateway's own refusal.
    #[schema(example = "rate_limited")]
    pub code: Option<String>,
}

impl Sample {
    /// The application that called, or whose public entry let it in.
    #[must_use]
    pub fn application(&self) -> Option<&str> {
        match &self.caller {
            SampledCaller::Verified { application: Some(name), .. } => Some(name),
            _ => self.outcome.application.as_deref(),
        }
    }
}

/// Numbers that do not fit into those of JavaScript.
mod as_text {
    use serde::{Deserialize, Deserializer, Serializer, de};

    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands references")]
    pub(super) fn serialize<S: Serializer>(number: &u64, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(number)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}
