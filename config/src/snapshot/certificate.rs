//! Certificates compiled: the chain as it goes out, and which hosts each is shown for.

use std::net::IpAddr;
use std::sync::Arc;

use x509_parser::extensions::GeneralName;
use x509_parser::pem::Pem;
use x509_parser::prelude::{FromDer, X509Certificate};
use x509_parser::time::ASN1Time;

use super::problems::Problems;
use super::{Snapshot, Table};
use crate::model::{Certificate, Timestamp, host};

/// Among a certificate's hosts: every host that no other certificate lists, and clients that name none.
const ANY_HOST: &str = "*";
const PRIVATE_KEY: &str = "PRIVATE KEY";

/// A certificate and the others between it and the root, read and understood.
#[derive(Debug)]
pub struct CompiledCertificate {
    pub source: Arc<Certificate>,
    /// As DER: the hosts' own first.
    pub chain: Vec<Vec<u8>>,
    pub not_before: Timestamp,
    pub not_after: Timestamp,
    /// Whom the first certificate names.
    names: Vec<Name>,
    /// Whether each is issued by the one behind it.
    pub(super) is_in_order: bool,
}

#[derive(Debug, PartialEq, Eq)]
enum Name {
    /// In lower case; `*.example.com` too.
    Host(String),
    Address(IpAddr),
}

impl CompiledCertificate {
    /// `None` where its PEM can't be read.
    pub(super) fn compile(source: &Arc<Certificate>, problems: &mut Problems) -> Option<Self> {
        let chain = match chain_of(&source.certificate_pem) {
            Ok(chain) => chain,
            Err(why) => {
                problems.add("certificatePem", why);
                return None;
            }
        };
        let certificates: Vec<_> = chain.iter().filter_map(|der| read(der)).collect();
        let first = certificates.first()?;
        let validity = first.validity();
        let issued = |(this, issuer): (&X509Certificate<'_>, &X509Certificate<'_>)| this.issuer() == issuer.subject();
        let (not_before, not_after) = (at_second(validity.not_before), at_second(validity.not_after));
        let names = names_of(first);
        let is_in_order = certificates.iter().zip(certificates.iter().skip(1)).all(issued);
        Some(Self { source: source.clone(), not_before, not_after, names, is_in_order, chain })
    }

    /// Whether clients that ask for this host of its list will take it for the host's.
    #[must_use]
    pub(super) fn covers(&self, listed: &str) -> bool {
        let plain = listed.trim_start_matches('[').trim_end_matches(']');
        if let Ok(address) = plain.parse::<IpAddr>() {
            return self.names.contains(&Name::Address(address));
        }
        let is_named = |name: &str| self.names.iter().any(|it| matches!(it, Name::Host(it) if it == name));
        listed == ANY_HOST || is_named(listed) || wildcard_of(listed).is_some_and(|wildcard| is_named(&wildcard))
    }
}

/// The certificates by the hosts that they list. A clone is cheap.
#[derive(Clone, Debug, Default)]
pub struct CertificateHosts(Table<Arc<CompiledCertificate>>);

impl CertificateHosts {
    /// The one to show to a client that asks for `host`, in lower case, or for none: the most specific that lists it.
    #[must_use]
    pub fn find(&self, host: Option<&str>) -> Option<&Arc<CompiledCertificate>> {
        let by_name = host.and_then(|host| {
            let wildcard = || wildcard_of(host).and_then(|wildcard| self.0.get(&wildcard));
            self.0.get(host).or_else(wildcard)
        });
        by_name.or_else(|| self.0.get(ANY_HOST))
    }

    fn put_in(&mut self, certificate: &Arc<CompiledCertificate>, problems: &mut Problems) {
        let name = &certificate.source.name;
        for (at, host) in certificate.source.hosts.iter().enumerate() {
            let before = self.0.insert(host, certificate.clone());
            if let Some(other) = before.filter(|other| other.source.name != *name) {
                let message =
                    format!("certificate \"{}\" lists \"{host}\", too: one host, one certificate", other.source.name);
                problems.add(&format!("hosts/{at}"), message);
            }
        }
    }

