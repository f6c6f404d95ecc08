//! What a worker gets: a CloudEvents 1.0 event as JSON, whoever carries it.

use base64::{Engine, engine::general_purpose::STANDARD};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::Value;

/// The part of the event that workers need. Attributes that they do not know are left alone, as the specification wants.
#[derive(Deserialize)]
pub(crate) struct Event {
    specversion: String,
    /// The task. A message that comes again has the same one.
    pub(crate) id: String,
    /// What kind of work it is: `gatehouse.queue.NAME`.
    #[serde(default, rename = "type")]
    kind: String,
    pub(crate) statusurl: String,
    pub(crate) tasktoken: String,
    #[serde(default)]
    data: Option<Value>,
    #[serde(default)]
    data_base64: Option<String>,
}

impl std::fmt::Debug for Event {
    /// Neither the token nor what people wrote.
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Event").field("id", &self.id).field("kind", &self.kind).finish_non_exhaustive()
    }
}

impl Event {
    pub(crate) fn read(bytes: &[u8]) -> Result<Self, String> {
        let event: Self =
            serde_json::from_slice(bytes).map_err(|cause| format!("the message is no CloudEvent: {cause}"))?;
        if event.specversion != "1.0" || event.id.is_empty() {
            return Err("the message is no CloudEvent of version 1.0 with an id".to_owned());
        }
        Ok(event)
    }

    /// The queue that it was sent to.
    pub(crate) fn queue(&self) -> &str {
        self.kind.strip_prefix("gatehouse.queue.").unwrap_or(&self.kind)
    }

    /// The data as a worker wants it; `Err`: what is wrong with it, in words for whoever sent it.
    pub(crate) fn ask<T: DeserializeOwned>(&self) -> Result<T, String> {
        let data = self.data.clone().unwrap_or(Value::Null);
        // A body that came as text without a content type may be JSON all the same.
        let data = match self.data_base64.as_deref().map(|text| STANDARD.decode(text)) {
            Some(Ok(bytes)) => {
                serde_json::from_slice(&bytes).map_err(|cause| format!("the data is no JSON: {cause}"))?
            }
            Some(Err(_)) => return Err("data_base64 is no base64".to_owned()),
            None => data,
        };
        serde_json::from_value(data).map_err(|cause| format!("the data does not fit: {cause}"))
    }
}
