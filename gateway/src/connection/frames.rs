//! Where the frames of a WebSocket end (RFC 6455 §5.2), as they go by: only between two of them may something be said.

/// Ends the head of the answer that switched protocols.
const HEAD_END: &[u8; 4] = b"\r\n\r\n";

/// What goes to the client, from the first byte of the answer's head.
#[derive(Clone, Copy, Debug)]
pub(super) struct Frames(At);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    /// In the answer's head; so much of its end was seen.
    Head(usize),
    /// In the header of a frame.
    Header { bytes: [u8; 10], have: usize },
    /// In a frame; so much is to come of its mask and payload.
    Frame(u64),
}

const BETWEEN: At = At::Header { bytes: [0; 10], have: 0 };

impl Frames {
    pub(super) fn new() -> Self {
        Self(At::Head(0))
    }

    pub(super) fn is_between(&self) -> bool {
        self.0 == BETWEEN
    }

    /// These bytes went by.
    pub(super) fn advance(&mut self, mut bytes: &[u8]) {
        while let Some(rest) = self.step(bytes) {
            bytes = rest;
        }
    }

    /// How many of these bytes belong to the frame that has begun: all of them, or those up to its end.
    pub(super) fn left_of_this(&self, bytes: &[u8]) -> usize {
        let (mut ahead, mut rest) = (*self, bytes);
        while !ahead.is_between() {
            match ahead.step(rest) {
                Some(behind) => rest = behind,
                None => return bytes.len(),
            }
        }
        bytes.len() - rest.len()
    }

    /// Goes on by a byte or, within a frame, by as much as there is of it. `None`: there is nothing left to go by.
    fn step<'b>(&mut self, bytes: &'b [u8]) -> Option<&'b [u8]> {
        let (first, rest) = bytes.split_first()?;
        match &mut self.0 {
            At::Head(seen) => {
                *seen = match HEAD_END.get(*seen) {
                    Some(expected) if expected == first => *seen + 1,
                    _ => usize::from(*first == b'\r'),
                };
                if *seen == HEAD_END.len() {
                    self.0 = BETWEEN;
                }
                Some(rest)
            }
            At::Header { bytes: header, have } => {
                if let Some(place) = header.get_mut(*have) {
                    *place = *first;
                }
                *have += 1;
                if let Some(left) = left_behind(header.get(..*have).unwrap_or_default()) {
                    self.0 = if left == 0 { BETWEEN } else { At::Frame(left) };
                }
                Some(rest)
            }
            At::Frame(left) => {
                let taken = bytes.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
                *left -= taken as u64;
                if *left == 0 {
                    self.0 = BETWEEN;
                }
                bytes.get(taken..)
            }
        }
    }
}

/// What follows a header; `None` while it is not whole. A mask counts as what follows.
fn left_behind(header: &[u8]) -> Option<u64> {
    let &[_, second, ref long @ ..] = header else { return None };
    let mask = if second & 0x80 == 0 { 0 } else { 4 };
    let length = match second & 0x7f {
        126 => u64::from(u16::from_be_bytes(*long.first_chunk()?)),
        127 => u64::from_be_bytes(*long.first_chunk()?),
        short => u64::from(short),
    };
    Some(length.saturating_add(mask))
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    const HEAD: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\n\r\n";

    fn frame(opcode: u8, length: usize, is_masked: bool, long_form: bool) -> Vec<u8> {
        let mut bytes = vec![0x80 | opcode];
        let mask = if is_masked { 0x80 } else { 0 };
        match u8::try_from(length) {
            Ok(short) if short < 126 && !long_form => bytes.push(mask | short),
            _ if length <= 0xffff && !long_form => {
                bytes.push(mask | 0x7e);
                bytes.extend(u16::try_from(length).unwrap().to_be_bytes());
            }
            _ => {
                bytes.push(mask | 0x7f);
                bytes.extend((length as u64).to_be_bytes());
            }
        }
        bytes.resize(bytes.len() + length + if is_masked { 4 } else { 0 }, 0x81);
        bytes
    }

    fn frames() -> impl Strategy<Value = Vec<Vec<u8>>> {
        let length = prop_oneof![Just(0), 1..130usize, 65_000..66_000usize];
        vec((0..16u8, length, any::<bool>(), any::<bool>()), 0..6).prop_map(|all| {
            all.into_iter().map(|(opcode, length, mask, long)| frame(opcode, length, mask, long)).collect()
        })
    }

    proptest! {
        #[test]
        fn the_ends_of_frames_are_found_however_they_are_cut(frames in frames(), cuts in vec(1..400usize, 1..40)) {
            let mut stream = HEAD.to_vec();
            let mut ends = vec![stream.len()];
            for frame in &frames {
                stream.extend(frame);
                ends.push(stream.len());
            }
            let (mut at, mut follower) = (0, Frames::new());
            for cut in cuts.iter().cycle() {
                if at == stream.len() {
                    break;
                }
                prop_assert_eq!(follower.is_between(), ends.contains(&at));
                if !follower.is_between() {
                    let end = *ends.iter().find(|end| **end > at).unwrap();
                    prop_assert_eq!(follower.left_of_this(&stream[at..]), end - at);
                }
                let piece = &stream[at..(at + cut).min(stream.len())];
                follower.advance(piece);
                at += piece.len();
            }
            prop_assert!(follower.is_between());
        }
    }

    #[test]
    fn a_frame_of_any_announced_length_is_waited_for() {
        let mut follower = Frames(BETWEEN);
        follower.advance(&[0x82, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0]);
        assert_eq!(follower.left_of_this(&[0; 64]), 64);
    }
}
