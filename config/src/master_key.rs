//! The master key: the one secret from which all others of a fleet are derived, and under which is sealed what must be stored
//! secret. Every process of a fleet has the same one.
//!
//! It is given in `GATEWAY_MASTER_KEY`. On SQLite, where all processes share a host, one is made at the first start if none
//! is given, in the file `master.key` beside the database.

use std::fmt;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use thiserror::Error;

pub const MASTER_KEY_VARIABLE: &str = "GATEWAY_MASTER_KEY";
const SHORTEST: usize = 32;
const FILE: &str = "master.key";
/// Before everything that is sealed: how it is sealed.
const SEALED_V1: u8 = 1;

/// 256 bits that stand for the text that was given.
#[derive(Clone)]
pub struct MasterKey([u8; 32]);

#[derive(Debug, Error)]
pub enum MasterKeyError {
    #[error("{MASTER_KEY_VARIABLE} has {0} characters and needs at least {SHORTEST}")]
    Short(usize),
    #[error("{MASTER_KEY_VARIABLE} is not UTF-8")]
    Unreadable,
    #[error(
        "{MASTER_KEY_VARIABLE} is not set: on Postgres every gateway and admin API of the fleet needs the same one; make one with \
         `openssl rand -base64 48` and keep it as safe as the database"
    )]
    Missing,
    #[error(
        "the master key in {path} has {characters} characters and needs at least {SHORTEST}: restore it from a backup"
    )]
    Spoilt { path: PathBuf, characters: usize },
    #[error("could not read or make the master key in {path}: {why}")]
    File { path: PathBuf, why: io::Error },
}

/// It was sealed under another master key or for another purpose, or was altered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("it was sealed under another master key, or was altered")]
pub struct SealBroken;

impl MasterKey {
    /// The key of the process's environment, or that of the file beside an SQLite database, which is made if it is missing.
    pub fn load(database_url: &str) -> Result<Self, MasterKeyError> {
        let given = environment()?;
        if let Some(key) = Self::found(given.as_deref(), database_url)? {
            return Ok(key);
        }
        let path = file_beside(database_url).ok_or(MasterKeyError::Missing)?;
        make(&path).map_err(|why| MasterKeyError::File { path: path.clone(), why })?;
        read(&path)
    }

    /// Like [`Self::load`], but makes nothing: `None` where the first start will make one.
    pub fn find(database_url: &str) -> Result<Option<Self>, MasterKeyError> {
        let found = Self::found(environment()?.as_deref(), database_url)?;
        match found {
            None if file_beside(database_url).is_none() => Err(MasterKeyError::Missing),
            found => Ok(found),
        }
    }

    fn found(given: Option<&str>, database_url: &str) -> Result<Option<Self>, MasterKeyError> {
        if let Some(text) = given {
            return Self::of(text).map(Some);
        }
        let Some(path) = file_beside(database_url) else { return Ok(None) };
        if path.exists() { read(&path).map(Some) } else { Ok(None) }
    }

    /// Of a text of at least 32 characters.
    pub fn of(text: &str) -> Result<Self, MasterKeyError> {
        match text.chars().count() {
            characters if characters < SHORTEST => Err(MasterKeyError::Short(characters)),
            _ => Ok(Self(blake3::derive_key("Gatehouse master key v1", text.as_bytes()))),
        }
    }

    /// A key for one purpose. Whoever knows it learns neither the master key nor the key for another purpose.
    #[must_use]
    pub fn derive(&self, purpose: &str) -> [u8; 32] {
        blake3::derive_key(&format!("Gatehouse key for {purpose} v1"), &self.0)
    }

