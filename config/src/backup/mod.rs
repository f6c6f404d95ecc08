//! The file of a backup: a line that says how it is sealed, then chunks under AES-256-GCM, each under its own place in the file, so
//! that one which is altered, missing, repeated or moved is noticed, and so is an end that is cut off. Nothing here is ever whole
//! in memory.

mod header;
mod stream;

use thiserror::Error;

pub use header::{Cost, Header, Key, SealedWith};
pub use stream::{Opener, Sealer};

#[derive(Debug, Error)]
pub enum BackupError {
    #[error("this is no backup of Gatehouse")]
    NotABackup,
    #[error("the backup is of format {0}, and this version reads format {FORMAT}")]
    Format(u32),
    #[error("the backup was sealed with a passphrase; give it with --passphrase-file or BACKUP_PASSPHRASE")]
    PassphraseNeeded,
    #[error(
        "the backup was sealed with the master key; give that in GATEWAY_MASTER_KEY, or put it beside the database"
    )]
    MasterKeyNeeded,
    #[error("the backup was sealed with the master key; leave the passphrase away")]
    NoPassphrase,
    #[error("the backup asks for a key derivation that costs too much to be one of ours")]
    Cost,
    #[error(
        "the backup can't be opened: the {0} is another than the one it was sealed with, or its beginning was altered"
    )]
    WrongKey(SealedWith),
    #[error("the backup was altered: its part {0} is not what was written there")]
    Altered(u64),
    #[error("the backup is cut off: it ends behind part {0}, and something is missing")]
    Torn(u64),
    #[error("the backup was altered: something stands behind its end")]
    Trailing,
    #[error("could not seal the backup")]
    Sealing,
    #[error("could not derive the key: {0}")]
    Derivation(String),
    #[error(transparent)]
    Io(#[from] std::io::Error),
}

/// Of the file.
pub const FORMAT: u32 = 1;
