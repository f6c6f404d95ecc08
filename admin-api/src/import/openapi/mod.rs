//! OpenAPI 3: one service, a route for each path, and an application that may call what needs credentials.

mod access;
mod reference;
mod server;

use std::collections::BTreeSet;

use gateway_config::model::{Kind, Problem, host};
use gateway_config::snapshot::Segment;
use serde_json::{Map, Value, json};

use super::Options;
use super::draft::Draft;
use super::foreign::{fields, number, text};
use super::names::slug;
use super::path::{PartNames, literal};
use access::Access;
use reference::resolve;

const METHODS: [&str; 8] = ["get", "put", "post", "delete", "options", "head", "patch", "trace"];

/// What a path item may hold that says nothing about the way to it.
const SILENT: [&str; 4] = ["$ref", "summary", "description", "parameters"];

struct Importer<'a> {
    root: &'a Value,
    draft: &'a mut Draft,
    service: String,
    /// Stands before each path; empty for none.
    prefix: String,
    host: Option<&'a str>,
    /// Of operations that say nothing themselves.
    usual: Access,
    whitelist: Vec<Value>,
}

/// Operations of one path that are treated alike.
struct Group {
    access: Access,
    max_body_bytes: Option<u64>,
    methods: Vec<String>,
}

pub(super) fn convert(root: &Value, options: &Options, draft: &mut Draft) -> Result<(), Vec<Problem>> {
    let prefix = check(options)?;
    let url = server::base_url(root, options.url.as_deref(), draft)?;
    let title = root.get("info").and_then(|info| text(info, "title")).unwrap_or_default();
    let service = draft.name(Kind::Service, options.service_name.as_deref().unwrap_or(title));
    let body = json!({"description": title, "defaultUrl": url});
    draft.add(Kind::Service, service.clone(), "servers/0", body)?;
    for section in ["webhooks", "x-webhooks"] {
        if root.get(section).is_some() {
            draft.lose(section, "are requests that the service makes itself");
        }
    }
    let usual = access::access(root, root.get("security"), "security", draft);
    let host = options.host.as_deref();
    let mut importer = Importer { root, draft, service, prefix, host, usual, whitelist: Vec::new() };
    for (path, item) in root.get("paths").into_iter().flat_map(fields) {
        importer.path(path, item)?;
    }
    importer.application(options.application.as_deref())
}

/// The prefix without a slash at its end; or what is wrong with the options.
fn check(options: &Options) -> Result<String, Vec<Problem>> {
    let mut problems = Vec::new();
    for (field, name) in [("serviceName", &options.service_name), ("application", &options.application)] {
        if name.as_ref().is_some_and(|name| slug(name).as_ref() != Some(name)) {
            problems.push(Problem::new(field, "must be 1 to 63 lower-case letters, digits and single dashes"));
        }
    }
    if options.host.as_ref().is_some_and(|name| !host::is_host_name(name.strip_prefix("*.").unwrap_or(name))) {
        problems.push(Problem::new("host", "is not a host name in lower case, without port, or *.name"));
    }
    let prefix = options.path_prefix.as_deref().unwrap_or_default().trim_end_matches('/');
    let is_plain = |pattern: &gateway_config::snapshot::Pattern| {
        pattern.segments().iter().all(|segment| matches!(segment, Segment::Literal(_)))
    };
    if !prefix.is_empty() {
        match gateway_config::snapshot::Pattern::parse(prefix) {
            Ok(pattern) if is_plain(&pattern) => {}
            Ok(_) => problems.push(Problem::new("pathPrefix", "must be plain text")),
            Err(why) => problems.push(Problem::new("pathPrefix", why)),
        }
    }
    if problems.is_empty() { Ok(prefix.to_owned()) } else { Err(problems) }
}