    /// Tells one master key from another, and nothing else of it.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        let key = blake3::Hash::from_bytes(self.derive("fingerprints"));
        key.to_hex().chars().take(32).collect()
    }

    /// The text of the file beside an SQLite database, where that is what the key is made of.
    pub fn file_text(database_url: &str) -> Result<Option<String>, MasterKeyError> {
        let Some(path) = file_beside(database_url).filter(|path| path.exists()) else { return Ok(None) };
        if environment()?.is_some() {
            return Ok(None);
        }
        let text = fs::read_to_string(&path).map_err(|why| MasterKeyError::File { path, why })?;
        Ok(Some(text.trim().to_owned()))
    }

    /// Makes `text` the master key of an SQLite database that has none yet.
    pub fn place(database_url: &str, text: &str) -> Result<(), MasterKeyError> {
        let path = file_beside(database_url).ok_or(MasterKeyError::Missing)?;
        make_of(&path, text).map_err(|why| MasterKeyError::File { path, why })
    }

    /// Encrypts, so that only [`Self::open`] with the same key and purpose reads it, and notices every alteration.
    #[must_use]
    pub fn seal(&self, purpose: &str, secret: &[u8]) -> Vec<u8> {
        let nonce: [u8; NONCE_LEN] = rand::random();
        let mut body = secret.to_vec();
        let sealed = self.cipher(purpose).and_then(|cipher| {
            cipher.seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), aad(purpose), &mut body).ok()
        });
        // Ring refuses only what is larger than 64 GiB. Nobody can open an empty seal, and it tells nothing.
        if sealed.is_none() {
            return Vec::new();
        }
        [&[SEALED_V1][..], &nonce, &body].concat()
    }

    pub fn open(&self, purpose: &str, sealed: &[u8]) -> Result<Vec<u8>, SealBroken> {
        let rest = sealed.strip_prefix(&[SEALED_V1]).ok_or(SealBroken)?;
        let (nonce, body) = rest.split_first_chunk::<NONCE_LEN>().ok_or(SealBroken)?;
        let mut body = body.to_vec();
        let cipher = self.cipher(purpose).ok_or(SealBroken)?;
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let length = cipher.open_in_place(nonce, aad(purpose), &mut body).map_err(|_| SealBroken)?.len();
        body.truncate(length);
        Ok(body)
    }

    fn cipher(&self, purpose: &str) -> Option<LessSafeKey> {
        let key = self.derive(&format!("sealing {purpose}"));
        UnboundKey::new(&AES_256_GCM, &key).ok().map(LessSafeKey::new)
    }
}

impl fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MasterKey(…)")
    }
}

fn aad(purpose: &str) -> Aad<&[u8]> {
    Aad::from(purpose.as_bytes())
}

/// As the environment says; an empty one is none.
fn environment() -> Result<Option<String>, MasterKeyError> {
    match std::env::var(MASTER_KEY_VARIABLE) {
        Ok(text) => Ok(Some(text).filter(|text| !text.is_empty())),
        Err(std::env::VarError::NotPresent) => Ok(None),
        Err(std::env::VarError::NotUnicode(_)) => Err(MasterKeyError::Unreadable),
    }
}

/// `None` for a database that is no file.
fn file_beside(database_url: &str) -> Option<PathBuf> {
    database_url.strip_prefix("sqlite://").map(|path| Path::new(path).with_file_name(FILE))
}

fn read(path: &Path) -> Result<MasterKey, MasterKeyError> {
    let text = || -> io::Result<String> {
        if fs::metadata(path)?.permissions().mode() & 0o077 != 0 {
            tracing::warn!(path = %path.display(), "others than its owner may read the master key; make its mode 0600");
        }
        fs::read_to_string(path)
    };
    let text = text().map_err(|why| MasterKeyError::File { path: path.to_owned(), why })?;
    MasterKey::of(text.trim()).map_err(|error| match error {
        MasterKeyError::Short(characters) => MasterKeyError::Spoilt { path: path.to_owned(), characters },
        other => other,
    })
}

/// Makes the file unless it is there. Several processes may do so at once: a link can be made only once, and what it leads to is
/// whole and on disk by then.
fn make(path: &Path) -> io::Result<()> {
    let secret: [u8; 32] = rand::random();
    make_of(path, &blake3::Hash::from_bytes(secret).to_hex())
}

fn make_of(path: &Path, text: &str) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    let beside = folder.join(format!(".{FILE}.{:032x}", rand::random::<u128>()));
    let linked = write(&beside, text).and_then(|()| fs::hard_link(&beside, path));
    let removed = fs::remove_file(&beside);
    match linked {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(error),
        _ => removed?,
    }
    File::open(folder)?.sync_all()
}

