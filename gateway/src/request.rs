//! What the gateway knows of one request while it runs.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use gateway_config::client::Client;
use gateway_config::snapshot::{Caller, Code, Decision};
use http::{HeaderMap, HeaderName, HeaderValue};
use pingora::proxy::Session;
use pingora::{Error, ErrorType, Result};
use tokio::time::timeout;

use crate::connection::Carrier;
use crate::drain::InFlight;
use crate::judge::Judgement;
use crate::live::Live;
use crate::own::Own;
use crate::policy::body::BodyWatch;
use crate::policy::limits::Verdict;
use crate::reply::Frame;
use crate::streams::OpenStream;
use crate::upstream::Attempt;

/// Longest silence of a client in the middle of its request.
pub(crate) const CLIENT_READ: Duration = Duration::from_mins(1);

#[derive(Debug)]
pub(crate) struct RequestCtx {
    /// One request, one snapshot. `None`: none has come in yet.
    pub(crate) live: Option<Arc<Live>>,
    pub(crate) started: Instant,
    pub(crate) id: HeaderValue,
    pub(crate) decision: Option<Decision>,
    pub(crate) attempt: Option<Attempt>,
    /// The normalised path, where it differs from what the client sent or where the client sent an absolute URI.
    pub(crate) path: Option<String>,
    /// The gateway answered by itself, with this code.
    pub(crate) refused: Option<Code>,
    /// The request is cut off half-way, for this.
    pub(crate) stopped: Option<Code>,
    pub(crate) client: Client,
    /// The client's connection is over TLS.
    pub(crate) is_tls: bool,
    pub(crate) caller: Caller,
    pub(crate) own: Option<Own>,
    /// The dice that were rolled for it.
    pub(crate) entropy: u64,
    /// How the limits that counted it stand.
    pub(crate) verdict: Option<Verdict>,
    /// Headers that the gateway adds to the answer.
    pub(crate) extra: Vec<(HeaderName, HeaderValue)>,
    /// The gateway, not the backend, says what other sites may read.
    pub(crate) has_cors: bool,
    pub(crate) body: BodyWatch,
    /// The answer is a stream that may have to be ended.
    pub(crate) stream: Option<OpenStream>,
    /// Counted until it is dropped, also when a phase panics.
    in_flight: InFlight,
}

impl RequestCtx {
    pub(crate) fn new(live: Option<Arc<Live>>, in_flight: InFlight) -> Self {
        Self {
            live,
            started: Instant::now(),
            id: NO_ID,
            decision: None,
            attempt: None,
            path: None,
            refused: None,
            stopped: None,
            client: Client::default(),
            is_tls: false,
            caller: Caller::Anonymous,
            own: None,
            entropy: 0,
            verdict: None,
            extra: Vec::new(),
            has_cors: false,
            body: BodyWatch::default(),
            stream: None,
            in_flight,
        }
    }

    /// What it came by is busy until the request is over.
    pub(crate) fn came_by(&mut self, carrier: Option<Carrier>) {
        self.in_flight.occupy(carrier);
    }

    pub(crate) fn carrier(&self) -> Option<&Carrier> {
        self.in_flight.carrier()
    }

    /// Takes over what judging brought.
    pub(crate) fn enter(&mut self, judgement: Judgement) {
        self.decision = Some(judgement.decision);
        self.caller = judgement.caller;
        self.path = judgement.path;
        self.own = judgement.own;
        self.entropy = judgement.entropy;
    }

    pub(crate) fn frame(&self) -> Frame<'_> {
        let snapshot = self.live.as_ref().map(|live| &*live.snapshot);
        Frame { snapshot, id: &self.id, is_tls: self.is_tls, extra: &self.extra }
    }

    /// The backend is not to see the client's `Authorization`.
    pub(crate) fn strips_authorization(&self) -> bool {
        let route = self.decision.as_ref().and_then(|it| it.route.as_ref());
        route.is_some_and(|route| route.source.access.strip_authorization)
    }

    /// The id as text.
    pub(crate) fn id(&self) -> &str {
        self.id.to_str().unwrap_or_default()
    }

    /// The name of the matched route; empty for none.
    pub(crate) fn route_name(&self) -> &str {
        self.decision.as_ref().and_then(|it| it.route.as_ref()).map_or("", |route| route.source.name.as_str())
    }
}

