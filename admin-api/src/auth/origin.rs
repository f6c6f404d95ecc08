//! Where a request came from and how it is called: known before anybody is asked who they are.

use std::net::{IpAddr, SocketAddr};

use axum::extract::{ConnectInfo, FromRequestParts};
use gateway_config::client::TrustedProxies;
use gateway_config::model::Actor;
use http::request::Parts;
use http::{Extensions, HeaderMap};

use crate::error::Failure;

#[derive(Clone, Debug)]
pub(crate) struct Origin {
    pub(crate) request_id: String,
    /// None where the request came over no network, as in tests.
    pub(crate) address: Option<IpAddr>,
    /// The caller's own connection is encrypted, as a trusted proxy says.
    pub(crate) is_secure: bool,
}

impl Origin {
    pub(crate) fn of(request_id: &str, proxies: &TrustedProxies, extensions: &Extensions, headers: &HeaderMap) -> Self {
        let peer = extensions.get::<ConnectInfo<SocketAddr>>().map(|ConnectInfo(peer)| peer.ip());
        let client = proxies.client(peer, false, headers);
        let address = peer.map(|_| client.address);
        Self { request_id: request_id.to_owned(), address, is_secure: client.is_secure }
    }

    /// Somebody of this name who sent this request.
    pub(crate) fn actor(&self, name: impl Into<String>) -> Actor {
        Actor { name: name.into(), address: self.address, request_id: Some(self.request_id.clone()) }
    }
}

impl<S: Sync> FromRequestParts<S> for Origin {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Failure> {
        let origin = parts.extensions.get::<Self>().cloned();
        origin.ok_or_else(|| Failure::internal("a request that was not accounted"))
    }
}
