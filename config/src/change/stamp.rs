//! Ids and times of entities and their members: given here, never by whoever writes.

use serde_json::{Map, Value};

use crate::clock::new_id;
use crate::model::{Child, Kind, Timestamp};

/// `value` with its id and times: those of `before` where it was there, fresh ones else.
pub(super) fn stamped(kind: Kind, mut value: Value, before: Option<&Value>, now: Timestamp) -> Value {
    if let Some(entity) = value.as_object_mut() {
        stamp(entity, before, true, now);
        for child in kind.children() {
            let old = before.and_then(|before| before.get(child.field)).and_then(Value::as_array);
            stamp_members(entity, child, old, now);
        }
    }
    value
}

fn stamp_members(entity: &mut Map<String, Value>, child: &Child, before: Option<&Vec<Value>>, now: Timestamp) {
    let Some(members) = entity.get_mut(child.field).and_then(Value::as_array_mut) else { return };
    let keys: Vec<Option<Value>> = members.iter().map(|member| member.get(child.key).cloned()).collect();
    for member in members.iter_mut().filter_map(Value::as_object_mut) {
        let (key, id) = (member.get(child.key).cloned(), member.get("id").cloned());
        let by_key = |it: &&Value| it.get(child.key) == key.as_ref();
        // One that got another key is still the same, unless somebody else has its old key: an id is never there twice.
        let by_id =
            |it: &&Value| id.is_some() && it.get("id") == id.as_ref() && !keys.contains(&it.get(child.key).cloned());
        let old = before.and_then(|before| before.iter().find(by_key).or_else(|| before.iter().find(by_id)));
        let changed = old.is_none_or(|old| !same_content(old, member));
        stamp(member, old, changed, now);
    }
}

fn stamp(target: &mut Map<String, Value>, before: Option<&Value>, changed: bool, now: Timestamp) {
    let fresh = || Value::from(now.to_string());
    let kept = |field: &str| before.and_then(|before| before.get(field)).cloned();
    target.insert("id".to_owned(), kept("id").unwrap_or_else(|| Value::from(new_id().to_string())));
    target.insert("createdAt".to_owned(), kept("createdAt").unwrap_or_else(fresh));
    let updated = if changed { fresh() } else { kept("updatedAt").unwrap_or_else(fresh) };
    target.insert("updatedAt".to_owned(), updated);
}

fn same_content(before: &Value, now: &Map<String, Value>) -> bool {
    let is_stamp = |name: &str| matches!(name, "id" | "createdAt" | "updatedAt");
    let Some(before) = before.as_object() else { return false };
    let rest = |map: &Map<String, Value>| map.iter().filter(|(name, _)| !is_stamp(name)).count();
    rest(before) == rest(now) && now.iter().all(|(name, value)| is_stamp(name) || before.get(name) == Some(value))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn ids_and_times_can_not_be_forged_and_survive() {
        let (first, later) = (Timestamp::from_micros(1_000_000), Timestamp::from_micros(2_000_000));
        let forged = json!({"id": "x", "createdAt": "y", "versions": [{"version": "v1", "weight": 1}]});
        let made = stamped(Kind::Service, forged, None, first);
        assert_eq!(made["createdAt"], "1970-01-01T00:00:01Z");
        assert_ne!(made["id"], "x");
        let id = made["versions"][0]["id"].clone();
        let renamed = json!({"versions": [{"version": "v9", "id": id}]});
        assert_eq!(stamped(Kind::Service, renamed, Some(&made), later)["versions"][0]["id"], id);
        let copied = json!({"versions": [{"version": "v1"}, {"version": "v9", "id": id}]});
        assert_ne!(stamped(Kind::Service, copied, Some(&made), later)["versions"][1]["id"], id);
        let body = json!({"versions": [{"version": "v1", "weight": 1}, {"version": "v2"}]});
        let next = stamped(Kind::Service, body, Some(&made), later);
        assert_eq!(next["id"], made["id"]);
        assert_eq!(next["updatedAt"], "1970-01-01T00:00:02Z");
        assert_eq!(next["versions"][0], made["versions"][0]);
        assert_eq!(next["versions"][1]["createdAt"], "1970-01-01T00:00:02Z");
    }
}
