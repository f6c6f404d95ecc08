//! Ids and times of entities and their members: given here, never by whoever writes.

use std::collections::{HashMap, HashSet, VecDeque};

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
    let before = before.map(Vec::as_slice).unwrap_or_default();
    let places = places(members, before, child.key);
    for (member, place) in members.iter_mut().zip(places) {
        let Some(member) = member.as_object_mut() else { continue };
        let old = place.and_then(|place| before.get(place));
        let changed = old.is_none_or(|old| !same_content(old, member));
        stamp(member, old, changed, now);
    }
}

/// Where each of `members` stood before. None stands for two, so that an id is never there twice.
fn places(members: &[Value], before: &[Value], key: &str) -> Vec<Option<usize>> {
    let field = |member: &Value, name: &str| member.get(name).cloned().unwrap_or_default();
    let keys: HashSet<String> = members.iter().map(|member| field(member, key).to_string()).collect();
    let mut by_key: HashMap<String, VecDeque<usize>> = HashMap::new();
    let mut by_id: HashMap<String, usize> = HashMap::new();
    for (at, old) in before.iter().enumerate() {
        by_key.entry(field(old, key).to_string()).or_default().push_back(at);
        by_id.insert(field(old, "id").to_string(), at);
    }
    let of_id = |member: &Value| member.get("id").and_then(|id| by_id.get(&id.to_string())).copied();
    let is_same_key =
        |member: &Value, at: usize| before.get(at).is_some_and(|old| field(old, key) == field(member, key));
    // Several may have one key: who says which it was goes first.
    let mut places: Vec<Option<usize>> =
        members.iter().map(|member| of_id(member).filter(|at| is_same_key(member, *at))).collect();
    let mut taken = HashSet::new();
    for place in &mut places {
        *place = place.filter(|at| taken.insert(*at));
    }
    for (member, place) in members.iter().zip(&mut places).filter(|(_, place)| place.is_none()) {
        let queue = by_key.get_mut(&field(member, key).to_string());
        let next = queue.and_then(|queue| std::iter::from_fn(|| queue.pop_front()).find(|at| !taken.contains(at)));
        // One that got another key is still the same, unless somebody else has its old key.
        let had_another = |at: &usize| before.get(*at).is_some_and(|old| !keys.contains(&field(old, key).to_string()));
        *place = next.or_else(|| of_id(member).filter(had_another)).filter(|at| taken.insert(*at));
    }
    places
}

fn stamp(target: &mut Map<String, Value>, before: Option<&Value>, changed: bool, now: Timestamp) {
    let fresh = || Value::from(now.to_string());
    let kept = |field: &str| before.and_then(|before| before.get(field)).cloned();
    target.insert("id".to_owned(), kept("id").unwrap_or_else(|| Value::from(new_id().to_string())));
    target.insert("createdAt".to_owned(), kept("createdAt").unwrap_or_else(fresh));
    let updated = if changed { fresh() } else { kept("updatedAt").unwrap_or_else(fresh) };
    target.insert("updatedAt".to_owned(), updated);
}

/// The two entities differ in ids and times at most, those of their members included: their digests are the same.
pub(super) fn is_same(kind: Kind, one: &Value, other: &Value) -> bool {
    let (Some(one), Some(other)) = (one.as_object(), other.as_object()) else { return one == other };
    let is_same = |(name, value): (&String, &Value)| {
        let other = other.get(name);
        match (value, other) {
            _ if is_stamp(name) => true,
            (value, Some(other)) if kind.children().iter().any(|child| child.field == name) => {
                are_same_members(value, other)
            }
            _ => Some(value) == other,
        }
    };
    content(one) == content(other) && one.iter().all(is_same)
}

/// The lists hold the same members, whatever their ids and times.
pub(super) fn are_same_members(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Array(one), Value::Array(other)) => {
            one.len() == other.len() && one.iter().zip(other).all(|(one, other)| same_member(one, other))
        }
        _ => one == other,
    }
}

fn same_member(one: &Value, other: &Value) -> bool {
    other.as_object().map_or_else(|| one == other, |other| same_content(one, other))
}

pub(super) fn is_stamp(name: &str) -> bool {
    matches!(name, "id" | "createdAt" | "updatedAt")
}

/// How many fields are no stamps.
fn content(map: &Map<String, Value>) -> usize {
    map.keys().filter(|name| !is_stamp(name)).count()
}

fn same_content(before: &Value, now: &Map<String, Value>) -> bool {
    let Some(before) = before.as_object() else { return false };
    content(before) == content(now) && now.iter().all(|(name, value)| is_stamp(name) || before.get(name) == Some(value))
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

    #[test]
    fn members_of_one_key_keep_their_ids_in_their_order() {
        let now = Timestamp::from_micros(1_000_000);
        let entry = |methods: &str| json!({"endpointPath": "/a", "allowedMethods": [methods]});
        let body = json!({"whitelist": [entry("GET"), entry("PUT")]});
        let made = stamped(Kind::Application, body.clone(), None, now);
        assert_ne!(made["whitelist"][0]["id"], made["whitelist"][1]["id"]);
        assert_eq!(stamped(Kind::Application, body, Some(&made), now)["whitelist"], made["whitelist"]);
        let turned = json!({"whitelist": [made["whitelist"][1], made["whitelist"][0], entry("GET")]});
        let turned = stamped(Kind::Application, turned, Some(&made), now);
        assert_eq!(turned["whitelist"][0], made["whitelist"][1]);
        assert_eq!(turned["whitelist"][1], made["whitelist"][0]);
        assert!(made["whitelist"].as_array().unwrap().iter().all(|it| it["id"] != turned["whitelist"][2]["id"]));
    }

    #[test]
    fn entities_are_the_same_whatever_their_ids_and_times() {
        let now = Timestamp::from_micros(1_000_000);
        let body = json!({"serviceName": "a", "versions": [{"version": "v1", "weight": 1}]});
        let (one, other) = (stamped(Kind::Service, body.clone(), None, now), stamped(Kind::Service, body, None, now));
        assert_ne!(one, other);
        assert!(is_same(Kind::Service, &one, &other));
        let mut heavier = other.clone();
        heavier["versions"][0]["weight"] = json!(2);
        assert!(!is_same(Kind::Service, &one, &heavier));
        let mut more = other;
        more["description"] = json!("");
        assert!(!is_same(Kind::Service, &one, &more) && !is_same(Kind::Service, &more, &one));
    }
}
