//! The last good snapshot on disk: what serves when the database is away at the start.
//!
//! One line of JSON that says what follows (format, generation, length, checksum), then the configuration as JSON. Written
//! beside and renamed, so that a crash leaves the old one.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use gateway_config::model::{Configuration, FORMAT_VERSION, Item, Kind};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use thiserror::Error;

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
struct Header {
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
        let end = bytes.iter().position(|byte| *byte == b'\n').ok_or(DiskError::Foreign)?;
        let (header, body) = bytes.split_at(end);
        let body = body.get(1..).unwrap_or_default();
        let header: Header = serde_json::from_slice(header).map_err(|_| DiskError::Foreign)?;
        if header.format_version > FORMAT_VERSION {
            return Err(DiskError::Format(header.format_version));
        }
        if checksum(header.generation, body) != header.blake3 || body.len() as u64 != header.length {
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
        Ok(Some((configuration, header.generation)))
    }

    /// Replaces the file as one step, and only when every byte is safe on disk. Answers its size.
    pub(crate) fn write(&self, configuration: &Configuration, generation: u64) -> Result<u64, DiskError> {
        let body = body(configuration)?;
        let header = Header {
            gatehouse_snapshot: true,
            format_version: FORMAT_VERSION,
            generation,
            length: body.len() as u64,
            blake3: checksum(generation, &body),
        };
        let mut bytes = serde_json::to_vec(&header).map_err(io::Error::other)?;
        bytes.push(b'\n');
        bytes.extend_from_slice(&body);
        let dir = self.path.parent().unwrap_or(Path::new("."));
        fs::create_dir_all(dir)?;
        // Gateways that share a directory must not write into one another's half-written file.
        let beside = dir.join(format!(".snapshot.{}.tmp", std::process::id()));
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
        file.write_all(&bytes)?;
        file.sync_all()?;
        fs::rename(&beside, &self.path)?;
        File::open(dir)?.sync_all()?;
        Ok(bytes.len() as u64)
    }
}

/// One item after the other: the whole as a tree of values would take several times the room, at every change.
fn body(configuration: &Configuration) -> io::Result<Vec<u8>> {
    let mut body = Vec::new();
    let mut section = None;
    for item in configuration.items() {
        let kind = item.kind();
        let begins = match section.replace(kind) {
            Some(before) if before == kind => ",".to_owned(),
            Some(_) => format!("],\"{}\":[", kind.plural()),
            None => format!("{{\"{}\":[", kind.plural()),
        };
        body.extend_from_slice(begins.as_bytes());
        serde_json::to_writer(&mut body, &item.to_json())?;
    }
    // There are always defaults, so a section was begun.
    body.extend_from_slice(b"]}");
    Ok(body)
}

fn checksum(generation: u64, body: &[u8]) -> String {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&generation.to_le_bytes());
    hasher.update(body);
    hasher.finalize().to_hex().to_string()
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
                // A digit of what the header merely repeats may change without harm; what is served may not.
                Ok(read) => assert_eq!(read, Some((sample(), 7)), "altered at {at}"),
            }
        }
    }
}
