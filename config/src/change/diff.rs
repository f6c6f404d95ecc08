//! What leads from one state of the configuration to another, as lists that people and scripts read: what is new, what differs
//! and where, and what is gone.

use std::collections::{HashMap, HashSet};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use crate::model::{Child, EntityChange, Kind};

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Diff {
    pub create: Vec<Whole>,
    pub update: Vec<Update>,
    pub delete: Vec<Whole>,
}

/// An entity that stands on one side only; never with key hashes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Whole {
    pub kind: Kind,
    #[schema(example = "orders")]
    pub name: String,
    #[schema(value_type = Object)]
    pub value: Value,
}

/// An entity that stands on both sides with different content. Of its API keys only those are listed that differ.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Update {
    pub kind: Kind,
    #[schema(example = "orders")]
    pub name: String,
    /// The fields that differ. Members of lists that have names go by them, others by their place; a list whose length or order
    /// differs stands for itself.
    #[schema(example = json!(["versions/v2/weight"]))]
    pub changed: Vec<String>,
    #[schema(value_type = Object)]
    pub before: Value,
    #[schema(value_type = Object)]
    pub after: Value,
}

impl Diff {
    /// Of one change for each entity. Those that differ in ids and times alone are left out.
    #[must_use]
    pub fn of(changes: impl IntoIterator<Item = EntityChange>) -> Self {
        let mut diff = Self::default();
        for EntityChange { kind, name, before, after } in changes {
            match (before, after) {
                (None, None) => {}
                (None, Some(value)) => diff.create.push(Whole { kind, name, value }),
                (Some(value), None) => diff.delete.push(Whole { kind, name, value }),
                (Some(before), Some(after)) => {
                    let paths = changed(kind, &before, &after);
                    if !paths.is_empty() {
                        diff.update.push(Update { kind, name, changed: paths, before, after });
                    }
                }
            }
        }
        diff
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.create.is_empty() && self.update.is_empty() && self.delete.is_empty()
    }
}

/// The fields of an entity of `kind` in which the two differ.
fn changed(kind: Kind, before: &Value, after: &Value) -> Vec<String> {
    let mut paths = Vec::new();
    fields(kind.children(), true, before, after, "", &mut paths);
    paths.sort_unstable();
    paths
}

/// `stamped`: the object has an id and times of its own, which are no content.
fn fields(children: &[Child], stamped: bool, before: &Value, after: &Value, path: &str, paths: &mut Vec<String>) {
    let (Value::Object(old), Value::Object(new)) = (before, after) else {
        if before != after {
            paths.push(path.to_owned());
        }
        return;
    };
    for name in names(old, new) {
        if stamped && matches!(name.as_str(), "id" | "createdAt" | "updatedAt") {
            continue;
        }
        let path = if path.is_empty() { name.clone() } else { format!("{path}/{name}") };
        let (was, is) = (old.get(name).unwrap_or(&Value::Null), new.get(name).unwrap_or(&Value::Null));
        match (was, is) {
            _ if was == is => {}
            (Value::Array(was), Value::Array(is)) => {
                let child = children.iter().find(|child| child.field == name);
                list(child, was, is, &path, paths);
            }
            _ => fields(&[], false, was, is, &path, paths),
        }
    }
}

fn names<'v>(old: &'v Map<String, Value>, new: &'v Map<String, Value>) -> Vec<&'v String> {
    let mut names: Vec<&String> = old.keys().chain(new.keys()).collect();
    names.sort_unstable();
    names.dedup();
    names
}

fn list(child: Option<&Child>, old: &[Value], new: &[Value], path: &str, paths: &mut Vec<String>) {
    if let Some(child) = child
        && let (Some(old), Some(new)) = (keyed(child, old), keyed(child, new))
    {
        members(&old, &new, path, paths);
    } else if old.len() == new.len() {
        for (at, (old, new)) in old.iter().zip(new).enumerate() {
            fields(&[], child.is_some(), old, new, &format!("{path}/{at}"), paths);
        }
    } else {
        paths.push(path.to_owned());
    }
}

