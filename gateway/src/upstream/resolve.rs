//! Names to addresses, in the background: a request never waits for DNS.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;

use super::endpoint::{Endpoint, Endpoints};

const REFRESH: Duration = Duration::from_secs(10);
const PATIENCE: Duration = Duration::from_secs(2);

/// Resolves the endpoints that are new, for a short while. Those that fail are left to the refresh: not every later change
/// must wait for a dead name.
pub(crate) async fn resolve_new(endpoints: &Endpoints) {
    let new = endpoints.in_use().into_iter().filter(|endpoint| endpoint.wants_first_look_up());
    join_all(new.map(resolve)).await;
}

/// Looks all names up again and again; the last good answer stays while a look-up fails.
pub(crate) async fn refresh_forever(endpoints: Arc<Endpoints>) {
    loop {
        tokio::time::sleep(REFRESH).await;
        join_all(endpoints.in_use().into_iter().map(resolve)).await;
    }
}

async fn resolve(endpoint: Arc<Endpoint>) {
    let Some(name) = endpoint.name() else { return };
    match tokio::time::timeout(PATIENCE, tokio::net::lookup_host(name)).await {
        Ok(Ok(found)) => {
            let mut addresses: Vec<SocketAddr> = found.collect();
            // Sorted, so that an answer in another order is no change, IPv4 first: backends that listen on one family
            // nearly always listen on that.
            addresses.sort_by_key(|address| (address.is_ipv6(), *address));
            addresses.dedup();
            if !addresses.is_empty() {
                endpoint.set_addresses(addresses);
            }
        }
        Ok(Err(error)) => tracing::warn!(host = name.0, %error, "could not resolve backend host {}", name.0),
        Err(_) => tracing::warn!(host = name.0, "could not resolve backend host {} in time", name.0),
    }
}
