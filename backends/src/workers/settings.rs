//! What workers are told at their start: where their messages come from, and what they work with.

use std::{str::FromStr, time::Duration};

use clap::Args;

use crate::services::Name;

const MAIL_FROM: &str = "Gatehouse <no-reply@localhost>";
const RESET_URL: &str = "http://127.0.0.1:4200/api/v1/auth/password-reset";
const AUTH_URL: &str = "http://127.0.0.1:7200";

#[derive(Args, Clone)]
pub struct Settings {
    /// Where a worker takes its messages from, instead of waiting for them to be pushed: NAME=BROKER:PLACE with the broker rabbitmq (a
    /// queue), redis (a stream) or kafka (a topic), such as email=rabbitmq:mails; may be given several times.
    #[arg(long, env = "BACKENDS_CONSUME", value_name = "NAME=BROKER:PLACE", value_delimiter = ',')]
    pub consume: Vec<Consume>,
    /// RabbitMQ.
    #[arg(long, env = "AMQP_URL", value_name = "URL", hide_env_values = true)]
    pub amqp_url: Option<String>,
    /// Redis.
    #[arg(long, env = "REDIS_URL", value_name = "URL", hide_env_values = true)]
    pub redis_url: Option<String>,
    /// Kafka: HOST:PORT, separated by commas.
    #[arg(long, env = "KAFKA_BROKERS", value_name = "HOSTS")]
    pub kafka_brokers: Option<String>,
    /// The secrets with which pushed messages are signed, one for each queue: `whsec_…`, separated by commas, or file:PATH, which is read
    /// whenever a signature is not known.
    #[arg(long, env = "WEBHOOK_SECRET", value_name = "SECRETS", hide_env_values = true)]
    pub webhook_secret: Option<String>,
    /// How often a message is tried before it is a dead letter; at most what its queue says.
    #[arg(long, env = "WORKER_MAX_ATTEMPTS", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    pub max_attempts: u32,
    /// Messages that a worker works on at once (one by one from Kafka).
    #[arg(long, env = "WORKER_CONCURRENCY", default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..))]
    pub concurrency: u16,
    /// How long the work on one message may take before it counts as failed for now.
    #[arg(long, env = "WORKER_TIMEOUT_SECONDS", default_value_t = 25, value_parser = clap::value_parser!(u32).range(1..))]
    pub worker_timeout_seconds: u32,
    /// The pause before the second attempt, of which each further pause is the double, up to a minute.
    #[arg(long, env = "WORKER_RETRY_MS", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..))]
    pub retry_ms: u32,
    /// How long a message in a Redis stream may be without a sign of life from its worker before another one takes it over.
    #[arg(long, env = "WORKER_TAKEOVER_SECONDS", default_value_t = 15, value_parser = clap::value_parser!(u32).range(1..))]
    pub takeover_seconds: u32,
    /// The mail server: smtp://HOST:PORT, or smtps://USER:PASSWORD@HOST. Without one, mails become files in the folder `outbox`.
    #[arg(long, env = "SMTP_URL", value_name = "URL", hide_env_values = true)]
    pub smtp_url: Option<String>,
    /// Who mails are from.
    #[arg(long, env = "MAIL_FROM", value_name = "ADDRESS", default_value = MAIL_FROM)]
    pub mail_from: String,
    /// The page to which a mail about a forgotten password leads.
    #[arg(long, env = "RESET_URL", value_name = "URL", default_value = RESET_URL)]
    pub reset_url: String,
    /// The service that knows the accounts.
    #[arg(long, env = "AUTH_URL", value_name = "URL", default_value = AUTH_URL)]
    pub auth_url: String,
    /// What the email worker shows that service; absent: what stands in the data folder, where the two share it.
    #[arg(long, env = "AUTH_WORKER_TOKEN", value_name = "TOKEN", hide_env_values = true)]
    pub auth_worker_token: Option<String>,
    /// Where the SMS provider takes messages.
    #[arg(long, env = "SMS_URL", value_name = "URL")]
    pub sms_url: Option<String>,
    /// The provider's bearer token.
    #[arg(long, env = "SMS_TOKEN", value_name = "TOKEN", hide_env_values = true)]
    pub sms_token: Option<String>,
}

impl std::fmt::Debug for Settings {
    /// There are secrets in most of it.
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Settings").field("consume", &self.consume).finish_non_exhaustive()
    }
}

impl Default for Settings {
    /// What holds where nothing is said, whatever the environment says.
    fn default() -> Self {
        Self {
            consume: Vec::new(),
            amqp_url: None,
            redis_url: None,
            kafka_brokers: None,
            webhook_secret: None,
            max_attempts: 5,
            concurrency: 8,
            worker_timeout_seconds: 25,
            retry_ms: 1000,
            takeover_seconds: 15,
            smtp_url: None,
            mail_from: MAIL_FROM.to_owned(),
            reset_url: RESET_URL.to_owned(),
            auth_url: AUTH_URL.to_owned(),
            auth_worker_token: None,
            sms_url: None,
            sms_token: None,
        }
    }
}

impl Settings {
    /// Where this worker takes messages from by itself.
    pub(crate) fn sources(&self, name: Name) -> impl Iterator<Item = &Consume> {
        self.consume.iter().filter(move |consume| consume.worker == name)
    }

    pub(crate) fn timeout(&self) -> Duration {
        Duration::from_secs(self.worker_timeout_seconds.into())
    }

    /// Before the attempt that follows this many: exponential, with some jitter, so that what failed together does not come together.
    pub(crate) fn pause_after(&self, attempts: u32) -> Duration {
        let doublings = attempts.saturating_sub(1).min(16);
        let longest = Duration::from_millis(u64::from(self.retry_ms) << doublings).min(Duration::from_mins(1));
        longest.mul_f64(0.5 + rand::random::<f64>() / 2.0)
    }
}

/// One place where one worker takes messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Consume {
    pub worker: Name,
    pub broker: Broker,
    /// The queue, stream or topic.
    pub place: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Broker {
    Rabbitmq,
    Redis,
    Kafka,
}

impl FromStr for Consume {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let shape = "write NAME=BROKER:PLACE, such as email=rabbitmq:mails";
        let (name, from) = text.split_once('=').ok_or(shape)?;
        let (broker, place) = from.split_once(':').filter(|(_, place)| !place.is_empty()).ok_or(shape)?;
        let worker = <Name as clap::ValueEnum>::from_str(name, false).ok().filter(|name| name.is_worker());
        let broker = match broker {
            "rabbitmq" => Broker::Rabbitmq,
            "redis" => Broker::Redis,
            "kafka" => Broker::Kafka,
            other => return Err(format!("the broker is rabbitmq, redis or kafka, not {other:?}")),
        };
        let worker = worker.ok_or_else(|| format!("there is no worker {name:?}"))?;
        Ok(Self { worker, broker, place: place.to_owned() })
    }
}

impl std::fmt::Display for Consume {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let broker = match self.broker {
            Broker::Rabbitmq => "rabbitmq",
            Broker::Redis => "redis",
            Broker::Kafka => "kafka",
        };
        write!(formatter, "{}={broker}:{}", self.worker, self.place)
    }
}
