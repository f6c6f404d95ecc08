//! Messages of a RabbitMQ queue. Beside `<queue>` stand `<queue>.retry`, where a message waits until it expires and goes back, and
//! `<queue>.dead`; they are made as Gatehouse makes them, where they are missing.

use std::{sync::Arc, time::Duration};

use anyhow::{Context, Result, bail};
use futures::StreamExt;
use lapin::{
    BasicProperties, Channel, Confirmation, Connection, ConnectionProperties,
    message::Delivery,
    options::{
        BasicAckOptions, BasicConsumeOptions, BasicPublishOptions, BasicQosOptions, ConfirmSelectOptions,
        QueueDeclareOptions,
    },
    types::{AMQPValue, FieldTable},
    uri::AMQPUri,
};
use tokio::{sync::Mutex, task::JoinSet, time::timeout};
use tokio_util::sync::CancellationToken;
use tracing::debug;

use super::announce;
use crate::workers::{
    settings::Consume,
    worker::{Verdict, Worker, to_its_end},
};

/// How often a message was tried when it was sent to wait.
const ATTEMPTS: &str = "x-attempts";
const ERROR: &str = "x-error";
/// Seconds between signs of life.
const HEARTBEAT: u16 = 5;
const PATIENCE: Duration = Duration::from_secs(10);
const MANDATORY: BasicPublishOptions = BasicPublishOptions { mandatory: true, immediate: false };

struct Desk {
    worker: Arc<Worker>,
    queue: String,
    /// With confirms. One publishes at a time, so that each knows its own confirm.
    out: Mutex<Channel>,
}

pub(super) async fn consume(worker: &Arc<Worker>, from: &Consume, stop: &CancellationToken) -> Result<()> {
    let url = worker.settings.amqp_url.as_deref().unwrap_or_default();
    // What the parser says may repeat the password.
    let mut uri: AMQPUri = url.parse().ok().context("AMQP_URL is no amqp:// URL")?;
    uri.query.heartbeat = uri.query.heartbeat.or(Some(HEARTBEAT));
    let name = format!("{} worker", worker.name);
    let properties = ConnectionProperties::default().with_connection_name(name.into());
    let connection =
        timeout(PATIENCE, Connection::connect_uri(uri, properties)).await.context("no answer in time")??;
    make(&connection, &from.place, worker.settings.max_attempts).await.context("could not make its queues")?;

    let incoming = connection.create_channel().await?;
    incoming.basic_qos(worker.settings.concurrency, BasicQosOptions::default()).await?;
    let out = connection.create_channel().await?;
    out.confirm_select(ConfirmSelectOptions::default()).await?;
    let tag = format!("{}-{}", worker.name, crate::clock::new_id());
    let (queue, options) = (from.place.clone().into(), BasicConsumeOptions::default());
    let mut deliveries = incoming.basic_consume(queue, tag.into(), options, FieldTable::default()).await?;
    announce(from);

    let desk = Arc::new(Desk { worker: worker.clone(), queue: from.place.clone(), out: Mutex::new(out) });
    let mut working = JoinSet::new();
    let ended = loop {
        tokio::select! {
            () = stop.cancelled() => break Ok(()),
            Some(_) = working.join_next(), if !working.is_empty() => {}
            delivery = deliveries.next() => match delivery {
                Some(Ok(delivery)) => {
                    let desk = desk.clone();
                    working.spawn(async move { desk.see_to(delivery).await });
                }
                Some(Err(cause)) => break Err(cause.into()),
                None => break Err(anyhow::anyhow!("RabbitMQ delivers no more")),
            },
        }
    };
    // What was begun is finished and acknowledged; the rest goes back to the queue with the connection.
    while working.join_next().await.is_some() {}
    let _ = connection.close(200, "done".into()).await;
    ended
}

