//! What somebody wants changed, before it is known whether it can be.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::{ChangeError, stamp, tag, tag_of_member};
use crate::model::{Child, Item, Kind, Problem};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Op {
    /// Creates or replaces.
    Put,
    /// JSON merge patch (RFC 7396).
    Patch,
    Delete,
}

/// One change: `{"op": "put", "kind": "service", "name": "auth", "value": {…}}`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Proposal {
    pub op: Op,
    pub kind: Kind,
    pub name: String,
    #[serde(default)]
    #[schema(value_type = Object)]
    pub value: Value,
    /// The part of the entity that is meant, where it is not the whole.
    #[serde(skip)]
    pub member: Option<Member>,
    #[serde(skip)]
    pub expect: Expect,
}

/// A member of one of the entity's lists, by its key or its id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    pub field: &'static str,
    pub key: String,
}

/// What must hold of the target for the change to be made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Expect {
    #[default]
    Anything,
    /// It is not there yet.
    Absent,
    /// It is there, with one of these tags; an empty list: with any.
    Tags(Vec<String>),
}

impl Proposal {
    #[must_use]
    pub fn put(kind: Kind, name: &str, value: Value) -> Self {
        Self { op: Op::Put, kind, name: name.to_owned(), value, member: None, expect: Expect::Anything }
    }

    /// It needs nothing of what stood there before.
    pub(super) fn replaces_all(&self) -> bool {
        self.member.is_none() && self.op != Op::Patch
    }

    pub(super) fn deletes_whatever_stands(&self) -> bool {
        self.op == Op::Delete && self.member.is_none() && self.expect == Expect::Anything
    }

    /// It says all of what stands there, and nothing else: so does an export, of very many entities. Ids, times and read-only members
    /// don't matter, for they are not taken from what is put.
    pub(super) fn repeats(&self, before: Option<&Value>) -> bool {
        let (Some(Value::Object(before)), Some(value)) = (before, self.value.as_object()) else { return false };
        let is_plain_put = self.op == Op::Put && self.member.is_none() && self.expect == Expect::Anything;
        let matters = |name: &str| {
            let is_read_only = |child: &Child| child.read_only && child.field == name;
            !stamp::is_stamp(name) && !self.kind.children().iter().any(is_read_only)
        };
        let is_said = |(name, standing): (&String, &Value)| {
            !matters(name)
                || value.get(name).is_some_and(|said| {
                    let is_child = self.kind.children().iter().any(|child| child.field == name);
                    said == standing || (is_child && stamp::are_same_members(said, standing))
                })
        };
        is_plain_put && value.keys().all(|name| before.contains_key(name)) && before.iter().all(is_said)
    }

    pub(super) fn creates(&self, before: Option<&Value>) -> bool {
        self.op != Op::Delete
            && match &self.member {
                None => before.is_none(),
                Some(member) => self.find_member(before, member).is_none(),
            }
    }

    /// The whole entity as it would be; `None` when it is gone.
    pub(super) fn edited(&self, item: Option<&Item>, before: Option<&Value>) -> Result<Option<Value>, ChangeError> {
        let stands = match &self.member {
            None => item.is_some(),
            Some(_) if before.is_none() => {
                return Err(ChangeError::NotFound { what: format!("{} \"{}\"", self.kind, self.name) });
            }
            Some(member) => self.find_member(before, member).is_some(),
        };
        let tag = || match &self.member {
            None => item.map(|item| tag(item.digest())),
            Some(member) => self.find_member(before, member).map(|found| tag_of_member(self.kind, found)),
        };
        self.check_expected(stands, tag)?;
        if !stands && self.op != Op::Put {
            return Err(ChangeError::NotFound { what: self.what() });
        }
        match &self.member {
            None => self.edited_entity(before),
            Some(member) => self.edited_member(before.cloned().unwrap_or_default(), member).map(Some),
        }
    }

    fn edited_entity(&self, before: Option<&Value>) -> Result<Option<Value>, ChangeError> {
        let name_field = self.kind.name_field();
        let mut value = match self.op {
            Op::Delete => return Ok(None),
            Op::Put => self.object()?,
            Op::Patch => {
                let mut value = before.cloned().unwrap_or_default();
                merge(&mut value, &Value::Object(self.object()?));
                into_object(value)
            }
        };
        self.name_it(&mut value, name_field, &self.name)?;
        for child in self.kind.children().iter().filter(|child| child.read_only) {
            value.remove(child.field);
            if let Some(kept) = before.and_then(|before| before.get(child.field)) {
                value.insert(child.field.to_owned(), kept.clone());
            }
        }
        Ok(Some(Value::Object(value)))
    }

    fn edited_member(&self, mut entity: Value, member: &Member) -> Result<Value, ChangeError> {
        let Some(child) = self.child(member) else { return Err(ChangeError::NotFound { what: self.what() }) };
        let members = entity.get_mut(member.field).and_then(Value::as_array_mut);
        let Some(members) = members else { return Err(ChangeError::NotFound { what: self.what() }) };
        let position = members.iter().position(|it| is_member(it, child, &member.key));
        match (self.op, position) {
            (Op::Delete, Some(at)) => drop(members.remove(at)),
            (Op::Put, at) => {
                let mut value = self.object()?;
                // A member that is found by its id keeps the key that its body says.
                if at.and_then(|at| members.get(at)).and_then(|it| it.get("id")) != Some(&Value::from(&*member.key)) {
                    self.name_it(&mut value, child.key, &member.key)?;
                }
                match at.and_then(|at| members.get_mut(at)) {
                    Some(place) => {
                        if let Some(id) = place.get("id") {
                            value.insert("id".to_owned(), id.clone());
                        }
                        *place = Value::Object(value);
                    }
                    None => members.push(Value::Object(value)),
                }
            }
            (Op::Patch, Some(at)) => {
                if let Some(place) = members.get_mut(at) {
                    merge(place, &Value::Object(self.object()?));
                }
            }
            (_, None) => return Err(ChangeError::NotFound { what: self.what() }),
        }
        Ok(entity)
    }

