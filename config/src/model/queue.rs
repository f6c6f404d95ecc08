//! A queue: where requests become messages.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Id, Timestamp};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Queue {
    #[schema(value_type = uuid::Uuid, read_only)]
    pub id: Id<Queue>,
    /// Unique; letters, digits and `-._`.
    #[schema(example = "mails", pattern = r"^[A-Za-z0-9._-]{1,128}$")]
    pub name: String,
    pub broker: Broker,
    /// A connection's name in the gateways' settings; absent: the broker's default one.
    pub connection: Option<String>,
    pub destination: Destination,
    /// Of a request; absent: what holds for its route.
    pub max_body_bytes: Option<u64>,
    /// JSON Schema that bodies must satisfy.
    #[schema(value_type = Option<Object>)]
    pub schema: Option<serde_json::Value>,
    /// Absent: `spool` for `embedded`, else `reject`.
    pub on_broker_down: Option<OnBrokerDown>,
    /// How long to wait for the broker to say that it has the message.
    #[schema(minimum = 1)]
    pub confirm_timeout_ms: u32,
    /// Messages that are delivered at once.
    #[schema(minimum = 1)]
    pub concurrency: u32,
    /// Of delivering one message.
    #[schema(minimum = 1)]
    pub max_attempts: u32,
    /// If not, it takes no messages.
    pub is_active: bool,
    #[schema(value_type = String, format = DateTime, read_only)]
    pub created_at: Timestamp,
    #[schema(value_type = String, format = DateTime, read_only)]
    pub updated_at: Timestamp,
}

impl Default for Queue {
    fn default() -> Self {
        Self {
            id: Id::default(),
            name: String::new(),
            broker: Broker::default(),
            connection: None,
            destination: Destination::default(),
            max_body_bytes: None,
            schema: None,
            on_broker_down: None,
            confirm_timeout_ms: 2000,
            concurrency: 8,
            max_attempts: 5,
            is_active: true,
            created_at: Timestamp::default(),
            updated_at: Timestamp::default(),
        }
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Broker {
    #[default]
    Embedded,
    Rabbitmq,
    Redis,
    Kafka,
}

/// The fields that the broker needs: `exchange` and `routingKey`, `stream`, `topic` and `keyFrom`, or `deliverTo`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Destination {
    /// For `rabbitmq`.
    pub exchange: Option<String>,
    /// For `rabbitmq`.
    pub routing_key: Option<String>,
    /// For `redis`.
    pub stream: Option<String>,
    /// For `kafka`.
    pub topic: Option<String>,
    /// For `kafka`: JSON pointer to the field that becomes the message's key.
    pub key_from: Option<String>,
    /// For `embedded`: where the gateway posts the messages.
    #[schema(example = "http://127.0.0.1:7202/mails", pattern = "^https?://")]
    pub deliver_to: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnBrokerDown {
    Reject,
    Spool,
}
