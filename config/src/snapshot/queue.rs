//! A queue, compiled: its schema ready to check bodies, its ordering key ready to be taken.

use std::sync::Arc;

use http::{HeaderMap, HeaderName};
use jsonschema::Validator;
use serde_json::Value;

use super::problems::Problems;
use crate::model::{Broker, OnBrokerDown, Problem, Queue};

/// Of a body that does not fit its schema, at most so many places are told.
const MOST_PROBLEMS: usize = 20;

#[derive(Clone, Debug)]
pub struct CompiledQueue {
    pub source: Arc<Queue>,
    schema: Option<Arc<Validator>>,
    key_from: Option<KeyFrom>,
}

/// What orders messages: those of one key stay in order.
#[derive(Clone, Debug, PartialEq, Eq)]
enum KeyFrom {
    /// A JSON pointer into the body.
    Pointer(String),
    Header(HeaderName),
    Subject,
    Application,
}

/// Where an ordering key is looked for.
#[derive(Clone, Copy, Debug)]
pub struct KeySource<'a> {
    pub body: Option<&'a Value>,
    pub headers: &'a HeaderMap,
    pub subject: Option<&'a str>,
    pub application: Option<&'a str>,
}

impl CompiledQueue {
    pub(super) fn compile(source: &Arc<Queue>, problems: &mut Problems) -> Self {
        let schema = source.schema.as_ref().and_then(|schema| match jsonschema::validator_for(schema) {
            Ok(validator) => Some(Arc::new(validator)),
            Err(error) => {
                problems.add("schema", format!("is no JSON Schema that can be used: {error}"));
                None
            }
        });
        let key_from = source.destination.key_from.as_deref().and_then(|text| {
            let found = KeyFrom::parse(text);
            if found.is_none() {
                let message = "must be a JSON pointer such as /orderId, header:NAME, subject or application";
                problems.add("destination/keyFrom", message);
            }
            found
        });
        Self { source: source.clone(), schema, key_from }
    }

    #[must_use]
    pub fn name(&self) -> &str {
        &self.source.name
    }

    /// Whether the body must be read as JSON before it is published.
    #[must_use]
    pub fn needs_json(&self) -> bool {
        self.schema.is_some()
    }

    /// Whether the ordering key is looked for in the body.
    #[must_use]
    pub fn orders_by_body(&self) -> bool {
        matches!(self.key_from, Some(KeyFrom::Pointer(_)))
    }

    /// What is wrong with a body, each with the JSON pointer of its place; nothing where it fits.
    #[must_use]
    pub fn check(&self, body: &Value) -> Vec<Problem> {
        let Some(schema) = &self.schema else { return Vec::new() };
        let errors = schema.iter_errors(body).take(MOST_PROBLEMS);
        // The values themselves are not repeated: they may be secret.
        errors.map(|error| Problem::new(error.instance_path().to_string(), error.masked().to_string())).collect()
    }

    /// What the message is ordered by; none where it is nowhere to be found.
    #[must_use]
    pub fn key(&self, source: &KeySource<'_>) -> Option<String> {
        match self.key_from.as_ref()? {
            KeyFrom::Pointer(pointer) => match source.body?.pointer(pointer)? {
                Value::String(text) => Some(text.clone()),
                Value::Null => None,
                other => Some(other.to_string()),
            },
            KeyFrom::Header(name) => source.headers.get(name)?.to_str().ok().map(ToOwned::to_owned),
            KeyFrom::Subject => source.subject.map(ToOwned::to_owned),
            KeyFrom::Application => source.application.map(ToOwned::to_owned),
        }
    }

    /// Whether messages are kept on disk while the broker is away.
    #[must_use]
    pub fn spools(&self) -> bool {
        match self.source.on_broker_down {
            Some(choice) => choice == OnBrokerDown::Spool,
            None => self.source.broker == Broker::Embedded,
        }
    }
}

impl KeyFrom {
    fn parse(text: &str) -> Option<Self> {
        match text.split_once(':') {
            Some(("header", name)) => name.parse().ok().map(Self::Header),
            _ if text.starts_with('/') => Some(Self::Pointer(text.to_owned())),
            None if text == "subject" => Some(Self::Subject),
            None if text == "application" => Some(Self::Application),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::model::{Destination, Kind};

    fn compiled(queue: Queue) -> (CompiledQueue, Vec<Problem>) {
        let (mut problems, source) = (Problems::default(), Arc::new(queue));
        let mut queue = None;
        problems.at(Kind::Queue, "q", |problems| queue = Some(CompiledQueue::compile(&source, problems)));
        (queue.unwrap(), problems.into_sorted())
    }

    fn keyed(key_from: &str) -> (CompiledQueue, Vec<Problem>) {
        let destination = Destination { key_from: Some(key_from.to_owned()), ..Destination::default() };
        compiled(Queue { destination, ..Queue::default() })
    }

    #[test]
    fn a_body_that_does_not_fit_is_told_by_its_places_and_not_by_its_values() {
        let schema = json!({"type": "object", "required": ["to"], "properties": {"to": {"type": "string"}, "n": {"maximum": 3}}});
        let (queue, problems) = compiled(Queue { schema: Some(schema), ..Queue::default() });
        assert_eq!(problems, []);
        assert_eq!(queue.check(&json!({"to": "a", "n": 1})), []);
        let found = queue.check(&json!({"to": 424_242, "n": 9}));
        let paths: Vec<&str> = found.iter().map(|problem| problem.path.as_str()).collect();
        assert_eq!(paths, ["/n", "/to"]);
        assert!(found.iter().all(|problem| !problem.message.contains("424242")), "{found:?}");
    }

    #[test]
    fn a_schema_that_is_none_or_lies_elsewhere_is_refused() {
        for schema in [
            json!({"type": 7}),
            json!({"$ref": "https://example.com/schema.json"}),
            json!({"$ref": "file:///etc/passwd"}),
        ] {
            let (_, problems) = compiled(Queue { schema: Some(schema.clone()), ..Queue::default() });
            assert_eq!(problems.len(), 1, "{schema}");
            assert_eq!(problems[0].path, "queues/q/schema");
        }
    }

    #[test]
    fn the_ordering_key_comes_from_where_the_queue_says() {
        let body = json!({"order": {"id": 7}, "name": "x"});
        let headers = HeaderMap::from_iter([(HeaderName::from_static("x-room"), "42".parse().unwrap())]);
        let source =
            KeySource { body: Some(&body), headers: &headers, subject: Some("ann"), application: Some("shop") };
        for (key_from, expected) in [
            ("/order/id", Some("7")),
            ("/name", Some("x")),
            ("/ghost", None),
            ("header:X-Room", Some("42")),
            ("header:x-ghost", None),
            ("subject", Some("ann")),
            ("application", Some("shop")),
        ] {
            let (queue, problems) = keyed(key_from);
            assert_eq!(problems, [], "{key_from}");
            assert_eq!(queue.key(&source).as_deref(), expected, "{key_from}");
        }
        for bad in ["", "order", "header:", "header:a b", "x:/y"] {
            assert_eq!(keyed(bad).1.len(), 1, "{bad}");
        }
    }

    #[test]
    fn only_the_embedded_broker_spools_unasked() {
        let spools = |broker, on_broker_down| compiled(Queue { broker, on_broker_down, ..Queue::default() }).0.spools();
        assert!(spools(Broker::Embedded, None) && !spools(Broker::Kafka, None));
        assert!(
            spools(Broker::Kafka, Some(OnBrokerDown::Spool)) && !spools(Broker::Embedded, Some(OnBrokerDown::Reject))
        );
    }
}
