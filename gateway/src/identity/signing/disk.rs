//! The last known keys on disk, for a start without the database. They stand there as in the database: sealed under the master key.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use gateway_config::store::SigningKeyRow;
use serde::{Deserialize, Serialize};

use crate::replace::replace;

const FORMAT: u32 = 1;

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Kept {
    format_version: u32,
    keys: Vec<SigningKeyRow>,
}

#[derive(Clone, Debug)]
pub(super) struct Disk {
    path: PathBuf,
}

impl Disk {
    pub(super) fn in_dir(dir: &Path) -> Self {
        Self { path: dir.join("signing_keys.json") }
    }

    /// None when there is no file.
    pub(super) fn read(&self) -> io::Result<Vec<SigningKeyRow>> {
        let text = match fs::read(&self.path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let kept: Kept = serde_json::from_slice(&text)?;
        if kept.format_version > FORMAT {
            return Err(io::Error::other(format!("it has format {}", kept.format_version)));
        }
        Ok(kept.keys)
    }

    /// Replaces the file as one step.
    pub(super) fn write(&self, keys: Vec<SigningKeyRow>) -> io::Result<()> {
        let text = serde_json::to_vec(&Kept { format_version: FORMAT, keys })?;
        replace(&self.path, |file| file.write_all(&text))
    }
}
