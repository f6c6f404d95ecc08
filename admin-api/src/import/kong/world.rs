//! A declarative document of Kong gathered: what is nested and what stands at the top and refers to it, side by side.

use std::collections::HashMap;

use serde_json::Value;

use super::super::draft::Draft;
use super::super::foreign::{fields, flag, is_nothing, members, text};
use super::plugin::{Effect, Plugin, effect};

/// Top-level sections that are read, or that say nothing that is missed.
const SECTIONS: [&str; 14] = [
    "_format_version",
    "_info",
    "_comment",
    "_ignore",
    "_transform",
    "_workspace",
    "_konnect",
    "_plugin_configs",
    "services",
    "routes",
    "consumers",
    "upstreams",
    "plugins",
    "targets",
];

/// Sections of credentials that name their consumer.
const CREDENTIALS: [&str; 3] = ["keyauth_credentials", "jwt_secrets", "acls"];

#[derive(Debug)]
pub(super) struct Found<'v> {
    pub(super) origin: String,
    pub(super) value: &'v Value,
}

#[derive(Debug)]
pub(super) struct World<'v> {
    pub(super) services: Vec<Found<'v>>,
    /// With the place of their service.
    pub(super) routes: Vec<(Found<'v>, Option<usize>)>,
    /// The places of each service's routes.
    pub(super) routes_of: HashMap<usize, Vec<usize>>,
    pub(super) consumers: Vec<Found<'v>>,
    /// By their names and ids.
    consumer_index: Index<'v>,
    /// Of a consumer's place: section, credential.
    pub(super) credentials: HashMap<usize, Vec<(&'static str, Found<'v>)>>,
    pub(super) upstreams: HashMap<&'v str, Found<'v>>,
    /// Targets that stand at the top, by their upstream.
    pub(super) targets: HashMap<&'v str, Vec<Found<'v>>>,
    plugins: HashMap<Scope, Vec<Plugin<'v>>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Scope {
    Global,
    Service(usize),
    Route(usize),
    Consumer(usize),
}

/// Entities by their names and ids.
type Index<'v> = HashMap<&'v str, usize>;

impl<'v> World<'v> {
    pub(super) fn read(root: &'v Value, draft: &mut Draft) -> Self {
        let mut world = Self {
            services: found(root, "services"),
            routes: Vec::new(),
            routes_of: HashMap::new(),
            consumer_index: Index::new(),
            consumers: found(root, "consumers"),
            credentials: HashMap::new(),
            upstreams: HashMap::new(),
            targets: HashMap::new(),
            plugins: HashMap::new(),
        };
        for (section, value) in fields(root) {
            if !SECTIONS.contains(&section) && !CREDENTIALS.contains(&section) && !is_nothing(value) {
                draft.lose(section, "has no counterpart");
            }
        }
        let services = index(&world.services, &["name", "id"]);
        world.read_routes(root, &services, draft);
        for (at, (_, service)) in world.routes.iter().enumerate() {
            world.routes_of.entry(service.unwrap_or(usize::MAX)).or_default().push(at);
        }
        world.read_upstreams(root);
        world.consumer_index = index(&world.consumers, &["username", "id", "custom_id"]);
        world.read_credentials(root, draft);
        world.read_plugins(root, &services, draft);
        world
    }

    /// Those that stand exactly there.
    pub(super) fn plugins_at(&self, scope: Scope) -> &[Plugin<'v>] {
        self.plugins.get(&scope).map(Vec::as_slice).unwrap_or_default()
    }

