//! The server's side of a WebSocket that only tells (RFC 6455): the handshake, texts to the client, and of what the client says no more
//! than pings and the goodbye.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, header};
use ring::digest::{Context, SHA1_FOR_LEGACY_USE_ONLY};

pub(super) const ACCEPT: HeaderName = HeaderName::from_static("sec-websocket-accept");
const KEY: HeaderName = HeaderName::from_static("sec-websocket-key");
const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
/// Of a control frame's payload.
const LARGEST_CONTROL: usize = 125;
/// A client of a channel has nothing to say that is larger.
const LARGEST: usize = 64 << 10;

const TEXT: u8 = 0x1;
const CLOSE: u8 = 0x8;
const PING: u8 = 0x9;
const PONG: u8 = 0xa;

/// Whether a request asks for a WebSocket.
pub(super) fn is_asked_for(headers: &HeaderMap) -> bool {
    headers.get(header::UPGRADE).is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"websocket"))
}

/// What proves to the client that it was understood; `None`: the request is no sound handshake.
pub(super) fn accept(headers: &HeaderMap) -> Option<HeaderValue> {
    let key = headers.get(KEY)?.as_bytes();
    let is_key = STANDARD.decode(key).is_ok_and(|nonce| nonce.len() == 16);
    let is_version = headers.get("sec-websocket-version").is_some_and(|version| version == "13");
    if !is_key || !is_version {
        return None;
    }
    // The handshake's own hash; nothing rests on its strength.
    let mut context = Context::new(&SHA1_FOR_LEGACY_USE_ONLY);
    context.update(key);
    context.update(GUID);
    HeaderValue::from_str(&STANDARD.encode(context.finish())).ok()
}

pub(super) fn text(payload: &[u8]) -> Bytes {
    frame(TEXT, payload)
}

pub(super) fn ping() -> Bytes {
    frame(PING, b"")
}

/// A goodbye with its reason, in a number and in a few words.
pub(super) fn close(code: u16, why: &str) -> Bytes {
    frame(CLOSE, &[&code.to_be_bytes(), why.as_bytes()].concat())
}

fn frame(opcode: u8, payload: &[u8]) -> Bytes {
    let mut frame = Vec::with_capacity(payload.len() + 10);
    frame.push(0x80 | opcode);
    match (u8::try_from(payload.len()), u16::try_from(payload.len())) {
        (Ok(length), _) if length <= 125 => frame.push(length),
        (_, Ok(length)) => {
            frame.push(126);
            frame.extend_from_slice(&length.to_be_bytes());
        }
        _ => {
            frame.push(127);
            frame.extend_from_slice(&(payload.len() as u64).to_be_bytes());
        }
    }
    frame.extend_from_slice(payload);
    frame.into()
}

/// What a client's bytes call for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Heard {
    /// More bytes must come first.
    Nothing,
    /// This is to be answered.
    Answer(Bytes),
    /// This is to be answered, and then it is over.
    Over(Bytes),
}

/// The client's frames as they come in pieces.
#[derive(Debug, Default)]
pub(super) struct Ear(BytesMut);

impl Ear {
    pub(super) fn hear(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    /// The next thing that calls for something. What a client says beside pings and the goodbye is passed over.
    pub(super) fn next(&mut self) -> Heard {
        loop {
            let Some((opcode, mask, begin, length)) = self.head() else {
                return if self.0.len() > LARGEST + 14 {
                    Heard::Over(close(1009, "too large"))
                } else {
                    Heard::Nothing
                };
            };
            let is_control = opcode & 0x8 != 0;
            if length > if is_control { LARGEST_CONTROL } else { LARGEST } {
                return Heard::Over(close(1009, "too large"));
            }
            // Clients must mask.
            let Some(mask) = mask else { return Heard::Over(close(1002, "not masked")) };
            if self.0.len() < begin + length {
                return Heard::Nothing;
            }
            let mut payload = self.0.split_to(begin + length).split_off(begin);
            for (byte, mask) in payload.iter_mut().zip(mask.iter().cycle()) {
                *byte ^= mask;
            }
            match opcode {
                CLOSE => return Heard::Over(frame(CLOSE, payload.get(..2).unwrap_or_default())),
                PING => return Heard::Answer(frame(PONG, &payload)),
                _ => {}
            }
        }
    }

    /// The opcode, the mask, where the payload begins and how long it is.
    fn head(&self) -> Option<(u8, Option<[u8; 4]>, usize, usize)> {
        let bytes = &self.0;
        let (first, second) = (*bytes.first()?, *bytes.get(1)?);
        let (length, begin) = match second & 0x7f {
            126 => (u64::from(u16::from_be_bytes(*bytes.get(2..)?.first_chunk()?)), 4),
            127 => (u64::from_be_bytes(*bytes.get(2..)?.first_chunk()?), 10),
            short => (u64::from(short), 2),
        };
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        if second & 0x80 == 0 {
            return Some((first & 0xf, None, begin, length));
        }
        let mask = *bytes.get(begin..)?.first_chunk()?;
        Some((first & 0xf, Some(mask), begin + 4, length))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn masked(opcode: u8, payload: &[u8]) -> Vec<u8> {
        let mask = [1, 2, 3, 4];
        let mut bytes = vec![0x80 | opcode, 0x80 | u8::try_from(payload.len()).unwrap()];
        bytes.extend(mask);
        bytes.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
        bytes
    }

    #[test]
    fn the_handshake_is_that_of_the_rfc() {
        let headers = HeaderMap::from_iter([
            (KEY, HeaderValue::from_static("dGhlIHNhbXBsZSBub25jZQ==")),
            (HeaderName::from_static("sec-websocket-version"), HeaderValue::from_static("13")),
        ]);
        assert_eq!(accept(&headers).unwrap(), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        let mut bad = headers.clone();
        bad.insert(KEY, HeaderValue::from_static("short"));
        assert!(accept(&bad).is_none() && accept(&HeaderMap::new()).is_none());
    }

    #[test]
    fn frames_of_every_length_say_their_length() {
        assert_eq!(&text(b"hi")[..], b"\x81\x02hi");
        assert_eq!(text(&[0; 126])[..4], [0x81, 126, 0, 126]);
        assert_eq!(text(&vec![0; 65_536])[..10], [0x81, 127, 0, 0, 0, 0, 0, 1, 0, 0]);
    }

    #[test]
    fn pings_are_answered_goodbyes_returned_and_all_else_passed_over_in_whatever_pieces_they_come() {
        let all = [masked(TEXT, b"ignored"), masked(PING, b"abc"), masked(CLOSE, &[3, 232])].concat();
        for size in 1..=all.len() {
            let (mut ear, mut heard) = (Ear::default(), Vec::new());
            for piece in all.chunks(size) {
                ear.hear(piece);
                while let found @ (Heard::Answer(_) | Heard::Over(_)) = ear.next() {
                    heard.push(found);
                }
            }
            assert_eq!(heard, [Heard::Answer(frame(PONG, b"abc")), Heard::Over(close(1000, ""))], "{size}");
        }
    }

    #[test]
    fn frames_that_break_the_rules_end_it() {
        for (bytes, goodbye) in [
            (vec![0x81, 0x02, b'h', b'i'], close(1002, "not masked")),
            (vec![0x82, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0], close(1009, "too large")),
            (vec![0x89, 0xfe, 0, 126, 0, 0, 0, 0], close(1009, "too large")),
        ] {
            let mut ear = Ear::default();
            ear.hear(&bytes);
            assert_eq!(ear.next(), Heard::Over(goodbye));
        }
    }
}
