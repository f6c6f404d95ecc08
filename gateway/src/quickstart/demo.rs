//! The demo configuration, and what the quickstart tells a newcomer.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};
use gateway_config::document;
use gateway_config::model::Kind;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

/// The backends that the demo needs, with the ports that its document names.
pub(super) const BACKENDS: [(&str, u16); 7] = [
    ("auth", 7200),
    ("auth-v2", 7210),
    ("monolith", 7000),
    ("pipeline", 7202),
    ("standby", 7290),
    ("vault", 7206),
    ("email", 7301),
];

/// The first admin, who is made with the database; a later start finds them.
pub(super) const ADMIN: &str = "admin@gatehouse.local";

/// What the admin API demands of its secrets.
pub(super) const SHORTEST_PASSWORD: usize = 12;
pub(super) const SHORTEST_TOKEN: usize = 32;

/// The application that the printed lines call as.
const APPLICATION: &str = "demo";

const DOCUMENT: &str = include_str!("../../../config/examples/demo.yaml");

const READY: Duration = Duration::from_secs(30);

pub(super) async fn wait_ready(url: &str) -> anyhow::Result<()> {
    let end = Instant::now() + READY;
    loop {
        if reqwest::get(url).await.is_ok_and(|answer| answer.status().is_success()) {
            return Ok(());
        }
        if Instant::now() > end {
            bail!("{url} did not answer");
        }
        sleep(Duration::from_millis(50)).await;
    }
}

/// Writes the demo configuration through the admin API, unless there is one already. Answers whether it did.
pub(super) async fn seed(admin: SocketAddr, token: &str, backends: &[(String, SocketAddr)]) -> anyhow::Result<bool> {
    let client = reqwest::Client::new();
    let base = format!("http://{admin}/admin");
    let known: Value = client
        .get(format!("{base}/routing/services?limit=1"))
        .bearer_auth(token)
        .send()
        .await?
        .error_for_status()?
        .json()
        .await?;
    if known.get("items").and_then(Value::as_array).is_some_and(|items| !items.is_empty()) {
        return Ok(false);
    }
    let mut text = DOCUMENT.to_owned();
    for (name, port) in BACKENDS {
        let address = backends.iter().find(|(it, _)| it == name).map(|(_, address)| address);
        let address = address.with_context(|| format!("backend {name} does not run"))?;
        text = text.replace(&format!("127.0.0.1:{port}"), &address.to_string());
    }
    let mut proposals = document::proposals(&document::parse(&text)?)?;
    // What they lead to must be there before.
    proposals.sort_by_key(|proposal| proposal.kind == Kind::Route);
    for proposal in proposals {
        let collection = match proposal.kind {
            Kind::Service => "routing/services",
            Kind::Route => "routing/routes",
            Kind::Queue => "routing/queues",
            Kind::Application => "access/applications",
            other => bail!("the demo has no {other}"),
        };
        let url = format!("{base}/{collection}/{}", proposal.name);
        let answer = client.put(&url).bearer_auth(token).json(&proposal.value).send().await?;
        if !answer.status().is_success() {
            bail!("{url} answered {}: {}", answer.status(), answer.text().await.unwrap_or_default());
        }
    }
    Ok(true)
}

/// The demo's API key: the one of an earlier start, or a new one. It is kept where only this user can read it, for it is shown
/// once only by the admin API.
pub(super) async fn key(admin: SocketAddr, token: &str, file: &Path) -> anyhow::Result<String> {
    if let Ok(kept) = std::fs::read_to_string(file) {
        return Ok(kept.trim().to_owned());
    }
    let url = format!("http://{admin}/admin/access/applications/{APPLICATION}/keys?wait=5s");
    let answer =
        reqwest::Client::new().post(&url).bearer_auth(token).json(&json!({"name": "quickstart"})).send().await?;
    if answer.status() == reqwest::StatusCode::NOT_FOUND {
        // The configuration of an earlier start is kept as it is.
        return Ok("NONE (there is no application demo)".to_owned());
    }
    let answer: Value = answer.error_for_status()?.json().await?;
    let key = answer.get("key").and_then(Value::as_str).context("the admin API made no key")?;
    super::keep_secret(file, key)?;
    Ok(key.to_owned())
}

/// The secret with which the gateway signs what it delivers of the queue `mails`; `None`: the configuration of an earlier start has no
/// such queue.
pub(super) async fn webhook_secret(admin: SocketAddr, token: &str) -> anyhow::Result<Option<String>> {
    let url = format!("http://{admin}/admin/routing/queues/mails/webhook-secret");
    let answer = reqwest::Client::new().get(&url).bearer_auth(token).send().await?;
    if answer.status() == reqwest::StatusCode::NOT_FOUND {
        return Ok(None);
    }
    let answer: Value = answer.error_for_status()?.json().await?;
    let secret = answer.get("secret").and_then(Value::as_str).context("the admin API showed no secret")?;
    Ok(Some(secret.to_owned()))
}

