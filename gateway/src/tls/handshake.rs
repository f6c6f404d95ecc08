//! A client's handshake: within its time, and with a word for everyone who can't be served.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use pingora::protocols::Stream;
use rustls::ServerConfig;
use rustls::crypto::ring::Ticketer;
use rustls::server::Acceptor;
use rustls::version::{TLS12, TLS13};
use tokio_rustls::LazyConfigAcceptor;

use super::certificates::{Certificates, Found, provider};
use super::stream::Secured;
use crate::connection::part;
use crate::observe::metrics::Metrics;
use crate::reply;

/// HTTP/2 first, if a client can do both.
const PROTOCOLS: [&[u8]; 2] = [b"h2", b"http/1.1"];
/// Where heads of requests may take for ever, handshakes may not.
const LONGEST: Duration = Duration::from_mins(1);
/// What every handshake begins with: a record of the handshake protocol (RFC 8446 §5.1).
const HANDSHAKE: u8 = 22;
/// Alerts (RFC 8446 §6).
const INTERNAL_ERROR: u8 = 80;
const UNRECOGNIZED_NAME: u8 = 112;

/// What comes first on every connection to the TLS listener.
#[derive(Debug)]
pub(crate) struct Tls {
    config: Arc<ServerConfig>,
    certificates: Arc<Certificates>,
    patience: Duration,
    metrics: Arc<Metrics>,
}

/// How a handshake ended that led to no connection.
#[derive(Clone, Copy, Debug)]
enum Failure {
    UnknownHost,
    NoKey,
    PlainHttp,
    /// The client left, or what it said was no TLS, or none that is spoken here.
    Broken,
    TooSlow,
}

impl Failure {
    const fn word(self) -> &'static str {
        match self {
            Self::UnknownHost => "unknown_host",
            Self::NoKey => "no_key",
            Self::PlainHttp => "plain_http",
            Self::Broken => "broken",
            Self::TooSlow => "too_slow",
        }
    }
}

impl Tls {
    /// `patience`: for a whole handshake, however it trickles.
    pub(crate) fn new(
        certificates: Arc<Certificates>,
        patience: Option<Duration>,
        metrics: Arc<Metrics>,
    ) -> anyhow::Result<Self> {
        let builder = ServerConfig::builder_with_provider(Arc::new(provider()));
        let builder = builder.with_protocol_versions(&[&TLS13, &TLS12]).context("could not set up TLS")?;
        let mut config = builder.with_no_client_auth().with_cert_resolver(certificates.clone());
        config.alpn_protocols = PROTOCOLS.map(<[u8]>::to_vec).to_vec();
        // What clients need to come back is kept by themselves, under a key that changes every few hours.
        config.ticketer = Ticketer::new().context("could not make a key for TLS sessions")?;
        Ok(Self { config: Arc::new(config), certificates, patience: patience.unwrap_or(LONGEST), metrics })
    }

    /// The connection as it is used from then on; `None` if there is none.
    pub(crate) async fn shake_hands(&self, io: Stream) -> Option<Stream> {
        let ended = tokio::time::timeout(self.patience, self.try_to(io)).await;
        match ended.unwrap_or(Err(Failure::TooSlow)) {
            Ok(secured) => {
                self.metrics.handshake_ended("done");
                Some(secured)
            }
            Err(failure) => {
                tracing::debug!(result = failure.word(), "a TLS handshake failed: {}", failure.word());
                self.metrics.handshake_ended(failure.word());
                None
            }
        }
    }

    async fn try_to(&self, mut io: Stream) -> Result<Stream, Failure> {
        let mut first = [0];
        let is_seen = io.try_peek(&mut first).await.map_err(|_| Failure::Broken)?;
        if is_seen && first != [HANDSHAKE] && first[0].is_ascii_alphabetic() {
            part(io, &reply::to_plain_http()).await;
            return Err(Failure::PlainHttp);
        }
        let begun = LazyConfigAcceptor::new(Acceptor::default(), io).await.map_err(|_| Failure::Broken)?;
        let found = self.certificates.find(begun.client_hello().server_name());
        let (alert, failure) = match found {
            Found::Ready(_) => {
                let tls = begun.into_stream(self.config.clone()).await.map_err(|_| Failure::Broken)?;
                return Ok(Box::new(Secured::new(tls)));
            }
            Found::Unready => (INTERNAL_ERROR, Failure::NoKey),
            Found::Nothing => (UNRECOGNIZED_NAME, Failure::UnknownHost),
        };
        part(begun.io, &fatal(alert)).await;
        Err(failure)
    }
}

/// A record with an alert, as it is sent before anything is encrypted.
const fn fatal(alert: u8) -> [u8; 7] {
    [21, 3, 3, 0, 2, 2, alert]
}
