//! One backend address as it runs: the resolved socket addresses and the peer made ready for Pingora.

use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use arc_swap::ArcSwap;
use dashmap::DashMap;
use gateway_config::model::{Protocol, Service};
use gateway_config::snapshot::{Deadlines, UpstreamUrl};
use pingora::protocols::tls::CaType;
use pingora::upstreams::peer::HttpPeer;
use pingora::utils::tls::WrappedX509;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use x509_parser::prelude::{FromDer, X509Certificate};

/// Shorter than what backends usually keep (Node 5 s is caught by the retry of reused connections).
pub(crate) const POOL_IDLE: Duration = Duration::from_secs(55);

#[derive(Debug)]
pub(crate) struct Endpoint {
    pub(crate) url: UpstreamUrl,
    /// Its own authorities could be read. If not, it is left without addresses: trusting the system's instead would be
    /// trusting more than the operator said.
    is_usable: bool,
    /// A look-up was made, whatever came of it.
    was_resolved: AtomicBool,
    /// Empty while the name can't be resolved.
    addresses: ArcSwap<Vec<SocketAddr>>,
    template: HttpPeer,
}

impl Endpoint {
    fn new(url: &UpstreamUrl, service: &Service, group_key: u64) -> Self {
        let ca = service.tls.ca.as_deref().map(authorities);
        let is_usable = !matches!(ca, Some(None));
        let literal: Option<IpAddr> = url.host.parse().ok().filter(|_| is_usable);
        let addresses: Vec<SocketAddr> = literal.map(|ip| SocketAddr::new(ip, url.port)).into_iter().collect();
        let placeholder = SocketAddr::from(([0, 0, 0, 0], url.port));
        let sni = service.tls.sni.as_deref().unwrap_or(&url.host);
        // A socket address never needs resolving, so this can neither block nor panic.
        let mut template = HttpPeer::new(placeholder, url.tls, if url.tls { sni.to_owned() } else { String::new() });
        template.group_key = group_key;
        let options = &mut template.options;
        options.idle_timeout = Some(POOL_IDLE);
        options.verify_cert = service.tls.verify;
        options.verify_hostname = service.tls.verify;
        options.ca = ca.flatten();
        match service.protocol {
            Protocol::Http1 => options.set_http_version(1, 1),
            Protocol::Http2 | Protocol::H2c => options.set_http_version(2, 2),
            Protocol::Auto => options.set_http_version(2, 1),
        }
        options.max_h2_streams = 100;
        let was_resolved = AtomicBool::new(literal.is_some());
        Self { url: url.clone(), is_usable, was_resolved, addresses: ArcSwap::from_pointee(addresses), template }
    }

    /// The name to resolve, for endpoints that are not given by address.
    pub(super) fn name(&self) -> Option<(&str, u16)> {
        let literal = self.url.host.parse::<IpAddr>().is_ok();
        (!literal && self.is_usable).then_some((&*self.url.host, self.url.port))
    }

    /// `true` the first time it is asked of an endpoint that needs looking up.
    pub(super) fn wants_first_look_up(&self) -> bool {
        !self.was_resolved.swap(true, Ordering::AcqRel)
    }

    /// The address at `index`, without touching a reference count.
    pub(super) fn address(&self, index: usize) -> Option<SocketAddr> {
        self.addresses.load().get(index).copied()
    }

    pub(super) fn address_count(&self) -> usize {
        self.addresses.load().len()
    }

    pub(super) fn set_addresses(&self, addresses: Vec<SocketAddr>) {
        if **self.addresses.load() != addresses {
            self.addresses.store(Arc::new(addresses));
        }
    }

    /// A peer to connect to. Every timeout is set: Pingora's own default is none at all.
    pub(crate) fn peer(&self, address: SocketAddr, deadlines: &Deadlines, left: Option<Duration>) -> Box<HttpPeer> {
        let within = |ms: u32| {
            let own = Duration::from_millis(u64::from(ms));
            Some(left.map_or(own, |left| own.min(left)))
        };
        // Made in its box: it is large.
        let mut peer = Box::new(self.template.clone());
        peer._address = address.into();
        peer.options.connection_timeout = within(deadlines.connect_ms);
        peer.options.total_connection_timeout = within(deadlines.connect_ms);
        peer.options.read_timeout = within(deadlines.read_ms);
        peer.options.write_timeout = within(deadlines.write_ms);
        peer
    }
}

/// The authorities in a PEM text; `None` when one can't be read or there is none.
fn authorities(pem: &str) -> Option<Arc<CaType>> {
    let mut found = Vec::new();
    for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
        let der = certificate.ok()?.to_vec();
        found.push(WrappedX509::try_new(der, |der| X509Certificate::from_der(der).map(|(_, it)| it)).ok()?);
    }
    (!found.is_empty()).then(|| found.into())
}

/// Every endpoint that some cluster uses, so that a changed cluster finds those that it had before.
#[derive(Debug, Default)]
pub(crate) struct Endpoints(DashMap<(u64, UpstreamUrl), Weak<Endpoint>>);

impl Endpoints {
    pub(super) fn get(&self, url: &UpstreamUrl, service: &Service) -> Arc<Endpoint> {
        let group_key = group_key(service);
        let mut slot = self.0.entry((group_key, url.clone())).or_default();
        if let Some(known) = slot.upgrade() {
            return known;
        }
        let endpoint = Arc::new(Endpoint::new(url, service, group_key));
        *slot = Arc::downgrade(&endpoint);
        endpoint
    }

    /// Those in use; forgets the others.
    pub(super) fn in_use(&self) -> Vec<Arc<Endpoint>> {
        self.0.retain(|_, endpoint| endpoint.strong_count() > 0);
        self.0.iter().filter_map(|entry| entry.value().upgrade()).collect()
    }
}

/// Keeps connections of services apart that are secured differently, and is the same over reloads.
fn group_key(service: &Service) -> u64 {
    let parts = format!("{}/{:?}/{:?}", service.service_name, service.protocol, service.tls);
    let hash = blake3::hash(parts.as_bytes());
    hash.as_bytes().first_chunk::<8>().map_or(0, |bytes| u64::from_le_bytes(*bytes))
}
