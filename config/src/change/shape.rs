//! Lists written where objects belong. serde takes a list for a struct, field by field in an order that nobody documents;
//! whoever writes one means something else.

use serde_json::Value;

use crate::model::Problem;

/// Compares what was `given` with what was `read` of it.
pub(super) fn check(given: &Value, read: &Value, path: &str, problems: &mut Vec<Problem>) {
    match (given, read) {
        (Value::Array(_), Value::Object(_)) => problems.push(Problem::new(path, "must be an object, not a list")),
        (Value::Object(given), Value::Object(read)) => {
            for (name, value) in given {
                if let Some(read) = read.get(name) {
                    check(value, read, &format!("{path}/{name}"), problems);
                }
            }
        }
        (Value::Array(given), Value::Array(read)) => {
            for (at, (value, read)) in given.iter().zip(read).enumerate() {
                check(value, read, &format!("{path}/{at}"), problems);
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::model::{Item, Kind};

    #[test]
    fn a_list_is_no_object_wherever_it_stands() {
        let given = json!({
            "serviceName": "a", "timeouts": [1, 2, 3, 4], "tls": {"verify": true},
            "versions": [{"version": "v1", "instances": [["http://a", 1]]}]
        });
        let read = Item::from_json(Kind::Service, given.clone()).unwrap().to_json();
        let mut problems = Vec::new();
        check(&given, &read, "services/a", &mut problems);
        let mut paths: Vec<&str> = problems.iter().map(|problem| problem.path.as_str()).collect();
        paths.sort_unstable();
        assert_eq!(paths, ["services/a/timeouts", "services/a/versions/0/instances/0"]);
    }
}
