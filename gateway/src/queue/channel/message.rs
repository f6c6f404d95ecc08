//! A message as clients see it.

use bytes::Bytes;
use serde_json::Value;

/// What only the task's worker may know.
const SECRET: [&str; 2] = ["tasktoken", "statusurl"];

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
        if let Some(event) = value.as_object_mut().filter(|_| is_event) {
            for secret in SECRET {
                event.remove(secret);
            }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_workers_secrets_are_never_shown() {
        let event = br#"{"specversion": "1.0", "id": "t1", "tasktoken": "canary", "statusurl": "http://canary", "data": {"room": 7}}"#;
        let shown = Shown::of(event).unwrap();
        let text = std::str::from_utf8(&shown.text).unwrap();
        assert!(!text.contains("canary") && text.contains("\"room\":7"), "{text}");
        assert_eq!((shown.id.as_deref(), shown.data()), (Some("t1"), &serde_json::json!({"room": 7})));
    }

    #[test]
    fn what_is_no_event_is_its_own_data_and_what_is_no_json_is_nothing() {
        let shown = Shown::of(b"{\"room\": 7, \"id\": \"x\"}").unwrap();
        assert_eq!((shown.id.as_deref(), shown.data()["room"].as_u64()), (None, Some(7)));
        assert!(Shown::of(b"hello").is_none() && Shown::of(b"\xff").is_none());
        assert!(Shown::of(br#"{"specversion": "1.0", "id": "a\nevent: x"}"#).unwrap().id.is_none());
    }
}
