//! How a message lies in the spool: its length, a checksum, and its bytes. What was cut off or altered is known by it.

use bytes::Bytes;

use super::Record;
use crate::queue::task::TaskId;

const HEAD: usize = 4 + CHECKSUM;
const CHECKSUM: usize = 8;
const VERSION: u8 = 1;
/// In place of a key's length: there is none.
const NO_KEY: u16 = u16::MAX;
/// Far more than any body may have; a length beyond it is damage, not a message.
const LARGEST: usize = 256 << 20;

/// What stands at a place of a segment.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// A record, and how many bytes it takes.
    Record(Record, usize),
    /// Nothing: the end.
    End,
    /// Something that is no whole record.
    Torn,
}

/// `None`: it is too large to be kept.
pub(super) fn encode(record: &Record, into: &mut Vec<u8>) -> Option<()> {
    let id = record.id.as_bytes();
    let key = record.key.as_deref().map(str::as_bytes);
    let key_length = match key {
        None => NO_KEY,
        Some(key) => u16::try_from(key.len()).ok().filter(|length| *length != NO_KEY)?,
    };
    let key = key.unwrap_or_default();
    let length = 1 + id.len() + 2 + key.len() + record.event.len();
    let frame_length = u32::try_from(length).ok().filter(|_| length <= LARGEST)?;
    let begin = into.len();
    into.extend_from_slice(&frame_length.to_le_bytes());
    into.extend_from_slice(&[0; CHECKSUM]);
    into.push(VERSION);
    into.extend_from_slice(id);
    into.extend_from_slice(&key_length.to_le_bytes());
    into.extend_from_slice(key);
    into.extend_from_slice(&record.event);
    let checksum = checksum(into.get(begin + HEAD..)?);
    into.get_mut(begin + 4..begin + HEAD)?.copy_from_slice(&checksum);
    Some(())
}

pub(super) fn decode(bytes: &[u8]) -> Found {
    if bytes.is_empty() {
        return Found::End;
    }
    whole(bytes).map_or(Found::Torn, |(record, length)| Found::Record(record, length))
}

fn whole(bytes: &[u8]) -> Option<(Record, usize)> {
    let (length, rest) = bytes.split_first_chunk::<4>()?;
    let length = usize::try_from(u32::from_le_bytes(*length)).ok().filter(|length| *length <= LARGEST)?;
    let (expected, rest) = rest.split_first_chunk::<CHECKSUM>()?;
    let content = rest.get(..length)?;
    if checksum(content) != *expected {
        return None;
    }
    let (version, rest) = content.split_first()?;
    let (id, rest) = rest.split_at_checked(TaskId::LENGTH)?;
    let (key_length, rest) = rest.split_first_chunk::<2>()?;
    let key_length = u16::from_le_bytes(*key_length);
    let (key, event) = match key_length {
        NO_KEY => (None, rest),
        length => {
            let (key, event) = rest.split_at_checked(usize::from(length))?;
            (Some(std::str::from_utf8(key).ok()?.to_owned()), event)
        }
    };
    let id = TaskId::from_bytes(id)?;
    (*version == VERSION).then(|| (Record { id, key, event: Bytes::copy_from_slice(event) }, HEAD + length))
}

fn checksum(content: &[u8]) -> [u8; CHECKSUM] {
    blake3::hash(content).as_bytes().first_chunk().copied().unwrap_or_default()
}
