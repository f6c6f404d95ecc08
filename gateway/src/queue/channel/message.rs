//! A message as clients see it.

use bytes::Bytes;
use serde_json::Value;

/// What only the task's worker may know, wherever it stands: whoever writes on a topic may have put an event into their own.
const WORKERS: [&str; 2] = ["tasktoken", "statusurl"];
/// Of an event, what only its sender may know: with it they ask for their answer again.
const SENDERS: &str = "idempotencykey";

/// A message of a topic, ready to be filtered and shown.
#[derive(Debug)]
pub(super) struct Shown {
    /// The event's own id, if it is an event.
    pub(super) id: Option<String>,
    /// What filters look at: an event's data, or the whole of what is no event.
    data: Value,
    /// One line of JSON.
    pub(super) text: Bytes,
}

impl Shown {
    /// `None`: it is no JSON, and so nothing that could be filtered.
    pub(super) fn of(message: &[u8]) -> Option<Self> {
        let mut value: Value = serde_json::from_slice(message).ok()?;
        let is_event = value.get("specversion").is_some();
        hide(&mut value);
        if let Some(event) = value.as_object_mut().filter(|_| is_event) {
            event.remove(SENDERS);
        }
        let id = value.get("id").filter(|_| is_event).and_then(Value::as_str);
        // An id that breaks the line would begin another field of the stream.
        let id = id.filter(|id| !id.contains(['\r', '\n', '\0'])).map(str::to_owned);
        let text = serde_json::to_vec(&value).ok()?.into();
        let data = if is_event { value.get_mut("data").map(Value::take).unwrap_or_default() } else { value };
        Some(Self { id, data, text })
    }

    pub(super) fn data(&self) -> &Value {
        &self.data
    }
}

/// As deep as it goes: what is read from a text is nested 128 times at most.
fn hide(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            for secret in WORKERS {
                fields.remove(secret);
            }
            fields.values_mut().for_each(hide);
        }
        Value::Array(items) => items.iter_mut().for_each(hide),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_workers_secrets_are_never_shown() {
        let event = r#"{"specversion": "1.0", "id": "t1", "tasktoken": "canary", "statusurl": "http://canary",
            "idempotencykey": "canary", "data": {"room": 7}}"#;
        let shown = Shown::of(event.as_bytes()).unwrap();
        let text = std::str::from_utf8(&shown.text).unwrap();
        assert!(!text.contains("canary") && text.contains("\"room\":7"), "{text}");
        assert_eq!((shown.id.as_deref(), shown.data()), (Some("t1"), &serde_json::json!({"room": 7})));
        for wrapped in [format!("{{\"saved\": [{event}]}}"), event.replace("\"specversion\"", "\"version\"")] {
            let shown = Shown::of(wrapped.as_bytes()).unwrap();
            let text = std::str::from_utf8(&shown.text).unwrap();
            assert!(!text.contains("http://canary") && !text.contains("tasktoken"), "{text}");
        }
    }

    #[test]
    fn what_is_no_event_is_its_own_data_and_what_is_no_json_is_nothing() {
        let shown = Shown::of(b"{\"room\": 7, \"id\": \"x\"}").unwrap();
        assert_eq!((shown.id.as_deref(), shown.data()["room"].as_u64()), (None, Some(7)));
        assert!(Shown::of(b"hello").is_none() && Shown::of(b"\xff").is_none());
        assert!(Shown::of(br#"{"specversion": "1.0", "id": "a\nevent: x"}"#).unwrap().id.is_none());
    }
}
