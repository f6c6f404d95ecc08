//! The configuration compiled: all that the proxy reads. Pure: no I/O, no lock, no clock, no dice.
//!
//! [`compile`] makes a [`Snapshot`] of a whole configuration, [`Snapshot::apply`] makes the next one of a change and shares what
//! did not change; both are the same code. [`match_request`] and [`decide`] are the two calls that judge a request.

mod access;
mod address;
mod application;
mod apply;
mod caller;
mod certificate;
mod channel;
mod checks;
mod code;
mod condition;
mod cors;
mod decide;
mod describe;
mod facts;
mod fleet;
mod identity;
mod limit;
mod matching;
pub mod path;
mod pattern;
mod preview;
mod problems;
mod queue;
mod redact;
mod referrers;
mod route;
mod routing;
mod service;
mod slots;
mod table;
mod text;
mod trail;
mod tree;
mod upstream;
mod warnings;

use std::sync::Arc;

use crate::model::{Change, Configuration, Defaults, Digest, Edit, Item, JwtIssuer, Kind, Problem};
use routing::Hosts;
use slots::Slots;

pub use access::{counters_of, entry_counters_of, known};
pub use application::CompiledApplication;
pub use caller::{Caller, Token, Verified};
pub use certificate::{CertificateHosts, CompiledCertificate};
pub use channel::{CompiledChannel, Filter};
pub use code::Code;
pub use cors::{CompiledCors, CorsHeaders};
pub use decide::{Deadlines, Decision, Forward, Outcome, Refusal, decide};
pub use facts::{BodyFacts, HostError, RequestFacts, host_of};
pub use fleet::CompiledDefaults;
pub use identity::KeyOf;
pub use limit::{CompiledLimit, Counter, Counters, Who};
pub use matching::{Found, Match, match_request};
pub use pattern::{Captures, Pattern, Segment, Template};
pub use preview::{Judged, Preview};
pub use queue::{CompiledQueue, KeySource};
pub use redact::{Keeping, Names};
pub use route::{CompiledRoute, Methods};
pub use routing::HostMatch;
pub use service::{Cluster, ClusterKey, CompiledService, CompiledVersion, UpstreamInstance};
pub use table::Table;
pub use trail::{Access, Mismatch, Step, Trail, TrailStep, VersionBy};
pub use upstream::UpstreamUrl;

/// A compiled configuration. Cloning it is cheap, and so is changing the clone.
#[derive(Clone, Debug)]
pub struct Snapshot {
    generation: u64,
    digest: Digest,
    services: Table<Arc<CompiledService>>,
    routes: Table<Arc<CompiledRoute>>,
    hosts: Hosts,
    queues: Table<Arc<CompiledQueue>>,
    applications: Table<Arc<CompiledApplication>>,
    /// By prefix.
    keys: Table<identity::KeyPlace>,
    public_rules: application::PublicRules,
    issuers: Table<Arc<JwtIssuer>>,
    /// The issuers by their `iss`.
    issuer_names: Table<Arc<JwtIssuer>>,
    /// The applications that clients are bound to, by issuer and client.
    clients: Table<identity::Clients>,
    certificates: Table<Arc<CompiledCertificate>>,
    certificate_hosts: CertificateHosts,
    defaults: Arc<CompiledDefaults>,
    /// The routes that lead to a service or queue, by `services/NAME` or `queues/NAME`.
    referrers: Table<Arc<referrers::Referrers>>,
    /// The services that routes lead to, found without their names.
    slots: Slots<Arc<CompiledService>>,
}

/// Compiles a whole configuration, or lists everything that is wrong with it.
pub fn compile(configuration: &Configuration, generation: u64) -> Result<Snapshot, Vec<Problem>> {
    let edits = configuration.items().map(Edit::Put).collect();
    Snapshot::empty().apply(&Change { generation, edits })
}

impl Snapshot {
    /// Of a fleet that nobody has configured yet.
    #[must_use]
    pub fn empty() -> Self {
        let defaults = fresh_defaults();
        Self {
            generation: 0,
            digest: Item::Defaults(defaults.source.clone()).digest(),
            services: Table::default(),
            routes: Table::default(),
            hosts: Hosts::default(),
            queues: Table::default(),
            applications: Table::default(),
            keys: Table::default(),
            public_rules: application::PublicRules::default(),
            issuers: Table::default(),
            issuer_names: Table::default(),
            clients: Table::default(),
            certificates: Table::default(),
            certificate_hosts: CertificateHosts::default(),
            defaults,
            referrers: Table::default(),
            slots: Slots::default(),
        }
    }

