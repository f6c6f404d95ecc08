//! What a worker gets: a CloudEvents 1.0 event in the structured JSON form, whichever broker carries it.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use gateway_config::model::Timestamp;
use serde::Serialize;
use serde_json::value::RawValue;

/// The media type of what is published.
pub(crate) const EVENT_TYPE: &str = "application/cloudevents+json; charset=utf-8";

/// All that an event says beside its data.
#[derive(Debug)]
pub(crate) struct Envelope<'a> {
    pub(crate) id: &'a str,
    /// None: an operator tests the queue.
    pub(crate) route: Option<&'a str>,
    pub(crate) queue: &'a str,
    /// The path that the client asked for.
    pub(crate) path: &'a str,
    pub(crate) time: Timestamp,
    /// As the client sent it; empty: none.
    pub(crate) content_type: &'a str,
    pub(crate) application: Option<&'a str>,
    pub(crate) caller: Option<&'a str>,
    pub(crate) traceparent: Option<&'a str>,
    pub(crate) idempotency_key: Option<&'a str>,
    pub(crate) status_url: &'a str,
    pub(crate) task_token: &'a str,
}

/// The wire form. Extension names are lower case letters and digits, as the specification demands.
#[derive(Serialize)]
struct Wire<'a> {
    specversion: &'static str,
    id: &'a str,
    source: String,
    r#type: String,
    #[serde(skip_serializing_if = "str::is_empty")]
    subject: &'a str,
    time: String,
    #[serde(skip_serializing_if = "str::is_empty")]
    datacontenttype: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    application: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    caller: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    traceparent: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    idempotencykey: Option<&'a str>,
    statusurl: &'a str,
    tasktoken: &'a str,
    /// Nobody asked for it: a worker may leave it undone.
    #[serde(skip_serializing_if = "Option::is_none")]
    test: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<Data<'a>>,
    #[serde(rename = "data_base64", skip_serializing_if = "Option::is_none")]
    bytes: Option<String>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Data<'a> {
    /// Letter by letter as it came.
    Json(&'a RawValue),
    Text(&'a str),
}

/// What kind of data a body is, by its content type and content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Json,
    Text,
    Bytes,
}

/// The body is said to be JSON and is not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NotJson(pub(crate) String);

/// Writes the event. JSON stands in it as JSON, text as text, everything else as base64.
pub(crate) fn write(envelope: &Envelope<'_>, body: &[u8]) -> Result<Bytes, NotJson> {
    let text = std::str::from_utf8(body).ok();
    let (mut data, mut bytes) = (None, None);
    match (kind(envelope.content_type), text) {
        _ if body.is_empty() => {}
        (Kind::Json, Some(text)) => data = Some(Data::Json(raw(text)?)),
        (Kind::Json, None) => return Err(NotJson("it is not UTF-8".to_owned())),
        (Kind::Text, Some(text)) => data = Some(Data::Text(text)),
        (Kind::Text | Kind::Bytes, _) => bytes = Some(STANDARD.encode(body)),
    }
    let wire = Wire {
        specversion: "1.0",
        id: envelope.id,
        source: envelope.route.map_or("/gatehouse/test".to_owned(), |route| format!("/gatehouse/routes/{route}")),
        r#type: format!("gatehouse.queue.{}", envelope.queue),
        subject: envelope.path,
        time: envelope.time.to_string(),
        datacontenttype: envelope.content_type,
        application: envelope.application,
        caller: envelope.caller,
        traceparent: envelope.traceparent,
        idempotencykey: envelope.idempotency_key,
        statusurl: envelope.status_url,
        tasktoken: envelope.task_token,
        test: envelope.route.is_none().then_some(true),
        data,
        bytes,
    };
    // Nothing in it can fail to be written.
    serde_json::to_vec(&wire).map(Bytes::from).map_err(|error| NotJson(error.to_string()))
}

fn raw(text: &str) -> Result<&RawValue, NotJson> {
    serde_json::from_str(text).map_err(|error| NotJson(error.to_string()))
}

/// Whether a body of this type is JSON.
pub(crate) fn is_json(content_type: &str) -> bool {
    kind(content_type) == Kind::Json
}

fn kind(content_type: &str) -> Kind {
    let essence = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    if essence == "application/json" || essence == "text/json" || essence.ends_with("+json") {
        Kind::Json
    } else if essence.starts_with("text/")
        || essence == "application/x-www-form-urlencoded"
        || essence.ends_with("+xml")
    {
        Kind::Text
    } else {
        Kind::Bytes
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn envelope(content_type: &str) -> Envelope<'_> {
        Envelope {
            id: "t1",
            route: Some("orders"),
            queue: "mail",
            path: "/orders/7",
            time: Timestamp::from_micros(1_000_000),
            content_type,
            application: Some("shop"),
            caller: None,
            traceparent: None,
            idempotency_key: Some("k"),
            status_url: "http://gw/tasks/t1",
            task_token: "secret",
        }
    }

    fn written(content_type: &str, body: &[u8]) -> Value {
        serde_json::from_slice(&write(&envelope(content_type), body).unwrap()).unwrap()
    }

    #[test]
    fn an_event_says_all_that_the_contract_promises() {
        let event = written("application/json", br#"{"to": "a"}"#);
        assert_eq!(
            event,
            json!({
                "specversion": "1.0", "id": "t1", "source": "/gatehouse/routes/orders", "type": "gatehouse.queue.mail",
                "subject": "/orders/7", "time": "1970-01-01T00:00:01Z", "datacontenttype": "application/json",
                "application": "shop", "idempotencykey": "k", "statusurl": "http://gw/tasks/t1", "tasktoken": "secret",
                "data": {"to": "a"},
            })
        );
    }

    #[test]
    fn a_test_says_that_it_is_one() {
        let test = Envelope { route: None, path: "", application: None, ..envelope("application/json") };
        let event: Value = serde_json::from_slice(&write(&test, b"{}").unwrap()).unwrap();
        assert_eq!((&event["test"], &event["source"]), (&json!(true), &json!("/gatehouse/test")));
        assert_eq!(event.get("subject"), None, "an attribute may not be empty");
        assert_eq!(written("application/json", b"{}").get("test"), None);
    }

    #[test]
    fn numbers_in_json_keep_every_digit() {
        let event = write(&envelope("application/problem+json"), b"{\"n\": 12345678901234567890.10}").unwrap();
        assert!(std::str::from_utf8(&event).unwrap().contains("12345678901234567890.10"));
    }

    #[test]
    fn text_stays_text_and_everything_else_is_base64() {
        assert_eq!(written("text/plain; charset=utf-8", "grüß".as_bytes())["data"], "grüß");
        assert_eq!(written("image/png", &[0, 255])["data_base64"], "AP8=");
        assert_eq!(written("text/plain", &[0xff])["data_base64"], "/w==");
        assert_eq!(written("", b"x")["data_base64"], "eA==");
        let nothing = written("application/json", b"");
        assert!(nothing.get("data").is_none() && nothing.get("data_base64").is_none());
    }

    #[test]
    fn what_says_it_is_json_must_be() {
        for bad in [&b"{"[..], b"{} x", b"\xff"] {
            assert!(write(&envelope("application/json"), bad).is_err(), "{bad:?}");
        }
    }
}
