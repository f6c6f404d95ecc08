//! The memory of verified keys on disk, sealed under the master key: after a restart its keys need not be hashed again, and uses
//! that the database was not told yet are not lost.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use gateway_config::master_key::MasterKey;
use gateway_config::model::Id;
use thiserror::Error;
use uuid::Uuid;

use super::memory::{Remembered, Revision};
use crate::replace::replace;

const FILE: &str = "verified-keys";
const PURPOSE: &str = "the memory of verified keys";
const MARK: &[u8; 8] = b"GHKEYS\x00\x01";
const RECORD: usize = 72;

#[derive(Debug, Error)]
pub(super) enum DiskError {
    #[error("it could not be read: {0}")]
    Io(#[from] io::Error),
    #[error("it was sealed under another master key, or is truncated or altered")]
    Sealed,
    #[error("it is of another version of this program")]
    Foreign,
}

#[derive(Clone, Debug)]
pub(super) struct KeyFile {
    path: PathBuf,
    master: MasterKey,
}

impl KeyFile {
    pub(super) fn in_dir(dir: &Path, master: &MasterKey) -> Self {
        Self { path: dir.join(FILE), master: master.clone() }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Empty when there is none.
    pub(super) fn read(&self) -> Result<Vec<Remembered>, DiskError> {
        let sealed = match fs::read(&self.path) {
            Ok(sealed) => sealed,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error.into()),
        };
        let opened = self.master.open(PURPOSE, &sealed).map_err(|_| DiskError::Sealed)?;
        let records = opened.strip_prefix(MARK).ok_or(DiskError::Foreign)?;
        let (records, rest) = records.as_chunks::<RECORD>();
        if !rest.is_empty() {
            return Err(DiskError::Foreign);
        }
        records.iter().map(|record| read(record).ok_or(DiskError::Foreign)).collect()
    }

    /// Replaces the file as one step.
    pub(super) fn write(&self, known: &[Remembered]) -> Result<(), DiskError> {
        let mut body = Vec::with_capacity(MARK.len() + known.len() * RECORD);
        body.extend_from_slice(MARK);
        for it in known {
            body.extend_from_slice(it.key.uuid().as_bytes());
            body.extend_from_slice(it.digest.as_bytes());
            body.extend_from_slice(&it.revision.0.to_le_bytes());
            body.extend_from_slice(&it.used.to_le_bytes());
            body.extend_from_slice(&it.written.to_le_bytes());
        }
        Ok(replace(&self.path, |file| file.write_all(&self.master.seal(PURPOSE, &body)))?)
    }
}

fn read(record: &[u8; RECORD]) -> Option<Remembered> {
    let (key, rest) = record.split_first_chunk::<16>()?;
    let (digest, rest) = rest.split_first_chunk::<32>()?;
    let (revision, rest) = rest.split_first_chunk::<8>()?;
    let (used, written) = rest.split_first_chunk::<8>()?;
    Some(Remembered {
        key: Id::new(Uuid::from_bytes(*key)),
        digest: blake3::Hash::from_bytes(*digest),
        revision: Revision(u64::from_le_bytes(*revision)),
        used: i64::from_le_bytes(*used),
        written: i64::from_le_bytes(*written.first_chunk::<8>()?),
    })
}

#[cfg(test)]
mod tests {
    use gateway_config::clock::new_id;

    use super::*;

    fn file(dir: &Path, master: &str) -> KeyFile {
        KeyFile::in_dir(dir, &MasterKey::of(&master.repeat(40)).unwrap())
    }

    fn sample() -> Vec<Remembered> {
        let known = |at: i64| Remembered {
            key: Id::new(new_id()),
            digest: blake3::hash(&at.to_le_bytes()),
            revision: Revision(u64::MAX - 3),
            used: at,
            written: at - 1,
        };
        (1..20).map(known).collect()
    }

    #[test]
    fn it_reads_back_what_was_written_and_only_its_owner_may() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let file = file(dir.path(), "a");
        assert_eq!(file.read().unwrap(), []);
        let known = sample();
        file.write(&known).unwrap();
        assert_eq!(file.read().unwrap(), known);
        assert_eq!(fs::metadata(file.path()).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn nothing_of_it_can_be_read_without_the_master_key() {
        let dir = tempfile::tempdir().unwrap();
        let known = sample();
        file(dir.path(), "a").write(&known).unwrap();
        assert!(matches!(file(dir.path(), "b").read(), Err(DiskError::Sealed)));
        let bytes = fs::read(dir.path().join(FILE)).unwrap();
        let shows = |needle: &[u8]| bytes.windows(needle.len()).any(|window| window == needle);
        assert!(known.iter().all(|it| !shows(it.key.uuid().as_bytes()) && !shows(it.digest.as_bytes())));
    }

    #[test]
    fn a_torn_or_altered_file_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let file = file(dir.path(), "a");
        file.write(&sample()).unwrap();
        let good = fs::read(file.path()).unwrap();
        for at in (0..good.len()).step_by(11) {
            fs::write(file.path(), &good[..at]).unwrap();
            assert!(file.read().is_err(), "cut at {at}");
            let mut bad = good.clone();
            bad[at] ^= 1;
            fs::write(file.path(), bad).unwrap();
            assert!(file.read().is_err(), "altered at {at}");
        }
    }
}
