//! The next snapshot from a change. Compiling from nothing is a change too: one that puts everything.

use std::sync::Arc;

use super::fleet::CompiledDefaults;
use super::problems::Problems;
use super::queue::CompiledQueue;
use super::route::CompiledRoute;
use super::service::CompiledService;
use super::{Snapshot, checks, fresh_defaults};
use crate::model::{Broker, Change, Edit, Item, Kind, Problem, Queue, Route, Target};

impl Snapshot {
    /// The snapshot that `change` leads to, or everything that is wrong with it. What the change does not touch is shared.
    pub fn apply(&self, change: &Change) -> Result<Self, Vec<Problem>> {
        let mut next = self.clone();
        next.generation = change.generation;
        let mut problems = Problems::default();
        let edits = last_of_each(&change.edits);
        // First everything out, then everything in: two routes that swap their paths must not collide half-way.
        for edit in &edits {
            if let Some(old) = next.item(edit.kind(), edit.name()) {
                next.digest = next.digest.minus(old.digest());
                next.take_out(edit.kind(), edit.name());
            }
        }
        for edit in &edits {
            match edit {
                Edit::Put(item) => {
                    next.digest = next.digest.plus(item.digest());
                    problems.at(item.kind(), item.name(), |problems| next.put_in(item, problems));
                }
                // There are always defaults: taken out, they are those of a fresh fleet.
                Edit::Delete { kind: Kind::Defaults, .. } => {
                    next.digest = next.digest.plus(Item::Defaults(next.defaults.source.clone()).digest());
                }
                Edit::Delete { .. } => {}
            }
        }
        for edit in &edits {
            next.check_between(edit, &mut problems);
        }
        let problems = problems.into_sorted();
        if problems.is_empty() { Ok(next) } else { Err(problems) }
    }

    fn take_out(&mut self, kind: Kind, name: &str) {
        match kind {
            Kind::Service => {
                self.services.remove(name);
                self.lead_to(name, None);
            }
            Kind::Queue => drop(self.queues.remove(name)),
            Kind::Application => self.take_out_application(name),
            Kind::Issuer => self.take_out_issuer(name),
            Kind::Certificate => self.take_out_certificate(name),
            Kind::Defaults => self.defaults = fresh_defaults(),
            Kind::Route => {
                let Some(route) = self.routes.remove(name) else { return };
                if route.source.is_active {
                    self.hosts.remove(&route);
                }
                if let Some((kind, target)) = target_of(&route.source) {
                    self.unrefer(kind, target, name);
                }
            }
        }
    }

    fn put_in(&mut self, item: &Item, problems: &mut Problems) {
        checks::item(item, problems);
        let name = item.name();
        match item {
            Item::Service(it) => {
                let service = Arc::new(CompiledService::compile(it, problems));
                self.services.insert(name, service.clone());
                self.lead_to(name, Some(service));
            }
            Item::Queue(it) => drop(self.queues.insert(name, Arc::new(CompiledQueue::compile(it, problems)))),
            Item::Application(it) => self.put_in_application(it, problems),
            Item::Issuer(it) => self.put_in_issuer(it, problems),
            Item::Certificate(it) => self.put_in_certificate(it, problems),
            Item::Defaults(it) => self.defaults = Arc::new(CompiledDefaults::compile(it, problems)),
            Item::Route(it) => {
                let Some(mut route) = CompiledRoute::compile(it, problems) else { return };
                route.service = target_of(it).and_then(|(kind, target)| self.refer(kind, target, name));
                let route = Arc::new(route);
                // An inactive route does not exist for requests; it is kept so that it can come back.
                if it.is_active {
                    self.hosts.insert(&route);
                }
                self.routes.insert(name, route);
            }
        }
    }

