//! Where credentials lead: keys to their applications, issuers by their `iss`, clients of issuers to the applications that
//! they are bound to.

use std::sync::Arc;

use super::application::{CompiledApplication, publish, withdraw};
use super::problems::Problems;
use super::{Snapshot, Table};
use crate::model::{ApiKey, Application, JwtClient, JwtIssuer, Kind};

/// A key's place: its application, and where it stands there.
#[derive(Clone, Debug)]
pub(super) struct KeyPlace {
    application: Arc<CompiledApplication>,
    at: usize,
}

/// The applications that clients of one issuer are bound to.
pub(super) type Clients = Arc<Table<Arc<CompiledApplication>>>;

/// A key and whose it is.
#[derive(Clone, Copy, Debug)]
pub struct KeyOf<'s> {
    pub key: &'s ApiKey,
    pub application: &'s Arc<CompiledApplication>,
}

impl Snapshot {
    #[must_use]
    pub fn application(&self, name: &str) -> Option<&Arc<CompiledApplication>> {
        self.applications.get(name)
    }

    pub fn applications(&self) -> impl Iterator<Item = &Arc<CompiledApplication>> {
        self.applications.values()
    }

    /// The key of this prefix, whether it still counts or not.
    #[must_use]
    pub fn key(&self, prefix: &str) -> Option<KeyOf<'_>> {
        let place = self.keys.get(prefix)?;
        Some(KeyOf { key: place.application.source.api_keys.get(place.at)?, application: &place.application })
    }

    #[must_use]
    pub fn issuer(&self, name: &str) -> Option<&Arc<JwtIssuer>> {
        self.issuers.get(name)
    }

    /// The issuer whose tokens say exactly this `iss`.
    #[must_use]
    pub fn issuer_of(&self, iss: &str) -> Option<&Arc<JwtIssuer>> {
        self.issuer_names.get(iss)
    }

    /// In no particular order.
    pub fn issuers(&self) -> impl Iterator<Item = &Arc<JwtIssuer>> {
        self.issuers.values()
    }

    #[must_use]
    pub fn application_of_client(&self, issuer: &JwtIssuer, client: &str) -> Option<&Arc<CompiledApplication>> {
        // Bound by the issuer's name, or by its iss.
        self.bound(&issuer.name, client).or_else(|| self.bound(&issuer.issuer, client))
    }

    pub(super) fn take_out_application(&mut self, name: &str) {
        let Some(application) = self.applications.remove(name) else { return };
        withdraw(&mut self.public_rules, &application);
        for key in &application.source.api_keys {
            // Where two had the same prefix, it may be the other's by now.
            if self.keys.get(&key.prefix).is_some_and(|place| *place.application.name == *name) {
                self.keys.remove(&key.prefix);
            }
        }
        for client in &application.source.jwt_clients {
            if self.bound(&client.issuer, &client.client_id).is_some_and(|bound| *bound.name == *name) {
                self.unbind(&client.issuer, &client.client_id);
            }
        }
    }

    pub(super) fn put_in_application(&mut self, source: &Arc<Application>, problems: &mut Problems) {
        let application = Arc::new(CompiledApplication::compile(source, problems));
        publish(&mut self.public_rules, &application);
        for (at, key) in source.api_keys.iter().enumerate() {
            let place = KeyPlace { application: application.clone(), at };
            if self.keys.insert(&key.prefix, place).is_some() {
                problems.add(&format!("apiKeys/{at}/prefix"), format!("{} is another key's prefix, too", key.prefix));
            }
        }
        for (at, client) in source.jwt_clients.iter().enumerate() {
            if let Some(other) = self.bind(client, &application) {
                let message = format!("this client is bound to application \"{}\" already", other.name);
                problems.add(&format!("jwtClients/{at}"), message);
            }
        }
        self.applications.insert(&source.name, application);
    }

    pub(super) fn take_out_issuer(&mut self, name: &str) {
        let Some(issuer) = self.issuers.remove(name) else { return };
        if self.issuer_names.get(&issuer.issuer).is_some_and(|it| it.name == name) {
            self.issuer_names.remove(&issuer.issuer);
        }
    }

    pub(super) fn put_in_issuer(&mut self, issuer: &Arc<JwtIssuer>, problems: &mut Problems) {
        if let Some(other) = self.issuer_names.insert(&issuer.issuer, issuer.clone()) {
            problems
                .add("issuer", format!("issuer \"{}\" has the same iss: their tokens can't be told apart", other.name));
        }
        self.issuers.insert(&issuer.name, issuer.clone());
    }

    /// Clients are bound by an issuer's name or by its iss, so none of these may stand for two issuers.
    pub(super) fn check_issuer(&self, issuer: &JwtIssuer, problems: &mut Problems) {
        if let Some(other) = self.issuer_of(&issuer.name).filter(|other| other.name != issuer.name) {
            problems.add("name", format!("is the iss of issuer \"{}\": clients could be bound to either", other.name));
        }
        if let Some(other) = self.issuer(&issuer.issuer).filter(|other| other.name != issuer.name) {
            problems
                .add("issuer", format!("is the name of issuer \"{}\": clients could be bound to either", other.name));
        }
    }

    pub(super) fn check_clients(&self, application: &Application, problems: &mut Problems) {
        for (at, client) in application.jwt_clients.iter().enumerate() {
            let Some(issuer) = self.issuer(&client.issuer).or_else(|| self.issuer_of(&client.issuer)) else {
                problems.add(&format!("jwtClients/{at}/issuer"), format!("there is no issuer \"{}\"", client.issuer));
                continue;
            };
            let bound = [&issuer.name, &issuer.issuer].map(|by| self.bound(by, &client.client_id));
            let mut others = bound.into_iter().flatten().filter(|bound| *bound.name != *application.name);
            if let Some(other) = others.next() {
                let message = format!("this client is bound to application \"{}\" already", other.name);
                problems.add(&format!("jwtClients/{at}"), message);
            }
        }
    }

    /// After an issuer was taken out.
    pub(super) fn check_all_clients(&self, problems: &mut Problems) {
        for application in self.clients.values().flat_map(|clients| clients.values()) {
            let source = &application.source;
            problems.at(Kind::Application, &source.name, |problems| self.check_clients(source, problems));
        }
    }

    fn bound(&self, issuer: &str, client: &str) -> Option<&Arc<CompiledApplication>> {
        self.clients.get(issuer)?.get(client)
    }

    /// Answers whose it was.
    fn bind(&mut self, client: &JwtClient, application: &Arc<CompiledApplication>) -> Option<Arc<CompiledApplication>> {
        if self.clients.get(&client.issuer).is_none() {
            self.clients.insert(&client.issuer, Clients::default());
        }
        let clients = self.clients.get_mut(&client.issuer)?;
        Arc::make_mut(clients).insert(&client.client_id, application.clone())
    }

    fn unbind(&mut self, issuer: &str, client: &str) {
        let Some(clients) = self.clients.get_mut(issuer) else { return };
        Arc::make_mut(clients).remove(client);
        if clients.is_empty() {
            self.clients.remove(issuer);
        }
    }
}
