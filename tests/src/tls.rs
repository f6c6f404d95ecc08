//! TLS from the client's side, and an authority of a test's own that issues certificates.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::client::Connection;
use crate::entity::{Entity, certificate};
use crate::http2::Http2;
use crate::wire::Wire;

const DEADLINE: Duration = Duration::from_secs(30);

/// Whom the clients of a test trust.
#[derive(Debug)]
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

/// A certificate and its key, as PEM.
#[derive(Clone, Debug)]
pub struct Issued {
    pub certificate: String,
    pub key: String,
}

impl Default for Authority {
    fn default() -> Self {
        Self::new()
    }
}

impl Authority {
    pub fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "the authority of a test");
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        Self { issuer }
    }

    pub fn pem(&self) -> String {
        self.issuer.pem()
    }

    /// A certificate that names these hosts.
    pub fn issue(&self, hosts: &[&str]) -> Issued {
        self.issue_with(hosts, |_| {})
    }

    /// The same, with something else about it.
    pub fn issue_with(&self, hosts: &[&str], change: impl FnOnce(&mut CertificateParams)) -> Issued {
        let hosts: Vec<String> = hosts.iter().map(|&host| host.to_owned()).collect();
        let mut params = CertificateParams::new(hosts).unwrap();
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap().pem();
        Issued { certificate, key: key.serialize_pem() }
    }

    /// A client that trusts this authority and nobody else.
    pub fn client(&self) -> TlsClient {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(self.pem().as_bytes()).unwrap()).unwrap();
        TlsClient {
            roots: Arc::new(roots),
            protocols: Vec::new(),
            versions: rustls::ALL_VERSIONS.to_vec(),
            names_host: true,
        }
    }
}

impl Issued {
    /// The entity, with its key under this reference.
    pub fn entity(&self, name: &str, hosts: &[&str], key: &str) -> Entity {
        certificate(name)
            .set("hosts", hosts.to_vec())
            .set("certificatePem", self.certificate.as_str())
            .set("privateKey", key)
    }
}

/// How a client shakes hands.
#[derive(Clone, Debug)]
pub struct TlsClient {
    roots: Arc<RootCertStore>,
    protocols: Vec<Vec<u8>>,
    versions: Vec<&'static SupportedProtocolVersion>,
    names_host: bool,
}

impl TlsClient {
    /// What it offers by ALPN; nothing at first.
    pub fn offering(mut self, protocols: &[&str]) -> Self {
        self.protocols = protocols.iter().map(|it| it.as_bytes().to_vec()).collect();
        self
    }

    /// In this version and no other.
    pub fn version(mut self, version: &'static SupportedProtocolVersion) -> Self {
        self.versions = vec![version];
        self
    }

    /// Without SNI.
    pub fn nameless(mut self) -> Self {
        self.names_host = false;
        self
    }

    /// Shakes hands with whoever is at this address as `host`.
    pub async fn shake_hands(&self, address: SocketAddr, host: &str) -> io::Result<TlsStream<TcpStream>> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider).with_protocol_versions(&self.versions).unwrap();
        let mut config = builder.with_root_certificates(self.roots.clone()).with_no_client_auth();
        config.alpn_protocols.clone_from(&self.protocols);
        config.enable_sni = self.names_host;
        let name = ServerName::try_from(host.to_owned()).unwrap();
        let shake = async {
            let stream = TcpStream::connect(address).await?;
            let _ = stream.set_nodelay(true);
            TlsConnector::from(Arc::new(config)).connect(name, stream).await
        };
        timeout(DEADLINE, shake).await.unwrap_or_else(|_| panic!("no handshake within {DEADLINE:?}"))
    }

    /// A connection for HTTP/1.1.
    pub async fn connect(&self, address: SocketAddr, host: &str) -> io::Result<Connection> {
        let stream = self.shake_hands(address, host).await?;
        Ok(Connection::over(Wire::over(Socket::Tls(Box::new(stream))), address))
    }

    /// A connection for HTTP/2, agreed upon by ALPN.
    pub async fn http2(&self, address: SocketAddr, host: &str) -> io::Result<Http2> {
        let stream = self.clone().offering(&["h2", "http/1.1"]).shake_hands(address, host).await?;
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
        Ok(Http2::over_tls(stream, address).await)
    }
}

/// The certificate that was shown.
pub fn shown(stream: &TlsStream<TcpStream>) -> CertificateDer<'static> {
    let chain = stream.get_ref().1.peer_certificates().expect("a certificate was shown");
    chain.first().expect("a chain has a first certificate").clone().into_owned()
}

/// The first certificate of a PEM text.
pub fn first_of(pem: &str) -> CertificateDer<'static> {
    CertificateDer::from_pem_slice(pem.as_bytes()).expect("a PEM certificate")
}

/// A connection, plain or not.
#[derive(Debug)]
pub enum Socket {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl Socket {
    pub fn tcp(&self) -> &TcpStream {
        match self {
            Self::Plain(stream) => stream,
            Self::Tls(stream) => stream.get_ref().0,
        }
    }
}

impl AsyncRead for Socket {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(context, buffer),
            Self::Tls(stream) => Pin::new(stream).poll_read(context, buffer),
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(context, bytes),
            Self::Tls(stream) => Pin::new(stream).poll_write(context, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(context),
            Self::Tls(stream) => Pin::new(stream).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(context),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(context),
        }
    }
}
