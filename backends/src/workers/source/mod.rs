//! Where messages come from. Each source delivers to the worker, and does with the message what the worker's verdict says, never before.

pub(super) mod embedded;
mod kafka;
mod rabbitmq;
mod redis;

use std::{sync::Arc, time::Duration};

use anyhow::{Context, Result};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::{
    settings::{Broker, Consume},
    worker::Worker,
};

const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// Takes messages from a broker until `stop`, and finishes what it has begun. A broker that is away is tried again.
pub(super) async fn consume(worker: Arc<Worker>, from: Consume, stop: CancellationToken) {
    let mut pause = FIRST_PAUSE;
    while !stop.is_cancelled() {
        let consumed = match from.broker {
            Broker::Rabbitmq => rabbitmq::consume(&worker, &from, &stop).await,
            Broker::Redis => redis::consume(&worker, &from, &stop).await,
            Broker::Kafka => kafka::consume(&worker, &from, &stop).await,
        };
        match consumed {
            Ok(()) => pause = FIRST_PAUSE,
            Err(cause) => warn!("could not consume {from}: {cause:#}"),
        }
        tokio::select! {
            () = stop.cancelled() => {}
            () = sleep(pause) => pause = (pause * 2).min(LONGEST_PAUSE),
        }
    }
}

/// Said each time that a broker begins to deliver.
fn announce(from: &Consume) {
    info!("consuming {from}");
}

/// Refuses what can't work at all before anything is started.
pub(super) fn check(worker: &Worker, from: &Consume) -> Result<()> {
    let settings = &worker.settings;
    let (given, variable) = match from.broker {
        Broker::Rabbitmq => (&settings.amqp_url, "AMQP_URL"),
        Broker::Redis => (&settings.redis_url, "REDIS_URL"),
        Broker::Kafka => (&settings.kafka_brokers, "KAFKA_BROKERS"),
    };
    given.as_ref().map(drop).with_context(|| format!("{from} needs {variable}"))
}
