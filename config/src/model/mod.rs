//! What operators edit: plain typed data, one file an entity. JSON names are camelCase, and unknown fields are refused.

mod actor;
mod admin;
mod application;
mod audit;
mod certificate;
mod configuration;
mod defaults;
mod digest;
mod edit;
mod generation;
pub mod host;
mod id;
mod issuer;
mod item;
mod kind;
mod node;
mod policy;
mod problem;
mod queue;
mod route;
mod sample;
mod secret;
mod service;
mod task;
mod timestamp;
mod word;

pub use actor::Actor;
pub use admin::{Admin, AdminSession, PersonalToken, Role};
pub use application::{ApiKey, Application, JwtClient, WhitelistEntry};
pub use audit::{Action, AuditChange, AuditEntry, ChainKey, NewAudit};
pub use certificate::Certificate;
pub use configuration::Configuration;
pub use defaults::{DEFAULTS_NAME, Defaults};
pub use digest::Digest;
pub use edit::{Change, Edit};
pub use generation::{EntityChange, Generation, GenerationLine};
pub use id::Id;
pub use issuer::{ClaimPointers, JwtAlgorithm, JwtIssuer};
pub use item::{Entity, Item};
pub use kind::{Child, Kind};
pub use node::{LIVE_MILLIS, Node, NodeState};
pub use policy::{
    Access, Cache, Cors, Credential, HeaderEdits, InvalidCredentials, Limit, LimitBy, OnStoreError, Transform,
};
pub use problem::Problem;
pub use queue::{Broker, Destination, OnBrokerDown, Queue};
pub use route::{Aggregate, AggregatePart, Channel, Redirect, Respond, Route, Screening, Target};
pub use sample::{Kept, NAMELESS, SAMPLE_MINUTES, Sample, SampledCaller, SampledOutcome, SampledRequest, SampledToken};
pub use secret::{SECRET_ENV_PREFIX, SecretRef};
pub use service::{
    API_VERSION_HEADER, Algorithm, Ejection, HealthCheck, Instance, LoadBalancing, Maintenance, Protocol, Retries,
    RetryOn, Service, ServiceVersion, Timeouts, UpstreamTls,
};
pub use task::{Task, TaskStatus};
pub use timestamp::Timestamp;
pub use word::{HashOn, HostHeader, StickyOn};

/// The configuration format that this build writes and reads. A node with a lower one can't read what needs this one.
pub const FORMAT_VERSION: i32 = 1;