    fn check_expected(&self, stands: bool, tag: impl FnOnce() -> Option<String>) -> Result<(), ChangeError> {
        match &self.expect {
            Expect::Absent if stands => Err(ChangeError::Exists { what: self.what() }),
            Expect::Anything | Expect::Absent => Ok(()),
            Expect::Tags(tags) if stands && (tags.is_empty() || tag().is_some_and(|tag| tags.contains(&tag))) => Ok(()),
            Expect::Tags(_) => Err(ChangeError::Stale { what: self.what() }),
        }
    }

    /// The body may repeat the name, but not say another.
    fn name_it(&self, value: &mut Map<String, Value>, field: &str, name: &str) -> Result<(), ChangeError> {
        match value.get(field) {
            Some(Value::String(given)) if given == name => Ok(()),
            None => {
                value.insert(field.to_owned(), Value::from(name));
                Ok(())
            }
            Some(_) => {
                let path = format!("{}/{}/{field}", self.kind.plural(), self.name);
                let message = format!("must be \"{name}\", as in the request's path: names don't change");
                Err(ChangeError::Invalid(vec![Problem::new(path, message)]))
            }
        }
    }

    fn object(&self) -> Result<Map<String, Value>, ChangeError> {
        self.value.as_object().cloned().ok_or_else(|| {
            let path = format!("{}/{}", self.kind.plural(), self.name);
            ChangeError::Invalid(vec![Problem::new(path, "must be a JSON object")])
        })
    }

    fn child(&self, member: &Member) -> Option<&'static Child> {
        self.kind.children().iter().find(|child| child.field == member.field)
    }

    fn find_member<'v>(&self, before: Option<&'v Value>, member: &Member) -> Option<&'v Value> {
        let child = self.child(member)?;
        before?.get(member.field)?.as_array()?.iter().find(|it| is_member(it, child, &member.key))
    }

    fn what(&self) -> String {
        match &self.member {
            None => format!("{} \"{}\"", self.kind, self.name),
            Some(member) => {
                let singular = member.field.strip_suffix('s').unwrap_or(member.field);
                format!("{singular} \"{}\" of {} \"{}\"", member.key, self.kind, self.name)
            }
        }
    }
}

fn is_member(value: &Value, child: &Child, key: &str) -> bool {
    [child.key, "id"].iter().any(|field| value.get(field).and_then(Value::as_str) == Some(key))
}

fn into_object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(object) => object,
        _ => Map::new(),
    }
}

/// RFC 7396: `null` takes a field out, objects merge, everything else replaces.
fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    let Value::Object(target) = target else { return };
    for (name, value) in patch {
        if value.is_null() {
            target.remove(name);
        } else {
            merge(target.entry(name.clone()).or_insert(Value::Null), value);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn merge_patch_follows_the_rfc() {
        // The cases of RFC 7396, appendix A.
        for (mut target, patch, expected) in [
            (json!({"a": "b"}), json!({"a": "c"}), json!({"a": "c"})),
            (json!({"a": "b"}), json!({"b": "c"}), json!({"a": "b", "b": "c"})),
            (json!({"a": "b"}), json!({"a": null}), json!({})),
            (json!({"a": ["b"]}), json!({"a": "c"}), json!({"a": "c"})),
            (json!({"a": {"b": "c"}}), json!({"a": {"b": "d", "c": null}}), json!({"a": {"b": "d"}})),
            (json!({"a": [{"b": "c"}]}), json!({"a": [1]}), json!({"a": [1]})),
            (json!({"e": null}), json!({"a": 1}), json!({"e": null, "a": 1})),
            (json!({}), json!({"a": {"bb": {"ccc": null}}}), json!({"a": {"bb": {}}})),
        ] {
            merge(&mut target, &patch);
            assert_eq!(target, expected);
        }
    }

    #[test]
    fn only_what_says_all_that_stands_repeats_it() {
        let before = json!({
            "id": "1", "name": "shop", "description": "", "updatedAt": "x", "whitelist": [{"id": "2", "endpointPath": "/a"}],
            "apiKeys": [{"prefix": "p"}],
        });
        let repeats = |value: Value| Proposal::put(Kind::Application, "shop", value).repeats(Some(&before));
        let whole = json!({"name": "shop", "description": "", "whitelist": [{"endpointPath": "/a"}]});
        assert!(repeats(whole.clone()) && repeats(before.clone()));
        for (field, value) in [
            ("description", json!("new")),
            ("unknown", json!(null)),
            ("whitelist", json!([])),
            ("whitelist", json!([{"endpointPath": "/a", "unknown": 1}])),
            ("whitelist", json!([{"endpointPath": "/b"}])),
        ] {
            let mut other = whole.clone();
            other[field] = value;
            assert!(!repeats(other));
        }
        assert!(
            !repeats(json!({"name": "shop", "whitelist": [{"endpointPath": "/a"}]})),
            "what is not said has its default"
        );
        let patch = Proposal { op: Op::Patch, ..Proposal::put(Kind::Application, "shop", whole.clone()) };
        assert!(!patch.repeats(Some(&before)));
        assert!(!Proposal::put(Kind::Application, "shop", whole).repeats(None));
    }

    #[test]
    fn a_body_can_not_rename() {
        let proposal = Proposal::put(Kind::Service, "a", json!({"serviceName": "b"}));
        assert!(matches!(proposal.edited(None, None), Err(ChangeError::Invalid(_))));
    }
}
