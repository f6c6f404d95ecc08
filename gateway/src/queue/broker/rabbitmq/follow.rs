//! Following an exchange beside its workers: a queue of the follower's own, gone with it. It takes nothing from anybody, and so what
//! comes while the connection is lost is missed.

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt;
use lapin::options::{BasicAckOptions, BasicConsumeOptions, BasicQosOptions, QueueBindOptions, QueueDeclareOptions};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{Channel, Connection, Consumer};

use super::lane::Destination;
use super::topology::away;
use crate::queue::broker::{PublishError, Source};

/// Messages on their way that the broker may be ahead of us.
const AHEAD: u16 = 256;
/// What waits for a gateway that is too slow is bounded; the oldest make room.
const MOST_WAITING: i64 = 10_000;
const MOST_WAITING_BYTES: i64 = 64 << 20;

/// The channel is closed with the last of both, and the queue goes with its only consumer.
pub(super) struct Follower {
    consumer: Consumer,
    _channel: Channel,
}

/// The exchange must be there.
pub(super) async fn follow(connection: &Connection, destination: &Destination) -> Result<Follower, PublishError> {
    let open = async {
        let channel = connection.create_channel().await?;
        channel.basic_qos(AHEAD, BasicQosOptions::default()).await?;
        let options = QueueDeclareOptions { exclusive: true, auto_delete: true, ..Default::default() };
        let queue = channel.queue_declare("".into(), options, bounds()).await?.name().clone();
        let (exchange, routing_key) = (destination.exchange.as_str(), destination.routing_key.as_str());
        let bind = QueueBindOptions::default();
        channel.queue_bind(queue.clone(), exchange.into(), routing_key.into(), bind, FieldTable::default()).await?;
        let options = BasicConsumeOptions { exclusive: true, ..Default::default() };
        let consumer = channel.basic_consume(queue, "".into(), options, FieldTable::default()).await?;
        Ok(Follower { consumer, _channel: channel })
    };
    open.await.map_err(|error: lapin::Error| away(&error))
}

fn bounds() -> FieldTable {
    let mut arguments = FieldTable::default();
    arguments.insert("x-max-length".into(), AMQPValue::LongLongInt(MOST_WAITING));
    arguments.insert("x-max-length-bytes".into(), AMQPValue::LongLongInt(MOST_WAITING_BYTES));
    arguments
}

#[async_trait]
impl Source for Follower {
    async fn next(&mut self) -> Result<Bytes, String> {
        match self.consumer.next().await {
            Some(Ok(delivery)) => {
                // Taken as soon as it is here: nobody else waits for it.
                delivery.acker.ack(BasicAckOptions::default()).await.map_err(|error| error.to_string())?;
                Ok(delivery.data.into())
            }
            Some(Err(error)) => Err(error.to_string()),
            None => Err("RabbitMQ ended it".to_owned()),
        }
    }
}
