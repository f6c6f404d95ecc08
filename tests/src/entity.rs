//! Entities in few words, as the JSON that the admin API takes.

use serde_json::{Map, Value, json};

/// A service, a route or whatever else: where it is written, and what it says.
#[derive(Clone, Debug)]
pub struct Entity {
    collection: &'static str,
    name: String,
    fields: Map<String, Value>,
}

/// A service with nothing but its name.
pub fn service(name: &str) -> Entity {
    Entity::new("/admin/routing/services", name).set("serviceName", name)
}

/// A route for every host and method, with nothing but its name.
pub fn route(name: &str) -> Entity {
    Entity::new("/admin/routing/routes", name).set("name", name)
}

/// A queue with nothing but its name.
pub fn queue(name: &str) -> Entity {
    Entity::new("/admin/routing/queues", name).set("name", name)
}

/// An application with nothing but its name: it may do nothing.
pub fn application(name: &str) -> Entity {
    Entity::new("/admin/access/applications", name).set("name", name)
}

/// A JWT issuer with nothing but its name.
pub fn issuer(name: &str) -> Entity {
    Entity::new("/admin/access/issuers", name).set("name", name)
}

/// A certificate with nothing but its name.
pub fn certificate(name: &str) -> Entity {
    Entity::new("/admin/edge/certificates", name).set("name", name)
}

impl Entity {
    fn new(collection: &'static str, name: &str) -> Self {
        Self { collection, name: name.to_owned(), fields: Map::new() }
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// The path of its list in the admin API.
    pub fn collection(&self) -> &'static str {
        self.collection
    }

    /// Its own path in the admin API.
    pub fn path(&self) -> String {
        format!("{}/{}", self.collection, self.name)
    }

    pub fn json(&self) -> Value {
        Value::Object(self.fields.clone())
    }

    /// Any field, by its JSON name.
    pub fn set(mut self, field: &str, value: impl Into<Value>) -> Self {
        self.fields.insert(field.to_owned(), value.into());
        self
    }

    fn push(mut self, field: &str, value: Value) -> Self {
        let list = self.fields.entry(field).or_insert_with(|| json!([]));
        list.as_array_mut().expect("this field is a list").push(value);
        self
    }

    // === services ===

    /// Where a service without versions sends.
    pub fn url(self, url: impl Into<String>) -> Self {
        self.set("defaultUrl", url.into())
    }

    pub fn fallback(self, url: impl Into<String>) -> Self {
        self.set("fallbackUrl", url.into())
    }

    /// A version with one instance.
    pub fn version(self, version: &str, url: impl Into<String>, weight: u16) -> Self {
        self.push("versions", json!({"version": version, "url": url.into(), "weight": weight}))
    }

    /// A version that serves the API version of another: a canary.
    pub fn canary(self, version: &str, api_version: &str, url: impl Into<String>, weight: u16) -> Self {
        self.push(
            "versions",
            json!({"version": version, "apiVersion": api_version, "url": url.into(), "weight": weight}),
        )
    }

    /// A version with several instances.
    pub fn instances(self, version: &str, urls: &[String]) -> Self {
        let instances: Vec<_> = urls.iter().map(|url| json!({"url": url})).collect();
        self.push("versions", json!({"version": version, "instances": instances, "weight": 100}))
    }

    // === queues ===

    /// On the embedded broker, pushed to this URL.
    pub fn deliver_to(self, url: impl Into<String>) -> Self {
        self.set("destination", json!({"deliverTo": url.into()}))
    }

    // === applications ===

    /// May use these services, in any version.
    pub fn allowed(self, services: &[&str]) -> Self {
        self.set("allowedServices", json!(services)).set("allowedVersions", json!(["*"]))
    }

    /// May call this path with these methods, in any version.
    pub fn endpoint(self, path: &str, methods: &[&str]) -> Self {
        self.entry(json!({"endpointPath": path, "allowedMethods": methods, "allowedVersions": ["*"]}))
    }

    /// Any whitelist entry.
    pub fn entry(self, entry: Value) -> Self {
        self.push("whitelist", entry)
    }

    // === routes ===

    pub fn pattern(self, path: &str) -> Self {
        self.set("path", path)
    }

    pub fn to_service(self, name: &str) -> Self {
        self.set("target", json!({"service": name}))
    }

    pub fn to_queue(self, name: &str) -> Self {
        self.set("target", json!({"queue": name}))
    }

    pub fn rewrite(self, template: &str) -> Self {
        self.set("rewrite", template)
    }

    pub fn host(self, host: &str) -> Self {
        self.push("hosts", host.into())
    }

    pub fn method(self, method: &str) -> Self {
        self.push("methods", method.into())
    }

    /// Open to all. Without it a route lets nobody in who shows no credentials.
    pub fn public(self) -> Self {
        self.set("access", json!({"anyOf": ["public"]}))
    }
}