impl Desk {
    /// A message that is not acknowledged comes again.
    async fn see_to(&self, delivery: Delivery) {
        let told = attempts(&delivery).saturating_add(1);
        let verdict = to_its_end(&self.worker, delivery.data.clone(), told).await;
        let settled = match verdict {
            Verdict::Over => Ok(()),
            Verdict::Later(pause) => {
                let pause_ms = pause.as_millis().max(1).to_string();
                let properties = again(&delivery, ATTEMPTS, AMQPValue::LongUInt(told));
                self.put("retry", properties.with_expiration(pause_ms.into()), &delivery.data).await
            }
            Verdict::Dead(why) => {
                let why = AMQPValue::LongString(why.into());
                self.put("dead", again(&delivery, ERROR, why), &delivery.data).await
            }
        };
        let settled = match settled {
            Ok(()) => delivery.ack(BasicAckOptions::default()).await.map_err(Into::into),
            Err(cause) => Err(cause),
        };
        if let Err(cause) = settled {
            debug!(queue = self.queue, %cause, "could not settle a message: it comes again");
        }
    }

    /// Puts a message into one of the queues beside, and is sure of it.
    async fn put(&self, beside: &str, properties: BasicProperties, message: &[u8]) -> Result<()> {
        let to = format!("{}.{beside}", self.queue);
        let out = self.out.lock().await;
        let publishing = out.basic_publish("".into(), to.clone().into(), MANDATORY, message, properties);
        match timeout(PATIENCE, async { publishing.await?.await }).await.context("no confirm in time")?? {
            Confirmation::Ack(None) => Ok(()),
            _ => bail!("RabbitMQ does not take messages for {to}"),
        }
    }
}

/// Of this message so far: by what it says of itself, or by how often RabbitMQ had to deliver it again.
fn attempts(delivery: &Delivery) -> u32 {
    let Some(headers) = delivery.properties.headers() else { return 0 };
    let number = |name: &str| match headers.inner().get(name) {
        Some(AMQPValue::LongUInt(number)) => Some(*number),
        Some(AMQPValue::LongInt(number)) => u32::try_from(*number).ok(),
        Some(AMQPValue::LongLongInt(number)) => u32::try_from(*number).ok(),
        _ => None,
    };
    number(ATTEMPTS).unwrap_or(0).saturating_add(number("x-delivery-count").unwrap_or(0))
}

/// What the message said of itself when it came first, and one thing more.
fn again(delivery: &Delivery, header: &str, value: AMQPValue) -> BasicProperties {
    let mut headers = FieldTable::default();
    headers.insert(header.into(), value);
    let mut properties = BasicProperties::default().with_delivery_mode(2).with_headers(headers);
    if let Some(id) = delivery.properties.message_id() {
        properties = properties.with_message_id(id.clone());
    }
    if let Some(kind) = delivery.properties.content_type() {
        properties = properties.with_content_type(kind.clone());
    }
    properties
}

async fn make(connection: &Connection, queue: &str, most_attempts: u32) -> Result<()> {
    let (dead, retry) = (format!("{queue}.dead"), format!("{queue}.retry"));
    let mut limited = dead_letters_to(&dead);
    limited.insert("x-delivery-limit".into(), AMQPValue::LongLongInt(most_attempts.into()));
    make_queue(connection, &dead, FieldTable::default()).await?;
    make_queue(connection, queue, limited).await?;
    make_queue(connection, &retry, dead_letters_to(queue)).await
}

fn dead_letters_to(queue: &str) -> FieldTable {
    let mut arguments = FieldTable::default();
    arguments.insert("x-dead-letter-exchange".into(), AMQPValue::LongString("".into()));
    arguments.insert("x-dead-letter-routing-key".into(), AMQPValue::LongString(queue.into()));
    arguments
}

/// What is there is used as it is.
async fn make_queue(connection: &Connection, name: &str, mut arguments: FieldTable) -> Result<()> {
    // A question whose answer is no ends its channel.
    let asking = connection.create_channel().await?;
    let look = QueueDeclareOptions { passive: true, ..Default::default() };
    if asking.queue_declare(name.into(), look, FieldTable::default()).await.is_ok() {
        let _ = asking.close(200, "done".into()).await;
        return Ok(());
    }
    arguments.insert("x-queue-type".into(), AMQPValue::LongString("quorum".into()));
    let channel = connection.create_channel().await?;
    let durable = QueueDeclareOptions { durable: true, ..Default::default() };
    channel.queue_declare(name.into(), durable, arguments).await?;
    let _ = channel.close(200, "done".into()).await;
    Ok(())
}
