//! The whole configuration: every entity by its name.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Application, Certificate, Defaults, Digest, Item, JwtIssuer, Kind, Queue, Route, Service};

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Configuration {
    pub services: BTreeMap<String, Arc<Service>>,
    pub routes: BTreeMap<String, Arc<Route>>,
    pub queues: BTreeMap<String, Arc<Queue>>,
    pub applications: BTreeMap<String, Arc<Application>>,
    pub issuers: BTreeMap<String, Arc<JwtIssuer>>,
    pub certificates: BTreeMap<String, Arc<Certificate>>,
    pub defaults: Arc<Defaults>,
}

impl Configuration {
    /// Puts `item` under its name; answers what stood there.
    pub fn put(&mut self, item: Item) -> Option<Item> {
        let name = item.name().to_owned();
        match item {
            Item::Service(it) => self.services.insert(name, it).map(Item::Service),
            Item::Route(it) => self.routes.insert(name, it).map(Item::Route),
            Item::Queue(it) => self.queues.insert(name, it).map(Item::Queue),
            Item::Application(it) => self.applications.insert(name, it).map(Item::Application),
            Item::Issuer(it) => self.issuers.insert(name, it).map(Item::Issuer),
            Item::Certificate(it) => self.certificates.insert(name, it).map(Item::Certificate),
            Item::Defaults(it) => Some(Item::Defaults(std::mem::replace(&mut self.defaults, it))),
        }
    }

    /// Takes the entity out; the defaults go back to what a fresh fleet has.
    pub fn remove(&mut self, kind: Kind, name: &str) -> Option<Item> {
        match kind {
            Kind::Service => self.services.remove(name).map(Item::Service),
            Kind::Route => self.routes.remove(name).map(Item::Route),
            Kind::Queue => self.queues.remove(name).map(Item::Queue),
            Kind::Application => self.applications.remove(name).map(Item::Application),
            Kind::Issuer => self.issuers.remove(name).map(Item::Issuer),
            Kind::Certificate => self.certificates.remove(name).map(Item::Certificate),
            Kind::Defaults => Some(Item::Defaults(std::mem::take(&mut self.defaults))),
        }
    }

    /// Every entity, kind by kind, in the order of their names.
    pub fn items(&self) -> impl Iterator<Item = Item> + '_ {
        let services = self.services.values().cloned().map(Item::Service);
        let routes = self.routes.values().cloned().map(Item::Route);
        let queues = self.queues.values().cloned().map(Item::Queue);
        let applications = self.applications.values().cloned().map(Item::Application);
        let issuers = self.issuers.values().cloned().map(Item::Issuer);
        let certificates = self.certificates.values().cloned().map(Item::Certificate);
        let defaults = std::iter::once(Item::Defaults(self.defaults.clone()));
        services.chain(routes).chain(queues).chain(applications).chain(issuers).chain(certificates).chain(defaults)
    }

    #[must_use]
    pub fn digest(&self) -> Digest {
        self.items().fold(Digest::default(), |sum, item| sum.plus(item.digest()))
    }
}