fn write(path: &Path, text: &str) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    writeln!(file, "{text}")?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "a text of more than 32 characters, I think";

    fn url(dir: &tempfile::TempDir) -> String {
        format!("sqlite://{}", dir.path().join("data/gateway.db").display())
    }

    #[test]
    fn a_short_text_is_refused_and_never_shown() {
        let error = MasterKey::of("canary").unwrap_err().to_string();
        assert_eq!(error, "GATEWAY_MASTER_KEY has 6 characters and needs at least 32");
        assert_eq!(format!("{:?}", MasterKey::of(TEXT).unwrap()), "MasterKey(…)");
    }

    #[test]
    fn keys_for_two_purposes_and_of_two_texts_differ() {
        let (one, other) = (MasterKey::of(TEXT).unwrap(), MasterKey::of(&TEXT.to_uppercase()).unwrap());
        assert_eq!(one.derive("a"), MasterKey::of(TEXT).unwrap().derive("a"));
        assert_ne!(one.derive("a"), one.derive("b"));
        assert_ne!(one.derive("a"), other.derive("a"));
    }

    #[test]
    fn what_is_sealed_opens_only_whole_and_under_the_same_key_and_purpose() {
        let key = MasterKey::of(TEXT).unwrap();
        let sealed = key.seal("signing keys", b"secret");
        assert_eq!(key.open("signing keys", &sealed).unwrap(), b"secret");
        assert_ne!(key.seal("signing keys", b"secret"), sealed, "each time with another nonce");
        assert_eq!(key.open("others", &sealed), Err(SealBroken));
        assert_eq!(MasterKey::of(&TEXT.to_uppercase()).unwrap().open("signing keys", &sealed), Err(SealBroken));
        for at in 0..sealed.len() {
            let mut altered = sealed.clone();
            altered[at] ^= 1;
            assert_eq!(key.open("signing keys", &altered), Err(SealBroken), "byte {at}");
            assert_eq!(key.open("signing keys", &sealed[..at]), Err(SealBroken), "cut at {at}");
        }
    }

    #[test]
    fn on_sqlite_the_first_start_makes_one_for_its_owner_only() {
        let dir = tempfile::tempdir().unwrap();
        let path = file_beside(&url(&dir)).unwrap();
        assert!(MasterKey::found(None, &url(&dir)).unwrap().is_none());
        make(&path).unwrap();
        let made = MasterKey::found(None, &url(&dir)).unwrap().unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        make(&path).unwrap();
        assert_eq!(MasterKey::found(None, &url(&dir)).unwrap().unwrap().derive("a"), made.derive("a"));
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1, "nothing is left beside it");
    }

    #[test]
    fn processes_that_start_at_once_agree_on_one_key() {
        let dir = tempfile::tempdir().unwrap();
        let path = file_beside(&url(&dir)).unwrap();
        let keys: Vec<[u8; 32]> = std::thread::scope(|scope| {
            let racing: Vec<_> = (0..8)
                .map(|_| scope.spawn(|| make(&path).map(|()| read(&path)).unwrap().unwrap().derive("a")))
                .collect();
            racing.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert!(keys.iter().all(|key| *key == keys[0]));
    }

    #[test]
    fn what_is_given_stands_before_the_file_and_a_torn_file_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = file_beside(&url(&dir)).unwrap();
        make(&path).unwrap();
        let given = MasterKey::found(Some(TEXT), &url(&dir)).unwrap().unwrap();
        assert_eq!(given.derive("a"), MasterKey::of(TEXT).unwrap().derive("a"));
        fs::write(&path, "torn").unwrap();
        let error = MasterKey::found(None, &url(&dir)).unwrap_err().to_string();
        assert!(error.contains("master.key has 4 characters"), "{error}");
    }

    #[test]
    fn on_postgres_it_must_be_given() {
        assert!(MasterKey::found(None, "postgres://db/gateway").unwrap().is_none());
        assert!(file_beside("postgres://db/gateway").is_none());
        assert!(MasterKeyError::Missing.to_string().contains("openssl rand"));
    }
}