/// The next piece of a body that the gateway reads itself. Pingora waits for clients of HTTP/1 only as long as it was told to.
pub(crate) async fn read_piece(session: &mut Session) -> Result<Option<Bytes>> {
    if !session.is_http2() {
        return session.read_request_body().await;
    }
    let piece = timeout(CLIENT_READ, session.read_request_body()).await;
    piece.unwrap_or_else(|_| Error::e_explain(ErrorType::ReadTimedout, "the client sends no more of its body"))
}

/// The id by which a request is found in logs, on both sides of the gateway.
pub(crate) const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The client's own id if it is short and plain, else 128 random bits in hexadecimal.
pub(crate) fn request_id(headers: &HeaderMap) -> HeaderValue {
    const MAX: usize = 64;
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.".contains(byte);
    let is_sane = |id: &&HeaderValue| (1..=MAX).contains(&id.len()) && id.as_bytes().iter().all(plain);
    if let Some(id) = headers.get(X_REQUEST_ID).filter(is_sane) {
        return id.clone();
    }
    // Owned as it is: a copy would be allocated once more when it is first cloned.
    HeaderValue::from_maybe_shared(Bytes::from_owner(hex(rand::random()))).unwrap_or(NO_ID)
}

/// Before the head was looked at.
const NO_ID: HeaderValue = HeaderValue::from_static("-");

/// 128 bits as 32 digits.
pub(crate) fn hex(bits: u128) -> [u8; 32] {
    let mut digits = [0; 32];
    let [high, low] = [bits >> 64, bits & u128::from(u64::MAX)].map(|half| u64::try_from(half).unwrap_or(0));
    for (place, half) in digits.chunks_exact_mut(16).zip([high, low]) {
        place.copy_from_slice(&hex_of(half));
    }
    digits
}

/// 64 bits as 16 digits, eight at a time: digits one by one cost as much as finding the route.
pub(crate) fn hex_of(bits: u64) -> [u8; 16] {
    let mut digits = [0; 16];
    for (place, half) in digits.chunks_exact_mut(8).zip([bits >> 32, bits & 0xffff_ffff]) {
        // Each four bits into a byte of their own.
        let spread = (half | half << 16) & 0x0000_ffff_0000_ffff;
        let spread = (spread | spread << 8) & 0x00ff_00ff_00ff_00ff;
        let spread = (spread | spread << 4) & 0x0f0f_0f0f_0f0f_0f0f;
        let is_letter = ((spread + 0x0606_0606_0606_0606) >> 4) & 0x0101_0101_0101_0101;
        let text = spread + 0x3030_3030_3030_3030 + is_letter * u64::from(b'a' - b'9' - 1);
        place.copy_from_slice(&text.to_be_bytes());
    }
    digits
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_are_what_the_standard_library_writes() {
        for bits in [0, 1, u128::MAX, 0x0123_4567_89ab_cdef_fedc_ba98_7654_3210, rand::random()] {
            assert_eq!(hex(bits).as_slice(), format!("{bits:032x}").as_bytes());
        }
    }

    #[test]
    fn only_short_plain_ids_of_clients_are_kept() {
        let id_for = |sent: &[u8]| {
            let headers = HeaderMap::from_iter([(X_REQUEST_ID, HeaderValue::from_bytes(sent).unwrap())]);
            request_id(&headers)
        };
        assert_eq!(id_for(b"a-1_B.2"), "a-1_B.2");
        for bad in [&b""[..], b"a b", b"a,b", b"\xff", &[b'a'; 65]] {
            assert_eq!(id_for(bad).len(), 32);
        }
        assert_ne!(request_id(&HeaderMap::new()), request_id(&HeaderMap::new()));
    }
}
