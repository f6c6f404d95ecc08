//! What of a change no decision shows.

use gateway_config::model::{EntityChange, Kind, Problem};
use serde_json::Value;

const COUNTED: &str = "limits count, and what they have counted is not in the samples";
const NO_BODIES: &str = "samples hold no bodies";
const UNVERIFIED: &str = "credentials are not verified again; callers stay who they were";

/// Fields that have a say in what comes of a request, but not in what is decided again here.
const FIELDS: [(Kind, &str, &str); 17] = [
    (Kind::Defaults, "limits", COUNTED),
    (Kind::Defaults, "maxBodyBytes", NO_BODIES),
    (Kind::Defaults, "maxHeaderBytes", "samples hold few headers"),
    (Kind::Route, "limits", COUNTED),
    (Kind::Route, "maxBodyBytes", NO_BODIES),
    (Kind::Route, "screening", "samples hold nothing that could be screened"),
    (Kind::Route, "timeouts", "how long backends took is not in the samples"),
    (Kind::Route, "rewrite", "backends are not asked again"),
    (Kind::Application, "limits", COUNTED),
    (Kind::Application, "jwtClients", UNVERIFIED),
    (Kind::Application, "apiKeys", UNVERIFIED),
    (Kind::Service, "timeouts", "how long backends took is not in the samples"),
    (Kind::Service, "maxConcurrent", COUNTED),
    (Kind::Service, "defaultUrl", "backends are not asked again"),
    (Kind::Service, "fallbackUrl", "backends are not asked again"),
    (Kind::Queue, "schema", NO_BODIES),
    (Kind::Queue, "maxBodyBytes", NO_BODIES),
];

/// The places of a change that were left out of a preview.
pub(super) fn spots(changes: &[EntityChange]) -> Vec<Problem> {
    let mut spots: Vec<Problem> = changes.iter().flat_map(of).collect();
    spots.sort();
    spots.dedup();
    spots
}

fn of(change: &EntityChange) -> Vec<Problem> {
    let path = format!("{}/{}", change.kind.plural(), change.name);
    match change.kind {
        Kind::Issuer => return vec![Problem::new(path, UNVERIFIED)],
        Kind::Certificate => return vec![Problem::new(path, "connections are not made again")],
        _ => {}
    }
    // What comes with an entity that is new was not counted before either.
    let Some(before) = &change.before else {
        return limits_of(change.after.as_ref(), &path);
    };
    let value = |whole: Option<&Value>, field: &str| whole.and_then(|it| it.get(field)).cloned().unwrap_or_default();
    // What is gone refuses nothing any more.
    let Some(after) = &change.after else { return Vec::new() };
    let fields = FIELDS
        .iter()
        .filter(|(kind, field, _)| *kind == change.kind && value(Some(before), field) != value(Some(after), field));
    let mut spots: Vec<Problem> = fields.map(|(_, field, why)| Problem::new(format!("{path}/{field}"), *why)).collect();
    if change.kind == Kind::Application && rates(before) != rates(after) {
        spots.push(Problem::new(format!("{path}/whitelist"), COUNTED));
    }
    spots
}

fn limits_of(entity: Option<&Value>, path: &str) -> Vec<Problem> {
    let limits = entity.and_then(|it| it.get("limits")).and_then(Value::as_array);
    let has_some = limits.is_some_and(|limits| !limits.is_empty());
    if has_some { vec![Problem::new(format!("{path}/limits"), COUNTED)] } else { Vec::new() }
}

/// The limits of whitelist entries, by path.
fn rates(application: &Value) -> Vec<(String, u64)> {
    let entries = application.get("whitelist").and_then(Value::as_array).into_iter().flatten();
    let rate = |entry: &Value| {
        let path = entry.get("endpointPath").and_then(Value::as_str)?.to_owned();
        Some((path, entry.get("rateLimit").and_then(Value::as_u64).filter(|rate| *rate > 0)?))
    };
    let mut rates: Vec<(String, u64)> = entries.filter_map(rate).collect();
    rates.sort();
    rates
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn spots_of(kind: Kind, before: Value, after: Value) -> Vec<String> {
        let some = |value: Value| Some(value).filter(|value| !value.is_null());
        let change = EntityChange { kind, name: "x".to_owned(), before: some(before), after: some(after) };
        spots(&[change]).into_iter().map(|spot| spot.path).collect()
    }

    #[test]
    fn what_counts_or_verifies_is_named_and_what_is_decided_again_is_not() {
        let limit = json!([{"requests": 1, "perSeconds": 1}]);
        for (kind, before, after, expected) in [
            (
                Kind::Route,
                json!({"limits": [], "path": "/a"}),
                json!({"limits": limit, "path": "/b"}),
                vec!["routes/x/limits"],
            ),
            (Kind::Route, json!(null), json!({"limits": limit}), vec!["routes/x/limits"]),
            (Kind::Route, json!(null), json!({"limits": []}), vec![]),
            (Kind::Route, json!({"limits": limit}), json!(null), vec![]),
            (Kind::Issuer, json!(null), json!({}), vec!["issuers/x"]),
            (Kind::Issuer, json!({}), json!(null), vec!["issuers/x"]),
            (
                Kind::Application,
                json!({"jwtClients": [], "whitelist": [{"endpointPath": "/a", "rateLimit": 0}]}),
                json!({"jwtClients": [1], "whitelist": [{"endpointPath": "/a", "rateLimit": 3}], "isActive": false}),
                vec!["applications/x/jwtClients", "applications/x/whitelist"],
            ),
        ] {
            assert_eq!(spots_of(kind, before, after), expected);
        }
    }
}