    fn take_out(&mut self, certificate: &CompiledCertificate) {
        let name = &certificate.source.name;
        for host in &certificate.source.hosts {
            if self.0.get(host).is_some_and(|it| it.source.name == *name) {
                self.0.remove(host);
            }
        }
    }
}

impl Snapshot {
    #[must_use]
    pub fn certificate(&self, name: &str) -> Option<&Arc<CompiledCertificate>> {
        self.certificates.get(name)
    }

    /// In no particular order.
    pub fn certificates(&self) -> impl Iterator<Item = &Arc<CompiledCertificate>> {
        self.certificates.values()
    }

    #[must_use]
    pub fn certificate_hosts(&self) -> &CertificateHosts {
        &self.certificate_hosts
    }

    pub(super) fn take_out_certificate(&mut self, name: &str) {
        if let Some(certificate) = self.certificates.remove(name) {
            self.certificate_hosts.take_out(&certificate);
        }
    }

    pub(super) fn put_in_certificate(&mut self, source: &Arc<Certificate>, problems: &mut Problems) {
        let Some(certificate) = CompiledCertificate::compile(source, problems).map(Arc::new) else { return };
        self.certificate_hosts.put_in(&certificate, problems);
        self.certificates.insert(&source.name, certificate);
    }
}

/// What a certificate may list.
pub(super) fn is_host(text: &str) -> bool {
    text == ANY_HOST || host::is_host_name(text.strip_prefix("*.").unwrap_or(text))
}

/// Clients name no addresses in a handshake (RFC 6066 §3).
pub(super) fn is_address(host: &str) -> bool {
    host.starts_with('[') || host.parse::<IpAddr>().is_ok()
}

/// `a.example.com`: `*.example.com`, which stands for one label (RFC 9525 §6.3).
fn wildcard_of(host: &str) -> Option<String> {
    host.split_once('.').filter(|(label, _)| *label != "*").map(|(_, rest)| format!("*.{rest}"))
}

/// The certificates of a PEM text, each of which can be read. What is wrong is told without a word of the text: there may be a key
/// in it.
fn chain_of(pem: &str) -> Result<Vec<Vec<u8>>, String> {
    if pem.contains(PRIVATE_KEY) {
        return Err("holds a private key, which is not stored: name it in privateKey by a reference".to_owned());
    }
    let mut chain = Vec::new();
    for (at, block) in Pem::iter_from_buffer(pem.as_bytes()).enumerate() {
        let number = at + 1;
        let block = block.map_err(|_| format!("block {number} is no sound PEM: it is cut off, or not base64"))?;
        if block.label != "CERTIFICATE" {
            return Err(format!("block {number} is no certificate"));
        }
        if read(&block.contents).is_none() {
            return Err(format!("block {number} holds no X.509 certificate"));
        }
        chain.push(block.contents);
    }
    if chain.is_empty() { Err("holds no PEM certificate".to_owned()) } else { Ok(chain) }
}

fn read(der: &[u8]) -> Option<X509Certificate<'_>> {
    X509Certificate::from_der(der).ok().filter(|(rest, _)| rest.is_empty()).map(|(_, certificate)| certificate)
}

/// The common name counts no more (RFC 9525 §2).
fn names_of(certificate: &X509Certificate<'_>) -> Vec<Name> {
    let Ok(Some(alternatives)) = certificate.subject_alternative_name() else { return Vec::new() };
    let name = |it: &GeneralName<'_>| match it {
        GeneralName::DNSName(host) => Some(Name::Host(host.to_ascii_lowercase())),
        GeneralName::IPAddress(bytes) => address(bytes).map(Name::Address),
        _ => None,
    };
    alternatives.value.general_names.iter().filter_map(name).collect()
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    let v4 = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
    v4.or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from)).ok()
}

