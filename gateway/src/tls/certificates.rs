//! The certificates of the snapshot with their private keys, ready to be shown. A handshake looks into memory and parses nothing.
//!
//! A certificate whose key can't be had is not skipped: its hosts are refused until it can, so that they never get a certificate that
//! was meant for others.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwap;
use gateway_config::model::Timestamp;
use gateway_config::snapshot::{CertificateHosts, CompiledCertificate, Snapshot};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use tokio::sync::Mutex;

use crate::identity::secrets::{SecretBytes, Secrets};
use crate::observe::metrics::Metrics;

pub(crate) struct Certificates {
    shelf: ArcSwap<Shelf>,
    /// Whoever fills the shelf. One at a time, or an older set could replace a newer one.
    filling: Mutex<()>,
    secrets: Arc<Secrets>,
    metrics: Arc<Metrics>,
}

/// What is there at one time.
#[derive(Debug, Default)]
struct Shelf {
    hosts: CertificateHosts,
    by_name: HashMap<String, Arc<Prepared>>,
}

/// A certificate and what came of its key.
#[derive(Debug)]
struct Prepared {
    certificate: Arc<CompiledCertificate>,
    secret: Option<Arc<SecretBytes>>,
    key: Result<Arc<CertifiedKey>, &'static str>,
}

/// What is there for a host.
#[derive(Debug)]
pub(super) enum Found {
    Ready(Arc<CertifiedKey>),
    /// Its certificate has no key that fits.
    Unready,
    Nothing,
}

impl fmt::Debug for Certificates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Certificates").field("shelf", &self.shelf).finish_non_exhaustive()
    }
}

impl Certificates {
    pub(crate) fn new(secrets: Arc<Secrets>, metrics: Arc<Metrics>) -> Self {
        Self { shelf: ArcSwap::default(), filling: Mutex::new(()), secrets, metrics }
    }

    /// Makes the snapshot's certificates those that are shown. To be called before the snapshot is served: who is told that a change is
    /// applied may shake hands at once.
    pub(crate) async fn prepare(&self, snapshot: &Snapshot) {
        let _turn = self.filling.lock().await;
        self.fill(snapshot.certificate_hosts().clone(), snapshot.certificates().cloned().collect()).await;
    }

    /// Follows keys that are replaced, for as long as the process runs.
    pub(crate) fn follow_secrets(self: Arc<Self>) -> impl Future<Output = ()> {
        // From now on, not from when somebody first looks.
        let mut changes = self.secrets.changes();
        async move {
            while changes.changed().await.is_ok() {
                let _turn = self.filling.lock().await;
                let there = self.shelf.load_full();
                let all = there.by_name.values().map(|prepared| prepared.certificate.clone()).collect();
                self.fill(there.hosts.clone(), all).await;
            }
        }
    }

    async fn fill(&self, hosts: CertificateHosts, all: Vec<Arc<CompiledCertificate>>) {
        let before = self.shelf.load_full();
        let mut by_name = HashMap::with_capacity(all.len());
        let mut new = Vec::new();
        for certificate in all {
            let name = &certificate.source.name;
            match before.by_name.get(name).filter(|prepared| prepared.stands_for(&certificate)) {
                Some(prepared) => drop(by_name.insert(name.clone(), prepared.clone())),
                None => {
                    let secret = self.secrets.resolve_or_read(&certificate.source.private_key).await;
                    new.push((certificate, secret));
                }
            }
        }
        if !new.is_empty() {
            let prepared = tokio::task::spawn_blocking(|| new.into_iter().map(Prepared::new).collect::<Vec<_>>()).await;
            // It can only fail by a panic, which has been reported, or when the process ends.
            let prepared = prepared.unwrap_or_default();
            by_name.extend(prepared.into_iter().map(|it| (it.certificate.source.name.clone(), Arc::new(it))));
        }
        self.tell_expiry(&before, &by_name);
        self.shelf.store(Arc::new(Shelf { hosts, by_name }));
    }

    fn tell_expiry(&self, before: &Shelf, now: &HashMap<String, Arc<Prepared>>) {
        for name in before.by_name.keys().filter(|name| !now.contains_key(*name)) {
            self.metrics.forget_certificate(name);
        }
        for (name, prepared) in now {
            self.metrics.certificate_expires(name, prepared.certificate.not_after.micros() / 1_000_000);
        }
    }

    /// For a client that asks for `host`, or for none.
    pub(super) fn find(&self, host: Option<&str>) -> Found {
        let there = self.shelf.load();
        let Some(certificate) = there.hosts.find(host) else { return Found::Nothing };
        match there.by_name.get(&certificate.source.name).map(|prepared| &prepared.key) {
            Some(Ok(key)) => Found::Ready(key.clone()),
            _ => Found::Unready,
        }
    }

