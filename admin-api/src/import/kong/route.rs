//! Routes with the plugins that act on them.

use std::collections::{BTreeSet, HashMap};

use gateway_config::model::{Kind, Problem, host};
use serde_json::{Map, Value, json};

use super::super::draft::Draft;
use super::super::foreign::{fields, flag, text, texts};
use super::path::{Place, Places, places};
use super::plugin::{Effect, Plugin};
use super::service::maintenance;
use super::world::{Found, Scope, World};

const KNOWN: [&str; 25] = [
    "id",
    "name",
    "tags",
    "created_at",
    "updated_at",
    "service",
    "hosts",
    "paths",
    "methods",
    "headers",
    "protocols",
    "strip_path",
    "preserve_host",
    "regex_priority",
    "path_handling",
    "plugins",
    "request_buffering",
    "response_buffering",
    "https_redirect_status_code",
    "ws_id",
    "priority",
    "expression",
    "snis",
    "sources",
    "destinations",
];

/// Conditions that we don't have: without them a route would take more than it should.
const CONDITIONS: [&str; 4] = ["snis", "sources", "destinations", "expression"];

/// Told once: it holds for nearly every path.
const SEGMENTS: &str =
    "paths match whole segments: /shop stands for /shop and /shop/…, where Kong takes /shopping as well";

/// Which consumers may use a route: those in a group of the first, and in none of the second. `None`: all.
pub(super) type Groups = Option<(Vec<String>, Vec<String>)>;

/// What the plugins that act on a route come to.
#[derive(Debug, Default)]
pub(super) struct Policy {
    credentials: BTreeSet<&'static str>,
    /// How many credentials are asked for of everybody.
    strict: usize,
    /// Credentials of which one is enough, with nobody let in without any.
    has_choice: bool,
    has_guard: bool,
    /// Nobody may use it.
    is_shut: bool,
    groups: Groups,
    /// All but the path, the name and the target.
    fields: Map<String, Value>,
    limits: Vec<Value>,
    respond: Option<Value>,
}

impl Policy {
    pub(super) fn of(world: &World, route: usize, landed: &mut HashMap<String, usize>) -> Self {
        let mut policy = Self::default();
        let service = world.routes.get(route).and_then(|(_, service)| *service);
        for (scope, plugin) in world.plugins_of(route) {
            let is_maintenance =
                matches!(scope, Scope::Service(_)) && service.is_some_and(|at| maintenance(world, at).is_some());
            if !(is_maintenance && matches!(plugin.effect, Effect::Terminate(_))) {
                policy.add(world, plugin, landed);
            }
        }
        policy
    }

    fn add(&mut self, world: &World, plugin: &Plugin, landed: &mut HashMap<String, usize>) {
        match &plugin.effect {
            Effect::Credential { word, anonymous } => {
                self.credentials.insert(word);
                match anonymous {
                    None => self.strict += 1,
                    Some(consumer) => self.has_choice |= world.is_turned_away(consumer),
                }
            }
            Effect::Guard => self.has_guard = true,
            Effect::Groups { allow, deny } => self.groups = Some((allow.clone(), deny.clone())),
            Effect::Limits(limits) => {
                self.limits.extend(limits.iter().cloned());
                *landed.entry(plugin.origin.clone()).or_default() += 1;
            }
            Effect::Cors(cors) => drop(self.fields.insert("cors".to_owned(), cors.clone())),
            Effect::Addresses { allow, deny } => {
                self.fields.insert("ipAllow".to_owned(), json!(allow));
                self.fields.insert("ipDeny".to_owned(), json!(deny));
            }
            Effect::BodySize(bytes) => drop(self.fields.insert("maxBodyBytes".to_owned(), json!(bytes))),
            Effect::Transform(transform) => {
                let both = self.fields.entry("transform").or_insert_with(|| json!({}));
                for (side, edits) in fields(transform) {
                    both[side] = edits.clone();
                }
            }
            Effect::Terminate(end) => {
                let message = end.message.as_deref().unwrap_or("Service unavailable");
                let body = end.body.clone().unwrap_or_else(|| json!({"message": message}).to_string());
                self.respond = Some(json!({"statusCode": end.status, "contentType": end.content_type, "body": body}));
            }
            Effect::Shut => self.is_shut = true,
            Effect::Nothing => {}
        }
    }