impl Importer<'_> {
    fn path(&mut self, path: &str, item: &Value) -> Result<(), Vec<Problem>> {
        if path.starts_with("x-") {
            return Ok(());
        }
        let origin = format!("paths/{}", escaped(path));
        let item = match resolve(self.root, item) {
            Ok(item) => item,
            Err(why) => {
                self.draft.lose(origin, why);
                return Ok(());
            }
        };
        let pattern = match pattern(path) {
            Ok(pattern) => pattern,
            Err(why) => {
                self.draft.lose(origin, why);
                return Ok(());
            }
        };
        let groups = self.groups(item, &origin);
        let is_split = groups.len() > 1;
        for group in groups {
            let mut wanted = format!("{} {path}", self.service);
            if is_split {
                wanted = format!("{wanted} {}", group.methods.join(" "));
            }
            self.route(&wanted, &pattern, &group, &origin)?;
        }
        Ok(())
    }

    fn route(&mut self, wanted: &str, pattern: &str, group: &Group, origin: &str) -> Result<(), Vec<Problem>> {
        let path = format!("{}{pattern}", self.prefix);
        let mut route = Map::new();
        route.insert("path".to_owned(), json!(path));
        route.insert("methods".to_owned(), json!(group.methods));
        route.insert("target".to_owned(), json!({"service": self.service}));
        route.insert("access".to_owned(), group.access.to_json());
        if !self.prefix.is_empty() {
            route.insert("rewrite".to_owned(), json!(pattern));
        }
        if let Some(host) = self.host {
            route.insert("hosts".to_owned(), json!([host]));
        }
        if let Some(bytes) = group.max_body_bytes {
            route.insert("maxBodyBytes".to_owned(), json!(bytes));
        }
        let name = self.draft.name(Kind::Route, wanted);
        self.draft.add(Kind::Route, name, origin, Value::Object(route))?;
        if !group.access.is_public {
            let entry = json!({"endpointPath": path, "allowedMethods": group.methods, "allowedVersions": ["*"]});
            self.whitelist.push(entry);
        }
        Ok(())
    }

    /// The operations of a path, those that are treated alike together.
    fn groups(&mut self, item: &Value, origin: &str) -> Vec<Group> {
        let mut groups: Vec<Group> = Vec::new();
        for (name, operation) in fields(item) {
            let origin = format!("{origin}/{}", escaped(name));
            if !METHODS.contains(&name) {
                if !SILENT.contains(&name) && !name.starts_with("x-") {
                    self.draft.lose(origin, "has no counterpart");
                }
                continue;
            }
            for (field, why) in [
                ("servers", "an operation goes where its service is"),
                ("callbacks", "are requests that the service makes itself"),
            ] {
                if operation.get(field).is_some() {
                    self.draft.lose(format!("{origin}/{field}"), why);
                }
            }
            let access = match operation.get("security") {
                None => self.usual.clone(),
                own => access::access(self.root, own, &format!("{origin}/security"), self.draft),
            };
            let max_body_bytes = self.body_limit(operation);
            let is_alike = |group: &&mut Group| group.access == access && group.max_body_bytes == max_body_bytes;
            let method = name.to_ascii_uppercase();
            match groups.iter_mut().find(is_alike) {
                Some(group) => group.methods.push(method),
                None => groups.push(Group { access, max_body_bytes, methods: vec![method] }),
            }
        }
        groups
    }

    /// The largest body, where every kind of body that the operation takes has a largest length.
    fn body_limit(&self, operation: &Value) -> Option<u64> {
        let body = resolve(self.root, operation.get("requestBody")?).ok()?;
        let mut largest = None;
        for (_, content) in fields(body.get("content")?) {
            let schema = resolve(self.root, content.get("schema")?).ok()?;
            let is_binary = text(schema, "type") == Some("string") && text(schema, "format") == Some("binary");
            largest = largest.max(Some(number(schema, "maxLength").filter(|_| is_binary)?));
        }
        largest
    }

    /// Whoever may call what needs credentials.
    fn application(self, name: Option<&str>) -> Result<(), Vec<Problem>> {
        if self.whitelist.is_empty() {
            return Ok(());
        }
        let wanted = name.map_or_else(|| format!("{}-clients", self.service), str::to_owned);
        let name = self.draft.name(Kind::Application, &wanted);
        let body = json!({
            "description": format!("May call what needs credentials of {}", self.service),
            "allowedServices": [self.service],
            "allowedVersions": ["*"],
            "whitelist": merged(self.whitelist),
        });
        self.draft.add(Kind::Application, name, "paths", body)
    }
}

/// One entry a path: the methods of a path that was split come together again.
fn merged(entries: Vec<Value>) -> Vec<Value> {
    let mut merged: Vec<Value> = Vec::new();
    for entry in entries {
        match merged.last_mut().filter(|last| last.get("endpointPath") == entry.get("endpointPath")) {
            Some(last) => {
                let methods =
                    |entry: &Value| super::foreign::texts(entry, "allowedMethods").map(str::to_owned).collect();
                let mut all: BTreeSet<String> = methods(last);
                all.append(&mut methods(&entry));
                last["allowedMethods"] = json!(all);
            }
            None => merged.push(entry),
        }
    }
    merged
}

/// As in a JSON pointer.
fn escaped(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}

/// A path template as our pattern.
fn pattern(path: &str) -> Result<String, String> {
    let inner = path.strip_prefix('/').ok_or("the path does not begin with a slash")?;
    if path.contains(['?', '#']) {
        return Err("the path holds a query or a fragment; write query conditions on the route by hand".to_owned());
    }
    let mut names = PartNames::default();
    let mut pattern = String::new();
    for segment in inner.split('/') {
        let parameter = segment.strip_prefix('{').and_then(|rest| rest.strip_suffix('}'));
        match parameter.filter(|name| !name.contains(['{', '}'])) {
            Some(name) => pattern.extend(["/{", &names.take(name), "}"]),
            None if segment.contains(['{', '}']) => {
                return Err(format!("\"{segment}\" mixes text and a parameter; a name takes a whole segment"));
            }
            None => pattern.push_str(&literal(&format!("/{segment}"))?),
        }
    }
    Ok(pattern)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates_become_patterns_or_say_why_not() {
        for (template, expected) in [
            ("/", "/"),
            ("/pets/{pet-id}", "/pets/{pet_id}"),
            ("/a b/{version}/", "/a%20b/{version_}/"),
            ("/{a}/{a}", "/{a}/{a_2}"),
        ] {
            assert_eq!(pattern(template).as_deref(), Ok(expected), "{template}");
        }
        for bad in ["pets", "/a/{b}.json", "/a?x=1", "/a/{b", "/a%2fb", "/{a}{b}"] {
            assert!(pattern(bad).is_err(), "{bad}");
        }
    }
}