    /// What is wrong with which, in words for operators.
    pub(crate) fn troubles(&self, now: Timestamp) -> Vec<String> {
        let there = self.shelf.load();
        let trouble = |(name, prepared): (&String, &Arc<Prepared>)| {
            let why = prepared.trouble(now)?;
            Some(format!("certificate \"{name}\" {why}"))
        };
        let mut list: Vec<String> = there.by_name.iter().filter_map(trouble).collect();
        list.sort();
        list
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        match self.find(hello.server_name()) {
            Found::Ready(key) => Some(key),
            Found::Unready | Found::Nothing => None,
        }
    }
}

// === impl Prepared ===

impl Prepared {
    fn new((certificate, secret): (Arc<CompiledCertificate>, Option<Arc<SecretBytes>>)) -> Self {
        let key = match &secret {
            Some(secret) => certified(&certificate, secret),
            None => Err("has a key that can't be read"),
        };
        if let (Err(why), Some(_)) = (&key, &secret) {
            let name = &certificate.source.name;
            tracing::warn!(
                certificate.name = name,
                "certificate \"{name}\" {why}: handshakes for its hosts are refused"
            );
        }
        Self { certificate, secret, key }
    }

    /// Whether nothing has changed since this was made.
    fn stands_for(&self, certificate: &Arc<CompiledCertificate>) -> bool {
        let is_same = Arc::ptr_eq(&self.certificate, certificate) || self.certificate.source == certificate.source;
        is_same && self.secret.as_ref().is_some_and(|secret| secret.is_current())
    }

    fn trouble(&self, now: Timestamp) -> Option<String> {
        let CompiledCertificate { not_before, not_after, .. } = &*self.certificate;
        match self.key {
            Err(why) => Some(why.to_owned()),
            Ok(_) if now > *not_after => Some(format!("expired at {not_after}")),
            Ok(_) if now < *not_before => Some(format!("does not count before {not_before}")),
            Ok(_) => None,
        }
    }
}

/// Both together, if they belong together.
fn certified(certificate: &CompiledCertificate, secret: &SecretBytes) -> Result<Arc<CertifiedKey>, &'static str> {
    let key = PrivateKeyDer::from_pem_slice(secret.expose());
    let key = key.map_err(|_| "has a key that is no private key in PEM, or one under a password")?;
    let chain = certificate.chain.iter().map(|der| CertificateDer::from(der.clone())).collect();
    let certified = CertifiedKey::from_der(chain, key, &provider());
    certified.map(Arc::new).map_err(|error| match error {
        rustls::Error::InconsistentKeys(_) => "has a private key that is not its own",
        rustls::Error::InvalidCertificate(_) => "can't be used: it is not of version 3, or damaged",
        _ => "has a private key of a kind that can't be used",
    })
}

pub(super) fn provider() -> CryptoProvider {
    rustls::crypto::ring::default_provider()
}

#[cfg(test)]
mod tests {
    use gateway_config::model::{Configuration, Item, Kind};
    use gateway_config::snapshot::compile;
    use serde_json::json;

    use super::*;

    fn snapshot(hosts: &[&str], pem: &str) -> Snapshot {
        let mut configuration = Configuration::default();
        for host in hosts {
            let value = json!({"name": host, "hosts": [host], "certificatePem": pem, "privateKey": "file:key"});
            configuration.put(Item::from_json(Kind::Certificate, value).unwrap());
        }
        compile(&configuration, 1).unwrap()
    }

    #[tokio::test]
    async fn what_has_not_changed_is_not_made_ready_again() {
        let made = rcgen::generate_simple_self_signed(vec!["a.test".to_owned()]).unwrap();
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("key"), made.signing_key.serialize_pem()).unwrap();
        let secrets = Arc::new(Secrets::new(Some(directory.path().to_owned())));
        let certificates = Certificates::new(secrets, Arc::new(Metrics::new().unwrap()));
        let pem = made.cert.pem();
        certificates.prepare(&snapshot(&["a.test"], &pem)).await;
        let before = certificates.shelf.load_full();
        // As a whole, as after a start of the database: every part of it is new.
        certificates.prepare(&snapshot(&["a.test", "b.test"], &pem)).await;
        let after = certificates.shelf.load_full();
        assert!(Arc::ptr_eq(&before.by_name["a.test"], &after.by_name["a.test"]));
        assert!(matches!(certificates.find(Some("b.test")), Found::Ready(_)));

        certificates.prepare(&snapshot(&["a.test"], &format!("{pem}{pem}"))).await;
        let last = certificates.shelf.load_full();
        assert!(!Arc::ptr_eq(&before.by_name["a.test"], &last.by_name["a.test"]));
        assert!(matches!(certificates.find(Some("b.test")), Found::Nothing));
        assert_eq!(certificates.troubles(Timestamp::from_micros(0)).len(), 1, "it does not count before 1975");
    }
}
