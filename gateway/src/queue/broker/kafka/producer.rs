//! The producer: its settings, and what it says by itself.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rdkafka::ClientContext;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{FutureProducer, Producer as _, PurgeConfig};
use rdkafka::util::DefaultRuntime;
use tokio::sync::Notify;

#[derive(Clone)]
pub(super) struct Producer {
    pub(super) client: FutureProducer<Watcher, DefaultRuntime>,
    is_alone: Arc<AtomicBool>,
}

/// Longer than the patience of most queues: whoever stopped waiting was told that the message may still arrive.
const MESSAGE_TIMEOUT: Duration = Duration::from_secs(10);
/// A broker that says nothing for so long to something asked is left, and found again.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(3);

/// `brokers` as in `host:port,host:port`.
pub(super) fn make(brokers: &str, doubt: Arc<Notify>) -> Result<Producer, KafkaError> {
    let mut config = ClientConfig::new();
    let (message, request) = (MESSAGE_TIMEOUT.as_millis().to_string(), REQUEST_TIMEOUT.as_millis().to_string());
    for (name, value) in [
        ("bootstrap.servers", brokers),
        ("client.id", "gatehouse"),
        ("acks", "all"),
        ("enable.idempotence", "true"),
        ("message.timeout.ms", &message),
        ("request.timeout.ms", &request),
        ("socket.timeout.ms", &request),
        ("socket.keepalive.enable", "true"),
        ("linger.ms", "1"),
        ("queue.buffering.max.messages", "8192"),
        ("queue.buffering.max.kbytes", "65536"),
        ("reconnect.backoff.ms", "50"),
        ("reconnect.backoff.max.ms", "500"),
        ("topic.metadata.refresh.sparse", "true"),
    ] {
        config.set(name, value);
    }
    config.set_log_level(RDKafkaLogLevel::Warning);
    let is_alone = Arc::<AtomicBool>::default();
    let client = config.create_with_context(Watcher { is_alone: is_alone.clone(), doubt })?;
    Ok(Producer { client, is_alone })
}

impl Producer {
    /// Whether it is of no use any more: it lost all brokers, or its sequence of messages is broken beyond repair.
    pub(super) fn is_lost(&self) -> bool {
        self.is_alone.load(Ordering::Relaxed) || self.client.client().fatal_error().is_some()
    }

    pub(super) fn found_a_broker(&self) {
        self.is_alone.store(false, Ordering::Relaxed);
    }
}

/// Whoever waits hears now, and nothing that waits is sent any more. Its end may take a moment, on a thread that may wait.
pub(super) fn end(producer: Producer) {
    tokio::task::spawn_blocking(move || {
        producer.client.purge(PurgeConfig::default().queue().inflight());
        drop(producer);
    });
}

/// Hears what librdkafka says by itself.
pub(super) struct Watcher {
    is_alone: Arc<AtomicBool>,
    doubt: Arc<Notify>,
}

impl ClientContext for Watcher {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        tracing::debug!(?level, facility, "librdkafka: {message}");
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(%error, "librdkafka: {reason}");
        if error.rdkafka_error_code() == Some(RDKafkaErrorCode::AllBrokersDown) {
            self.is_alone.store(true, Ordering::Relaxed);
        }
        self.doubt.notify_one();
    }
}
