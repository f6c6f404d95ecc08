//! The whole configuration as one document, YAML or JSON: `services`, `routes`, `queues`, `applications`, `issuers`,
//! `certificates`, `defaults`. Any section may be absent; applications carry no key material.

use serde_json::{Map, Value};
use thiserror::Error;

use crate::change::Proposal;
use crate::model::{Configuration, DEFAULTS_NAME, Kind, Problem};

#[derive(Debug, Error)]
pub enum DocumentError {
    #[error("could not read the document: {0}")]
    Syntax(String),
    #[error("the document is not valid: {}", .0.first().map(ToString::to_string).unwrap_or_default())]
    Shape(Vec<Problem>),
}

/// Reads YAML, of which JSON is a part.
pub fn parse(text: &str) -> Result<Value, DocumentError> {
    serde_saphyr::from_str(text).map_err(|error| DocumentError::Syntax(error.to_string()))
}

/// Writes YAML.
pub fn to_yaml(document: &Value) -> Result<String, DocumentError> {
    serde_saphyr::to_string(document).map_err(|error| DocumentError::Syntax(error.to_string()))
}

/// What applying the document proposes: everything in it is put.
pub fn proposals(document: &Value) -> Result<Vec<Proposal>, DocumentError> {
    let shape = |path: &str, message: &str| DocumentError::Shape(vec![Problem::new(path, message)]);
    let sections = document.as_object().ok_or_else(|| shape("", "a document is an object of sections"))?;
    let mut problems = Vec::new();
    for section in sections.keys() {
        if !Kind::ALL.iter().any(|kind| kind.plural() == section) {
            problems.push(Problem::new(section.clone(), format!("unknown field `{section}`")));
        }
    }
    let mut proposals = Vec::new();
    for kind in Kind::ALL {
        let Some(section) = sections.get(kind.plural()) else { continue };
        if kind == Kind::Defaults {
            proposals.push(Proposal::put(kind, DEFAULTS_NAME, section.clone()));
            continue;
        }
        let Some(members) = section.as_array() else {
            problems.push(Problem::new(kind.plural(), "must be a list"));
            continue;
        };
        for (at, member) in members.iter().enumerate() {
            match member.get(kind.name_field()).and_then(Value::as_str) {
                Some(name) => proposals.push(Proposal::put(kind, name, member.clone())),
                None => {
                    let path = format!("{}/{at}/{}", kind.plural(), kind.name_field());
                    problems.push(Problem::new(path, "is needed"));
                }
            }
        }
    }
    if problems.is_empty() { Ok(proposals) } else { Err(DocumentError::Shape(problems)) }
}

/// The configuration as a document, in the order of names.
#[must_use]
pub fn export(configuration: &Configuration) -> Value {
    let mut sections: Map<String, Value> = Map::new();
    for kind in Kind::ALL.into_iter().filter(|kind| *kind != Kind::Defaults) {
        sections.insert(kind.plural().to_owned(), Value::Array(Vec::new()));
    }
    for item in configuration.items() {
        let mut value = item.to_public_json();
        if let Some(entity) = value.as_object_mut() {
            entity.remove("apiKeys");
        }
        match sections.get_mut(item.kind().plural()).and_then(Value::as_array_mut) {
            Some(section) => section.push(value),
            None => drop(sections.insert(item.kind().plural().to_owned(), value)),
        }
    }
    Value::Object(sections)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn yaml_and_json_propose_the_same() {
        let yaml = "services:\n  - serviceName: auth\n    defaultUrl: http://127.0.0.1:7200\n";
        let json = r#"{"services": [{"serviceName": "auth", "defaultUrl": "http://127.0.0.1:7200"}]}"#;
        let (yaml, json) = (parse(yaml).unwrap(), parse(json).unwrap());
        assert_eq!(proposals(&yaml).unwrap(), proposals(&json).unwrap());
    }

    #[test]
    fn a_document_written_as_yaml_reads_back() {
        let document = parse(r#"{"services": [{"serviceName": "auth", "description": "yes: \"no\"\n# x"}]}"#).unwrap();
        assert_eq!(parse(&to_yaml(&document).unwrap()).unwrap(), document);
    }

    #[test]
    fn unknown_sections_and_nameless_members_are_all_named() {
        let document = parse("servces: []\nroutes:\n  - path: /\n").unwrap();
        let Err(DocumentError::Shape(problems)) = proposals(&document) else { panic!("it was taken") };
        let paths: Vec<&str> = problems.iter().map(|problem| problem.path.as_str()).collect();
        assert_eq!(paths, ["servces", "routes/0/name"]);
    }
}
