//! The last known keys on disk, for a start without the database. They stand there as in the database: sealed under the master key.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use gateway_config::store::SigningKeyRow;
use serde::{Deserialize, Serialize};

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
        let dir = self.path.parent().unwrap_or(Path::new("."));
        DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
        let beside = dir.join(format!(".signing_keys.{:032x}.tmp", rand::random::<u128>()));
        let written =
            write(&beside, &Kept { format_version: FORMAT, keys }).and_then(|()| fs::rename(&beside, &self.path));
        if written.is_err() {
            let _ = fs::remove_file(&beside);
        }
        written?;
        File::open(dir)?.sync_all()
    }
}

fn write(path: &Path, kept: &Kept) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(&serde_json::to_vec(kept)?)?;
    file.sync_all()
}
