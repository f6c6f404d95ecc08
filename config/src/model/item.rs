//! An entity of any kind. The only place that lists the kinds with their types.

use std::fmt::Debug;
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{Application, Certificate, Defaults, Digest, JwtIssuer, Kind, Problem, Queue, Route, Service};

/// What all entities have in common. `change`, the stores and the admin API are written once, over this.
pub trait Entity: Clone + Debug + PartialEq + Serialize + DeserializeOwned + Send + Sync + 'static {
    const KIND: Kind;

    fn name(&self) -> &str;

    fn into_item(self) -> Item;
}

/// Any entity; cheap to clone.
#[derive(Clone, Debug, PartialEq)]
pub enum Item {
    Service(Arc<Service>),
    Route(Arc<Route>),
    Queue(Arc<Queue>),
    Application(Arc<Application>),
    Issuer(Arc<JwtIssuer>),
    Certificate(Arc<Certificate>),
    Defaults(Arc<Defaults>),
}

impl Item {
    /// Reads an entity of `kind`. The problem's path begins with the kind and the name that the value bears.
    pub fn from_json(kind: Kind, value: Value) -> Result<Self, Problem> {
        match kind {
            Kind::Service => read::<Service>(value),
            Kind::Route => read::<Route>(value),
            Kind::Queue => read::<Queue>(value),
            Kind::Application => read::<Application>(value),
            Kind::Issuer => read::<JwtIssuer>(value),
            Kind::Certificate => read::<Certificate>(value),
            Kind::Defaults => read::<Defaults>(value),
        }
    }

    /// As JSON, with everything that is stored, key hashes too.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let value = match self {
            Self::Service(it) => serde_json::to_value(&**it),
            Self::Route(it) => serde_json::to_value(&**it),
            Self::Queue(it) => serde_json::to_value(&**it),
            Self::Application(it) => serde_json::to_value(&**it),
            Self::Issuer(it) => serde_json::to_value(&**it),
            Self::Certificate(it) => serde_json::to_value(&**it),
            Self::Defaults(it) => serde_json::to_value(&**it),
        };
        // Every key in the model is a string, so this can't fail; null is then refused by whoever reads it.
        value.unwrap_or(Value::Null)
    }

    /// As JSON for people and histories: without key hashes.
    #[must_use]
    pub fn to_public_json(&self) -> Value {
        let mut value = self.to_json();
        if let Some(keys) = value.get_mut("apiKeys").and_then(Value::as_array_mut) {
            for key in keys.iter_mut().filter_map(Value::as_object_mut) {
                key.remove("apiKeyHash");
            }
        }
        value
    }

    #[must_use]
    pub fn kind(&self) -> Kind {
        match self {
            Self::Service(_) => Kind::Service,
            Self::Route(_) => Kind::Route,
            Self::Queue(_) => Kind::Queue,
            Self::Application(_) => Kind::Application,
            Self::Issuer(_) => Kind::Issuer,
            Self::Certificate(_) => Kind::Certificate,
            Self::Defaults(_) => Kind::Defaults,
        }
    }

    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Service(it) => it.name(),
            Self::Route(it) => it.name(),
            Self::Queue(it) => it.name(),
            Self::Application(it) => it.name(),
            Self::Issuer(it) => it.name(),
            Self::Certificate(it) => it.name(),
            Self::Defaults(it) => it.name(),
        }
    }

    /// The hash of its content, without ids and times: equal content in two databases has equal digests.
    #[must_use]
    pub fn digest(&self) -> Digest {
        Digest::of(self.kind(), &self.to_json())
    }
}

