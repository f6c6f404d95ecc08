//! The first line of a backup: how it is sealed. Nothing in it is secret, and whoever alters it changes the key.

use std::fmt;
use std::io::{BufRead, Write};

use argon2::{Algorithm, Argon2, Params, Version};
use ring::aead::{AES_256_GCM, LessSafeKey, UnboundKey};
use serde::{Deserialize, Serialize};

use super::{BackupError, FORMAT};
use crate::master_key::MasterKey;
use crate::model::Timestamp;

const MAGIC: &[u8] = b"GATEHOUSE-BACKUP ";
const LONGEST_LINE: u64 = 4096;

/// A header that was altered must not take the memory of the whole machine.
const MOST_MEMORY_KIB: u32 = 1 << 20;
const MOST_ITERATIONS: u32 = 32;
const MOST_LANES: u32 = 16;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum SealedWith {
    Passphrase,
    MasterKey,
}

/// What a backup is sealed with.
#[derive(Clone, Copy, Debug)]
pub enum Key<'k> {
    Passphrase(&'k str),
    Master(&'k MasterKey),
}

/// Of argon2id over a passphrase.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Cost {
    pub memory_kib: u32,
    pub iterations: u32,
    pub lanes: u32,
}

impl Default for Cost {
    fn default() -> Self {
        Self { memory_kib: 64 << 10, iterations: 3, lanes: 1 }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Header {
    format: u32,
    pub made_at: Timestamp,
    pub sealed_with: SealedWith,
    /// Random, so that no two backups have one key.
    salt: String,
    argon2: Cost,
}

/// Read before anything else of the line is believed.
#[derive(Deserialize)]
struct Versioned {
    format: u32,
}

impl fmt::Display for SealedWith {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Passphrase => "passphrase",
            Self::MasterKey => "master key",
        })
    }
}

impl Key<'_> {
    #[must_use]
    pub fn kind(&self) -> SealedWith {
        match self {
            Self::Passphrase(_) => SealedWith::Passphrase,
            Self::Master(_) => SealedWith::MasterKey,
        }
    }
}

impl Header {
    #[must_use]
    pub fn new(made_at: Timestamp, key: &Key<'_>, cost: Cost) -> Self {
        let salt = blake3::Hash::from_bytes(rand::random()).to_hex().to_string();
        Self { format: FORMAT, made_at, sealed_with: key.kind(), salt, argon2: cost }
    }

    /// Reads the first line and nothing behind it.
    pub(super) fn read(source: impl BufRead) -> Result<(Self, Vec<u8>), BackupError> {
        let mut line = Vec::new();
        source.take(LONGEST_LINE).read_until(b'\n', &mut line)?;
        match line.pop() {
            Some(b'\n') => Self::parse(&line).map(|header| (header, line)),
            _ => Err(BackupError::NotABackup),
        }
    }

    fn parse(line: &[u8]) -> Result<Self, BackupError> {
        let json = line.strip_prefix(MAGIC).ok_or(BackupError::NotABackup)?;
        let versioned: Versioned = serde_json::from_slice(json).map_err(|_| BackupError::NotABackup)?;
        if versioned.format != FORMAT {
            return Err(BackupError::Format(versioned.format));
        }
        serde_json::from_slice(json).map_err(|_| BackupError::NotABackup)
    }

    /// Answers the line without its end.
    pub(super) fn write(&self, target: &mut impl Write) -> Result<Vec<u8>, BackupError> {
        let json = serde_json::to_vec(self).map_err(|_| BackupError::Sealing)?;
        let line = [MAGIC, &json].concat();
        target.write_all(&line)?;
        target.write_all(b"\n")?;
        Ok(line)
    }

    /// `line`: as it stands in the file.
    pub(super) fn cipher(&self, line: &[u8], key: &Key<'_>) -> Result<LessSafeKey, BackupError> {
        let secret = match (self.sealed_with, key) {
            (SealedWith::Passphrase, Key::Passphrase(passphrase)) => self.stretched(passphrase)?,
            (SealedWith::MasterKey, Key::Master(master)) => master.derive("backups"),
            (SealedWith::Passphrase, Key::Master(_)) => return Err(BackupError::PassphraseNeeded),
            (SealedWith::MasterKey, Key::Passphrase(_)) => return Err(BackupError::NoPassphrase),
        };
        let key = blake3::derive_key("Gatehouse backup v1", &[&secret, line].concat());
        UnboundKey::new(&AES_256_GCM, &key).map(LessSafeKey::new).map_err(|_| BackupError::Sealing)
    }

    fn stretched(&self, passphrase: &str) -> Result<[u8; 32], BackupError> {
        let Cost { memory_kib, iterations, lanes } = self.argon2;
        if memory_kib > MOST_MEMORY_KIB || iterations > MOST_ITERATIONS || lanes > MOST_LANES {
            return Err(BackupError::Cost);
        }
        let wrong = |error: argon2::Error| BackupError::Derivation(error.to_string());
        let params = Params::new(memory_kib, iterations, lanes, Some(32)).map_err(wrong)?;
        let mut key = [0; 32];
        let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
        argon2.hash_password_into(passphrase.as_bytes(), self.salt.as_bytes(), &mut key).map_err(wrong)?;
        Ok(key)
    }
}
