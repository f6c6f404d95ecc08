//! The TLS listener: which certificate is shown to whom and from when on, how handshakes end, and that what comes behind them is as in plain
//! text.

mod certificates;
mod handshakes;
mod secrets;
mod traffic;

use std::time::Duration;

use e2e::tls::{first_of, shown};
use e2e::{Authority, Backend, Database, Issued, Stack, eventually, route, service};
use serde_json::Value;
use tempfile::TempDir;

/// Long enough for a busy machine to do what it is waited for.
const DEADLINE: Duration = Duration::from_secs(30);
const HOST: &str = "shop.test";

/// A gateway with a folder of secrets, a service open to all behind it, and no certificate yet.
struct Secure {
    stack: Stack,
    authority: Authority,
    secrets: TempDir,
}

impl Secure {
    async fn before(backend: &Backend) -> Self {
        Self::with(backend, &[], Database::usual().await).await
    }

    async fn with(backend: &Backend, settings: &[(&str, &str)], database: Database) -> Self {
        let secrets = TempDir::with_prefix("gatehouse-secrets-").unwrap();
        let builder = Stack::builder().database(database);
        let builder = settings.iter().fold(builder, |builder, (name, value)| builder.setting(name, value));
        let stack = builder.setting("GATEWAY_SECRETS_DIR", &secrets.path().display().to_string()).start().await;
        let all = route("all").pattern("/{*rest}").to_service("one").public();
        stack.put(&[service("one").url(backend.url()), all]).await;
        Self { stack, authority: Authority::new(), secrets }
    }

    /// With a certificate for [`HOST`].
    async fn with_host(backend: &Backend, settings: &[(&str, &str)]) -> Self {
        let secure = Self::with(backend, settings, Database::usual().await).await;
        secure.put("shop", &[HOST], &secure.authority.issue(&[HOST])).await;
        secure
    }

    fn keep(&self, name: &str, key: &str) {
        std::fs::write(self.secrets.path().join(name), key).unwrap();
    }

    /// Writes a certificate with its key, and waits until it is served.
    async fn put(&self, name: &str, hosts: &[&str], issued: &Issued) {
        // A key of its own for each: while a pair is replaced, the two must not be mixed up.
        let number = self.stack.gateway(0).generation().await;
        let file = format!("{name}-{number}.key");
        self.keep(&file, &issued.key);
        self.stack.put(&[issued.entity(name, hosts, &format!("file:{file}"))]).await;
    }

    /// Whether a client that asks for `host` is shown this; or why it is shown nothing.
    async fn shows(&self, host: &str, issued: &Issued) -> Result<bool, String> {
        let stream = self.authority.client().shake_hands(self.stack.gateway(0).tls_address(), host).await;
        Ok(shown(&stream.map_err(|error| error.to_string())?) == first_of(&issued.certificate))
    }

    /// What is not well, by its reason.
    async fn degraded(&self, reason: &str) -> Option<String> {
        let status = self.stack.gateway(0).ops("/status").await.json();
        let all = status["degraded"].as_array().unwrap().clone();
        all.iter().find(|it| it["reason"] == reason).map(|it| it["detail"].as_str().unwrap().to_owned())
    }

    async fn until_degraded(&self, reason: &str, detail: Option<&str>) {
        eventually(&format!("{reason} to be {detail:?}"), async || {
            let found = self.degraded(reason).await;
            if found.as_deref() == detail { Ok(()) } else { Err(format!("{found:?}")) }
        })
        .await;
    }

    /// What the fleet is told of the gateway.
    async fn node(&self) -> Value {
        let nodes = self.stack.admin().get("/admin/nodes").await.expect_status(200).json();
        nodes["items"][0].clone()
    }
}

const UNKNOWN: &str = "received fatal alert: UnrecognisedName";
const UNREADY: &str = "received fatal alert: InternalError";

fn refused(alert: &str) -> Result<bool, String> {
    Err(alert.to_owned())
}
