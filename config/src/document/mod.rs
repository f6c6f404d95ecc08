//! The whole configuration as one document, YAML or JSON: `services`, `routes`, `queues`, `applications`, `issuers`,
//! `certificates`, `defaults`. Any section may be absent; applications carry no key material.

mod export;

use std::collections::HashMap;

use serde_json::Value;
use thiserror::Error;

use crate::change::Proposal;
use crate::model::{DEFAULTS_NAME, Kind, Problem};
use crate::strict_json;

pub use export::{Export, Form};

/// Far above what a fleet needs, far below what would exhaust a machine.
const MOST_YAML_NODES: usize = 8_000_000;
/// Of what anchors and aliases repeat: a few lines that name each other could stand for gigabytes.
const MOST_REPEATED: usize = 100_000;

#[derive(Debug, Error)]
pub enum DocumentError {
    #[error("could not read the document: {0}")]
    Syntax(String),
    #[error("the document is not valid: {}", .0.first().map(ToString::to_string).unwrap_or_default())]
    Shape(Vec<Problem>),
}

/// What a document says.
#[derive(Clone, Debug, Default)]
pub struct Declared {
    /// Everything in it is put.
    pub proposals: Vec<Proposal>,
    /// The kinds that it speaks of, be it to say that there are none.
    pub sections: Vec<Kind>,
}

/// Reads YAML, of which JSON is a part. What is said twice is refused.
pub fn parse(text: &str) -> Result<Value, DocumentError> {
    let options = serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_nodes: MOST_YAML_NODES,
            max_events: 2 * MOST_YAML_NODES,
            max_recorded_anchor_events: MOST_REPEATED,
        },
        // The error must not repeat what the document holds.
        with_snippet: false,
    };
    let parsed: Result<Value, _> = serde_saphyr::from_str_with_options(text, options);
    parsed.map_err(|error| DocumentError::Syntax(error.to_string()))
}

/// Reads JSON, faster than [`parse`] does. What is said twice is refused.
pub fn parse_json(bytes: &[u8]) -> Result<Value, DocumentError> {
    strict_json::parse(bytes).map_err(|error| DocumentError::Syntax(error.to_string()))
}

/// Writes YAML.
pub fn to_yaml(document: &Value) -> Result<String, DocumentError> {
    serde_saphyr::to_string(document).map_err(|error| DocumentError::Syntax(error.to_string()))
}

/// What applying the document proposes.
pub fn proposals(document: &Value) -> Result<Vec<Proposal>, DocumentError> {
    declared(document.clone()).map(|declared| declared.proposals)
}

/// What the document says, or everything that keeps it from being one.
pub fn declared(document: Value) -> Result<Declared, DocumentError> {
    let Value::Object(mut sections) = document else {
        return Err(DocumentError::Shape(vec![Problem::new("", "a document is an object of sections")]));
    };
    let mut problems = Vec::new();
    for section in sections.keys() {
        if !Kind::ALL.iter().any(|kind| kind.plural() == section) {
            problems.push(Problem::new(section.clone(), format!("unknown field `{section}`")));
        }
    }
    let mut declared = Declared::default();
    for kind in Kind::ALL {
        let Some(section) = sections.remove(kind.plural()) else { continue };
        declared.sections.push(kind);
        match section {
            section if kind == Kind::Defaults => {
                declared.proposals.push(Proposal::put(kind, DEFAULTS_NAME, section));
            }
            Value::Array(members) => read_section(kind, members, &mut declared.proposals, &mut problems),
            _ => problems.push(Problem::new(kind.plural(), "must be a list")),
        }
    }
    if problems.is_empty() { Ok(declared) } else { Err(DocumentError::Shape(problems)) }
}

fn read_section(kind: Kind, members: Vec<Value>, proposals: &mut Vec<Proposal>, problems: &mut Vec<Problem>) {
    let mut places: HashMap<String, usize> = HashMap::with_capacity(members.len());
    for (at, member) in members.into_iter().enumerate() {
        let path = || format!("{}/{at}/{}", kind.plural(), kind.name_field());
        let Some(name) = member.get(kind.name_field()).and_then(Value::as_str).map(str::to_owned) else {
            problems.push(Problem::new(path(), "is needed"));
            continue;
        };
        if let Some(first) = places.get(&name) {
            let message = format!("{kind} \"{name}\" stands in the document twice, also at {}/{first}", kind.plural());
            problems.push(Problem::new(path(), message));
            continue;
        }
        proposals.push(Proposal::put(kind, &name, member));
        places.insert(name, at);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn yaml_and_json_propose_the_same() {
        let yaml = "services:\n  - serviceName: auth\n    defaultUrl: http://127.0.0.1:7200\n";
        let json = r#"{"services": [{"serviceName": "auth", "defaultUrl": "http://127.0.0.1:7200"}]}"#;
        let (yaml, strict) = (parse(yaml).unwrap(), parse_json(json.as_bytes()).unwrap());
        assert_eq!(parse(json).unwrap(), strict);
        assert_eq!(proposals(&yaml).unwrap(), proposals(&strict).unwrap());
    }

    #[test]
    fn unknown_sections_and_nameless_members_are_all_named() {
        let document = parse("servces: []\nrotes: []\nroutes:\n  - path: /\n").unwrap();
        let Err(DocumentError::Shape(problems)) = proposals(&document) else { panic!("it was taken") };
        let paths: Vec<&str> = problems.iter().map(|problem| problem.path.as_str()).collect();
        assert_eq!(paths, ["rotes", "servces", "routes/0/name"]);
    }

    #[test]
    fn an_entity_that_stands_twice_is_named_with_both_places() {
        let document =
            parse("routes: [{name: a, path: /a}, {name: b}, {name: a}]\nservices: [{serviceName: a}]").unwrap();
        let Err(DocumentError::Shape(problems)) = proposals(&document) else { panic!("it was taken") };
        let [twice] = problems.as_slice() else { panic!("{problems:?}") };
        assert_eq!(twice.to_string(), "routes/2/name: route \"a\" stands in the document twice, also at routes/0");
    }

    #[test]
    fn what_is_said_twice_is_refused_in_both_forms() {
        for text in
            [r#"{"routes": [], "routes": []}"#, r#"{"routes": [{"name": "canary", "path": "/", "path": "/b"}]}"#]
        {
            let (yaml, json) =
                (parse(text).unwrap_err().to_string(), parse_json(text.as_bytes()).unwrap_err().to_string());
            assert!(yaml.contains("duplicate") && !yaml.contains("canary"), "{yaml}");
            assert!(json.contains("is there twice at line 1"), "{json}");
        }
    }

    #[test]
    fn sections_that_are_empty_are_spoken_of_and_absent_ones_are_not() {
        let said = declared(parse("routes: []\ndefaults: {}\n").unwrap()).unwrap();
        assert_eq!((said.sections, said.proposals.len()), (vec![Kind::Route, Kind::Defaults], 1));
    }
}
