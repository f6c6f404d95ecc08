//! What the gateway fetches and sends by itself: key sets, introspection, messages, callbacks. Operators and clients name the URLs, so
//! none may lead to link-local addresses
//! or to the gateway's own operations and admin ports.
//!
//! Addresses are checked after the name was resolved, by the connection that uses them: a name that resolves differently a moment
//! later gains nothing. Redirects are not followed, proxies of the environment not used, answers bounded in time and size.

mod guard;
mod post;

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use parking_lot::Mutex;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::redirect::Policy;
use reqwest::{Client, RequestBuilder, Response, StatusCode, Url};
use thiserror::Error;

use guard::Guard;
pub(crate) use post::{Post, Posted, Reach};

const MAX_BODY_BYTES: usize = 1024 * 1024;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
const TIMEOUT: Duration = Duration::from_secs(5);
/// Connections kept for the next request to the same host: a queue with more pushes at a time than these would connect anew all the time.
const MAX_IDLE: usize = 256;
/// Each has a connection pool of its own; nobody has so many issuers on so many ports.
const MAX_CLIENTS: usize = 64;

#[derive(Debug, Error)]
pub(crate) enum EgressError {
    /// It is not repeated: some write a password into it.
    #[error("the URL is not an http(s) URL")]
    Url,
    #[error("will not fetch from {address}: {why}")]
    Forbidden { address: SocketAddr, why: &'static str },
    #[error("could not fetch: {}", cause(.0))]
    Failed(#[from] reqwest::Error),
    #[error("the answer is larger than 1 MiB")]
    TooLarge,
    #[error("the answer's status is {0}")]
    Status(StatusCode),
}

/// The innermost cause, which says what happened; the outer ones repeat the URL, whose query may hold a secret.
fn cause(error: &reqwest::Error) -> String {
    let mut inner: &dyn std::error::Error = error;
    while let Some(source) = inner.source() {
        inner = source;
    }
    match inner.downcast_ref::<reqwest::Error>() {
        Some(_) if error.is_timeout() => "it took too long".to_owned(),
        Some(_) => "the connection failed".to_owned(),
        None => inner.to_string(),
    }
}

/// The gateway's own HTTP client.
#[derive(Debug)]
pub(crate) struct Egress {
    guard: Arc<Guard>,
    /// By scheme and port: a resolver is not told the port that the address is for, but the guard must know it.
    clients: Mutex<HashMap<(bool, u16, Reach), Client>>,
}

impl Egress {
    /// `ours`: where the operations listener and the admin API are bound.
    pub(crate) fn new(ours: Vec<SocketAddr>) -> Self {
        Self { guard: Arc::new(Guard::new(ours)), clients: Mutex::default() }
    }

    pub(crate) async fn get(&self, url: &str) -> Result<Bytes, EgressError> {
        let (client, url) = self.client(url, Reach::Any)?;
        receive(client.get(url).header(http::header::ACCEPT, "application/json")).await
    }

    /// Sends a form, with HTTP basic authentication where a name and password are given.
    pub(crate) async fn post_form(
        &self,
        url: &str,
        form: String,
        authorization: Option<http::HeaderValue>,
    ) -> Result<Bytes, EgressError> {
        let (client, url) = self.client(url, Reach::Any)?;
        let mut request = client
            .post(url)
            .header(http::header::ACCEPT, "application/json")
            .header(http::header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(form);
        if let Some(authorization) = authorization {
            request = request.header(http::header::AUTHORIZATION, authorization);
        }
        receive(request).await
    }

    /// A client that connects only to what the guard allows, for this URL.
    fn client(&self, url: &str, reach: Reach) -> Result<(Client, Url), EgressError> {
        let parsed = Url::parse(url).map_err(|_| EgressError::Url)?;
        let is_tls = match parsed.scheme() {
            "https" => true,
            "http" => false,
            _ => return Err(EgressError::Url),
        };
        let port = parsed.port_or_known_default().ok_or(EgressError::Url)?;
        // An address in the URL is never resolved, so the resolver does not see it.
        let host = parsed.host_str().ok_or(EgressError::Url)?;
        if let Ok(ip) = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>() {
            let address = SocketAddr::new(ip, port);
            self.guard.check(address, reach).map_err(|why| EgressError::Forbidden { address, why })?;
        }
        let mut clients = self.clients.lock();
        if let Some(client) = clients.get(&(is_tls, port, reach)) {
            return Ok((client.clone(), parsed));
        }
        let client = self.build(is_tls, port, reach)?;
        if clients.len() >= MAX_CLIENTS {
            clients.clear();
        }
        clients.insert((is_tls, port, reach), client.clone());
        Ok((client, parsed))
    }

    fn build(&self, is_tls: bool, port: u16, reach: Reach) -> Result<Client, EgressError> {
        let mut builder = Client::builder()
            .dns_resolver(Arc::new(GuardedResolver { guard: self.guard.clone(), port, reach }))
            .redirect(Policy::none())
            .no_proxy()
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(TIMEOUT)
            .pool_max_idle_per_host(MAX_IDLE)
            .user_agent(concat!("gatehouse/", env!("CARGO_PKG_VERSION")));
        if !is_tls {
            // Without TLS no certificates are needed, and a small container may have none.
            builder = builder.tls_certs_only([]);
        }
        Ok(builder.build()?)
    }
}

/// Resolves names as the system does, and takes out every address that may not be reached.
struct GuardedResolver {
    guard: Arc<Guard>,
    port: u16,
    reach: Reach,
}

impl Resolve for GuardedResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let (guard, port, reach) = (self.guard.clone(), self.port, self.reach);
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), port)).await?;
            allowed(&guard, reach, found.collect())
        })
    }
}

fn allowed(
    guard: &Guard,
    reach: Reach,
    found: Vec<SocketAddr>,
) -> Result<Addrs, Box<dyn std::error::Error + Send + Sync>> {
    let mut refusal = None;
    let mut good = Vec::new();
    for address in found {
        match guard.check(address, reach) {
            Ok(()) => good.push(address),
            Err(why) => refusal = Some(EgressError::Forbidden { address, why }),
        }
    }
    match refusal {
        Some(refusal) if good.is_empty() => Err(refusal.into()),
        _ => Ok(Box::new(good.into_iter())),
    }
}

async fn receive(request: RequestBuilder) -> Result<Bytes, EgressError> {
    let mut response: Response = request.send().await?;
    if response.status() != StatusCode::OK {
        return Err(EgressError::Status(response.status()));
    }
    let mut body = BytesMut::new();
    while let Some(chunk) = response.chunk().await? {
        if body.len().saturating_add(chunk.len()) > MAX_BODY_BYTES {
            return Err(EgressError::TooLarge);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body.freeze())
}

#[cfg(test)]
mod tests;