    /// Whoever calls must be known.
    pub(super) fn needs_credentials(&self) -> bool {
        self.strict > 0 || self.has_choice || self.has_guard || self.groups.is_some()
    }

    /// Which consumers may use it, where that matters.
    pub(super) fn groups(&self) -> Groups {
        self.groups.clone()
    }

    fn access(&self) -> Value {
        let mut words: Vec<&str> = self.credentials.iter().copied().collect();
        if self.is_shut {
            return json!({"anyOf": []});
        }
        if self.strict > 1 && words.contains(&"jwt") {
            return json!({"anyOf": ["jwt"]});
        }
        if self.needs_credentials() {
            let usual = ["api_key", "jwt"];
            return json!({"anyOf": if words.is_empty() { &usual[..] } else { &words }});
        }
        let is_optional = !words.is_empty();
        words.push("public");
        if is_optional { json!({"anyOf": words, "invalidCredentials": "ignore"}) } else { json!({"anyOf": words}) }
    }
}

/// Adds what the route comes to: one route of ours for each of its patterns.
pub(super) fn add(
    found: &Found,
    service: Option<&str>,
    policy: &Policy,
    marks_regexes: bool,
    draft: &mut Draft,
) -> Result<(), Vec<Problem>> {
    draft.lose_unknown(found.value, &found.origin, &KNOWN);
    let target = match (&policy.respond, service) {
        (Some(respond), _) => json!({"respond": respond}),
        (None, Some(name)) => json!({"service": name}),
        (None, None) => {
            draft.lose(&found.origin, "the route leads to no service and answers nothing itself");
            return Ok(());
        }
    };
    let Some(matching) = matching(found, draft) else { return Ok(()) };
    let all = found_places(found, marks_regexes, draft);
    if policy.strict > 1 {
        draft.lose(&found.origin, "asks for several credentials together; here a token alone is asked for");
    }
    if policy.is_shut {
        draft.lose(
            &found.origin,
            "lets nobody in, for one of its plugins keeps callers out and could not be carried over",
        );
    }
    let wanted = text(found.value, "name").map_or_else(|| wanted(found), str::to_owned);
    for place in all {
        let mut route = matching.clone();
        route.extend(policy.fields.clone());
        route.insert("path".to_owned(), json!(place.pattern));
        if let Some(rewrite) = place.rewrite.filter(|_| policy.respond.is_none()) {
            route.insert("rewrite".to_owned(), json!(rewrite));
        }
        route.insert("target".to_owned(), target.clone());
        route.insert("access".to_owned(), policy.access());
        if !policy.limits.is_empty() {
            route.insert("limits".to_owned(), json!(policy.limits));
        }
        let name = draft.name(Kind::Route, &wanted);
        draft.add(Kind::Route, name, &found.origin, Value::Object(route))?;
    }
    Ok(())
}

/// A name for a route that has none: its first path or host.
fn wanted(found: &Found) -> String {
    let parts = texts(found.value, "paths").chain(texts(found.value, "hosts"));
    parts.filter(|part| part.contains(|letter: char| letter.is_ascii_alphanumeric())).take(1).collect()
}