    #[must_use]
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// The content hash: equal configurations have equal ones, whatever way led to them.
    #[must_use]
    pub fn digest(&self) -> Digest {
        self.digest
    }

    #[must_use]
    pub fn service(&self, name: &str) -> Option<&Arc<CompiledService>> {
        self.services.get(name)
    }

    pub fn services(&self) -> impl Iterator<Item = &Arc<CompiledService>> {
        self.services.values()
    }

    #[must_use]
    pub fn route(&self, name: &str) -> Option<&Arc<CompiledRoute>> {
        self.routes.get(name)
    }

    pub fn routes(&self) -> impl Iterator<Item = &Arc<CompiledRoute>> {
        self.routes.values()
    }

    #[must_use]
    pub fn queue(&self, name: &str) -> Option<&Arc<CompiledQueue>> {
        self.queues.get(name)
    }

    pub fn queues(&self) -> impl Iterator<Item = &Arc<CompiledQueue>> {
        self.queues.values()
    }

    #[must_use]
    pub fn defaults(&self) -> &Arc<CompiledDefaults> {
        &self.defaults
    }

    /// What was compiled.
    #[must_use]
    pub fn configuration(&self) -> Configuration {
        let mut configuration = Configuration { defaults: self.defaults.source.clone(), ..Configuration::default() };
        let items = self.services.values().map(|it| Item::Service(it.source.clone()));
        let items = items.chain(self.routes.values().map(|it| Item::Route(it.source.clone())));
        let items = items.chain(self.queues.values().map(|it| Item::Queue(it.source.clone())));
        let items = items.chain(self.applications.values().map(|it| Item::Application(it.source.clone())));
        let items = items.chain(self.issuers.values().cloned().map(Item::Issuer));
        for item in items.chain(self.certificates.values().map(|it| Item::Certificate(it.source.clone()))) {
            configuration.put(item);
        }
        configuration
    }

    /// The entity as it was compiled.
    #[must_use]
    pub fn item(&self, kind: Kind, name: &str) -> Option<Item> {
        match kind {
            Kind::Service => self.services.get(name).map(|it| Item::Service(it.source.clone())),
            Kind::Route => self.routes.get(name).map(|it| Item::Route(it.source.clone())),
            Kind::Queue => self.queues.get(name).map(|it| Item::Queue(it.source.clone())),
            Kind::Application => self.applications.get(name).map(|it| Item::Application(it.source.clone())),
            Kind::Issuer => self.issuers.get(name).cloned().map(Item::Issuer),
            Kind::Certificate => self.certificates.get(name).map(|it| Item::Certificate(it.source.clone())),
            Kind::Defaults => Some(Item::Defaults(self.defaults.source.clone())),
        }
    }

    /// How many entities of the kind there are.
    #[must_use]
    pub fn count(&self, kind: Kind) -> usize {
        match kind {
            Kind::Service => self.services.len(),
            Kind::Route => self.routes.len(),
            Kind::Queue => self.queues.len(),
            Kind::Application => self.applications.len(),
            Kind::Issuer => self.issuers.len(),
            Kind::Certificate => self.certificates.len(),
            Kind::Defaults => 1,
        }
    }

    /// The CORS policy that holds for a route: its own, else the fleet's.
    #[must_use]
    pub fn cors_of<'s>(&'s self, route: &'s CompiledRoute) -> Option<&'s Arc<CompiledCors>> {
        route.cors.as_ref().or(self.defaults.cors.as_ref())
    }

    /// What compiles but is probably not meant, about the entities that `edits` touch.
    #[must_use]
    pub fn warnings(&self, edits: &[Edit]) -> Vec<Problem> {
        warnings::of(self, edits)
    }
}

fn fresh_defaults() -> Arc<CompiledDefaults> {
    Arc::new(CompiledDefaults::compile(&Arc::<Defaults>::default(), &mut problems::Problems::default()))
}
