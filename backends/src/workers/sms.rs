//! Text messages, through a provider's HTTP API of the usual shape: `POST {"to", "text", "reference"}` with a bearer token. The task goes along
//! as `Idempotency-Key`, so that a second attempt is no second message.

use std::time::Duration;

use anyhow::{Context, Result};
use reqwest::{Client, Url};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    event::Event,
    report::{client, is_for_later},
    settings::Settings,
    worker::Outcome,
};

const PATIENCE: Duration = Duration::from_secs(10);
/// Ten parts: what providers take as one message.
const MOST_LETTERS: usize = 1530;

#[derive(Debug)]
pub(super) struct Sms {
    client: Client,
    url: Url,
    token: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Order {
    to: String,
    text: String,
}

impl Sms {
    pub(super) fn open(settings: &Settings) -> Result<Self> {
        let url = settings.sms_url.as_deref().context("it needs to know where the provider is: SMS_URL")?;
        let url = url.parse().context("SMS_URL is no URL")?;
        Ok(Self { client: client(PATIENCE)?, url, token: settings.sms_token.clone() })
    }

    pub(super) async fn handle(&self, event: &Event) -> Outcome {
        let order: Order = match event.ask() {
            Ok(order) => order,
            Err(why) => return Outcome::Failed(why),
        };
        if !is_number(&order.to) {
            return Outcome::Failed("`to` is no number such as +491701234567".to_owned());
        }
        if order.text.is_empty() || order.text.chars().count() > MOST_LETTERS {
            return Outcome::Failed(format!("`text` has 1 to {MOST_LETTERS} letters"));
        }
        let message = json!({"to": order.to, "text": order.text, "reference": event.id});
        let mut sending = self.client.post(self.url.clone()).header("Idempotency-Key", &event.id).json(&message);
        if let Some(token) = &self.token {
            sending = sending.bearer_auth(token);
        }
        match sending.send().await {
            Ok(answer) if answer.status().is_success() => {
                let said: Value = answer.json().await.unwrap_or(Value::Null);
                Outcome::Done(json!({"providerId": said.get("id")}))
            }
            Ok(answer) if is_for_later(answer.status()) => {
                Outcome::Again(format!("the provider answers {}", answer.status().as_u16()))
            }
            Ok(answer) => Outcome::Failed(format!("the provider refused it with {}", answer.status().as_u16())),
            Err(cause) => Outcome::Again(format!("the provider can't be reached: {}", cause.without_url())),
        }
    }
}

/// E.164: a plus and 7 to 15 digits.
fn is_number(to: &str) -> bool {
    let digits = to.strip_prefix('+').unwrap_or_default();
    (7..=15).contains(&digits.len()) && !digits.starts_with('0') && digits.bytes().all(|byte| byte.is_ascii_digit())
}