pub(super) struct Places {
    pub(super) traffic: SocketAddr,
    pub(super) admin: SocketAddr,
    pub(super) ops: SocketAddr,
    pub(super) vault: SocketAddr,
    pub(super) token_file: PathBuf,
    pub(super) password_file: PathBuf,
    pub(super) key: String,
    /// Where mails are written; `None`: they are sent.
    pub(super) outbox: Option<PathBuf>,
}

pub(super) fn welcome(places: &Places, seeded: bool, logs: &Path) -> String {
    let Places { traffic, admin, ops, vault, token_file, password_file, key, outbox } = places;
    let mails = outbox.as_ref().map_or("it sends the mail".to_owned(), |outbox| {
        format!("without SMTP_URL it writes the mail to {}", outbox.display())
    });
    let (token, password) = (token_file.display(), password_file.display());
    let state =
        if seeded { "the demo configuration was written" } else { "the configuration of an earlier start serves" };
    format!(
        r#"
Gatehouse is up; {state}.

  traffic     http://{traffic}
  admin API   http://{admin}/admin      bearer token in {token}
  admin login {ADMIN}      password in {password}
  API key     {key}      of application {APPLICATION}
  health      http://{ops}/readyz   /status   /metrics
  logs        {}

Try, in another terminal:

# routing: the first path segments choose the service
curl -s http://{traffic}/orders

# rewriting: the backend sees /auth/info
curl -s http://{traffic}/api/v1/auth/info

# a canary: about one in ten answers comes from v2
for i in $(seq 30); do curl -s http://{traffic}/api/v1/auth/info; echo; done | grep -o '"version":"v[12]"' | sort | uniq -c

# a fallback: the service is down, its standby answers
curl -s http://{traffic}/reports/today

# what a backend learns of a request
curl -s http://{traffic}/headers -H 'X-Gateway-Application: forged'

# a change going live: all traffic to v2, answered when every gateway serves it
curl -s -X PATCH "http://{admin}/admin/routing/services/auth/versions/v1?wait=5s" -H "Authorization: Bearer $(cat {token})" -H 'Content-Type: application/merge-patch+json' -d '{{"weight": 0}}' -D - -o /dev/null
curl -s http://{traffic}/api/v1/auth/info

# logging in: tokens for the panel and for scripts
curl -s -X POST http://{admin}/admin/auth/login -H 'Content-Type: application/json' -d "{{\"email\": \"{ADMIN}\", \"password\": \"$(cat {password})\"}}"

# why does a request go where it goes?
curl -s -X POST http://{admin}/admin/explain -H "Authorization: Bearer $(cat {token})" -H 'Content-Type: application/json' -d '{{"method": "GET", "path": "/api/v1/auth/info"}}'

# deny by default: this route is not public
curl -si http://{traffic}/vault

# with the demo's API key: the backend shows what the gateway told it, signed
curl -si http://{traffic}/vault -H "X-API-Key: {key}"

# around the gateway: the backend refuses what is not signed
curl -s http://{vault}/vault -H 'X-Gateway-Application: demo'

# what may this key do, and what is left of its limits?
curl -s http://{traffic}/.well-known/gateway/me -H "X-API-Key: {key}"

# a queue: accepted at once, done later by a worker ({mails}); the statusUrl of the answer is followed to the end
curl -sN "http://{traffic}$(curl -s -X POST http://{traffic}/mails -H "X-API-Key: {key}" -H 'Content-Type: application/json' -d '{{"to": "ann@example.com", "subject": "Hello", "text": "Through a queue"}}' | sed 's/.*"statusUrl":"\([^"]*\)".*/\1/')/events" -H "X-API-Key: {key}"

Stop with ctrl-C. To begin afresh: make clean-data
"#,
        logs.display()
    )
}

#[cfg(test)]
mod tests {
    use gateway_config::change::Proposal;
    use gateway_config::model::{Configuration, Item};
    use gateway_config::snapshot::compile;

    use super::*;

    #[test]
    fn the_demo_compiles_and_names_every_backend() {
        let proposals = document::proposals(&document::parse(DOCUMENT).unwrap()).unwrap();
        let mut configuration = Configuration::default();
        for Proposal { kind, value, .. } in proposals {
            configuration.put(Item::from_json(kind, value).unwrap());
        }
        compile(&configuration, 1).unwrap();
        for (name, port) in BACKENDS {
            assert!(DOCUMENT.contains(&format!("127.0.0.1:{port}")), "{name}");
        }
    }
}
