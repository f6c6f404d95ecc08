//! A running server on ports of the system's choice, and a client to ask it.

use std::{net::SocketAddr, path::Path, sync::Arc};

use backends::{
    clock::Clock,
    server::{Plan, Server},
    services::{Name, Pace},
};
use reqwest::{Client, RequestBuilder, Response, StatusCode};
use serde_json::Value;
use tempfile::TempDir;
use tokio::sync::Semaphore;

/// With which pushed messages are signed.
pub(crate) const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

pub(crate) struct Stage {
    pub(crate) clock: Clock,
    /// A job advances by one step for each permit.
    pub(crate) steps: Arc<Semaphore>,
    pub(crate) server: Server,
    client: Client,
}

impl Stage {
    pub(crate) async fn open(names: &[Name], data_dir: &Path) -> Self {
        // Nothing listens on port 1.
        Self::behind("http://127.0.0.1:1/", names, data_dir).await
    }

    /// Behind a gateway that publishes its keys at `jwks`.
    pub(crate) async fn behind(jwks: &str, names: &[Name], data_dir: &Path) -> Self {
        Self::with(jwks, names, data_dir, |_| {}).await
    }

    pub(crate) async fn with(jwks: &str, names: &[Name], data_dir: &Path, change: impl FnOnce(&mut Plan)) -> Self {
        let (clock, steps) = (Clock::default(), Arc::new(Semaphore::new(0)));
        let mut plan = Plan::new(data_dir, jwks.parse().unwrap());
        plan.clock = clock.clone();
        plan.pace = Pace::Permits(Arc::clone(&steps));
        plan.workers.webhook_secret = Some(SECRET.to_owned());
        // Nothing is sent from here unless a test says where.
        plan.workers.sms_url = Some("http://127.0.0.1:1/".to_owned());
        plan.workers.retry_ms = 1;
        change(&mut plan);
        let any_port = SocketAddr::from(([127, 0, 0, 1], 0));
        let plan = names.iter().fold(plan, |plan, name| plan.with(*name, Some(any_port)));
        Self { clock, steps, server: Server::start(plan).await.unwrap(), client: client() }
    }

    pub(crate) fn url(&self, name: Name, path: &str) -> String {
        let (_, address) = self.server.addresses().iter().find(|(other, _)| *other == name).unwrap();
        format!("http://{address}{path}")
    }

    pub(crate) fn get(&self, name: Name, path: &str) -> RequestBuilder {
        self.client.get(self.url(name, path))
    }

    pub(crate) fn post(&self, name: Name, path: &str) -> RequestBuilder {
        self.client.post(self.url(name, path))
    }

    pub(crate) fn patch(&self, name: Name, path: &str) -> RequestBuilder {
        self.client.patch(self.url(name, path))
    }
}

pub(crate) fn folder() -> TempDir {
    tempfile::tempdir().unwrap()
}

pub(crate) fn client() -> Client {
    // Another test of this process may have been first.
    let _ = rustls::crypto::ring::default_provider().install_default();
    Client::builder().no_proxy().build().unwrap()
}

/// Sends, and takes status and JSON body.
pub(crate) async fn answer(request: RequestBuilder) -> (StatusCode, Value) {
    let response = request.send().await.unwrap();
    (response.status(), body(response).await)
}

pub(crate) async fn body(response: Response) -> Value {
    response.json().await.unwrap()
}

/// Checks that the answer is a refusal in the shape of all services, and gives its message.
pub(crate) async fn refusal(request: RequestBuilder, status: u16) -> String {
    let (got, body) = answer(request).await;
    assert_eq!(got.as_u16(), status, "{body}");
    assert_eq!(body["statusCode"], status);
    assert_eq!(body["error"], got.canonical_reason().unwrap());
    body["message"].as_str().unwrap().to_owned()
}