/// Its conditions but for the path; `None` when some can't be kept.
fn matching(found: &Found, draft: &mut Draft) -> Option<Map<String, Value>> {
    let (value, origin) = (found.value, &found.origin);
    for field in CONDITIONS {
        if value.get(field).is_some_and(|it| !super::super::foreign::is_nothing(it)) {
            draft.lose(
                format!("{origin}/{field}"),
                "this condition has no counterpart, and without it the route would take too much",
            );
            return None;
        }
    }
    let mut route = Map::new();
    let hosts = hosts(found, draft);
    if hosts.is_empty() && texts(value, "hosts").next().is_some() {
        return None;
    }
    let methods: Vec<String> = texts(value, "methods").map(str::to_ascii_uppercase).collect();
    for (field, list) in [("hosts", hosts), ("methods", methods)] {
        if !list.is_empty() {
            route.insert(field.to_owned(), json!(list));
        }
    }
    let headers: Map<String, Value> = value
        .get("headers")
        .into_iter()
        .flat_map(fields)
        .map(|(name, values)| (name.to_owned(), json!(condition(values))))
        .collect();
    if !headers.is_empty() {
        route.insert("headers".to_owned(), Value::Object(headers));
    }
    let protocols: Vec<&str> = texts(value, "protocols").collect();
    if let Some(other) = protocols.iter().find(|it| !["http", "https", "grpc", "grpcs"].contains(*it)) {
        draft.lose(format!("{origin}/protocols"), format!("{other:?} is not routed"));
        return None;
    }
    if !protocols.is_empty() && protocols.iter().all(|it| it.ends_with('s')) {
        draft.lose(format!("{origin}/protocols"), "a route answers on both listeners, with TLS and without");
    }
    if let Some(priority) = value.get("regex_priority").and_then(Value::as_i64).filter(|it| *it != 0) {
        route.insert("priority".to_owned(), json!(priority));
    }
    Some(route)
}

fn hosts(found: &Found, draft: &mut Draft) -> Vec<String> {
    let mut hosts: Vec<String> = Vec::new();
    for (at, given) in texts(found.value, "hosts").enumerate() {
        let name = given.to_ascii_lowercase();
        if !host::is_host_name(name.strip_prefix("*.").unwrap_or(&name)) {
            let place = format!("{}/hosts/{at}", found.origin);
            draft.lose(place, "a host is a name without a port, or *.name");
        } else if !hosts.contains(&name) {
            hosts.push(name);
        }
    }
    hosts
}

/// Any of the values, in any case; `~*` begins an expression, which may stand anywhere in the value.
fn condition(values: &Value) -> String {
    let values: Vec<&str> = match values {
        Value::String(only) => vec![only],
        Value::Array(list) => list.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    };
    let written = |value: &&str| value.strip_prefix("~*").map_or_else(|| quoted(value), |it| format!(".*(?:{it}).*"));
    let all: Vec<String> = values.iter().map(written).collect();
    format!("~(?i:{})", all.join("|"))
}

/// The text as an expression that it alone meets.
fn quoted(text: &str) -> String {
    text.chars().fold(String::new(), |mut quoted, letter| {
        if letter.is_ascii_punctuation() && !matches!(letter, '-' | '_' | '/' | ',' | ';' | '=') {
            quoted.push('\\');
        }
        quoted.push(letter);
        quoted
    })
}

fn found_places(found: &Found, marks_regexes: bool, draft: &mut Draft) -> Vec<Place> {
    let value = found.value;
    let strips = flag(value, "strip_path") != Some(false);
    let mut all: Vec<Place> = Vec::new();
    let paths: Vec<&str> = texts(value, "paths").collect();
    if paths.is_empty() {
        return vec![Place { pattern: "/{*rest}".to_owned(), rewrite: None }];
    }
    for (at, path) in paths.into_iter().enumerate() {
        let origin = format!("{}/paths/{at}", found.origin);
        match places(path, marks_regexes, strips) {
            Ok(Places { found: places, is_prefix, widened }) => {
                if is_prefix && path.len() > 1 && !path.ends_with('/') {
                    draft.warn("", SEGMENTS);
                }
                for expression in widened {
                    draft.warn(&origin, format!("takes any one segment where \"{expression}\" stood"));
                }
                all.extend(places.into_iter().filter(|place| !all.contains(place)).collect::<Vec<_>>());
            }
            Err(why) => draft.lose(origin, why),
        }
    }
    all
}
