//! The last good snapshot on disk: what serves when the database is away at the start.
//!
//! A line with the configuration as JSON, then one that vouches for it (format, generation, length, checksum). Written beside and
//! renamed, so that a crash leaves the old one.

use std::fs;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use gateway_config::model::{Configuration, FORMAT_VERSION, Item, Kind};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use thiserror::Error;

use crate::replace::replace;

#[derive(Debug, Error)]
pub(crate) enum DiskError {
    #[error("it could not be read: {0}")]
    Io(#[from] io::Error),
    #[error("it is truncated or was altered: its checksum does not fit")]
    Checksum,
    #[error("it is no snapshot of Gatehouse")]
    Foreign,
    #[error("it has format {0}, this program reads up to {FORMAT_VERSION}")]
    Format(i32),
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Seal {
    gatehouse_snapshot: bool,
    format_version: i32,
    generation: u64,
    length: u64,
    blake3: String,
}

#[derive(Clone, Debug)]
pub(crate) struct DiskSnapshot {
    path: PathBuf,
}

impl DiskSnapshot {
    pub(crate) fn in_dir(dir: &Path) -> Self {
        Self { path: dir.join("snapshot.json") }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// `None` when there is none.
    pub(crate) fn read(&self) -> Result<Option<(Configuration, u64)>, DiskError> {
        let bytes = match fs::read(&self.path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let text = bytes.strip_suffix(b"\n").ok_or(DiskError::Checksum)?;
        let end = text.iter().rposition(|byte| *byte == b'\n').ok_or(DiskError::Foreign)?;
        let (body, seal) = text.split_at(end);
        let seal: Seal = serde_json::from_slice(seal).map_err(|_| DiskError::Checksum)?;
        if seal.format_version > FORMAT_VERSION {
            return Err(DiskError::Format(seal.format_version));
        }
        let mut hasher = begin_checksum(seal.generation);
        hasher.update(body);
        if hasher.finalize().to_hex().as_str() != seal.blake3 || body.len() as u64 != seal.length {
            return Err(DiskError::Checksum);
        }
        let sections: Map<String, Value> = serde_json::from_slice(body).map_err(|_| DiskError::Foreign)?;
        let mut configuration = Configuration::default();
        for (section, members) in sections {
            let kind = Kind::ALL.into_iter().find(|kind| kind.plural() == section).ok_or(DiskError::Foreign)?;
            let Value::Array(members) = members else { return Err(DiskError::Foreign) };
            for member in members {
                configuration.put(Item::from_json(kind, member).map_err(|_| DiskError::Foreign)?);
            }
        }
        Ok(Some((configuration, seal.generation)))
    }

    /// Replaces the file as one step, and only when every byte is safe on disk. Answers its size.
    pub(crate) fn write(&self, configuration: &Configuration, generation: u64) -> Result<u64, DiskError> {
        let size = replace(&self.path, |file| {
            let mut body = Hashed { out: BufWriter::new(file), hasher: begin_checksum(generation), length: 0 };
            write_body(configuration, &mut body)?;
            let Hashed { mut out, hasher, length } = body;
            let seal = Seal {
                gatehouse_snapshot: true,
                format_version: FORMAT_VERSION,
                generation,
                length,
                blake3: hasher.finalize().to_hex().to_string(),
            };
            let seal = serde_json::to_string(&seal).map_err(io::Error::other)?;
            write!(out, "\n{seal}\n")?;
            out.flush()?;
            Ok(length + seal.len() as u64 + 2)
        })?;
        Ok(size)
    }
}

/// One item after the other, straight to the file: the whole in memory would take its size once more, at every change.
fn write_body(configuration: &Configuration, out: &mut impl Write) -> io::Result<()> {
    let mut section = None;
    for item in configuration.items() {
        let kind = item.kind();
        match section.replace(kind) {
            Some(before) if before == kind => write!(out, ",")?,
            Some(_) => write!(out, "],\"{}\":[", kind.plural())?,
            None => write!(out, "{{\"{}\":[", kind.plural())?,
        }
        serde_json::to_writer(&mut *out, &item.to_json())?;
    }
    // There are always defaults, so a section was begun.
    write!(out, "]}}")
}

/// Hashes and counts what passes through.
struct Hashed<W> {
    out: W,
    hasher: blake3::Hasher,
    length: u64,
}

impl<W: Write> Write for Hashed<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.out.write(bytes)?;
        self.hasher.update(bytes.get(..written).unwrap_or_default());
        self.length += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// The generation is vouched for, too.
fn begin_checksum(generation: u64) -> blake3::Hasher {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&generation.to_le_bytes());
    hasher
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn sample() -> Configuration {
        let mut configuration = Configuration::default();
        let value = json!({"serviceName": "auth", "defaultUrl": "http://127.0.0.1:1"});
        configuration.put(Item::from_json(Kind::Service, value).unwrap());
        configuration
    }

    #[test]
    fn it_reads_back_what_was_written() {
        let dir = tempfile::tempdir().unwrap();
        let disk = DiskSnapshot::in_dir(dir.path());
        assert!(disk.read().unwrap().is_none());
        disk.write(&sample(), 7).unwrap();
        assert_eq!(disk.read().unwrap().unwrap(), (sample(), 7));
    }

    #[test]
    fn every_truncation_and_every_altered_byte_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let disk = DiskSnapshot::in_dir(dir.path());
        disk.write(&sample(), 7).unwrap();
        let good = fs::read(disk.path()).unwrap();
        for length in (0..good.len()).step_by(7) {
            fs::write(disk.path(), &good[..length]).unwrap();
            assert!(disk.read().is_err(), "cut at {length}");
        }
        for at in (0..good.len()).step_by(5) {
            let mut bad = good.clone();
            bad[at] ^= 1;
            fs::write(disk.path(), &bad).unwrap();
            match disk.read() {
                Err(_) => {}
                // A digit of what the seal merely repeats may change without harm; what is served may not.
                Ok(read) => assert_eq!(read, Some((sample(), 7)), "altered at {at}"),
            }
        }
    }
}