fn members(old: &[(&str, &Value)], new: &[(&str, &Value)], path: &str, paths: &mut Vec<String>) {
    let (was, is): (HashMap<_, _>, HashMap<_, _>) = (old.iter().copied().collect(), new.iter().copied().collect());
    for (key, value) in new {
        match was.get(key) {
            Some(before) => fields(&[], true, before, value, &format!("{path}/{key}"), paths),
            None => paths.push(format!("{path}/{key}")),
        }
    }
    let gone = old.iter().filter(|(key, _)| !is.contains_key(key));
    paths.extend(gone.map(|(key, _)| format!("{path}/{key}")));
    let stay = old.iter().map(|(key, _)| key).filter(|key| is.contains_key(*key));
    if !stay.eq(new.iter().map(|(key, _)| key).filter(|key| was.contains_key(*key))) {
        paths.push(path.to_owned());
    }
}

/// The members by what they go by; `None` when two have the same.
fn keyed<'v>(child: &Child, list: &'v [Value]) -> Option<Vec<(&'v str, &'v Value)>> {
    let keyed: Option<Vec<_>> = list.iter().map(|member| Some((member.get(child.key)?.as_str()?, member))).collect();
    let mut seen = HashSet::new();
    keyed.filter(|keyed| keyed.iter().all(|(key, _)| seen.insert(*key)))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_differs_is_named_down_to_the_field() {
        let version =
            |name: &str, weight: u32| json!({"id": name, "version": name, "weight": weight, "updatedAt": weight});
        let service = |versions: Value| json!({"serviceName": "a", "updatedAt": "x", "versions": versions});
        for (before, after, expected) in [
            (service(json!([version("v1", 1)])), service(json!([version("v1", 1)])), &[][..]),
            (service(json!([version("v1", 1)])), service(json!([version("v1", 2)])), &["versions/v1/weight"]),
            (
                service(json!([version("v1", 1), version("v2", 1)])),
                service(json!([version("v2", 1), version("v3", 1)])),
                &["versions/v1", "versions/v3"],
            ),
            (
                service(json!([version("v1", 1), version("v2", 1)])),
                service(json!([version("v2", 1), version("v1", 1)])),
                &["versions"],
            ),
            (
                json!({"timeouts": {"readMs": 1, "id": 1}, "maintenance": null}),
                json!({"timeouts": {"readMs": 2, "id": 2}, "maintenance": {"statusCode": 503}}),
                &["maintenance", "timeouts/id", "timeouts/readMs"],
            ),
        ] {
            assert_eq!(changed(Kind::Service, &before, &after), expected, "{before} {after}");
        }
    }

    #[test]
    fn members_of_one_name_go_by_their_place() {
        let whitelist = |rates: [u32; 2]| {
            let entries: Vec<Value> =
                rates.iter().map(|rate| json!({"endpointPath": "/a", "rateLimit": rate})).collect();
            json!({"whitelist": entries, "allowedServices": ["a"]})
        };
        assert_eq!(changed(Kind::Application, &whitelist([1, 2]), &whitelist([1, 3])), ["whitelist/1/rateLimit"]);
        let fewer = json!({"whitelist": [{"endpointPath": "/a", "rateLimit": 1}], "allowedServices": ["b", "a"]});
        assert_eq!(changed(Kind::Application, &whitelist([1, 2]), &fewer), ["allowedServices", "whitelist"]);
    }

    #[test]
    fn entities_are_sorted_by_what_becomes_of_them() {
        let change = |name: &str, before: Option<Value>, after: Option<Value>| EntityChange {
            kind: Kind::Route,
            name: name.to_owned(),
            before,
            after,
        };
        let diff = Diff::of([
            change("new", None, Some(json!({"path": "/"}))),
            change("old", Some(json!({"path": "/"})), None),
            change("same", Some(json!({"path": "/", "updatedAt": 1})), Some(json!({"path": "/", "updatedAt": 2}))),
            change("other", Some(json!({"path": "/"})), Some(json!({"path": "/b"}))),
            change("never", None, None),
        ]);
        assert_eq!((diff.create[0].name.as_str(), diff.delete[0].name.as_str()), ("new", "old"));
        assert_eq!((diff.create.len(), diff.update.len(), diff.delete.len()), (1, 1, 1));
        assert_eq!(
            (diff.update[0].name.as_str(), diff.update[0].changed.as_slice()),
            ("other", &["path".to_owned()][..])
        );
        assert!(!diff.is_empty() && Diff::of([]).is_empty());
    }
}
