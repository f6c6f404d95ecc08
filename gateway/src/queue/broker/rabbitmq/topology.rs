//! What Gatehouse makes on RabbitMQ where it is missing. What exists is used as it is, whoever made it and with whatever arguments.
//!
//! For a queue of the configuration, with its `destination`:
//!
//! | what | name | made as |
//! | --- | --- | --- |
//! | the exchange, unless it is "" | `exchange` | durable, `topic` |
//! | where messages wait | with exchange "": `routingKey`; else the queue's own name | durable, quorum, dead letters to `<it>.dead`, `x-delivery-limit` = `maxAttempts` |
//! | the binding, unless the exchange is "" | | by `routingKey` |
//! | dead letters | `<it>.dead` | durable, quorum |
//! | messages that wait for another try | `<it>.retry` | durable, quorum, dead letters back to `<it>`: a worker publishes here with `expiration` |
//!
//! It is made when a message can't be routed, so that whoever brings their own bindings gets nothing of ours. Where channels follow the
//! exchange, messages can always be routed, to their followers at least: there it is made before the first message.

use gateway_config::model::Queue;
use lapin::options::{ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions};
use lapin::protocol::{AMQPErrorKind, AMQPSoftError};
use lapin::types::{AMQPValue, FieldTable, LongString, ShortString};
use lapin::{Connection, ErrorKind, ExchangeKind};

use super::lane::Destination;
use crate::queue::broker::PublishError;

/// Where a queue's messages go.
pub(super) fn destination(queue: &Queue) -> Destination {
    let to = &queue.destination;
    let exchange = to.exchange.clone().unwrap_or_default();
    let routing_key = to.routing_key.clone().unwrap_or_else(|| queue.name.clone());
    Destination { exchange, routing_key }
}

/// Where they wait, as far as it is ours to say.
pub(super) fn waits_in(queue: &Queue) -> String {
    let Destination { exchange, routing_key } = destination(queue);
    if exchange.is_empty() { routing_key } else { queue.name.clone() }
}

/// Sees to it that the exchange is there: publishing to one that is not would end the channel.
pub(super) async fn exchange(connection: &Connection, name: &str, may_make: bool) -> Result<(), PublishError> {
    if name.is_empty() {
        return Ok(());
    }
    // A question whose answer is no ends its channel, so each has one of its own.
    let channel = connection.create_channel().await.map_err(|error| away(&error))?;
    let passive = ExchangeDeclareOptions { passive: true, ..Default::default() };
    let asked = channel.exchange_declare(name.into(), ExchangeKind::Topic, passive, FieldTable::default()).await;
    match asked {
        Ok(()) => {}
        Err(error) if !is_missing(&error) => return Err(away(&error)),
        Err(_) if !may_make => return Err(PublishError::Unroutable(format!("there is no exchange {name:?}"))),
        Err(_) => {
            let channel = connection.create_channel().await.map_err(|error| away(&error))?;
            let durable = ExchangeDeclareOptions { durable: true, ..Default::default() };
            let made = channel.exchange_declare(name.into(), ExchangeKind::Topic, durable, FieldTable::default()).await;
            made.map_err(|error| away(&error))?;
            let _ = channel.close(200, "done".into()).await;
            return Ok(());
        }
    }
    let _ = channel.close(200, "done".into()).await;
    Ok(())
}

/// Makes what is missing between the exchange and a worker.
pub(super) async fn make(connection: &Connection, queue: &Queue) -> Result<(), PublishError> {
    let name = waits_in(queue);
    let limit = i64::from(queue.max_attempts.max(1));
    let mut arguments = dead_letters_to(&format!("{name}.dead"));
    arguments.insert("x-delivery-limit".into(), AMQPValue::LongLongInt(limit));
    make_queue(connection, &format!("{name}.dead"), FieldTable::default()).await?;
    make_queue(connection, &name, arguments).await?;
    make_queue(connection, &format!("{name}.retry"), dead_letters_to(&name)).await?;
    let Destination { exchange, routing_key } = destination(queue);
    if exchange.is_empty() {
        return Ok(());
    }
    let channel = connection.create_channel().await.map_err(|error| away(&error))?;
    let (queue, routing_key) = (name.into(), routing_key.into());
    let bound =
        channel.queue_bind(queue, exchange.into(), routing_key, QueueBindOptions::default(), FieldTable::default());
    bound.await.map_err(|error| away(&error))?;
    let _ = channel.close(200, "done".into()).await;
    Ok(())
}

fn dead_letters_to(queue: &str) -> FieldTable {
    let mut arguments = FieldTable::default();
    arguments.insert("x-dead-letter-exchange".into(), text(""));
    arguments.insert("x-dead-letter-routing-key".into(), text(queue));
    arguments
}

async fn make_queue(connection: &Connection, name: &str, mut arguments: FieldTable) -> Result<(), PublishError> {
    if counts(connection, name).await.map_err(|error| away(&error))?.is_some() {
        return Ok(());
    }
    arguments.insert("x-queue-type".into(), text("quorum"));
    let channel = connection.create_channel().await.map_err(|error| away(&error))?;
    let options = QueueDeclareOptions { durable: true, ..Default::default() };
    channel.queue_declare(name.into(), options, arguments).await.map_err(|error| away(&error))?;
    let _ = channel.close(200, "done".into()).await;
    Ok(())
}

/// Messages and consumers of a queue; `None`: there is no such queue.
pub(super) async fn counts(connection: &Connection, name: &str) -> Result<Option<(u32, u32)>, lapin::Error> {
    let channel = connection.create_channel().await?;
    let passive = QueueDeclareOptions { passive: true, ..Default::default() };
    match channel.queue_declare(ShortString::from(name), passive, FieldTable::default()).await {
        Ok(queue) => {
            let counts = (queue.message_count(), queue.consumer_count());
            let _ = channel.close(200, "done".into()).await;
            Ok(Some(counts))
        }
        Err(error) if is_missing(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

fn is_missing(error: &lapin::Error) -> bool {
    let ErrorKind::ProtocolError(error) = error.kind() else { return false };
    matches!(error.kind(), AMQPErrorKind::Soft(AMQPSoftError::NOTFOUND))
}

/// Nothing was sent so far.
pub(super) fn away(error: &lapin::Error) -> PublishError {
    PublishError::Unavailable(error.to_string())
}

fn text(text: &str) -> AMQPValue {
    AMQPValue::LongString(LongString::from(text))
}