    /// Those that act on a route: of each name the one that stands closest.
    pub(super) fn plugins_of(&self, route: usize) -> Vec<(Scope, &Plugin<'v>)> {
        let service = self.routes.get(route).and_then(|(_, service)| *service);
        let scopes = [Some(Scope::Route(route)), service.map(Scope::Service), Some(Scope::Global)];
        let mut acting: Vec<(Scope, &Plugin<'v>)> = Vec::new();
        for scope in scopes.into_iter().flatten() {
            for plugin in self.plugins_at(scope) {
                if !acting.iter().any(|(_, closer)| closer.name == plugin.name) {
                    acting.push((scope, plugin));
                }
            }
        }
        acting
    }

    /// Whoever is taken for this consumer is turned away, as where one of several credentials is enough.
    pub(super) fn is_turned_away(&self, consumer: &str) -> bool {
        let plugins = self.consumer_index.get(consumer).map(|at| self.plugins_at(Scope::Consumer(*at)));
        plugins.into_iter().flatten().any(|plugin| {
            matches!(plugin.effect, Effect::Terminate(_) | Effect::Shut | Effect::Guard | Effect::Addresses { .. })
        })
    }

    fn read_routes(&mut self, root: &'v Value, services: &Index<'v>, draft: &mut Draft) {
        for (at, service) in self.services.iter().enumerate() {
            let nested = below(service, "routes");
            self.routes.extend(nested.into_iter().map(|route| (route, Some(at))));
        }
        for route in found(root, "routes") {
            match route.value.get("service").filter(|it| !it.is_null()) {
                None => self.routes.push((route, None)),
                Some(reference) => match referred(reference).and_then(|name| services.get(name)) {
                    Some(at) => self.routes.push((route, Some(*at))),
                    None => draft.lose(route.origin, "its service is not in the document"),
                },
            }
        }
    }

    fn read_upstreams(&mut self, root: &'v Value) {
        for upstream in found(root, "upstreams") {
            if let Some(name) = text(upstream.value, "name") {
                self.upstreams.entry(name).or_insert(upstream);
            }
        }
        for target in found(root, "targets") {
            if let Some(upstream) = target.value.get("upstream").and_then(referred) {
                self.targets.entry(upstream).or_default().push(target);
            }
        }
    }

    fn read_credentials(&mut self, root: &'v Value, draft: &mut Draft) {
        for section in CREDENTIALS {
            for (at, consumer) in self.consumers.iter().enumerate() {
                let nested = below(consumer, section).into_iter().map(|found| (section, found));
                self.credentials.entry(at).or_default().extend(nested);
            }
            for credential in found(root, section) {
                let owner =
                    credential.value.get("consumer").and_then(referred).and_then(|name| self.consumer_index.get(name));
                match owner {
                    Some(at) => self.credentials.entry(*at).or_default().push((section, credential)),
                    None => draft.lose(credential.origin, "its consumer is not in the document"),
                }
            }
        }
    }

    fn read_plugins(&mut self, root: &'v Value, services: &Index<'v>, draft: &mut Draft) {
        let mut gathered: Vec<(Scope, Found<'v>)> = Vec::new();
        let nested = |scope: Scope, owner: &Found<'v>| below(owner, "plugins").into_iter().map(move |it| (scope, it));
        for (at, service) in self.services.iter().enumerate() {
            gathered.extend(nested(Scope::Service(at), service));
        }
        let mut routes = Index::new();
        for (at, (route, _)) in self.routes.iter().enumerate() {
            gathered.extend(nested(Scope::Route(at), route));
            add_to_index(&mut routes, route.value, at, &["name", "id"]);
        }
        for (at, consumer) in self.consumers.iter().enumerate() {
            gathered.extend(nested(Scope::Consumer(at), consumer));
        }
        for plugin in found(root, "plugins") {
            match scope_of(plugin.value, services, &routes, &self.consumer_index) {
                Ok(scope) => gathered.push((scope, plugin)),
                Err(why) => draft.lose(plugin.origin, why),
            }
        }
        for (scope, plugin) in gathered {
            if flag(plugin.value, "enabled") == Some(false) {
                continue;
            }
            let Some(name) = text(plugin.value, "name") else {
                draft.lose(plugin.origin, "the plugin has no name");
                continue;
            };
            let config = configured(root, plugin.value);
            let effect = effect(name, &config, &plugin.origin, draft);
            self.plugins.entry(scope).or_default().push(Plugin { name, origin: plugin.origin, effect });
        }
    }
}

/// Where a plugin at the top acts.
fn scope_of(plugin: &Value, services: &Index, routes: &Index, consumers: &Index) -> Result<Scope, &'static str> {
    let place = |field: &str, index: &Index| -> Result<Option<usize>, &'static str> {
        let Some(reference) = plugin.get(field).filter(|it| !it.is_null()) else { return Ok(None) };
        let at = referred(reference).and_then(|name| index.get(name)).copied();
        at.map(Some).ok_or("what it refers to is not in the document")
    };
    if plugin.get("consumer_group").is_some_and(|it| !it.is_null()) {
        return Err("consumer groups have no counterpart");
    }
    let (service, route) = (place("service", services)?, place("route", routes)?);
    match (route, service, place("consumer", consumers)?) {
        (None, None, None) => Ok(Scope::Global),
        (None, None, Some(consumer)) => Ok(Scope::Consumer(consumer)),
        (Some(route), _, None) => Ok(Scope::Route(route)),
        (None, Some(service), None) => Ok(Scope::Service(service)),
        (_, _, Some(_)) => Err("a plugin for one consumer on one route has no counterpart"),
    }
}

/// The plugin's configuration over the shared one that it names.
fn configured(root: &Value, plugin: &Value) -> Value {
    let shared = text(plugin, "_config").and_then(|name| root.get("_plugin_configs")?.get(name)).cloned();
    let mut config = shared.filter(Value::is_object).unwrap_or_else(|| Value::Object(serde_json::Map::new()));
    for (name, field) in plugin.get("config").into_iter().flat_map(fields) {
        config[name] = field.clone();
    }
    config
}

fn found<'v>(root: &'v Value, section: &str) -> Vec<Found<'v>> {
    let place = |(at, value)| Found { origin: format!("{section}/{at}"), value };
    members(root, section).iter().enumerate().map(place).collect()
}

fn below<'v>(owner: &Found<'v>, section: &str) -> Vec<Found<'v>> {
    let place = |(at, value)| Found { origin: format!("{}/{section}/{at}", owner.origin), value };
    members(owner.value, section).iter().enumerate().map(place).collect()
}

/// A name, or an object that holds one.
fn referred(reference: &Value) -> Option<&str> {
    reference.as_str().or_else(|| ["name", "id", "username"].iter().find_map(|field| text(reference, field)))
}

fn index<'v>(found: &[Found<'v>], names: &[&str]) -> Index<'v> {
    let mut index = Index::new();
    for (at, entity) in found.iter().enumerate() {
        add_to_index(&mut index, entity.value, at, names);
    }
    index
}

fn add_to_index<'v>(index: &mut Index<'v>, value: &'v Value, at: usize, names: &[&str]) {
    for name in names.iter().filter_map(|field| text(value, field)) {
        index.entry(name).or_insert(at);
    }
}
