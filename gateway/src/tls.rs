//! The TLS listener's certificates. There are none yet: the listener is there, and handshakes fail cleanly.

use std::sync::Arc;

use pingora::listeners::tls::TlsSettings;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

#[derive(Debug)]
pub(crate) struct NoCertificates;

impl NoCertificates {
    pub(crate) fn settings() -> anyhow::Result<TlsSettings> {
        // With a resolver the file paths are not looked at.
        let mut settings = TlsSettings::intermediate("", "").map_err(|error| anyhow::anyhow!("{error}"))?;
        settings.set_cert_resolver(Arc::new(Self));
        Ok(settings)
    }
}

impl ResolvesServerCert for NoCertificates {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        None
    }
}