fn at_second(time: ASN1Time) -> Timestamp {
    Timestamp::from_micros(time.timestamp().saturating_mul(1_000_000))
}

#[cfg(test)]
mod tests {
    use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
    use serde_json::json;

    use super::*;
    use crate::model::{Configuration, Edit, Item, Kind, Problem};
    use crate::snapshot::compile;

    /// Signed by its own key.
    fn pem(names: &[&str]) -> String {
        let names = names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>();
        rcgen::generate_simple_self_signed(names).unwrap().cert.pem()
    }

    fn certificate(name: &str, hosts: &[&str], pem: &str) -> Item {
        let value = json!({"name": name, "hosts": hosts, "certificatePem": pem, "privateKey": "file:key"});
        Item::from_json(Kind::Certificate, value).unwrap()
    }

    fn compiled(certificates: Vec<Item>) -> Result<Snapshot, Vec<Problem>> {
        let mut configuration = Configuration::default();
        for item in certificates {
            configuration.put(item);
        }
        compile(&configuration, 1)
    }

    fn problem(certificates: Vec<Item>) -> String {
        let problems = compiled(certificates).unwrap_err();
        problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
    }

    fn warnings(item: Item) -> Vec<String> {
        let snapshot = compiled(vec![item.clone()]).unwrap();
        snapshot.warnings(&[Edit::Put(item)]).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn the_most_specific_certificate_is_shown() {
        let pem = pem(&["a.test"]);
        let all = [("exact", "a.shop.test"), ("below", "*.shop.test"), ("rest", "*")];
        let all = all.map(|(name, host)| certificate(name, &[host], &pem));
        let shown = |snapshot: &Snapshot, host: Option<&str>| {
            snapshot.certificate_hosts().find(host).map(|it| it.source.name.clone())
        };
        let with_rest = compiled(all.to_vec()).unwrap();
        for (host, expected) in [
            (Some("a.shop.test"), "exact"),
            (Some("b.shop.test"), "below"),
            (Some("c.b.shop.test"), "rest"),
            (Some("shop.test"), "rest"),
            (Some("test"), "rest"),
            (None, "rest"),
        ] {
            assert_eq!(shown(&with_rest, host).as_deref(), Some(expected), "{host:?}");
        }
        let strict = compiled(all[..2].to_vec()).unwrap();
        for host in [Some("c.b.shop.test"), Some("shop.test"), Some("*.shop.test"), Some("elsewhere"), Some(""), None] {
            let expected = (host == Some("*.shop.test")).then_some("below");
            assert_eq!(shown(&strict, host).as_deref(), expected, "{host:?}");
        }
    }

    #[test]
    fn one_host_has_one_certificate_and_both_are_named() {
        let pem = pem(&["a.test"]);
        let both = vec![certificate("new", &["b.test", "a.test"], &pem), certificate("old", &["a.test"], &pem)];
        let found = problem(both);
        assert_eq!(
            found,
            "certificates/old/hosts/0: certificate \"new\" lists \"a.test\", too: one host, one certificate"
        );
        compiled(vec![certificate("once", &["a.test", "a.test"], &pem)]).unwrap();
    }

    #[test]
    fn a_host_is_free_again_once_its_certificate_is_gone() {
        let pem = pem(&["a.test"]);
        let snapshot = compiled(vec![certificate("old", &["a.test"], &pem)]).unwrap();
        let edits = vec![
            Edit::Delete { kind: Kind::Certificate, name: "old".to_owned() },
            Edit::Put(certificate("new", &["a.test"], &pem)),
        ];
        let next = snapshot.apply(&crate::model::Change { generation: 2, edits }).unwrap();
        assert_eq!(next.certificate_hosts().find(Some("a.test")).unwrap().source.name, "new");
        let edits = vec![Edit::Delete { kind: Kind::Certificate, name: "new".to_owned() }];
        let last = next.apply(&crate::model::Change { generation: 3, edits }).unwrap();
        assert!(last.certificate_hosts().find(Some("a.test")).is_none());
    }

    #[test]
    fn a_text_that_is_no_chain_is_told_by_its_place_and_without_its_words() {
        let good = pem(&["a.test"]);
        let cut = good.replace("-----END CERTIFICATE-----", "");
        let (head, rest) = good.split_at(40);
        let damaged = format!("{head}!{rest}");
        let other = good.replace("CERTIFICATE", "CERTIFICATE REQUEST");
        let empty = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n".to_owned();
        let key = format!("{good}{}", KeyPair::generate().unwrap().serialize_pem());
        for (text, why) in [
            (String::new(), "holds no PEM certificate"),
            ("hunter2".to_owned(), "holds no PEM certificate"),
            (cut, "block 1 is no sound PEM: it is cut off, or not base64"),
            (damaged, "block 1 is no sound PEM: it is cut off, or not base64"),
            (other, "block 1 is no certificate"),
            (format!("{good}{empty}"), "block 2 holds no X.509 certificate"),
            (key, "holds a private key, which is not stored: name it in privateKey by a reference"),
        ] {
            let found = problem(vec![certificate("shop", &["a.test"], &text)]);
            assert_eq!(found, format!("certificates/shop/certificatePem: {why}"));
        }
        compiled(vec![certificate("shop", &["a.test"], &format!("subject=CN a\n{}", good.replace('\n', "\r\n")))])
            .unwrap();
    }

    #[test]
    fn hosts_that_the_certificate_does_not_name_are_warned_of() {
        let pem = pem(&["a.test", "*.b.test", "UPPER.test", "127.0.0.1"]);
        let named = ["a.test", "x.b.test", "*.b.test", "upper.test", "*"];
        assert_eq!(warnings(certificate("fine", &named, &pem)), Vec::<String>::new());
        let found = warnings(certificate("shop", &["b.test", "x.y.b.test", "*.a.test"], &pem));
        let expected = |at, host| {
            format!(
                "certificates/shop/hosts/{at}: the certificate does not name \"{host}\": clients will refuse it for this host"
            )
        };
        assert_eq!(found, [expected(0, "b.test"), expected(1, "x.y.b.test"), expected(2, "*.a.test")]);
        let found = warnings(certificate("shop", &["127.0.0.1"], &pem));
        let text = "clients name no addresses; they are shown the certificate that lists \"*\"";
        assert_eq!(found, [format!("certificates/shop/hosts/0: {text}")]);
    }

    #[test]
    fn a_chain_is_read_with_its_times_and_its_order() {
        let mut authority = CertificateParams::default();
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        authority.distinguished_name.push(rcgen::DnType::CommonName, "a test's authority");
        let issuer = CertifiedIssuer::self_signed(authority, KeyPair::generate().unwrap()).unwrap();
        let mut params = CertificateParams::new(vec!["a.test".to_owned()]).unwrap();
        params.not_before = rcgen::date_time_ymd(2020, 1, 1);
        params.not_after = rcgen::date_time_ymd(2030, 1, 1);
        let leaf = params.signed_by(&KeyPair::generate().unwrap(), &issuer).unwrap().pem();
        let root = issuer.pem();

        let snapshot = compiled(vec![certificate("a", &["a.test"], &format!("{leaf}{root}"))]).unwrap();
        let read = snapshot.certificate("a").unwrap();
        assert_eq!(read.chain.len(), 2);
        assert_eq!(read.not_before.to_string(), "2020-01-01T00:00:00Z");
        assert_eq!(read.not_after.to_string(), "2030-01-01T00:00:00Z");
        assert_eq!(warnings(certificate("a", &["a.test"], &format!("{leaf}{root}"))), Vec::<String>::new());
        let found = warnings(certificate("a", &["*"], &format!("{root}{leaf}")));
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].contains("issued by the one behind it"), "{found:?}");
    }
}