fn read<T: Entity>(value: Value) -> Result<Item, Problem> {
    let name = value.get(T::KIND.name_field()).and_then(Value::as_str).unwrap_or("?").to_owned();
    serde_path_to_error::deserialize::<_, T>(value).map(T::into_item).map_err(|error| {
        let field = error.path().to_string().replace(['.', '['], "/").replace(']', "");
        let mut path = format!("{}/{name}", T::KIND.plural());
        // "." stands for the entity itself; an unknown field is named in the message and belongs in the path.
        let message = error.into_inner().to_string();
        if field != "/" {
            path = format!("{path}/{field}");
        }
        if let Some(unknown) = message.strip_prefix("unknown field `").and_then(|rest| rest.split('`').next())
            && !path.ends_with(&format!("/{unknown}"))
        {
            path = format!("{path}/{unknown}");
        }
        Problem::new(path.replace("//", "/"), message)
    })
}

impl Entity for Service {
    const KIND: Kind = Kind::Service;
    fn name(&self) -> &str {
        &self.service_name
    }
    fn into_item(self) -> Item {
        Item::Service(Arc::new(self))
    }
}

impl Entity for Route {
    const KIND: Kind = Kind::Route;
    fn name(&self) -> &str {
        &self.name
    }
    fn into_item(self) -> Item {
        Item::Route(Arc::new(self))
    }
}

impl Entity for Queue {
    const KIND: Kind = Kind::Queue;
    fn name(&self) -> &str {
        &self.name
    }
    fn into_item(self) -> Item {
        Item::Queue(Arc::new(self))
    }
}

impl Entity for Application {
    const KIND: Kind = Kind::Application;
    fn name(&self) -> &str {
        &self.name
    }
    fn into_item(self) -> Item {
        Item::Application(Arc::new(self))
    }
}

impl Entity for JwtIssuer {
    const KIND: Kind = Kind::Issuer;
    fn name(&self) -> &str {
        &self.name
    }
    fn into_item(self) -> Item {
        Item::Issuer(Arc::new(self))
    }
}

impl Entity for Certificate {
    const KIND: Kind = Kind::Certificate;
    fn name(&self) -> &str {
        &self.name
    }
    fn into_item(self) -> Item {
        Item::Certificate(Arc::new(self))
    }
}

impl Entity for Defaults {
    const KIND: Kind = Kind::Defaults;
    fn name(&self) -> &str {
        &self.name
    }
    fn into_item(self) -> Item {
        Item::Defaults(Arc::new(self))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_unknown_field_is_named_by_its_path() {
        let value = json!({"serviceName": "auth", "versions": [{"version": "v1", "wieght": 3}]});
        let problem = Item::from_json(Kind::Service, value).unwrap_err();
        assert_eq!(problem.path, "services/auth/versions/0/wieght");
        assert!(problem.message.contains("unknown field `wieght`"), "{problem}");
    }

    #[test]
    fn a_wrong_type_is_named_by_its_path() {
        let problem = Item::from_json(Kind::Route, json!({"name": "r", "priority": "high"})).unwrap_err();
        assert_eq!(problem.path, "routes/r/priority");
    }

    #[test]
    fn the_public_form_has_no_key_hashes() {
        let value = json!({"name": "shop", "apiKeys": [{"prefix": "p", "apiKeyHash": "$argon2id$canary"}]});
        let item = Item::from_json(Kind::Application, value).unwrap();
        assert!(item.to_json().to_string().contains("canary"));
        assert!(!item.to_public_json().to_string().contains("canary"));
    }

    #[test]
    fn the_digest_ignores_ids_and_times_but_no_content() {
        let item = |value| Item::from_json(Kind::Service, value).unwrap().digest();
        let plain = item(json!({"serviceName": "a", "versions": [{"version": "v1"}]}));
        let stamped = item(json!({
            "id": "0190f5d2-0000-7000-8000-000000000001", "serviceName": "a", "updatedAt": "2026-01-01T00:00:00Z",
            "versions": [{"version": "v1", "id": "0190f5d2-0000-7000-8000-000000000002"}]
        }));
        assert_eq!(plain, stamped);
        assert_ne!(plain, item(json!({"serviceName": "a", "versions": [{"version": "v2"}]})));
    }
}