    /// What can be wrong between entities.
    fn check_between(&self, edit: &Edit, problems: &mut Problems) {
        match edit {
            Edit::Put(Item::Route(it)) => {
                problems.at(Kind::Route, &it.name, |problems| self.check_target(&it.target, problems));
                if let Some(route) = self.routes.get(&it.name).filter(|_| it.is_active) {
                    problems.at(Kind::Route, &it.name, |problems| self.check_ambiguity(route, problems));
                }
            }
            Edit::Delete { kind: kind @ (Kind::Service | Kind::Queue), name } => {
                for route in self.referrers(*kind, name) {
                    let is_channel =
                        self.routes.get(route).is_some_and(|route| matches!(route.source.target, Target::Channel(_)));
                    let field = if is_channel { "target/channel/queue".to_owned() } else { format!("target/{kind}") };
                    problems.at(Kind::Route, route, |problems| problems.add(&field, nothing_there(*kind, name)));
                }
            }
            Edit::Put(Item::Application(it)) => {
                problems.at(Kind::Application, &it.name, |problems| self.check_clients(it, problems));
            }
            Edit::Put(Item::Queue(it)) => self.check_channels(it, problems),
            Edit::Put(Item::Issuer(it)) => {
                problems.at(Kind::Issuer, &it.name, |problems| self.check_issuer(it, problems));
                self.check_all_clients(problems);
            }
            Edit::Delete { kind: Kind::Issuer, .. } => self.check_all_clients(problems),
            Edit::Put(_) | Edit::Delete { .. } => {}
        }
    }

    fn check_target(&self, target: &Target, problems: &mut Problems) {
        match target {
            Target::Service(name) if name.is_empty() => problems.add("target", "a route must say where it leads"),
            Target::Service(name) if self.service(name).is_none() => {
                problems.add("target/service", nothing_there(Kind::Service, name));
            }
            Target::Queue(name) if self.queue(name).is_none() => {
                problems.add("target/queue", nothing_there(Kind::Queue, name));
            }
            Target::Channel(channel) => match self.queue(&channel.queue) {
                None => problems.add("target/channel/queue", nothing_there(Kind::Queue, &channel.queue)),
                Some(queue) => {
                    if let Some(why) = unfollowable(&queue.source) {
                        problems.add("target/channel/queue", why);
                    }
                }
            },
            _ => {}
        }
    }

    /// A queue that changes where it leads may leave channels without one that could feed them.
    fn check_channels(&self, queue: &Queue, problems: &mut Problems) {
        for route in self.referrers(Kind::Queue, &queue.name).filter_map(|name| self.routes.get(name)) {
            if matches!(route.source.target, Target::Channel(_)) {
                problems
                    .at(Kind::Route, &route.source.name, |problems| self.check_target(&route.source.target, problems));
            }
        }
    }

    fn check_ambiguity(&self, route: &CompiledRoute, problems: &mut Problems) {
        let hosts = &route.source.hosts;
        let places = hosts.iter().map(|host| Some(host.as_str())).chain(hosts.is_empty().then_some(None));
        for host in places {
            for other in self.hosts.beside(host, route) {
                if other.source.name != route.source.name && route.is_ambiguous_with(other) {
                    let what = "they have the same host, path, methods, conditions and priority";
                    problems.add("path", format!("can't be told apart from route \"{}\": {what}", other.source.name));
                }
            }
        }
    }
}

/// Why nobody but its workers can have a queue's messages.
fn unfollowable(queue: &Queue) -> Option<&'static str> {
    match queue.broker {
        Broker::Embedded => Some("channels are fed by rabbitmq, redis or kafka"),
        Broker::Rabbitmq if queue.destination.exchange.as_deref().unwrap_or_default().is_empty() => {
            Some("a channel needs an exchange: on RabbitMQ what comes by exchange \"\" is its worker's alone")
        }
        Broker::Rabbitmq | Broker::Redis | Broker::Kafka => None,
    }
}

fn nothing_there(kind: Kind, name: &str) -> String {
    format!("there is no {kind} \"{name}\"")
}

fn target_of(route: &Route) -> Option<(Kind, &str)> {
    match &route.target {
        Target::Service(name) => Some((Kind::Service, name)),
        Target::Queue(name) => Some((Kind::Queue, name)),
        Target::Channel(channel) => Some((Kind::Queue, &channel.queue)),
        Target::Aggregate(_) | Target::Redirect(_) | Target::Respond(_) => None,
    }
}

/// Of several edits of one entity only the last takes effect.
fn last_of_each(edits: &[Edit]) -> Vec<&Edit> {
    let mut seen = std::collections::HashSet::new();
    let mut last: Vec<&Edit> = edits.iter().rev().filter(|edit| seen.insert((edit.kind(), edit.name()))).collect();
    last.reverse();
    last
}
