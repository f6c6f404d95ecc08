//! What the gateway knows of one request while it runs.

use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use gateway_config::snapshot::{Code, Decision};

use crate::drain::InFlight;
use crate::live::Live;
use crate::upstream::Attempt;

#[derive(Debug)]
pub(crate) struct RequestCtx {
    /// One request, one snapshot. `None`: none has come in yet.
    pub(crate) live: Option<Arc<Live>>,
    pub(crate) started: Instant,
    pub(crate) id: RequestId,
    pub(crate) decision: Option<Decision>,
    pub(crate) attempt: Option<Attempt>,
    /// The normalised path, where it differs from what the client sent or where the client sent an absolute URI.
    pub(crate) path: Option<String>,
    /// The gateway answered by itself, with this code.
    pub(crate) refused: Option<Code>,
    /// Counted until it is dropped, also when a phase panics.
    _in_flight: InFlight,
}

impl RequestCtx {
    pub(crate) fn new(live: Option<Arc<Live>>, in_flight: InFlight) -> Self {
        Self {
            live,
            started: Instant::now(),
            id: RequestId::default(),
            decision: None,
            attempt: None,
            path: None,
            refused: None,
            _in_flight: in_flight,
        }
    }

    /// The name of the matched route; empty for none.
    pub(crate) fn route_name(&self) -> &str {
        self.decision.as_ref().and_then(|it| it.route.as_ref()).map_or("", |route| route.source.name.as_str())
    }
}

/// The id by which a request is found in logs: the client's if it is sane, else our own. Kept inline.
#[derive(Clone, Copy)]
pub(crate) struct RequestId {
    length: u8,
    text: [u8; Self::MAX],
}

impl RequestId {
    const MAX: usize = 64;

    /// The client's own, if it is short and plain.
    pub(crate) fn of_client(value: &[u8]) -> Option<Self> {
        let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.".contains(byte);
        if value.is_empty() || value.len() > Self::MAX || !value.iter().all(plain) {
            return None;
        }
        let mut text = [0; Self::MAX];
        text.get_mut(..value.len())?.copy_from_slice(value);
        Some(Self { length: u8::try_from(value.len()).ok()?, text })
    }

    /// 128 random bits in hexadecimal.
    pub(crate) fn random() -> Self {
        let mut text = [0; Self::MAX];
        write_hex(rand::random(), &mut text);
        Self { length: 32, text }
    }

    pub(crate) fn as_str(&self) -> &str {
        self.text.get(..usize::from(self.length)).and_then(|text| std::str::from_utf8(text).ok()).unwrap_or_default()
    }
}

/// Writes 32 digits to the beginning of `out`.
pub(crate) fn write_hex(bits: u128, out: &mut [u8]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for (byte, digit) in bits.to_be_bytes().iter().zip(out.chunks_exact_mut(2)) {
        if let [high, low] = digit {
            *high = DIGITS.get(usize::from(byte >> 4)).copied().unwrap_or(b'0');
            *low = DIGITS.get(usize::from(byte & 0xf)).copied().unwrap_or(b'0');
        }
    }
}

impl Default for RequestId {
    fn default() -> Self {
        Self { length: 0, text: [0; Self::MAX] }
    }
}

impl fmt::Debug for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_short_plain_ids_of_clients_are_kept() {
        assert_eq!(RequestId::of_client(b"a-1_B.2").unwrap().as_str(), "a-1_B.2");
        for bad in [&b""[..], b"a b", b"a\r\nb", b"\xff", &[b'a'; 65]] {
            assert!(RequestId::of_client(bad).is_none());
        }
        let id = RequestId::random();
        assert_eq!(id.as_str().len(), 32);
        assert_ne!(id.as_str(), RequestId::random().as_str());
    }
}
